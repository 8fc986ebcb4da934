// Sets of Gaussians and images, as they lie in numpy arrays. Plain structs only, as in render/kernels.h.
#pragma once

#include <cstdint>

namespace smartsplat {

constexpr int kMaxChannels = 3;

// Luma of red, green and blue; grey is luma itself.
constexpr float kLuma[3] = {0.299f, 0.587f, 0.114f};

// N Gaussians; see gaussians.py for units.
struct GaussianArrays {
  int64_t count;
  int channels;
  float* mean;      // [N, 2]
  float* scale;     // [N, 2]
  float* rotation;  // [N]
  float* color;     // [N, C]
};

// An image of 8-bit samples, or of 16-bit ones, of which only the upper 8 bits are looked at.
struct Image {
  const void* pixels;  // [height, width, channels] uint8_t, or uint16_t if `wide`; channels 1 or 3
  bool wide;
  int64_t height, width;  // at least 1
  int channels;
};

// E8: standard deviations at which a Gaussian's window ends. A constant of the file format.
constexpr float kCutoff = 3.0f;
// The window is w(q) = (exp(-q/2) - kEdge) * kWindowNorm for q < kCutoff^2, else 0.
constexpr float kEdge = 0.011108996538242306f;  // exp(-kCutoff^2 / 2)
constexpr float kWindowNorm = 1.0f / (1.0f - kEdge);

}  // namespace smartsplat
