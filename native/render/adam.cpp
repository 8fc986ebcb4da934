// The chain rule from the sums over pixels to a Gaussian's parameters, and Adam. Compiled once for each instruction
// set.
//
// As in project.cpp, kLanes Gaussians at a time, in single precision and without differences of large numbers.
//
// With d the distance in image pixels, dL/dmean = cov^-1 E[d] and dL/dcov = cov^-1 E[d d^T] cov^-1 / 2, E being the
// sum over pixels. The sums are over e = (dx, t) = B d, B = ((1, 0), (k, 1)), where q is the sum of two squares:
// cov^-1 = B^T P B with P = diag(px, py), so that cov^-1 d = B^T P e.
#include "render/covariance.h"
#include "render/kernel_functions.h"

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

constexpr float kReachEnergy = 1000.0f, kMinReach = 0.3f, kMaxReach = 3.0f, kMaxTurnAspect = 2.0f;
constexpr int kPartialFloats = sizeof(PartialSums) / sizeof(float);

inline int lanes_of(int64_t first, int64_t end) {
  return end - first < kLanes ? static_cast<int>(end - first) : kLanes;
}

// The partial sums of the Gaussians [first, first + n), summed over the areas that each was rendered on.
struct SummedPartials {
  Floats column[kPartialFloats];
  Ints visible, level;

  SummedPartials(const Partials& sums, int64_t first, int n) {
    float rows[kLanes * kPartialFloats];
    int32_t slots[kLanes] = {}, levels[kLanes] = {};
    for (int i = 0; i < n; ++i) {
      float total[kPartialFloats] = {};
      const int64_t begin = sums.first_slot[first + i], end = sums.first_slot[first + i + 1];
      for (int64_t slot = begin; slot < end; ++slot) {
        const float* partial = &sums.partials[slot].x;
        for (int k = 0; k < kPartialFloats; ++k) total[k] += partial[k];
      }
      for (int k = 0; k < kPartialFloats; ++k) rows[i * kPartialFloats + k] = total[k];
      slots[i] = begin < end;
      levels[i] = sums.rects[first + i].level;
    }
    load_columns<kPartialFloats>(rows, n, column);
    visible = load_ints(slots) != 0;
    level = load_ints(levels);
  }

 private:
  static Ints load_ints(const int32_t* from) { return *reinterpret_cast<const UnalignedInts*>(from); }
};

// dL/d(mean, scale, rotation, colour); if `relative`, of the mean along the Gaussian's own axes in units of its scales,
// and of log scales. Zero where it is not visible.
template <int C>
inline void gradient_of(const Axes& axes, const Floats* color, const SummedPartials& sums, const Projection& projection,
                        bool relative, Floats* gradient) {
  const LevelView view(projection, sums.level);
  const Covariance cov(axes, view);
  const Floats pixel_x = view.side / static_cast<float>(projection.scale_x);  // image pixels in a sample
  const Floats pixel_y = view.side / static_cast<float>(projection.scale_y);
  const Floats x = sums.column[0] * pixel_x, t = sums.column[1] * pixel_y;
  const Floats xx = sums.column[2] * pixel_x * pixel_x, xt = sums.column[3] * pixel_x * pixel_y;
  const Floats tt = sums.column[4] * pixel_y * pixel_y;
  const Floats c = axes.cosine, s = axes.sine, u2 = axes.u * axes.u, v2 = axes.v * axes.v;
  const Floats px = 1.0f / cov.xx, over_determinant = 1.0f / cov.determinant;
  // P B applied to the axis vectors.
  const Floats ux = px * c, ut = over_determinant * (s * (v2 + view.filter_x));
  const Floats vx = -px * s, vt = over_determinant * (c * (u2 + view.filter_x));
  const Floats guu = ux * ux * xx + 2.0f * (ux * ut) * xt + ut * ut * tt;
  const Floats gvv = vx * vx * xx + 2.0f * (vx * vt) * xt + vt * vt * tt;
  const Floats guv = ux * vx * xx + (ux * vt + ut * vx) * xt + ut * vt * tt;
  // The amplitude sqrt(u2 v2 / |cov|) of the pixel filter depends on the shape as well.
  const Floats amplitude = cov.amplitude(axes);
  Floats d_log_amplitude{};
  for (int k = 0; k < C; ++k) {
    gradient[5 + k] = sums.column[5 + k] * amplitude;
    d_log_amplitude += gradient[5 + k] * color[k];
  }
  const Floats by_filter = d_log_amplitude * over_determinant;
  const Floats filter_uu = c * c * view.filter_x + s * s * view.filter_y;  // in the Gaussian's own axes
  const Floats filter_vv = s * s * view.filter_x + c * c * view.filter_y;
  const Floats filter_both = view.filter_x * view.filter_y;
  const Floats d_log_u = u2 * guu + by_filter * (v2 * filter_uu + filter_both);
  const Floats d_log_v = v2 * gvv + by_filter * (u2 * filter_vv + filter_both);
  gradient[0] = relative ? (ux * x + ut * t) * axes.u : px * x - cov.xy * over_determinant * t;
  gradient[1] = relative ? (vx * x + vt * t) * axes.v : cov.xx * over_determinant * t;
  gradient[2] = relative ? d_log_u : d_log_u / axes.u;
  gradient[3] = relative ? d_log_v : d_log_v / axes.v;
  gradient[4] = ((axes.u - axes.v) * (axes.u + axes.v)) * (guv + by_filter * (c * s) * (view.filter_y - view.filter_x));
  for (int k = 0; k < 5 + C; ++k) gradient[k] = select(sums.visible, gradient[k], Floats{});
}

