// Projection, tile lists, the loops over tiles, and the chain rule from tile sums to parameters.
//
// Results do not depend on the number of threads: a tile adds its splats in the order of their index,
// each (tile, splat) pair has its own slot for gradient sums, and a splat's slots are added in order.
#include "raster.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <stdexcept>

namespace smartsplat {
namespace {

// A minified pixel averages 1/scale source pixels on each axis. The pixel filter is the Gaussian of
// docs/format.md whose variance vanishes at scale 1.
double filter_variance(double scale) { return scale < 1.0 ? kFilterVariance * (1.0 / (scale * scale) - 1.0) : 0.0; }

struct Axes {
  double cosine, sine, u2, v2;  // direction of the first axis, squared scales
};

Axes axes_of(const GaussianArrays& g, int64_t i) {
  const double u = g.scale[2 * i], v = g.scale[2 * i + 1];
  return {std::cos(g.rotation[i]), std::sin(g.rotation[i]), u * u, v * v};
}

struct Symmetric {
  double xx, xy, yy;
  double determinant() const { return xx * yy - xy * xy; }
  Symmetric inverse() const {
    const double f = 1.0 / determinant();
    return {yy * f, -xy * f, xx * f};
  }
};

// Covariance in picture pixels, E3, with the pixel filter added.
Symmetric filtered_covariance(const Axes& a, double filter_x, double filter_y) {
  const double c2 = a.cosine * a.cosine, s2 = a.sine * a.sine, cs = a.cosine * a.sine;
  return {c2 * a.u2 + s2 * a.v2 + filter_x, cs * (a.u2 - a.v2), s2 * a.u2 + c2 * a.v2 + filter_y};
}

int clamp_to(double value, int high) {
  return value > 0.0 ? static_cast<int>(std::min(value, static_cast<double>(high))) : 0;  // NaN becomes 0
}

// False for what NaN, infinite, zero and absurd parameters lead to; it would spread over the picture.
bool drawable(const Splat& s, int channels) {
  bool good = s.precision_x >= 0 && s.precision_y >= 0;
  for (float value : {s.mean_x, s.mean_y, s.precision_x, s.precision_y, s.shear}) good = good && std::isfinite(value);
  for (int c = 0; c < channels; ++c) good = good && std::isfinite(s.color[c]);
  return good;
}

constexpr int64_t kPiece = 4096;  // Gaussians handed to a thread at a time

LossSums total(const std::vector<LossSums>& parts) {
  LossSums sums{};
  for (const LossSums& part : parts) {
    sums.absolute += part.absolute;
    sums.square += part.square;
    sums.ssim += part.ssim;
  }
  return sums;
}

}  // namespace

Rasterizer::Rasterizer(int threads, const char* variant) : kernels_(find_kernels(variant)), pool_(threads) {
  if (kernels_ == nullptr) throw std::invalid_argument("this processor cannot run that kernel variant");
  tiles_.resize(pool_.size());
  clocks_.resize(pool_.size());
}

double Rasterizer::seconds(Stage stage) const {
  double total = 0;
  for (const Clock& clock : clocks_) total += clock.seconds[stage];
  return total;
}

template <class Work>
void Rasterizer::timed(Stage stage, int thread, const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  clocks_[thread].seconds[stage] += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <class Work>
void Rasterizer::for_each_piece(Stage stage, int64_t count, const Work& work) {
  pool_.run((count + kPiece - 1) / kPiece, [&](int64_t piece, int thread) {
    timed(stage, thread, [&] { work(piece * kPiece, std::min(count, (piece + 1) * kPiece)); });
  });
}

void Rasterizer::prepare(const GaussianArrays& g, const ViewArea& view, bool with_slots) {
  view_ = view;
  channels_ = g.channels;
  tiles_x_ = (view.width + kTile - 1) / kTile;
  tiles_y_ = (view.height + kTile - 1) / kTile;
  splats_.resize(g.count);
  rects_.resize(g.count);
  const double filter_x = filter_variance(view.scale_x), filter_y = filter_variance(view.scale_y);
  for_each_piece(kProject, g.count, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Splat& s = splats_[i];
      const Axes axes = axes_of(g, i);
      const Symmetric cov = filtered_covariance(axes, filter_x, filter_y);
      const Symmetric out = {cov.xx * view.scale_x * view.scale_x, cov.xy * view.scale_x * view.scale_y,
                             cov.yy * view.scale_y * view.scale_y};
      const Symmetric conic = out.inverse();
      const double x = (g.mean[2 * i] - view.x) * view.scale_x;
      const double y = (g.mean[2 * i + 1] - view.y) * view.scale_y;
      const double reach_x = 3.0 * std::sqrt(out.xx), reach_y = 3.0 * std::sqrt(out.yy);
      s.mean_x = static_cast<float>(x);
      s.mean_y = static_cast<float>(y);
      s.precision_x = static_cast<float>(1.0 / out.xx);
      s.precision_y = static_cast<float>(conic.yy);
      s.shear = static_cast<float>(-out.xy / out.xx);
      s.x_begin = clamp_to(std::ceil(x - reach_x - 0.5), view.width);
      s.x_end = clamp_to(std::floor(x + reach_x - 0.5) + 1, view.width);
      s.y_begin = clamp_to(std::ceil(y - reach_y - 0.5), view.height);
      s.y_end = clamp_to(std::floor(y + reach_y - 0.5) + 1, view.height);
      // A run spans at most eight standard deviations along y at fixed x: see set_up in kernels.cpp.
      const double deviation = 1.0 / std::sqrt(conic.yy);
      s.row_factor = static_cast<float>(std::exp(-std::min(conic.yy, 80.0)));
      s.run = static_cast<int>(std::min(32.0, std::max(1.0, std::floor(8.0 * deviation))));
      const double amplitude = std::sqrt(axes.u2 * axes.v2 / cov.determinant()) * kWindowNorm;
      for (int c = 0; c < g.channels; ++c) s.color[c] = static_cast<float>(g.color[i * g.channels + c] * amplitude);
      const bool drawn = s.x_begin < s.x_end && s.y_begin < s.y_end && drawable(s, g.channels);
      rects_[i] = drawn ? TileRect{static_cast<uint16_t>(s.x_begin / kTile), static_cast<uint16_t>(s.y_begin / kTile),
                                   static_cast<uint16_t>((s.x_end - 1) / kTile + 1),
                                   static_cast<uint16_t>((s.y_end - 1) / kTile + 1)}
                        : TileRect{};
    }
  });
  timed(kBin, 0, [&] { bin(with_slots); });
}

