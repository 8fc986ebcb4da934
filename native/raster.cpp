// Projection, tile lists, the loops over tiles, and the chain rule from tile sums to parameters.
//
// Results do not depend on the number of threads: a tile adds its splats in the order of their index,
// each (tile, splat) pair has its own slot for gradient sums, and a splat's slots are added in order.
#include "raster.h"

#include <algorithm>
#include <cmath>
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

}  // namespace

Rasterizer::Rasterizer(int threads, const char* variant) : kernels_(find_kernels(variant)), pool_(threads) {
  if (kernels_ == nullptr) throw std::invalid_argument("this processor cannot run that kernel variant");
  planes_.resize(static_cast<size_t>(pool_.size()) * kMaxChannels * kPlane);
}

void Rasterizer::prepare(const GaussianArrays& g, const ViewArea& view) {
  view_ = view;
  channels_ = g.channels;
  tiles_x_ = (view.width + kTile - 1) / kTile;
  tiles_y_ = (view.height + kTile - 1) / kTile;
  splats_.resize(g.count);
  first_slot_.assign(g.count + 1, 0);
  const double filter_x = filter_variance(view.scale_x), filter_y = filter_variance(view.scale_y);
  pool_.run((g.count + kPiece - 1) / kPiece, [&](int64_t piece, int) {
    for (int64_t i = piece * kPiece; i < std::min(g.count, (piece + 1) * kPiece); ++i) {
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
      // A run spans at most eight standard deviations along y at fixed x: see Column::start.
      const double deviation = 1.0 / std::sqrt(conic.yy);
      s.run = static_cast<int>(std::min(32.0, std::max(1.0, std::floor(8.0 * deviation))));
      const double amplitude = std::sqrt(axes.u2 * axes.v2 / cov.determinant()) * kWindowNorm;
      for (int c = 0; c < g.channels; ++c) s.color[c] = static_cast<float>(g.color[i * g.channels + c] * amplitude);
      const bool drawn = s.x_begin < s.x_end && s.y_begin < s.y_end && drawable(s, g.channels);
      const int64_t columns = (s.x_end - 1) / kTile - s.x_begin / kTile + 1;
      const int64_t rows = (s.y_end - 1) / kTile - s.y_begin / kTile + 1;
      first_slot_[i + 1] = drawn ? columns * rows : 0;
    }
  });
  bin();
}

void Rasterizer::bin() {
  const int64_t count = static_cast<int64_t>(splats_.size());
  tile_start_.assign(static_cast<int64_t>(tiles_x_) * tiles_y_ + 1, 0);
  auto for_each_pair = [&](int64_t i, auto&& visit) {
    const Splat& s = splats_[i];
    if (first_slot_[i] == first_slot_[i + 1]) return;
    int64_t slot = first_slot_[i];
    for (int ty = s.y_begin / kTile; ty <= (s.y_end - 1) / kTile; ++ty)
      for (int tx = s.x_begin / kTile; tx <= (s.x_end - 1) / kTile; ++tx)
        visit(static_cast<int64_t>(ty) * tiles_x_ + tx, slot++);
  };
  for (int64_t i = 0; i < count; ++i) first_slot_[i + 1] += first_slot_[i];
  for (int64_t i = 0; i < count; ++i) for_each_pair(i, [&](int64_t tile, int64_t) { ++tile_start_[tile + 1]; });
  for (size_t tile = 1; tile < tile_start_.size(); ++tile) tile_start_[tile] += tile_start_[tile - 1];
  list_.resize(first_slot_[count]);
  slots_.resize(first_slot_[count]);
  std::vector<int64_t> next(tile_start_.begin(), tile_start_.end() - 1);
  for (int64_t i = 0; i < count; ++i)
    for_each_pair(i, [&](int64_t tile, int64_t slot) {
      list_[next[tile]] = static_cast<int32_t>(i);
      slots_[next[tile]++] = slot;
    });
}

TileArea Rasterizer::area(int64_t tile) const {
  const int x = static_cast<int>(tile % tiles_x_) * kTile, y = static_cast<int>(tile / tiles_x_) * kTile;
  return {x, y, std::min(kTile, view_.width - x), std::min(kTile, view_.height - y)};
}

