// The chain rule from the sums over pixels to a Gaussian's parameters, and Adam.
#include "gaussian.h"

#include <algorithm>
#include <cmath>

namespace smartsplat {

void gaussian_gradient(const GaussianArrays& g, int64_t i, const Moments* begin, const Moments* end,
                       const LevelView& view, double* gradient) {
  const int channels = g.channels;
  if (begin == end) {  // not drawn
    std::fill(gradient, gradient + 5 + channels, 0.0);
    return;
  }
  double mx = 0, mt = 0, mxx = 0, mxt = 0, mtt = 0, color[kMaxChannels] = {};
  for (const Moments* at = begin; at != end; ++at) {
    const Moments& m = *at;
    mx += m.x;
    mt += m.t;
    mxx += m.xx;
    mxt += m.xt;
    mtt += m.tt;
    for (int c = 0; c < channels; ++c) color[c] += m.color[c];
  }
  const Axes axes = axes_of(g, i);
  const Symmetric cov = filtered_covariance(axes, view.filter_x, view.filter_y);
  const Symmetric inverse = cov.inverse();
  const double sx = view.scale_x, sy = view.scale_y;
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

double add_size_term(const GaussianArrays& g, int64_t i, const StepSettings& s, double* gradient) {
  const float* color = g.color + i * g.channels;
  const double u = g.scale[2 * i], v = g.scale[2 * i + 1];
  double square = 0;
  for (int c = 0; c < g.channels; ++c) square += static_cast<double>(color[c]) * color[c];
  const double energy = square * u * v;
  const double slope = s.size / (s.size_floor + energy);
  gradient[2] += slope * square * v;
  gradient[3] += slope * square * u;
  for (int c = 0; c < g.channels; ++c) gradient[5 + c] += slope * 2 * u * v * color[c];
  return s.size * std::log1p(energy / s.size_floor);
}

namespace {

float clamp_between(double value, float low, float high) {
  return static_cast<float>(std::min(std::max(value, static_cast<double>(low)), static_cast<double>(high)));
}

}  // namespace

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

}  // namespace smartsplat