void Rasterizer::bin(bool with_slots) {
  const int64_t count = static_cast<int64_t>(rects_.size());
  first_slot_.resize(count + 1);
  first_slot_[0] = 0;
  for (int64_t i = 0; i < count; ++i)
    first_slot_[i + 1] = first_slot_[i] + (rects_[i].right - rects_[i].left) * (rects_[i].bottom - rects_[i].top);
  // Each band of tile rows is one thread's alone. All look at every rectangle, which is fast: they are small.
  const int bands = std::min(pool_.size(), tiles_y_);
  const auto for_each_pair = [&](int64_t band, auto&& visit) {
    const int band_top = static_cast<int>(band * tiles_y_ / bands);
    const int band_bottom = static_cast<int>((band + 1) * tiles_y_ / bands);
    for (int64_t i = 0; i < count; ++i) {
      const TileRect rect = rects_[i];
      const int columns = rect.right - rect.left;
      for (int y = std::max<int>(rect.top, band_top); y < std::min<int>(rect.bottom, band_bottom); ++y) {
        int64_t tile = static_cast<int64_t>(y) * tiles_x_ + rect.left, slot = first_slot_[i] + (y - rect.top) * columns;
        for (int x = 0; x < columns; ++x) visit(i, tile++, slot++);
      }
    }
  };
  tile_start_.assign(static_cast<int64_t>(tiles_x_) * tiles_y_ + 1, 0);
  pool_.run(bands, [&](int64_t band, int) {
    for_each_pair(band, [&](int64_t, int64_t tile, int64_t) { ++tile_start_[tile + 1]; });
  });
  for (size_t tile = 1; tile < tile_start_.size(); ++tile) tile_start_[tile] += tile_start_[tile - 1];
  list_.resize(first_slot_[count]);
  slots_.resize(with_slots ? list_.size() : 0);
  next_.assign(tile_start_.begin(), tile_start_.end() - 1);
  pool_.run(bands, [&](int64_t band, int) {
    for_each_pair(band, [&](int64_t i, int64_t tile, int64_t slot) {
      const int64_t at = next_[tile]++;
      list_[at] = static_cast<int32_t>(i);
      if (with_slots) slots_[at] = slot;
    });
  });
}

