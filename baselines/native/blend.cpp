// The loops of blending over tiles and threads. Results do not depend on the number of threads: a tile adds its splats
// in the order of their index, and the sums of a splat over tiles have slots of their own that are added in order.
#include "blend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

namespace smartsplat {
namespace {

int floor_within(double value, int low, int high) {  // NaN becomes low
  if (!(value > low)) return low;
  if (value >= high) return high;
  const int whole = static_cast<int>(value);
  return value < whole ? whole - 1 : whole;
}

// Empty, and all 0, for what NaN, infinite and degenerate parameters lead to.
Splat splat_of(const CovarianceArrays& g, int64_t i, const Grid& grid) {
  Splat s{};
  const float* covariance = g.covariance + 3 * i;
  const double x = g.mean[2 * i], y = g.mean[2 * i + 1], xx = covariance[0], xy = covariance[1], yy = covariance[2];
  const double determinant = xx * yy - xy * xy, precision_x = 1 / xx, precision_y = xx / determinant;
  double sum = x + y + precision_x + precision_y + xy * precision_x + g.opacity[i];
  for (int c = 0; c < g.channels; ++c) sum += g.color[i * g.channels + c];
  if (!(xx > 0 && determinant > 0 && std::isfinite(static_cast<float>(sum)))) return s;
  s.mean_x = static_cast<float>(x);
  s.mean_y = static_cast<float>(y);
  s.precision_x = static_cast<float>(precision_x);
  s.precision_y = static_cast<float>(precision_y);
  s.shear = static_cast<float>(-xy * precision_x);
  const double half_width = kCutoff * std::sqrt(xx), half_height = kCutoff * std::sqrt(yy);
  s.x_begin = -floor_within(-(x - half_width - 0.5), -grid.width, 0);
  s.x_end = floor_within(x + half_width + 0.5, 0, grid.width);
  s.y_begin = -floor_within(-(y - half_height - 0.5), -grid.height, 0);
  s.y_end = floor_within(y + half_height + 0.5, 0, grid.height);
  for (int c = 0; c < g.channels; ++c) s.color[c] = g.color[i * g.channels + c];
  return s;
}

TileRect rect_of(const Splat& s) {
  if (s.x_begin >= s.x_end || s.y_begin >= s.y_end) return {};
  const auto tiles = [](int pixels) { return static_cast<uint16_t>((pixels + kTile - 1) / kTile); };
  return {static_cast<uint16_t>(s.x_begin / kTile), static_cast<uint16_t>(s.y_begin / kTile), tiles(s.x_end),
          tiles(s.y_end), 0};
}

}  // namespace

#define SMARTSPLAT_DECLARE(variant)        \
  namespace variant {                      \
  extern const BlendKernels blend_kernels; \
  }
SMARTSPLAT_FOR_EACH_VARIANT(SMARTSPLAT_DECLARE)
#undef SMARTSPLAT_DECLARE

const BlendKernels* find_blend_kernels(const char* name) {
#define SMARTSPLAT_ADDRESS(variant) &variant::blend_kernels,
  for (const BlendKernels* variant : {SMARTSPLAT_FOR_EACH_VARIANT(SMARTSPLAT_ADDRESS)})
    if (std::strcmp(name, variant->name) == 0) return variant;
#undef SMARTSPLAT_ADDRESS
  return nullptr;
}

Blender::Blender(int threads, const char* variant) : kernels_(find_kernels(variant)), pool_(threads) {
  if (kernels_ == nullptr) throw std::invalid_argument("this processor cannot run that kernel variant");
  fit_kernels_ = fit_kernels_of(kernels_);
  blend_kernels_ = find_blend_kernels(kernels_->name);
  workspaces_.resize(pool_.size());
}

void Blender::prepare(const CovarianceArrays& g, Blend blend, int width, int height) {
  blend_ = blend;
  grid_ = Grid(width, height);
  channels_ = g.channels;
  splats_.resize(g.count);
  opacity_.resize(g.count);
  rects_.resize(g.count);
  pool_.run_in_pieces(g.count, kPieceGaussians, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      splats_[i] = splat_of(g, i, grid_);
      opacity_[i] = g.opacity[i] * kWindowNorm;
      rects_[i] = rect_of(splats_[i]);
    }
  });
  lists_.build(pool_, grid_, rects_.data(), g.count, true);
  allocate_scratch();
}

void Blender::allocate_scratch() {
  int64_t max_count = 0;  // alpha blending keeps no lists of weights
  for (int64_t tile = 0; blend_.top_k && tile < grid_.tiles(); ++tile)
    max_count = std::max(max_count, lists_.count(tile));
  for (Workspace& space : workspaces_) {
    space.floats.resize(std::max<int64_t>(kBandRows * max_count * kColumnWidth, kStateFloats));
    space.splats.resize(kBandRows * max_count);
    space.spans.resize(max_count);
  }
}

