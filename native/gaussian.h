// Sets of Gaussians, what they are drawn on, and what their gradients and steps are made of. Plain structs only, as in
// kernels.h.
#pragma once

#include <cstdint>

namespace smartsplat {

constexpr int kMaxChannels = 3;

// N Gaussians as they lie in numpy arrays; see gaussians.py for units.
struct GaussianArrays {
  int64_t count;
  int channels;
  float* mean;      // [N, 2]
  float* scale;     // [N, 2]
  float* rotation;  // [N]
  float* color;     // [N, C]
};

// The areas that a splat's box touches: columns [left, right), rows [top, bottom) of tiles, or of panels above level 0.
struct Place {
  uint16_t left, top, right, bottom, level;
};

// The view: what part of the picture is drawn on how many output pixels.
struct Projection {
  double x, y;                // picture coordinates of the top left corner
  double scale_x, scale_y;    // output pixels for each picture pixel
  double filter_x, filter_y;  // variances of the pixel filter, picture pixels
  int width, height;          // output pixels
  int panels_x, panels_y;
  int coarsest;  // level on which splats are drawn at most
};

// Sums over the pixels of one tile for one Gaussian; see backward_tile.
struct Moments {
  float x, t, xx, xt, tt;  // of h, times dx, t, dx^2, dx t, t^2
  float color[kMaxChannels];
};

// What the way back left for each Gaussian: moments [first_slot[i], first_slot[i + 1]), none if it was not drawn.
struct GradientSums {
  const Moments* moments;
  const int64_t* first_slot;  // [N + 1]
  const Place* places;        // [N]
  Projection projection;
};

struct StepSettings {
  float l1, l2, ssim, size;  // weights of the loss terms
  float size_floor;          // energy at which the size term sets in
  float rate_mean_x, rate_mean_y, rate_scale, rate_rotation, rate_color;
  float beta1, beta2, epsilon;
  bool relative;  // rates of mean and scale in units of the Gaussian's own scales
  float smallest_scale, largest_scale, largest_aspect;
  float picture_width, picture_height;
};

// Adam's moments and each Gaussian's age in steps; P = 5 + C, in the order of the parameters.
struct AdamArrays {
  float* first;   // [N, P]
  float* second;  // [N, P]
  int32_t* age;   // [N]
};

// 1 / (1 - beta^age) for both moments: they start at 0.
struct BiasCorrection {
  float first, second;
};
struct BiasCorrections {
  const BiasCorrection* of_age;
  int32_t count;  // older Gaussians have the last
};

}  // namespace smartsplat