template <class Work>
void Rasterizer::for_each_tile(const Work& work) {
  pool_.run(static_cast<int64_t>(tiles_x_) * tiles_y_,
            [&](int64_t tile, int thread) { work(tile, area(tile), planes(thread)); });
}

void Rasterizer::forward(int64_t tile, TileArea area, float* planes) {
  kernels_->forward_tile(splats_.data(), list_.data() + tile_start_[tile], tile_start_[tile + 1] - tile_start_[tile],
                         channels_, area, planes);
}

void Rasterizer::backward(int64_t tile, TileArea area, const float* d_planes) {
  kernels_->backward_tile(splats_.data(), list_.data() + tile_start_[tile], slots_.data() + tile_start_[tile],
                          tile_start_[tile + 1] - tile_start_[tile], channels_, area, d_planes, moments_.data());
}

void Rasterizer::render(const GaussianArrays& g, const ViewArea& view, float* image) {
  prepare(g, view);
  for_each_tile([&](int64_t tile, TileArea a, float* planes) {
    forward(tile, a, planes);
    for (int y = 0; y < a.height; ++y) {
      float* to = image + (static_cast<int64_t>(a.y + y) * view.width + a.x) * channels_;
      for (int x = 0; x < a.width; ++x)
        for (int c = 0; c < channels_; ++c) to[x * channels_ + c] = planes[c * kPlane + y * kTile + x];
    }
  });
}