Area Blender::tile_area(int64_t tile, int planes) const {
  const int x = static_cast<int>(tile % grid_.tiles_x) * kTile, y = static_cast<int>(tile / grid_.tiles_x) * kTile;
  const int width = std::min(kTile, grid_.width - x), height = std::min(kTile, grid_.height - y);
  return {x, y, width, height, kTile * planes * kColumnWidth, kColumnWidth, planes * kColumnWidth};
}

BlendTile Blender::tile_of(int64_t tile, float* state, int thread) {
  Workspace& space = workspaces_[thread];
  return {{splats_.data(), opacity_.data(), lists_.list(tile), lists_.slots(tile), lists_.count(tile)},
          tile_area(tile, channels_ + kExtraPlanes),
          state,
          {space.floats.data(), space.splats.data(), space.spans.data()}};
}

template <class Work>
void Blender::for_each_tile(const Work& work) {
  pool_.run(grid_.tiles(), [&](int64_t tile, int thread) { work(tile, thread); });
}

void Blender::forward(int64_t tile, float* state, int thread) {
  blend_kernels_->forward(tile_of(tile, state, thread), channels_, blend_);
}

void Blender::backward(int64_t tile, float* state, Area from, const float* d_planes, int thread) {
  blend_kernels_->backward(tile_of(tile, state, thread), channels_, blend_, from, d_planes, partials_.data());
}

void Blender::render(const CovarianceArrays& g, Blend blend, int width, int height, float* image, uint8_t* bytes) {
  prepare(g, blend, width, height);
  const int64_t stride = static_cast<int64_t>(width) * channels_;
  for_each_tile([&](int64_t tile, int thread) {
    float* state = workspaces_[thread].state;
    forward(tile, state, thread);
    const Area a = tile_area(tile, channels_ + kExtraPlanes);
    if (bytes != nullptr)
      kernels_->store_samples(state, nullptr, channels_, a, bytes + a.y * stride + a.x * channels_, false, stride);
    if (image == nullptr) return;
    for_each_sample(a, channels_, width, [&](int64_t sample, int at) { image[sample] = state[at]; });
  });
}

void Blender::render_gradient(const CovarianceArrays& g, Blend blend, int width, int height, const float* d_image,
                              const CovarianceArrays& gradient) {
  prepare(g, blend, width, height);
  partials_.resize(lists_.intersections());
  for_each_tile([&](int64_t tile, int thread) {
    Workspace& space = workspaces_[thread];
    forward(tile, space.state, thread);
    const Area a = tile_area(tile, channels_);
    std::fill(std::begin(space.d_planes), std::end(space.d_planes), 0.0f);  // beyond the image as well
    for_each_sample(a, channels_, width, [&](int64_t sample, int at) { space.d_planes[at] = d_image[sample]; });
    backward(tile, space.state, a, space.d_planes, thread);
  });
  differentiate(gradient);
}

LossSums Blender::pixelwise_pass(const Target& target, LossWeights weights) {
  std::vector<LossSums> sums(grid_.tiles());
  for_each_tile([&](int64_t tile, int thread) {
    Workspace& space = workspaces_[thread];
    forward(tile, space.state, thread);
    const Area a = tile_area(tile, channels_), of_state = tile_area(tile, channels_ + kExtraPlanes);
    for (int column = 0; column < a.columns(); ++column)
      for (int y = 0; y < a.height; ++y)
        std::copy_n(space.state + of_state.offset(column * kColumnWidth, y), channels_ * kColumnWidth,
                    space.d_planes + a.offset(column * kColumnWidth, y));
    sums[tile] = fit_kernels_->pixel_loss(space.d_planes, channels_, a, target.at(a.x, a.y, channels_), weights);
    backward(tile, space.state, a, space.d_planes, thread);
  });
  return total(sums);
}

float* Blender::kept_state(int64_t tile) { return states_.data() + tile * kStateFloats % states_.size(); }

