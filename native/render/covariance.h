// kLanes Gaussians at a time: between rows of an array and vectors, and their shapes. Compiled once for each
// instruction set.
//
// Everything is in single precision, which is enough where large numbers do not cancel. In a thin Gaussian, of aspect
// 64, they do in xx yy - xy^2, by three digits: so the determinant is computed as the sum of what is left.
#pragma once

#include "render/kernels.h"
#include "render/simd.h"

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

// column[k] = element k of each of n rows of kStride floats; 0 in the lanes beyond.
template <int kStride>
inline void load_columns(const float* rows, int n, Floats* column) {
  float padded[kStride * kLanes];
  if (n < kLanes) {
    for (int i = 0; i < kStride * kLanes; ++i) padded[i] = i < n * kStride ? rows[i] : 0.0f;
    rows = padded;
  }
  if constexpr ((kStride & (kStride - 1)) != 0) {
    for (int k = 0; k < kStride; ++k) {
      float lane[kLanes];
      for (int i = 0; i < kLanes; ++i) lane[i] = rows[i * kStride + k];
      column[k] = load(lane);
    }
  } else {
    for (int k = 0; k < kStride; ++k) column[k] = load(rows + k * kLanes);
    for (int round = 1; round < kStride; round *= 2) {  // each takes a bit of the row's index to the front
      Floats unzipped[kStride];
      for (int k = 0; k < kStride / 2; ++k) {
        unzipped[k] = unzip_even(column[2 * k], column[2 * k + 1]);
        unzipped[k + kStride / 2] = unzip_odd(column[2 * k], column[2 * k + 1]);
      }
      for (int k = 0; k < kStride; ++k) column[k] = unzipped[k];
    }
  }
}

// The inverse; changes the columns.
template <int kStride>
inline void store_columns(Floats* column, int n, float* rows) {
  float padded[kStride * kLanes];
  float* to = n < kLanes ? padded : rows;
  if constexpr ((kStride & (kStride - 1)) != 0) {
    for (int k = 0; k < kStride; ++k) {
      float lane[kLanes];
      store(lane, column[k]);
      for (int i = 0; i < kLanes; ++i) to[i * kStride + k] = lane[i];
    }
  } else {
    for (int round = 1; round < kStride; round *= 2) {
      Floats together[kStride];
      for (int k = 0; k < kStride / 2; ++k) {
        together[2 * k] = zip_low(column[k], column[k + kStride / 2]);
        together[2 * k + 1] = zip_high(column[k], column[k + kStride / 2]);
      }
      for (int k = 0; k < kStride; ++k) column[k] = together[k];
    }
    for (int k = 0; k < kStride; ++k) store(to + k * kLanes, column[k]);
  }
  if (n < kLanes)
    for (int i = 0; i < n * kStride; ++i) rows[i] = padded[i];
}

// To a unit in the last place; NaN of infinity and NaN.
inline void sine_and_cosine(Floats angle, Floats* sine, Floats* cosine) {
  constexpr float kMaxExactAngle = 8192.0f;  // up to which the first two products below are exact
  const Ints far = absolute(angle) > all(kMaxExactAngle);
  if (any(far))
    for (int i = 0; i < kLanes; ++i)
      if (far[i]) angle[i] = static_cast<float>(__builtin_remainder(angle[i], 6.283185307179586));
  const Floats shifter = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Floats shifted = angle * 0.636619772f + shifter, quarters = shifted - shifter;
  // pi / 2 in three parts. The polynomials, on [-pi/4, pi/4], are those of Cephes.
  const Floats r = ((angle - quarters * 1.5703125f) - quarters * 4.837512969970703e-4f) - quarters * 7.5497899548e-8f;
  const Floats z = r * r;
  const Floats odd = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * (z * r) + r;
  const Floats even =
      ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * (z * z) + (1.0f - 0.5f * z);
  const Ints quarter = reinterpret_cast<Ints>(shifted), swapped = (quarter & 1) != 0;
  const auto signed_by = [](Floats value, Ints negative) {
    return reinterpret_cast<Floats>(reinterpret_cast<Ints>(value) ^ ((negative & 2) << 30));
  };
  *sine = signed_by(select(swapped, even, odd), quarter);
  *cosine = signed_by(select(swapped, odd, even), quarter + 1);
}

// Direction of the first axis, and the scales. Those beyond 1e8 pixels are as good as that, and their fourth powers
// are no longer numbers in single precision.
struct Axes {
  Floats cosine, sine, u, v;

  Axes(const GaussianArrays& g, int64_t first, int n) {
    Floats scale[2], rotation;
    load_columns<2>(g.scale + 2 * first, n, scale);
    load_columns<1>(g.rotation + first, n, &rotation);
    sine_and_cosine(rotation, &sine, &cosine);
    u = bounded(scale[0]);
    v = bounded(scale[1]);
  }

 private:
  static Floats bounded(Floats scale) {
    const Floats none = scale - scale;  // NaN for infinity
    return minimum(all(1e8f), maximum(all(-1e8f), scale)) + none;
  }
};

// How the view is rendered on each Gaussian's level, of one sample for `side` output pixels on each axis. Enlarging a
// level adds a variance of (side^2 - 1) / 4 output pixels^2, which is taken off beforehand.
struct LevelView {
  Floats side, filter_x, filter_y;

  LevelView(const Projection& view, Ints level) {
    side = reinterpret_cast<Floats>((level + 127) << 23);
    const Floats blur = 0.25f * (side * side - 1.0f);
    const auto filter = [&](double full_size, double scale) {
      return all(static_cast<float>(full_size)) - blur * static_cast<float>(1.0 / (scale * scale));
    };
    filter_x = filter(view.filter_x, view.scale_x);
    filter_y = filter(view.filter_y, view.scale_y);
  }
};

// In image pixels, E3, with the pixel filter added.
struct Covariance {
  Floats xx, xy, yy, determinant;

  Covariance(const Axes& a, const LevelView& view) {
    const Floats u2 = a.u * a.u, v2 = a.v * a.v, c2 = a.cosine * a.cosine, s2 = a.sine * a.sine;
    const Floats own_xx = c2 * u2 + s2 * v2, own_yy = s2 * u2 + c2 * v2;
    xx = own_xx + view.filter_x;
    xy = a.cosine * a.sine * ((a.u - a.v) * (a.u + a.v));  // exactly 0 for a circle
    yy = own_yy + view.filter_y;
    determinant = u2 * v2 + (own_xx * view.filter_y + own_yy * view.filter_x) + view.filter_x * view.filter_y;
  }
  Floats amplitude(const Axes& a) const { return absolute(a.u * a.v) / square_root(determinant); }
};

}  // namespace
}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
