// The inner loops of blending, as kernels.h: plain structs and pointers only.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace smartsplat {

constexpr int kTop = 10;
constexpr float kTopFloor = 1e-4f / kWindowNorm;  // for weights that lack kWindowNorm
constexpr float kLargestAlpha = 0.999f;
constexpr float kLeastLight = 1e-4f;

// A tile's state lies as [columns][kTile][C + kExtra][kColumn]: the channels, then two planes that are, for alpha
// blending, the light that is left and nothing, and for the largest weights their sum and the smallest of them.
constexpr int kExtra = 2;
constexpr int kStateFloats = kTile * kTile * (kMaxChannels + kExtra);

// Sums over the pixels of one tile for one splat, as Moments in kernels.h, and of dL/d(opacity).
struct BlendMoments {
  float x, t, xx, xt, tt;
  float color[kMaxChannels];
  float opacity;
};

// The splats of a tile, from the front to the back. `opacity` is that of every splat, times kWindowNorm.
struct BlendList {
  const Splat* splats;
  const float* opacity;
  const int32_t* list;
  const int64_t* slots;
  int64_t count;
};

struct BlendKernels {
  const char* name;
  // Draws a tile. `scratch` has kTop * kTile * kTile floats.
  void (*draw)(const BlendList& list, int channels, bool top, float background, Area area, float* state,
               float* scratch);
  // Takes dL/dC(p), laid out as `from`, back: writes the moments of list entry k to moments[slots[k]]. `scratch` as
  // above.
  void (*take_back)(const BlendList& list, int channels, bool top, Area area, const float* state, Area from,
                    const float* d_planes, float* scratch, BlendMoments* moments);
};

// The variant of that name.
const BlendKernels* find_blend_kernels(const char* name);

}  // namespace smartsplat