// A strip of macrotiles after the other, as high as keeps the threads busy: only its tiles are kept, and those beside
// it that its halo needs. Blending a tile costs more than keeping it, so that none is blended again for each halo.
LossSums Blender::ssim_pass(const Target& target, LossWeights weights) {
  constexpr int kTiles = kMacrotile / kTile;
  constexpr int kMacrotilesPerThread = 4;  // at least, before the next strip is begun
  const int rows = (kMacrotilesPerThread * pool_.size() + grid_.macrotiles_x - 1) / grid_.macrotiles_x;
  const int strip = std::min(grid_.macrotiles_y, rows);
  std::vector<LossSums> sums(grid_.macrotiles());
  states_.resize(static_cast<size_t>(strip * kTiles + 2) * grid_.tiles_x * kStateFloats);
  macrotile_buffers_.resize(pool_.size());
  int64_t rendered = 0;
  for (int top = 0; top < grid_.macrotiles_y; top += strip) {
    const int bottom = std::min(top + strip, grid_.macrotiles_y);
    const int64_t needed = static_cast<int64_t>(std::min(bottom * kTiles + 1, grid_.tiles_y)) * grid_.tiles_x;
    pool_.run(needed - rendered,
              [&](int64_t index, int thread) { forward(rendered + index, kept_state(rendered + index), thread); });
    rendered = needed;
    const int64_t first = static_cast<int64_t>(top) * grid_.macrotiles_x;
    pool_.run(static_cast<int64_t>(bottom) * grid_.macrotiles_x - first, [&](int64_t index, int thread) {
      sums[first + index] = macrotile_pass(first + index, target, weights, thread);
    });
  }
  return total(sums);
}

// The loss of one macrotile, and what its gradient is for the splats of its tiles.
LossSums Blender::macrotile_pass(int64_t index, const Target& target, LossWeights weights, int thread) {
  MacrotileBuffer& buffer = macrotile_buffers_[thread];
  const Area area = grid_.macrotile(index);
  const Macrotile macrotile = {area.x,       area.y,       area.width,    area.height,   grid_.width,
                               grid_.height, buffer.image, buffer.target, buffer.scratch};
  std::fill(std::begin(buffer.image), std::end(buffer.image), 0.0f);  // as it is beyond the image's edge
  std::fill(std::begin(buffer.target), std::end(buffer.target), 0.0f);
  grid_.for_each_tile(grid_.with_halo(area), channels_ + kExtraPlanes, [&](int64_t tile, Area part) {
    // Whole columns: the halo is one wide.
    const float* state = kept_state(tile) + part.offset(part.x % kTile, part.y % kTile);
    fit_kernels_->macrotile_put(state, channels_, part, target.at(part.x, part.y, channels_), macrotile);
  });
  const LossSums sums = fit_kernels_->macrotile_loss(macrotile, channels_, weights);
  grid_.for_each_tile(area, channels_, [&](int64_t tile, Area a) {
    const Area inside = {a.x, a.y, a.width, a.height, kColumnWidth, kMacrotilePlane, kMacrotileStride};
    const float* d_planes = buffer.image + macrotile_offset(a.x - area.x, a.y - area.y, 0);
    backward(tile, kept_state(tile), inside, d_planes, thread);
  });
  return sums;
}

StepResult Blender::loss_gradient(const CovarianceArrays& g, Blend blend, int width, int height, const uint8_t* pixels,
                                  LossWeights weights, const CovarianceArrays& gradient) {
  const Target target{pixels, false, nullptr, width};
  prepare(g, blend, width, height);
  partials_.resize(lists_.intersections());
  const double samples = static_cast<double>(width) * height * channels_;
  weights.norm = static_cast<float>(1 / samples);
  const LossSums sums = weights.ssim > 0 ? ssim_pass(target, weights) : pixelwise_pass(target, weights);
  differentiate(gradient);
  return step_result(sums, weights, samples);
}

// With e = (dx, t) = B d, d the distance and the inverse covariance B^T P B, dL/dmean = B^T P E[e] and
// dL/dcovariance = B^T P E[e e^T] P B / 2, E being the sums over pixels.
void Blender::differentiate(const CovarianceArrays& gradient) {
  pool_.run_in_pieces(gradient.count, kPieceGaussians, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      double x = 0, t = 0, xx = 0, xt = 0, tt = 0, opacity = 0, color[kMaxChannels] = {};
      for (int64_t slot = lists_.first_slot()[i]; slot < lists_.first_slot()[i + 1]; ++slot) {
        const BlendSums& sums = partials_[slot];
        x += sums.x, t += sums.t, xx += sums.xx, xt += sums.xt, tt += sums.tt, opacity += sums.opacity;
        for (int c = 0; c < channels_; ++c) color[c] += sums.color[c];
      }
      const Splat& s = splats_[i];
      const double px = s.precision_x, py = s.precision_y, kpy = s.shear * py;
      gradient.mean[2 * i] = static_cast<float>(px * x + kpy * t);
      gradient.mean[2 * i + 1] = static_cast<float>(py * t);
      gradient.covariance[3 * i] = static_cast<float>((px * px * xx + 2 * px * kpy * xt + kpy * kpy * tt) / 2);
      gradient.covariance[3 * i + 1] = static_cast<float>(px * py * xt + kpy * py * tt);
      gradient.covariance[3 * i + 2] = static_cast<float>(py * py * tt / 2);
      for (int c = 0; c < channels_; ++c) gradient.color[i * channels_ + c] = static_cast<float>(color[c]);
      gradient.opacity[i] = static_cast<float>(opacity);
    }
  });
}

}  // namespace smartsplat