// Of all lanes together. As many are multiplied as cannot overflow: a logarithm costs as much as dozens of products.
inline double sum_of_log1p(Floats value, double over) {
  float lane[kLanes];
  store(lane, value);
  const auto term = [&](int i) { return 1.0 + lane[i] / over; };
  double total = 0;
  for (int i = 0; i < kLanes; i += 4) total += __builtin_log(term(i) * term(i + 1) * (term(i + 2) * term(i + 3)));
  return total;
}

// Adds a gradient by natural parameters, and by luma if there are colours, its Gaussians [first, first + n): luma is
// moved along grey, as `Structure` in render/__init__.py says.
template <int C>
inline void add_gradient(const GaussianArrays& other, int64_t first, int n, const Axes& axes, bool relative,
                         Floats* gradient) {
  Floats mean[2], scale[2], rotation, luma;
  load_columns<2>(other.mean + 2 * first, n, mean);
  load_columns<2>(other.scale + 2 * first, n, scale);
  load_columns<1>(other.rotation + first, n, &rotation);
  load_columns<1>(other.color + first, n, &luma);
  if (relative) {
    const Floats along_u = axes.cosine * mean[0] + axes.sine * mean[1];
    mean[1] = (axes.cosine * mean[1] - axes.sine * mean[0]) * axes.v;
    mean[0] = along_u * axes.u;
    scale[0] *= axes.u;
    scale[1] *= axes.v;
  }
  for (int k = 0; k < 2; ++k) {
    gradient[k] += mean[k];
    gradient[2 + k] += scale[k];
  }
  gradient[4] += rotation;
  for (int c = 0; c < C; ++c) gradient[5 + c] += (1.0f / C) * luma;
}

// Adds the gradient of the rate term (render/reference.py, rate_term) and returns its value.
template <int C>
inline double add_rate_term(const Axes& axes, const Floats* color, const StepSettings& s, Floats* gradient) {
  Floats square{};
  for (int c = 0; c < C; ++c) square += color[c] * color[c];
  const Floats area = axes.u * axes.v, energy = minimum(all(1e20f), square) * area;  // never infinite
  const Floats slope = s.rate_weight / (s.rate_energy + energy);
  gradient[2] += slope * energy / (s.relative ? all(1.0f) : axes.u);
  gradient[3] += slope * energy / (s.relative ? all(1.0f) : axes.v);
  for (int c = 0; c < C; ++c) gradient[5 + c] += slope * (2.0f * area) * color[c];
  return s.rate_weight * sum_of_log1p(energy, s.rate_energy);
}

