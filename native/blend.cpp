// The loops of blending over tiles and threads. Results do not depend on the number of threads: a tile adds its splats
// in the order of their index, and the sums of a splat over tiles have slots of their own that are added in order.
#include "blend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <stdexcept>

namespace smartsplat {
namespace {

int within(double value, int low, int high) {  // rounded down; NaN becomes low
  if (!(value > low)) return low;
  if (value >= high) return high;
  const int whole = static_cast<int>(value);
  return value < whole ? whole - 1 : whole;
}

// Empty, and all 0, for what NaN, infinite and degenerate parameters lead to.
Splat splat_of(const SplatArrays& a, int64_t i, int width, int height) {
  Splat s{};
  const float* cov = a.covariance + 3 * i;
  const double x = a.mean[2 * i], y = a.mean[2 * i + 1], xx = cov[0], xy = cov[1], yy = cov[2];
  const double determinant = xx * yy - xy * xy, precision_x = 1 / xx, precision_y = xx / determinant;
  double sum = x + y + precision_x + precision_y + xy * precision_x + a.opacity[i];
  for (int c = 0; c < a.channels; ++c) sum += a.color[i * a.channels + c];
  if (!(xx > 0 && determinant > 0 && std::isfinite(static_cast<float>(sum)))) return s;
  s.mean_x = static_cast<float>(x);
  s.mean_y = static_cast<float>(y);
  s.precision_x = static_cast<float>(precision_x);
  s.precision_y = static_cast<float>(precision_y);
  s.shear = static_cast<float>(-xy * precision_x);
  const double reach_x = 3 * std::sqrt(xx), reach_y = 3 * std::sqrt(yy);
  s.x_begin = -within(-(x - reach_x - 0.5), -width, 0);
  s.x_end = within(x + reach_x + 0.5, 0, width);
  s.y_begin = -within(-(y - reach_y - 0.5), -height, 0);
  s.y_end = within(y + reach_y + 0.5, 0, height);
  for (int c = 0; c < a.channels; ++c) s.color[c] = a.color[i * a.channels + c];
  return s;
}

int64_t tiles_between(int begin, int end) { return begin < end ? (end - 1) / kTile - begin / kTile + 1 : 0; }

}  // namespace

#if defined(__x86_64__)
namespace v2 {
extern const BlendKernels blend_kernels;
}  // namespace v2
namespace v3 {
extern const BlendKernels blend_kernels;
}  // namespace v3
namespace v4 {
extern const BlendKernels blend_kernels;
}  // namespace v4
constexpr const BlendKernels* kBlendVariants[] = {&v4::blend_kernels, &v3::blend_kernels, &v2::blend_kernels};
#else
namespace base {
extern const BlendKernels blend_kernels;
}  // namespace base
constexpr const BlendKernels* kBlendVariants[] = {&base::blend_kernels};
#endif

const BlendKernels* find_blend_kernels(const char* name) {
  for (const BlendKernels* variant : kBlendVariants)
    if (std::strcmp(name, variant->name) == 0) return variant;
  return nullptr;
}

Blender::Blender(int threads, const char* variant) : kernels_(find_kernels(variant)), pool_(threads) {
  if (kernels_ == nullptr) throw std::invalid_argument("this processor cannot run that kernel variant");
  blend_ = find_blend_kernels(kernels_->name);
  buffers_.resize(pool_.size());
}

void Blender::prepare(const SplatArrays& s, Blending blending, int width, int height) {
  width_ = width;
  height_ = height;
  channels_ = s.channels;
  tiles_x_ = (width + kTile - 1) / kTile;
  tiles_y_ = (height + kTile - 1) / kTile;
  panels_x_ = (width + kPanel - 1) / kPanel;
  panels_y_ = (height + kPanel - 1) / kPanel;
  splats_.resize(s.count);
  opacity_.resize(s.count);
  pool_.run((s.count + kPiece - 1) / kPiece, [&](int64_t piece, int) {
    for (int64_t i = piece * kPiece; i < std::min(s.count, (piece + 1) * kPiece); ++i) {
      splats_[i] = splat_of(s, i, width, height);
      opacity_[i] = s.opacity[i] * kWindowNorm;
    }
  });
  bin();
  make_room(blending.top);
}

void Blender::bin() {
  const int64_t count = static_cast<int64_t>(splats_.size());
  first_slot_.assign(count + 1, 0);
  for (int64_t i = 0; i < count; ++i) {
    const Splat& s = splats_[i];
    first_slot_[i + 1] = first_slot_[i] + tiles_between(s.x_begin, s.x_end) * tiles_between(s.y_begin, s.y_end);
  }
  const auto for_each_pair = [&](auto&& visit) {
    for (int64_t i = 0; i < count; ++i) {
      const Splat& s = splats_[i];
      int64_t slot = first_slot_[i];
      if (slot == first_slot_[i + 1]) continue;
      for (int y = s.y_begin / kTile; y * kTile < s.y_end; ++y)
        for (int x = s.x_begin / kTile; x * kTile < s.x_end; ++x)
          visit(i, static_cast<int64_t>(y) * tiles_x_ + x, slot++);
    }
  };
  start_.assign(static_cast<size_t>(tiles_x_) * tiles_y_ + 1, 0);
  for_each_pair([&](int64_t, int64_t tile, int64_t) { ++start_[tile + 1]; });
  std::partial_sum(start_.begin(), start_.end(), start_.begin());
  list_.resize(first_slot_[count]);
  slots_.resize(first_slot_[count]);
  std::vector<int64_t> next(start_.begin(), start_.end() - 1);
  for_each_pair([&](int64_t i, int64_t tile, int64_t slot) {
    list_[next[tile]] = static_cast<int32_t>(i);
    slots_[next[tile]++] = slot;
  });
}

void Blender::make_room(bool top) {
  int64_t longest = 0;  // without the largest weights lists take no room
  for (size_t tile = 0; top && tile + 1 < start_.size(); ++tile)
    longest = std::max(longest, start_[tile + 1] - start_[tile]);
  for (Buffers& buffers : buffers_) {
    buffers.floats.resize(std::max<int64_t>(kBand * longest * kColumn, kStateFloats));
    buffers.splats.resize(kBand * longest);
    buffers.runs.resize(longest);
  }
}

BlendList Blender::list_of(int64_t tile) const {
  const int64_t first = start_[tile];
  return {splats_.data(), opacity_.data(), list_.data() + first, slots_.data() + first, start_[tile + 1] - first};
}

Area Blender::area_of(int64_t tile, int planes) const {
  const int x = static_cast<int>(tile % tiles_x_) * kTile, y = static_cast<int>(tile / tiles_x_) * kTile;
  return {x,
          y,
          std::min(kTile, width_ - x),
          std::min(kTile, height_ - y),
          kTile * planes * kColumn,
          kColumn,
          planes * kColumn};
}

template <class Work>
void Blender::for_each_tile(const Work& work) {
  pool_.run(static_cast<int64_t>(tiles_x_) * tiles_y_, [&](int64_t tile, int thread) { work(tile, thread); });
}

void Blender::draw(int64_t tile, Blending blending, float* state, int thread) {
  blend_->draw(list_of(tile), channels_, blending.top, blending.background, area_of(tile, channels_ + kExtra), state,
               buffers_[thread].space());
}

void Blender::take_back(int64_t tile, Blending blending, const float* state, Area from, const float* d_planes,
                        int thread) {
  blend_->take_back(list_of(tile), channels_, blending.top, area_of(tile, channels_ + kExtra), state, from, d_planes,
                    buffers_[thread].space(), moments_.data());
}

void Blender::render(const SplatArrays& s, Blending blending, int width, int height, float* image, uint8_t* bytes) {
  prepare(s, blending, width, height);
  for_each_tile([&](int64_t tile, int thread) {
    float* state = buffers_[thread].state;
    draw(tile, blending, state, thread);
    const Area a = area_of(tile, channels_ + kExtra);
    const int64_t stride = static_cast<int64_t>(width) * channels_, first = a.y * stride + a.x * channels_;
    if (bytes != nullptr) kernels_->store_bytes(state, channels_, a, bytes + first, stride);
    if (image == nullptr) return;
    for (int y = 0; y < a.height; ++y)
      for (int x = 0; x < a.width; ++x)
        for (int c = 0; c < channels_; ++c)
          image[first + y * stride + x * channels_ + c] = state[a.offset(x, y) + c * a.apart];
  });
}

void Blender::render_gradient(const SplatArrays& s, Blending blending, int width, int height, const float* d_image,
                              const SplatArrays& gradient) {
  prepare(s, blending, width, height);
  moments_.resize(list_.size());
  for_each_tile([&](int64_t tile, int thread) {
    Buffers& buffers = buffers_[thread];
    draw(tile, blending, buffers.state, thread);
    const Area a = area_of(tile, channels_);
    const int64_t stride = static_cast<int64_t>(width) * channels_, first = a.y * stride + a.x * channels_;
    std::fill(std::begin(buffers.d_planes), std::end(buffers.d_planes), 0.0f);  // beyond the picture as well
    for (int y = 0; y < a.height; ++y)
      for (int x = 0; x < a.width; ++x)
        for (int c = 0; c < channels_; ++c)
          buffers.d_planes[a.offset(x, y) + c * a.apart] = d_image[first + y * stride + x * channels_ + c];
    take_back(tile, blending, buffers.state, a, buffers.d_planes, thread);
  });
  finish(gradient);
}

LossSums Blender::pixelwise_pass(Blending blending, const uint8_t* target, LossWeights weights) {
  std::vector<LossSums> sums(static_cast<size_t>(tiles_x_) * tiles_y_);
  const int64_t stride = static_cast<int64_t>(width_) * channels_;
  for_each_tile([&](int64_t tile, int thread) {
    Buffers& buffers = buffers_[thread];
    draw(tile, blending, buffers.state, thread);
    const Area a = area_of(tile, channels_), of_state = area_of(tile, channels_ + kExtra);
    for (int column = 0; column < a.columns(); ++column)
      for (int y = 0; y < a.height; ++y)
        std::copy_n(buffers.state + of_state.offset(column * kColumn, y), channels_ * kColumn,
                    buffers.d_planes + a.offset(column * kColumn, y));
    sums[tile] =
        kernels_->pixel_loss(buffers.d_planes, channels_, a, target + a.y * stride + a.x * channels_, stride, weights);
    take_back(tile, blending, buffers.state, a, buffers.d_planes, thread);
  });
  return total(sums);
}

// Puts what a panel and its halo see of the drawn tiles, and of the target, into the panel's planes.
void Blender::put_panel(Area core, const uint8_t* target, const Panel& panel) {
  const int64_t stride = static_cast<int64_t>(width_) * channels_;
  const int left = std::max(core.x - kPanelHaloX, 0), above = std::max(core.y - kPanelHaloY, 0);
  const int right = std::min(core.x + kPanel + kPanelHaloX, width_);
  const int below = std::min(core.y + kPanel + kPanelHaloY, height_);
  for (int tile_y = above / kTile; tile_y * kTile < below; ++tile_y)
    for (int tile_x = left / kTile; tile_x * kTile < right; ++tile_x) {
      const int64_t tile = static_cast<int64_t>(tile_y) * tiles_x_ + tile_x;
      const Area whole = area_of(tile, channels_ + kExtra);
      Area part = whole;
      part.x = std::max(whole.x, left);  // whole columns: the halo is one wide
      part.y = std::max(whole.y, above);
      part.width = std::min(whole.x + whole.width, right) - part.x;
      part.height = std::min(whole.y + whole.height, below) - part.y;
      kernels_->panel_put(state_of(tile) + whole.offset(part.x - whole.x, part.y - whole.y), channels_, part,
                          target + part.y * stride + part.x * channels_, stride, panel);
    }
}

float* Blender::state_of(int64_t tile) { return states_.data() + tile * kStateFloats % states_.size(); }

// A strip of panels after the other, as high as keeps the threads busy: only its tiles are kept, and those beside it
// that its halo reaches into.
LossSums Blender::ssim_pass(Blending blending, const uint8_t* target, LossWeights weights) {
  constexpr int kTiles = kPanel / kTile;
  constexpr int kPanelsOfThread = 4;  // at least, before the next strip is begun
  const int strip = std::min(panels_y_, (kPanelsOfThread * pool_.size() + panels_x_ - 1) / panels_x_);
  std::vector<LossSums> sums(static_cast<size_t>(panels_x_) * panels_y_);
  states_.resize(static_cast<size_t>(strip * kTiles + 2) * tiles_x_ * kStateFloats);
  panels_.resize(pool_.size());
  int64_t drawn = 0;
  for (int top = 0; top < panels_y_; top += strip) {
    const int bottom = std::min(top + strip, panels_y_);
    const int64_t seen = static_cast<int64_t>(std::min(bottom * kTiles + 1, tiles_y_)) * tiles_x_;
    pool_.run(seen - drawn,
              [&](int64_t tile, int thread) { draw(drawn + tile, blending, state_of(drawn + tile), thread); });
    drawn = seen;
    const int64_t first = static_cast<int64_t>(top) * panels_x_, last = static_cast<int64_t>(bottom) * panels_x_;
    pool_.run(last - first, [&](int64_t panel, int thread) {
      sums[first + panel] = compare_panel(first + panel, blending, target, weights, thread);
    });
  }
  return total(sums);
}

// The loss of one panel, and what its gradient is for the splats of its tiles.
LossSums Blender::compare_panel(int64_t index, Blending blending, const uint8_t* target, LossWeights weights,
                                int thread) {
  PanelBuffer& buffer = panels_[thread];
  const int x = static_cast<int>(index % panels_x_) * kPanel, y = static_cast<int>(index / panels_x_) * kPanel;
  const Area core = {x,           y,           std::min(kPanel, width_ - x), std::min(kPanel, height_ - y), kColumn,
                     kPanelPlane, kPanelStride};
  const Panel panel = {x, y, core.width, core.height, width_, height_, buffer.image, buffer.target, buffer.scratch};
  std::fill(std::begin(buffer.image), std::end(buffer.image), 0.0f);  // as it is beyond the picture's edge
  std::fill(std::begin(buffer.target), std::end(buffer.target), 0.0f);
  put_panel(core, target, panel);
  const LossSums sums = kernels_->panel_loss(panel, channels_, weights);
  for (int tile_y = y / kTile; tile_y * kTile < y + core.height; ++tile_y)
    for (int tile_x = x / kTile; tile_x * kTile < x + core.width; ++tile_x) {
      const int64_t tile = static_cast<int64_t>(tile_y) * tiles_x_ + tile_x;
      take_back(tile, blending, state_of(tile), core,
                buffer.image + panel_offset(tile_x * kTile - x, tile_y * kTile - y, 0), thread);
    }
  return sums;
}

StepResult Blender::loss_gradient(const SplatArrays& s, Blending blending, int width, int height, const uint8_t* target,
                                  LossWeights weights, const SplatArrays& gradient) {
  prepare(s, blending, width, height);
  moments_.resize(list_.size());
  const double samples = static_cast<double>(width) * height * channels_;
  weights.norm = static_cast<float>(1 / samples);
  const LossSums sums =
      weights.ssim > 0 ? ssim_pass(blending, target, weights) : pixelwise_pass(blending, target, weights);
  finish(gradient);
  const double similarity = weights.ssim > 0 ? weights.ssim * (1 - sums.ssim / samples) : 0;
  return {(weights.l1 * sums.absolute + weights.l2 * sums.square) / samples + similarity, sums.square / samples};
}

// With e = (dx, t) = B d, d the distance and the inverse covariance B^T P B (gaussian.cpp), dL/dmean = B^T P E[e] and
// dL/dcovariance = B^T P E[e e^T] P B / 2, E being the sums over pixels.
void Blender::finish(const SplatArrays& gradient) {
  pool_.run((gradient.count + kPiece - 1) / kPiece, [&](int64_t piece, int) {
    for (int64_t i = piece * kPiece; i < std::min(gradient.count, (piece + 1) * kPiece); ++i) {
      double x = 0, t = 0, xx = 0, xt = 0, tt = 0, opacity = 0, color[kMaxChannels] = {};
      for (int64_t slot = first_slot_[i]; slot < first_slot_[i + 1]; ++slot) {
        const BlendMoments& m = moments_[slot];
        x += m.x, t += m.t, xx += m.xx, xt += m.xt, tt += m.tt, opacity += m.opacity;
        for (int c = 0; c < channels_; ++c) color[c] += m.color[c];
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