TileArea Rasterizer::area(int64_t tile) const {
  const int x = static_cast<int>(tile % tiles_x_) * kTile, y = static_cast<int>(tile / tiles_x_) * kTile;
  return {x, y, std::min(kTile, view_.width - x), std::min(kTile, view_.height - y)};
}

template <class Work>
void Rasterizer::for_each_tile(const Work& work) {
  pool_.run(static_cast<int64_t>(tiles_x_) * tiles_y_,
            [&](int64_t tile, int thread) { work(tile, area(tile), tiles_[thread].floats, thread); });
}

void Rasterizer::forward(int64_t tile, TileArea area, float* planes, int thread) {
  timed(kForward, thread, [&] {
    kernels_->forward_tile(splats_.data(), list_.data() + tile_start_[tile], tile_start_[tile + 1] - tile_start_[tile],
                           channels_, area, planes);
  });
}

void Rasterizer::backward(int64_t tile, TileArea area, const float* d_planes, int thread) {
  timed(kBackward, thread, [&] {
    kernels_->backward_tile(splats_.data(), list_.data() + tile_start_[tile], slots_.data() + tile_start_[tile],
                            tile_start_[tile + 1] - tile_start_[tile], channels_, area, d_planes, moments_.data());
  });
}

void Rasterizer::render(const GaussianArrays& g, const ViewArea& view, float* image) {
  prepare(g, view, false);
  for_each_tile([&](int64_t tile, TileArea a, float* planes, int thread) {
    forward(tile, a, planes, thread);
    for (int y = 0; y < a.height; ++y) {
      float* to = image + (static_cast<int64_t>(a.y + y) * view.width + a.x) * channels_;
      for (int x = 0; x < a.width; ++x)
        for (int c = 0; c < channels_; ++c) to[x * channels_ + c] = planes[tile_offset(x, y, channels_) + c * kColumn];
    }
  });
}

void Rasterizer::render_bytes(const GaussianArrays& g, const ViewArea& view, uint8_t* image) {
  prepare(g, view, false);
  const int64_t stride = static_cast<int64_t>(view.width) * channels_;
  for_each_tile([&](int64_t tile, TileArea a, float* planes, int thread) {
    forward(tile, a, planes, thread);
    timed(kStore, thread,
          [&] { kernels_->store_bytes(planes, channels_, a, image + a.y * stride + a.x * channels_, stride); });
  });
}