// Adds a step to the ages of n Gaussians.
inline void age(int32_t* ages, int n, const BiasCorrections& corrections, Floats* first, Floats* second) {
  float by_first[kLanes] = {}, by_second[kLanes] = {};
  for (int i = 0; i < n; ++i) {
    const int32_t age = ++ages[i], known = age < corrections.count ? age : corrections.count - 1;
    const BiasCorrection& correction = corrections.of_age[known > 0 ? known : 0];
    by_first[i] = correction.first;
    by_second[i] = correction.second;
  }
  *first = load(by_first);
  *second = load(by_second);
}

// Between two log scales and their mean and difference, turned by an eighth: it is its own inverse.
inline void turn_scales(Floats* scale) {
  constexpr float kHalfRoot = 0.707106781f;
  const Floats u = kHalfRoot * scale[0], v = kHalfRoot * scale[1];
  scale[0] = u + v;
  scale[1] = u - v;
}

// Multiplies the moves of a Gaussian's shape: `reach` and `turn` in render/reference.py.
template <int C>
inline void fit_to_reach(const Axes& axes, const Floats* color, const StepSettings& s, Floats* move) {
  Floats square{};
  for (int c = 0; c < C; ++c) square += color[c] * color[c];
  const Floats ratio = (kReachEnergy * s.rate_energy) / maximum(square * (axes.u * axes.v), all(1e-30f));
  const Floats within = minimum(maximum(ratio, all(kMinReach * kMinReach * kMinReach * kMinReach)),
                                all(kMaxReach * kMaxReach * kMaxReach * kMaxReach));
  const Floats reach = square_root(square_root(within));
  for (int k = 0; k < 5; ++k) move[k] *= reach;
  const Floats aspect = axes.u / axes.v, longer = absolute(aspect - 1.0f / aspect);
  move[4] *= minimum(kMaxTurnAspect / maximum(longer, all(1e-30f)), all(1.0f));
}

// How far each parameter goes, before it is multiplied by its learning rate.
template <int P>
inline void moves_of(const Floats* gradient, int64_t i, int n, const StepSettings& s, const AdamArrays& adam,
                     const BiasCorrections& corrections, Floats* move) {
  Floats first[P], second[P], correct_first, correct_second;
  load_columns<P>(adam.first + i * P, n, first);
  load_columns<P>(adam.second + i * P, n, second);
  age(adam.age + i, n, corrections, &correct_first, &correct_second);
  const float new_first = static_cast<float>(1.0 - s.beta1), new_second = static_cast<float>(1.0 - s.beta2);
  for (int p = 0; p < P; ++p) {
    first[p] = s.beta1 * first[p] + new_first * gradient[p];
    second[p] = s.beta2 * second[p] + new_second * gradient[p] * gradient[p];
  }
  const Floats of_mean = 0.5f * (second[0] + second[1]);
  for (int p = 0; p < P; ++p) {
    const Floats spread = p < 2 && s.relative ? of_mean : second[p];
    move[p] = -(first[p] * correct_first) / (square_root(spread * correct_second) + s.epsilon);
  }
  store_columns<P>(first, n, adam.first + i * P);
  store_columns<P>(second, n, adam.second + i * P);
}

inline Floats clamp_between(Floats value, Floats low, Floats high) { return minimum(high, maximum(low, value)); }

