// The loops over macrotiles and tiles: what is rendered where, and by which thread.
//
// Results do not depend on the number of threads: an area adds its splats in the order of their index.
#include "render/rasterizer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "render/noise.h"

namespace smartsplat {
Rasterizer::Rasterizer(std::shared_ptr<ThreadPool> pool, const Kernels* kernels, int max_level)
    : kernels_(kernels), pool_(std::move(pool)), max_level_(std::min(std::max(max_level, 0), kPyramidLevels - 1)) {
  workspaces_.resize(pool_->size());
  clocks_.resize(pool_->size());
}

double Rasterizer::seconds(Stage stage) const {
  double total = 0;
  for (const Clock& clock : clocks_) total += clock.seconds[stage];
  return total;
}

bool Rasterizer::prepare(const GaussianArrays& g, const View& view, bool with_slots, WorkLimits limits) {
  view_ = view;
  channels_ = g.channels;
  grid_ = Grid(view.columns, view.rows);
  projection_ = {view.x,
                 view.y,
                 view.scale_x,
                 view.scale_y,
                 filter_variance(view.scale_x),
                 filter_variance(view.scale_y),
                 view.columns,
                 view.rows,
                 grid_.macrotiles_x,
                 grid_.macrotiles_y,
                 max_level_};
  splats_.resize(g.count);
  rects_.resize(g.count);
  std::vector<double> covered(g.count / kPieceGaussians + 1, 0.0);  // output pixels, by each piece of Gaussians
  for_each_piece(kProject, g.count, [&](int64_t begin, int64_t end) {
    covered[begin / kPieceGaussians] = kernels_->project(g, begin, end, projection_, splats_.data(), rects_.data());
  });
  double work = 0;
  for (double part : covered) work += part;
  if (work > limits.covered_pixels) return false;
  bool built = false;
  timed(kBin, 0,
        [&] { built = lists_.build(*pool_, grid_, rects_.data(), g.count, with_slots, limits.intersections); });
  return built;
}

Area Rasterizer::level_area(Area macrotile, int level, int halo) const {
  const int side = 1 << level;
  const auto samples = [&](int size) { return (size + 2 * halo + side - 1) / side + 2 * kPyramidBorder; };
  return {(macrotile.x - halo) / side - kPyramidBorder,
          (macrotile.y - halo) / side - kPyramidBorder,
          samples(macrotile.width),
          samples(macrotile.height),
          kColumnWidth,
          level_stride(level),
          channels_ * level_stride(level)};
}

void Rasterizer::forward(int64_t index, Area area, float* floats) const {
  kernels_->forward_tile(splats_.data(), lists_.list(index), lists_.count(index), channels_, area, floats);
}

void Rasterizer::render_pyramid(int64_t macrotile, Area area, int coarsest, int halo, int thread) {
  timed(kForward, thread, [&] {
    float* pyramid = workspaces_[thread].pyramid;
    for (int level = coarsest; level > 0; --level) {
      const Area to = level_area(area, level, halo);
      float* floats = pyramid + level_start(level);
      if (level == coarsest)
        clear(to, channels_, floats);
      else
        kernels_->enlarge(channels_, level_area(area, level + 1, halo), pyramid + level_start(level + 1), to, floats);
      forward(grid_.first_area(level) + macrotile, to, floats);
    }
  });
}

void Rasterizer::render_tile(int64_t tile, Area area, Area macrotile, int coarsest, int halo, int thread) {
  timed(kForward, thread, [&] {
    Workspace& space = workspaces_[thread];
    if (coarsest == 0)
      clear(area, channels_, space.tile);
    else
      kernels_->enlarge(channels_, level_area(macrotile, 1, halo), space.pyramid + level_start(1), area, space.tile);
    forward(tile, area, space.tile);
  });
}

void Rasterizer::render(const GaussianArrays& g, const View& view, float* image) {
  prepare(g, view, false);
  for_each_rendered_tile(0, view.rows, [&](Area a, int thread) {
    const float* floats = workspaces_[thread].tile;
    for_each_sample(a, channels_, view_.columns, [&](int64_t sample, int at) { image[sample] = floats[at]; });
  });
}

// A band is left out once a sample averages over what repeats in it; samples that are enlarged have all of it.
Grain Rasterizer::grain_of(const GrainStrengths& of) const {
  Grain grain = {grain_noise(),       of.strengths,        of.bands, of.rows,
                 of.columns,          1.0 / of.cell,       view_.x,  view_.y,
                 1.0 / view_.scale_x, 1.0 / view_.scale_y, {}};
  const double scale = std::min(view_.scale_x, view_.scale_y);
  for (int band = 0; band < of.bands; ++band)
    grain.band_scale[band] = static_cast<float>(std::clamp((2 << band) * scale - 1.0, 0.0, 1.0) / kGrainDeviation);
  return grain;
}

void Rasterizer::render_rows(int top_row, int rows, void* image, bool wide, const GrainStrengths* strengths) {
  const int64_t stride = static_cast<int64_t>(view_.columns) * channels_;
  const Grain grain = strengths == nullptr ? Grain{} : grain_of(*strengths);
  for_each_rendered_tile(top_row, rows, [&](Area a, int thread) {
    timed(kStore, thread, [&] {
      alignas(64) float tile_grain[kTile * kTile];
      if (strengths != nullptr) kernels_->find_grain(a, grain, tile_grain);
      const int64_t sample = (a.y - top_row) * stride + a.x * channels_;
      kernels_->store_samples(workspaces_[thread].tile, strengths == nullptr ? nullptr : tile_grain, channels_, a,
                              static_cast<uint8_t*>(image) + sample * (wide ? 2 : 1), wide, stride);
    });
  });
}

}  // namespace smartsplat