void Rasterizer::gaussian_gradient(const GaussianArrays& g, int64_t i, double* gradient) const {
  const int channels = channels_;
  if (first_slot_[i] == first_slot_[i + 1]) {  // not drawn
    std::fill(gradient, gradient + 5 + channels, 0.0);
    return;
  }
  double mx = 0, mt = 0, mxx = 0, mxt = 0, mtt = 0, color[kMaxChannels] = {};
  for (int64_t slot = first_slot_[i]; slot < first_slot_[i + 1]; ++slot) {
    const Moments& m = moments_[slot];
    mx += m.x;
    mt += m.t;
    mxx += m.xx;
    mxt += m.xt;
    mtt += m.tt;
    for (int c = 0; c < channels; ++c) color[c] += m.color[c];
  }
  const Axes axes = axes_of(g, i);
  const Symmetric cov = filtered_covariance(axes, filter_variance(view_.scale_x), filter_variance(view_.scale_y));
  const Symmetric inverse = cov.inverse();
  const double sx = view_.scale_x, sy = view_.scale_y;
  // With d the distance in picture pixels, dL/dmean = cov^-1 E[d] and dL/dcov = cov^-1 E[d d^T] cov^-1 / 2,
  // E being the sum over pixels. The sums are over e = (dx, t) = B d, B = ((1, 0), (k, 1)), where q is the sum
  // of two squares: cov^-1 = B^T P B with P = diag(px, py), so that cov^-1 d = B^T P e.
  const double k = -cov.xy / cov.xx, px = 1 / cov.xx, py = inverse.yy;
  gradient[0] = px * mx / sx + k * py * mt / sy;
  gradient[1] = py * mt / sy;
  const double nxx = mxx / (sx * sx), nxt = mxt / (sx * sy), ntt = mtt / (sy * sy);
  // In the Gaussian's own axes: P B applied to the axis vectors.
  const double c = axes.cosine, s = axes.sine;
  const double ux = px * c, ut = py * (k * c + s);
  const double vx = -px * s, vt = py * (c - k * s);
  const double guu = 0.5 * (ux * ux * nxx + 2 * ux * ut * nxt + ut * ut * ntt);
  const double gvv = 0.5 * (vx * vx * nxx + 2 * vx * vt * nxt + vt * vt * ntt);
  const double guv = 0.5 * (ux * vx * nxx + (ux * vt + ut * vx) * nxt + ut * vt * ntt);
  // The amplitude sqrt(u2 v2 / |cov|) of the pixel filter depends on the shape as well.
  const double amplitude = std::sqrt(axes.u2 * axes.v2 / cov.determinant());
  double d_log_amplitude = 0;
  for (int ch = 0; ch < channels; ++ch) {
    color[ch] *= amplitude;
    d_log_amplitude += color[ch] * g.color[i * channels + ch];
  }
  const double kuu = inverse.xx * c * c + 2 * inverse.xy * c * s + inverse.yy * s * s;
  const double kvv = inverse.xx * s * s - 2 * inverse.xy * c * s + inverse.yy * c * c;
  const double kuv = (inverse.yy - inverse.xx) * c * s + inverse.xy * (c * c - s * s);
  const double u = g.scale[2 * i], v = g.scale[2 * i + 1];
  gradient[2] = 2 * u * guu + d_log_amplitude * (1 / u - u * kuu);
  gradient[3] = 2 * v * gvv + d_log_amplitude * (1 / v - v * kvv);
  gradient[4] = (axes.u2 - axes.v2) * (2 * guv - d_log_amplitude * kuv);
  for (int ch = 0; ch < channels; ++ch) gradient[5 + ch] = color[ch];
}

void Rasterizer::render_gradient(const GaussianArrays& g, const ViewArea& view, const float* d_image,
                                 const GaussianArrays& gradient) {
  prepare(g, view, true);
  moments_.resize(list_.size());
  for_each_tile([&](int64_t tile, TileArea a, float* planes, int thread) {
    std::fill(planes, planes + kTileFloats, 0.0f);  // beyond the picture as well
    for (int y = 0; y < a.height; ++y) {
      const float* from = d_image + (static_cast<int64_t>(a.y + y) * view.width + a.x) * channels_;
      for (int x = 0; x < a.width; ++x)
        for (int c = 0; c < channels_; ++c)
          planes[tile_offset(x, y, channels_) + c * kColumn] = from[x * channels_ + c];
    }
    backward(tile, a, planes, thread);
  });
  for_each_piece(kUpdate, g.count, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double d[5 + kMaxChannels];
      gaussian_gradient(g, i, d);
      for (int k = 0; k < 2; ++k) {
        gradient.mean[2 * i + k] = static_cast<float>(d[k]);
        gradient.scale[2 * i + k] = static_cast<float>(d[2 + k]);
      }
      gradient.rotation[i] = static_cast<float>(d[4]);
      for (int c = 0; c < channels_; ++c) gradient.color[i * channels_ + c] = static_cast<float>(d[5 + c]);
    }
  });
}

// The loss and its gradient, a tile at a time: nothing else needs a tile's pixels.
LossSums Rasterizer::pixelwise_pass(const uint8_t* target, LossWeights weights) {
  const int64_t stride = static_cast<int64_t>(view_.width) * channels_;
  std::vector<LossSums> sums(tile_start_.size() - 1);
  for_each_tile([&](int64_t tile, TileArea a, float* planes, int thread) {
    forward(tile, a, planes, thread);
    timed(kLoss, thread, [&] {
      sums[tile] = kernels_->pixel_loss(planes, channels_, a, target + a.y * stride + a.x * channels_, stride, weights);
    });
    backward(tile, a, planes, thread);
  });
  return total(sums);
}

