// The loops over macrotiles and tiles: what is rendered, compared and differentiated where, and by which thread.
//
// Results do not depend on the number of threads: an area adds its splats in the order of their index,
// each intersection of a splat and an area has its own partial-sum slot, and a splat's slots are added in order.
#include "render/rasterizer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "render/noise.h"

namespace smartsplat {
namespace {

constexpr int kMaxAges = 1 << 16;  // by then the corrections are 1: a beta2 of 0.9999 leaves 0.0014

void clear(Area area, int channels, float* floats) {
  for (int column = 0; column < area.columns(); ++column)
    for (int y = 0; y < area.height; ++y)
      for (int c = 0; c < channels; ++c)
        std::fill_n(floats + area.offset(column * kColumnWidth, y) + c * area.channel_stride, kColumnWidth, 0.0f);
}

}  // namespace

Rasterizer::Rasterizer(int threads, const Kernels* kernels, int max_level)
    : kernels_(kernels), pool_(threads), max_level_(std::min(std::max(max_level, 0), kPyramidLevels - 1)) {
  workspaces_.resize(pool_.size());
  clocks_.resize(pool_.size());
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
  timed(kBin, 0, [&] { built = lists_.build(pool_, grid_, rects_.data(), g.count, with_slots, limits.intersections); });
  return built;
}

template <class Work>
void Rasterizer::for_each_macrotile(int first_row, int last_row, const Work& work) {
  const int64_t first = static_cast<int64_t>(first_row) * grid_.macrotiles_x;
  pool_.run(static_cast<int64_t>(last_row - first_row) * grid_.macrotiles_x, [&](int64_t index, int thread) {
    const int64_t macrotile = first + index;
    int coarsest = kPyramidLevels - 1;
    while (coarsest > 0 && lists_.count(grid_.first_area(coarsest) + macrotile) == 0) --coarsest;
    work(macrotile, grid_.macrotile(macrotile), coarsest, thread);
  });
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

void Rasterizer::backward(int64_t index, Area area, const float* d_floats) {
  kernels_->backward_tile(splats_.data(), lists_.list(index), lists_.slots(index), lists_.count(index), channels_, area,
                          d_floats, partials_.data());
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

void Rasterizer::clear_gradient(Area macrotile, int coarsest, int thread) {
  for (int level = 1; level <= coarsest; ++level)
    clear(level_area(macrotile, level, 0), channels_, workspaces_[thread].gradient + level_start(level));
}

void Rasterizer::backward_tile_and_pyramid(int64_t tile, Area area, const float* d_floats, Area macrotile, int coarsest,
                                           int thread) {
  timed(kBackward, thread, [&] {
    backward(tile, area, d_floats);
    if (coarsest > 0)
      kernels_->reduce(channels_, area, d_floats, level_area(macrotile, 1, 0),
                       workspaces_[thread].gradient + level_start(1));
  });
}

void Rasterizer::backward_pyramid(int64_t macrotile, Area area, int coarsest, int thread) {
  timed(kBackward, thread, [&] {
    float* gradient = workspaces_[thread].gradient;
    for (int level = 1; level <= coarsest; ++level) {
      const Area from = level_area(area, level, 0);
      backward(grid_.first_area(level) + macrotile, from, gradient + level_start(level));
      if (level < coarsest)
        kernels_->reduce(channels_, from, gradient + level_start(level), level_area(area, level + 1, 0),
                         gradient + level_start(level + 1));
    }
  });
}

template <class Work>
void Rasterizer::for_each_rendered_tile(int top_row, int rows, const Work& work) {
  for_each_macrotile(top_row / kMacrotile, (top_row + rows + kMacrotile - 1) / kMacrotile,
                     [&](int64_t macrotile, Area area, int coarsest, int thread) {
                       render_pyramid(macrotile, area, coarsest, 0, thread);
                       grid_.for_each_tile(area, channels_, [&](int64_t tile, Area a) {
                         render_tile(tile, a, area, coarsest, 0, thread);
                         work(a, thread);
                       });
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

void Rasterizer::render_gradient(const GaussianArrays& g, const View& view, const float* d_image,
                                 const GaussianArrays& gradient) {
  prepare(g, view, true);
  partials_.resize(lists_.intersections());
  for_each_macrotile([&](int64_t macrotile, Area area, int coarsest, int thread) {
    clear_gradient(area, coarsest, thread);
    grid_.for_each_tile(area, channels_, [&](int64_t tile, Area a) {
      float* floats = workspaces_[thread].tile;
      clear(a, channels_, floats);  // beyond the image as well
      for_each_sample(a, channels_, view_.columns, [&](int64_t sample, int at) { floats[at] = d_image[sample]; });
      backward_tile_and_pyramid(tile, a, floats, area, coarsest, thread);
    });
    backward_pyramid(macrotile, area, coarsest, thread);
  });
  for_each_piece(kUpdate, g.count,
                 [&](int64_t begin, int64_t end) { kernels_->differentiate(g, partials(), begin, end, gradient); });
}

// The loss and its gradient, a tile at a time: nothing else needs a tile's pixels.
LossSums Rasterizer::pixelwise_pass(const Target& target, LossWeights weights) {
  std::vector<LossSums> sums(grid_.macrotiles());
  for_each_macrotile([&](int64_t macrotile, Area area, int coarsest, int thread) {
    render_pyramid(macrotile, area, coarsest, 0, thread);
    clear_gradient(area, coarsest, thread);
    LossSums sum{};
    grid_.for_each_tile(area, channels_, [&](int64_t tile, Area a) {
      render_tile(tile, a, area, coarsest, 0, thread);
      timed(kLoss, thread, [&] {
        add(sum, kernels_->pixel_loss(workspaces_[thread].tile, channels_, a, target.at(a.x, a.y, channels_), weights));
      });
      backward_tile_and_pyramid(tile, a, workspaces_[thread].tile, area, coarsest, thread);
    });
    backward_pyramid(macrotile, area, coarsest, thread);
    sums[macrotile] = sum;
  });
  return total(sums);
}

// The same with SSIM, which needs a macrotile as a whole: it is rendered with the halo that its pixels' windows reach
// into.
LossSums Rasterizer::ssim_pass(const Target& target, LossWeights weights, bool clamp) {
  std::vector<LossSums> sums(grid_.macrotiles());
  macrotile_buffers_.resize(pool_.size());
  for_each_macrotile([&](int64_t index, Area area, int coarsest, int thread) {
    MacrotileBuffer& buffer = macrotile_buffers_[thread];
    float* floats = workspaces_[thread].tile;
    const Macrotile macrotile = {area.x,     area.y,       area.width,    area.height,    view_.columns,
                                 view_.rows, buffer.image, buffer.target, buffer.scratch, clamp};
    const Area seen = grid_.with_halo(area);
    if (seen.width < kMacrotile + 2 * kMacrotileHaloX || seen.height < kMacrotile + 2 * kMacrotileHaloY) {
      // Beyond the image's edge the planes are 0; elsewhere everything is written.
      std::fill(std::begin(buffer.image), std::end(buffer.image), 0.0f);
      std::fill(std::begin(buffer.target), std::end(buffer.target), 0.0f);
    }
    render_pyramid(index, area, coarsest, kMacrotileHaloX, thread);
    grid_.for_each_tile(seen, channels_, [&](int64_t tile, Area a) {
      render_tile(tile, a, area, coarsest, kMacrotileHaloX, thread);
      timed(kLoss, thread,
            [&] { kernels_->macrotile_put(floats, channels_, a, target.at(a.x, a.y, channels_), macrotile); });
    });
    timed(kLoss, thread, [&] { sums[index] = kernels_->macrotile_loss(macrotile, channels_, weights); });
    clear_gradient(area, coarsest, thread);
    grid_.for_each_tile(area, channels_, [&](int64_t tile, Area a) {
      const Area inside = {a.x, a.y, a.width, a.height, kColumnWidth, kMacrotilePlane, kMacrotileStride};
      backward_tile_and_pyramid(tile, inside, buffer.image + macrotile_offset(a.x - area.x, a.y - area.y, 0), area,
                                coarsest, thread);
    });
    backward_pyramid(index, area, coarsest, thread);
  });
  return total(sums);
}

BiasCorrections Rasterizer::bias_corrections(const AdamArrays& adam, int64_t count, const StepSettings& settings) {
  if (settings.beta1 != beta1_ || settings.beta2 != beta2_) corrections_.clear();
  beta1_ = settings.beta1;
  beta2_ = settings.beta2;
  const int oldest = count > 0 ? std::min(*std::max_element(adam.age, adam.age + count), kMaxAges) : 0;
  const auto correction = [](float beta, int age) {
    return static_cast<float>(1.0 / (1.0 - std::pow(static_cast<double>(beta), age)));
  };
  for (int age = static_cast<int>(corrections_.size()); age <= oldest + 1; ++age)
    corrections_.push_back({correction(beta1_, age), correction(beta2_, age)});
  return {corrections_.data(), static_cast<int32_t>(corrections_.size())};
}

StepResult Rasterizer::loss_pass(const GaussianArrays& g, const Target& target, const View& view,
                                 const StepSettings& settings, bool clamp) {
  prepare(g, view, true);
  partials_.resize(lists_.intersections());
  const double samples = static_cast<double>(view.columns) * view.rows * channels_;
  const LossWeights weights = {settings.l1, settings.l2, settings.ssim, settings.coarse,
                               static_cast<float>(1.0 / samples)};
  const LossSums sums = settings.ssim > 0 ? ssim_pass(target, weights, clamp) : pixelwise_pass(target, weights);
  return step_result(sums, weights, samples);
}

StepResult Rasterizer::loss_gradient(const GaussianArrays& g, const Target& target, const View& view,
                                     const StepSettings& settings, const GaussianArrays& gradient) {
  const StepResult result = loss_pass(g, target, view, settings);
  for_each_piece(kUpdate, g.count,
                 [&](int64_t begin, int64_t end) { kernels_->differentiate(g, partials(), begin, end, gradient); });
  return result;
}

double Rasterizer::structure_gradient(const GaussianArrays& g, const Structure& structure, GaussianArrays* gradient) {
  StepSettings settings{};
  settings.ssim = structure.weight;
  structure_floats_.resize(7 * g.count);
  float* floats = structure_floats_.data();
  *gradient = {g.count, 1, floats, floats + 2 * g.count, floats + 4 * g.count, floats + 5 * g.count};
  GaussianArrays grey = g;
  if (g.channels == 3) {
    grey.channels = 1;
    grey.color = floats + 6 * g.count;
    for (int64_t i = 0; i < g.count; ++i) {
      const float* color = g.color + 3 * i;
      grey.color[i] = kLuma[0] * color[0] + kLuma[1] * color[1] + kLuma[2] * color[2];
    }
  }
  const StepResult result = loss_pass(grey, structure.target, structure.view, settings, false);
  for_each_piece(kUpdate, g.count,
                 [&](int64_t begin, int64_t end) { kernels_->differentiate(grey, partials(), begin, end, *gradient); });
  return result.loss;
}

StepResult Rasterizer::step(const GaussianArrays& g, const AdamArrays& adam, const Target& target, const View& view,
                            const StepSettings& settings, const Structure* structure) {
  GaussianArrays other{};
  const double structure_loss = structure == nullptr ? 0.0 : structure_gradient(g, *structure, &other);
  const StepResult result = loss_pass(g, target, view, settings);
  const BiasCorrections corrections = bias_corrections(adam, g.count, settings);
  std::vector<double> rates((g.count + kPieceGaussians - 1) / kPieceGaussians);
  for_each_piece(kUpdate, g.count, [&](int64_t begin, int64_t end) {
    rates[begin / kPieceGaussians] = kernels_->update(g, partials(), structure == nullptr ? nullptr : &other, begin,
                                                      end, settings, adam, corrections);
  });
  return {result.loss + structure_loss + std::accumulate(rates.begin(), rates.end(), 0.0), result.mean_square};
}

void Rasterizer::residual(int top_row, int rows, const Target& target, int cell, float* out) {
  const int64_t row_floats = static_cast<int64_t>((view_.columns + cell - 1) / cell) * (channels_ + 1);
  for_each_rendered_tile(top_row, rows, [&](Area a, int thread) {
    const int64_t row = a.y - top_row;
    kernels_->cell_errors(workspaces_[thread].tile, channels_, a, target.at(a.x, row, channels_), cell,
                          out + row / cell * row_floats + a.x / cell * (channels_ + 1), row_floats);
  });
}

double Rasterizer::multiply_add(int64_t rounds) {
  std::vector<double> operations(pool_.size());
  pool_.run(pool_.size(), [&](int64_t piece, int) { operations[piece] = kernels_->multiply_add(rounds); });
  return std::accumulate(operations.begin(), operations.end(), 0.0);
}

}  // namespace smartsplat