// Adds the moves to the parameters.
template <int C>
inline void move_by(const Floats* move, const Axes& axes, const StepSettings& s, int64_t first, int n,
                    const GaussianArrays& g) {
  Floats mean[2], scale[2], rotation, color[C];
  load_columns<2>(g.mean + 2 * first, n, mean);
  load_columns<2>(g.scale + 2 * first, n, scale);
  load_columns<1>(g.rotation + first, n, &rotation);
  load_columns<C>(g.color + C * first, n, color);
  Floats dx = s.lr_mean_x * move[0], dy = s.lr_mean_y * move[1];
  if (s.relative) {
    const Floats du = dx * scale[0], dv = dy * scale[1];
    dx = axes.cosine * du - axes.sine * dv;
    dy = axes.sine * du + axes.cosine * dv;
  }
  for (int k = 0; k < 2; ++k) {
    const Floats change = s.lr_scale * move[2 + k];
    scale[k] = s.relative ? scale[k] * power_of_two(clamp_between(kLog2E * change, all(-kMaxPower), all(kMaxPower)))
                          : scale[k] + change;
  }
  mean[0] = clamp_between(mean[0] + dx, Floats{}, all(s.width));
  mean[1] = clamp_between(mean[1] + dy, Floats{}, all(s.height));
  const Floats min_scale = all(s.min_scale);
  const Floats longer = clamp_between(maximum(scale[1], scale[0]), min_scale, all(s.max_scale));
  const Floats shorter = maximum(longer / s.max_aspect, min_scale);
  for (int k = 0; k < 2; ++k) scale[k] = clamp_between(scale[k], shorter, longer);
  rotation += s.lr_rotation * move[4];
  for (int c = 0; c < C; ++c) color[c] += s.lr_color * move[5 + c];
  store_columns<2>(mean, n, g.mean + 2 * first);
  store_columns<2>(scale, n, g.scale + 2 * first);
  store_columns<1>(&rotation, n, g.rotation + first);
  store_columns<C>(color, n, g.color + C * first);
}

template <int C>
void differentiate(const GaussianArrays& g, const Partials& sums, int64_t begin, int64_t end,
                   const GaussianArrays& out) {
  for (int64_t i = begin; i < end; i += kLanes) {
    const int n = lanes_of(i, end);
    Floats color[C], gradient[5 + C];
    load_columns<C>(g.color + C * i, n, color);
    gradient_of<C>(Axes(g, i, n), color, SummedPartials(sums, i, n), sums.projection, false, gradient);
    store_columns<2>(gradient, n, out.mean + 2 * i);
    store_columns<2>(gradient + 2, n, out.scale + 2 * i);
    store_columns<1>(gradient + 4, n, out.rotation + i);
    store_columns<C>(gradient + 5, n, out.color + C * i);
  }
}

template <int C>
double update(const GaussianArrays& g, const Partials& sums, const GaussianArrays* other, int64_t begin, int64_t end,
              const StepSettings& s, const AdamArrays& adam, const BiasCorrections& corrections) {
  double rate = 0;
  for (int64_t i = begin; i < end; i += kLanes) {
    const int n = lanes_of(i, end);
    const Axes axes(g, i, n);
    Floats color[C], gradient[5 + C], move[5 + C];
    load_columns<C>(g.color + C * i, n, color);
    gradient_of<C>(axes, color, SummedPartials(sums, i, n), sums.projection, s.relative, gradient);
    if (other != nullptr) add_gradient<C>(*other, i, n, axes, s.relative, gradient);
    if (s.rate_weight > 0) rate += add_rate_term<C>(axes, color, s, gradient);
    if (s.relative) turn_scales(gradient + 2);
    moves_of<5 + C>(gradient, i, n, s, adam, corrections, move);
    if (s.relative) {
      turn_scales(move + 2);
      fit_to_reach<C>(axes, color, s, move);
    }
    move_by<C>(move, axes, s, i, n, g);
  }
  return rate;
}

}  // namespace

void differentiate(const GaussianArrays& g, const Partials& sums, int64_t begin, int64_t end,
                   const GaussianArrays& gradient) {
  if (g.channels == 1)
    differentiate<1>(g, sums, begin, end, gradient);
  else
    differentiate<3>(g, sums, begin, end, gradient);
}

double update(const GaussianArrays& g, const Partials& sums, const GaussianArrays* other, int64_t begin, int64_t end,
              const StepSettings& settings, const AdamArrays& adam, const BiasCorrections& corrections) {
  return g.channels == 1 ? update<1>(g, sums, other, begin, end, settings, adam, corrections)
                         : update<3>(g, sums, other, begin, end, settings, adam, corrections);
}

}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