void Rasterizer::render_bytes(const GaussianArrays& g, const ViewArea& view, uint8_t* image) {
  prepare(g, view);
  const int64_t stride = static_cast<int64_t>(view.width) * channels_;
  for_each_tile([&](int64_t tile, TileArea a, float* planes) {
    forward(tile, a, planes);
    kernels_->store_bytes(planes, channels_, a, image + a.y * stride + a.x * channels_, stride);
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
  prepare(g, view);
  moments_.resize(list_.size());
  for_each_tile([&](int64_t tile, TileArea a, float* planes) {
    std::fill(planes, planes + channels_ * kPlane, 0.0f);
    for (int y = 0; y < a.height; ++y) {
      const float* from = d_image + (static_cast<int64_t>(a.y + y) * view.width + a.x) * channels_;
      for (int x = 0; x < a.width; ++x)
        for (int c = 0; c < channels_; ++c) planes[c * kPlane + y * kTile + x] = from[x * channels_ + c];
    }
    backward(tile, a, planes);
  });
  pool_.run((g.count + kPiece - 1) / kPiece, [&](int64_t piece, int) {
    for (int64_t i = piece * kPiece; i < std::min(g.count, (piece + 1) * kPiece); ++i) {
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

void Rasterizer::ssim_gradient(const uint8_t* target, float weight, double* loss) {
  const int columns = (view_.width + kSsimBlockWidth - 1) / kSsimBlockWidth;
  const int rows = (view_.height + kSsimBlockHeight - 1) / kSsimBlockHeight;
  const int64_t floats = ssim_scratch_floats();
  scratch_.resize(static_cast<size_t>(pool_.size()) * floats);
  std::vector<double> sums(static_cast<size_t>(columns) * rows);
  const double samples = static_cast<double>(view_.width) * view_.height * channels_;
  pool_.run(static_cast<int64_t>(columns) * rows, [&](int64_t block, int thread) {
    SsimBlock b{};
    b.image = image_.data();
    b.target = target;
    b.gradient = d_image_.data();
    b.height = view_.height;
    b.width = view_.width;
    b.channels = channels_;
    b.x = static_cast<int>(block % columns) * kSsimBlockWidth;
    b.y = static_cast<int>(block / columns) * kSsimBlockHeight;
    b.block_width = std::min(kSsimBlockWidth, view_.width - b.x);
    b.block_height = std::min(kSsimBlockHeight, view_.height - b.y);
    b.weight = static_cast<float>(weight / samples);
    b.scratch = scratch_.data() + thread * floats;
    sums[block] = kernels_->ssim_block(b);
  });
  double total = 0;
  for (double sum : sums) total += sum;
  *loss += weight * (1.0 - total / samples);
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
  prepare(drawn, view);
  moments_.resize(list_.size());
  const int64_t pixels = static_cast<int64_t>(view.width) * view.height;
  const double samples = static_cast<double>(pixels) * channels_;
  const int64_t stride = static_cast<int64_t>(view.width) * channels_;
  const float norm = static_cast<float>(1.0 / samples);
  const bool whole_picture = settings.ssim > 0;
  if (whole_picture) {
    image_.resize(pixels * channels_);
    d_image_.resize(pixels * channels_);
  }
  std::vector<double> losses(tile_start_.size()), squares(tile_start_.size());
  for_each_tile([&](int64_t tile, TileArea a, float* planes) {
    forward(tile, a, planes);
    const auto each_row = [&](auto&& visit) {
      for (int c = 0; c < channels_; ++c)
        for (int y = 0; y < a.height; ++y)
          visit(planes + c * kPlane + y * kTile, c * pixels + static_cast<int64_t>(a.y + y) * view.width + a.x);
    };
    if (whole_picture)
      each_row([&](const float* row, int64_t at) {
        for (int x = 0; x < a.width; ++x) image_[at + x] = std::min(std::max(row[x], 0.0f), 1.0f);
      });
    kernels_->pixel_loss(planes, channels_, a, target + a.y * stride + a.x * channels_, stride, settings.l1,
                         settings.l2, norm, &losses[tile], &squares[tile]);
    // Without SSIM the loss is pixelwise: the tile goes straight on to its gradient, still in cache.
    if (whole_picture)
      each_row([&](const float* row, int64_t at) { std::copy(row, row + a.width, d_image_.data() + at); });
    else
      backward(tile, a, planes);
  });
  StepResult result{0, 0};
  for (size_t tile = 0; tile < losses.size(); ++tile) {
    result.loss += losses[tile] / samples;
    result.mean_square += squares[tile] / samples;
  }
  if (whole_picture) {
    ssim_gradient(target, settings.ssim, &result.loss);
    for_each_tile([&](int64_t tile, TileArea a, float* planes) {
      std::fill(planes, planes + channels_ * kPlane, 0.0f);
      for (int c = 0; c < channels_; ++c)
        for (int y = 0; y < a.height; ++y) {
          const float* from = d_image_.data() + c * pixels + static_cast<int64_t>(a.y + y) * view.width + a.x;
          std::copy(from, from + a.width, planes + c * kPlane + y * kTile);
        }
      backward(tile, a, planes);
    });
  }
  pool_.run((g.count + kPiece - 1) / kPiece, [&](int64_t piece, int) {
    for (int64_t i = piece * kPiece; i < std::min(g.count, (piece + 1) * kPiece); ++i) {
      double gradient[5 + kMaxChannels];
      gaussian_gradient(drawn, i, gradient);
      update(g, adam, i, gradient, settings);
    }
  });
  return result;
}

void Rasterizer::residual(const GaussianArrays& g, const uint8_t* target, const ViewArea& view, int cell, float* out) {
  prepare(g, view);
  const int64_t stride = static_cast<int64_t>(view.width) * channels_;
  const int64_t columns = (view.width + cell - 1) / cell;
  for_each_tile([&](int64_t tile, TileArea a, float* planes) {
    forward(tile, a, planes);
    for (int y0 = 0; y0 < a.height; y0 += cell)
      for (int x0 = 0; x0 < a.width; x0 += cell) {
        const int y1 = std::min(a.height, y0 + cell), x1 = std::min(a.width, x0 + cell);
        float* to = out + ((a.y + y0) / cell * columns + (a.x + x0) / cell) * (channels_ + 1);
        float square = 0;
        const float norm = 1.0f / static_cast<float>((y1 - y0) * (x1 - x0));
        for (int c = 0; c < channels_; ++c) {
          float sum = 0;
          for (int y = y0; y < y1; ++y)
            for (int x = x0; x < x1; ++x) {
              const float value = std::min(std::max(planes[c * kPlane + y * kTile + x], 0.0f), 1.0f);
              const float e = target[(a.y + y) * stride + (a.x + x) * channels_ + c] * (1.0f / 255) - value;
              sum += e;
              square += e * e;
            }
          to[c] = sum * norm;
        }
        to[channels_] = square * norm / static_cast<float>(channels_);
      }
  });
}

}  // namespace smartsplat
