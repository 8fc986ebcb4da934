// One Gaussian: its shape, the chain rule from the sums over pixels to its parameters, and Adam.
#pragma once

#include <cmath>

#include "raster.h"

namespace smartsplat {

struct Axes {
  double cosine, sine, u2, v2;  // direction of the first axis, squared scales
};

inline Axes axes_of(const GaussianArrays& g, int64_t i) {
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
inline Symmetric filtered_covariance(const Axes& a, double filter_x, double filter_y) {
  const double c2 = a.cosine * a.cosine, s2 = a.sine * a.sine, cs = a.cosine * a.sine;
  return {c2 * a.u2 + s2 * a.v2 + filter_x, cs * (a.u2 - a.v2), s2 * a.u2 + c2 * a.v2 + filter_y};
}

// dL/d(mean, scale, rotation, colour) of Gaussian i from its sums over the areas of the level that it was drawn on;
// zero if it was not drawn, begin == end.
void gaussian_gradient(const GaussianArrays& g, int64_t i, const Moments* begin, const Moments* end,
                       const LevelView& view, double* gradient);

// Adds the gradient of the size term of Gaussian i (raster/reference.py, size_term) and returns its value.
double add_size_term(const GaussianArrays& g, int64_t i, const StepSettings& s, double* gradient);

// Adam for Gaussian i; `gradient` is as above, and is changed.
void update(const GaussianArrays& g, const AdamArrays& adam, int64_t i, double* gradient, const StepSettings& s);

}  // namespace smartsplat