// The same with SSIM, a panel at a time: it is drawn with the halo that the windows of its pixels reach into.
LossSums Rasterizer::panel_pass(const uint8_t* target, LossWeights weights) {
  const int64_t stride = static_cast<int64_t>(view_.width) * channels_;
  const int columns = (view_.width + kPanel - 1) / kPanel, rows = (view_.height + kPanel - 1) / kPanel;
  std::vector<LossSums> sums(static_cast<size_t>(columns) * rows);
  panels_.resize(pool_.size());
  pool_.run(static_cast<int64_t>(sums.size()), [&](int64_t index, int thread) {
    PanelBuffer& buffer = panels_[thread];
    float* planes = tiles_[thread].floats;
    const int x = static_cast<int>(index % columns) * kPanel, y = static_cast<int>(index / columns) * kPanel;
    const Panel panel = {x,
                         y,
                         std::min(kPanel, view_.width - x),
                         std::min(kPanel, view_.height - y),
                         view_.width,
                         view_.height,
                         buffer.image,
                         buffer.target,
                         buffer.scratch};
    const int left = std::max(x - kPanelHaloX, 0), right = std::min(x + kPanel + kPanelHaloX, view_.width);
    const int top = std::max(y - kPanelHaloY, 0), bottom = std::min(y + kPanel + kPanelHaloY, view_.height);
    const bool inside = left == x - kPanelHaloX && right == x + kPanel + kPanelHaloX && top == y - kPanelHaloY &&
                        bottom == y + kPanel + kPanelHaloY;
    if (!inside) {  // beyond the picture's edge the planes are 0; elsewhere everything is written
      std::fill(std::begin(buffer.image), std::end(buffer.image), 0.0f);
      std::fill(std::begin(buffer.target), std::end(buffer.target), 0.0f);
    }
    const auto for_each_tile_in = [&](int x0, int y0, int x1, int y1, auto&& visit) {
      for (int ty = y0 / kTile; ty * kTile < y1; ++ty)
        for (int tx = x0 / kTile; tx * kTile < x1; ++tx) {
          const int tile_left = std::max(tx * kTile, x0), tile_top = std::max(ty * kTile, y0);
          visit(static_cast<int64_t>(ty) * tiles_x_ + tx,
                TileArea{tile_left, tile_top, std::min((tx + 1) * kTile, x1) - tile_left,
                         std::min((ty + 1) * kTile, y1) - tile_top});
        }
    };
    for_each_tile_in(left, top, right, bottom, [&](int64_t tile, TileArea a) {
      forward(tile, a, planes, thread);
      timed(kLoss, thread,
            [&] { kernels_->panel_put(planes, channels_, a, target + a.y * stride + a.x * channels_, stride, panel); });
    });
    timed(kLoss, thread, [&] { sums[index] = kernels_->panel_loss(panel, channels_, weights); });
    for_each_tile_in(x, y, x + panel.width, y + panel.height, [&](int64_t tile, TileArea a) {
      timed(kLoss, thread, [&] { kernels_->panel_get(panel, channels_, a, planes); });
      backward(tile, a, planes, thread);
    });
  });
  return total(sums);
}

namespace {

float clamp_between(double value, float low, float high) {
  return static_cast<float>(std::min(std::max(value, static_cast<double>(low)), static_cast<double>(high)));
}

// Adam for one Gaussian; `gradient` is with respect to mean, scale, rotation and colour.
void update(const GaussianArrays& g, const AdamArrays& adam, int64_t i, double* gradient, const StepSettings& s) {
  const int parameters = 5 + g.channels;
  float* mean = g.mean + 2 * i;
  float* scale = g.scale + 2 * i;
  const double cosine = std::cos(g.rotation[i]), sine = std::sin(g.rotation[i]);
  if (s.relative) {
    // Parameters are the mean along the Gaussian's own axes in units of its scales, and log scales.
    const double x = gradient[0], y = gradient[1];
    gradient[0] = (cosine * x + sine * y) * scale[0];
    gradient[1] = (cosine * y - sine * x) * scale[1];
    gradient[2] *= scale[0];
    gradient[3] *= scale[1];
  }
  const int age = ++adam.age[i];
  const double correct1 = 1.0 - std::pow(static_cast<double>(s.beta1), age);
  const double correct2 = 1.0 - std::pow(static_cast<double>(s.beta2), age);
  double move[5 + kMaxChannels];
  for (int p = 0; p < parameters; ++p) {
    float& first = adam.first[i * parameters + p];
    float& second = adam.second[i * parameters + p];
    first = static_cast<float>(s.beta1 * first + (1.0 - s.beta1) * gradient[p]);
    second = static_cast<float>(s.beta2 * second + (1.0 - s.beta2) * gradient[p] * gradient[p]);
    move[p] = -(first / correct1) / (std::sqrt(second / correct2) + s.epsilon);
  }
  double dx = s.rate_mean_x * move[0], dy = s.rate_mean_y * move[1];
  double u = scale[0], v = scale[1];
  if (s.relative) {
    const double du = dx * u, dv = dy * v;
    dx = cosine * du - sine * dv;
    dy = sine * du + cosine * dv;
    u *= std::exp(s.rate_scale * move[2]);
    v *= std::exp(s.rate_scale * move[3]);
  } else {
    u += s.rate_scale * move[2];
    v += s.rate_scale * move[3];
  }
  mean[0] = clamp_between(mean[0] + dx, 0.0f, s.picture_width);
  mean[1] = clamp_between(mean[1] + dy, 0.0f, s.picture_height);
  const float longest = clamp_between(std::max(u, v), s.smallest_scale, s.largest_scale);
  const float shortest = std::max(s.smallest_scale, longest / s.largest_aspect);
  scale[0] = clamp_between(u, shortest, longest);
  scale[1] = clamp_between(v, shortest, longest);
  g.rotation[i] += static_cast<float>(s.rate_rotation * move[4]);
  for (int c = 0; c < g.channels; ++c) g.color[i * g.channels + c] += static_cast<float>(s.rate_color * move[5 + c]);
}

}  // namespace

StepResult Rasterizer::step(const GaussianArrays& g, const GaussianArrays& drawn, const AdamArrays& adam,
                            const uint8_t* target, const ViewArea& view, const StepSettings& settings) {
  prepare(drawn, view, true);
  moments_.resize(list_.size());
  const double samples = static_cast<double>(view.width) * view.height * channels_;
  const LossWeights weights = {settings.l1, settings.l2, settings.ssim, static_cast<float>(1.0 / samples)};
  const LossSums sums = settings.ssim > 0 ? panel_pass(target, weights) : pixelwise_pass(target, weights);
  for_each_piece(kUpdate, g.count, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double gradient[5 + kMaxChannels];
      gaussian_gradient(drawn, i, gradient);
      update(g, adam, i, gradient, settings);
    }
  });
  const double similarity = settings.ssim > 0 ? settings.ssim * (1.0 - sums.ssim / samples) : 0.0;
  return {(settings.l1 * sums.absolute + settings.l2 * sums.square) / samples + similarity, sums.square / samples};
}

void Rasterizer::residual(const GaussianArrays& g, const uint8_t* target, const ViewArea& view, int cell, float* out) {
  prepare(g, view, false);
  const int64_t stride = static_cast<int64_t>(view.width) * channels_;
  const int64_t row_floats = static_cast<int64_t>((view.width + cell - 1) / cell) * (channels_ + 1);
  for_each_tile([&](int64_t tile, TileArea a, float* planes, int thread) {
    forward(tile, a, planes, thread);
    kernels_->cell_errors(planes, channels_, a, target + a.y * stride + a.x * channels_, stride, cell,
                          out + a.y / cell * row_floats + a.x / cell * (channels_ + 1), row_floats);
  });
}

double Rasterizer::multiply_add(int64_t rounds) {
  std::vector<double> operations(pool_.size());
  pool_.run(pool_.size(), [&](int64_t piece, int) { operations[piece] = kernels_->multiply_add(rounds); });
  return std::accumulate(operations.begin(), operations.end(), 0.0);
}

}  // namespace smartsplat
