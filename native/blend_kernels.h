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

constexpr int kBand = 8;  // rows whose weights are gathered before the largest of each pixel are looked for

// The rows of a tile that a splat may reach in some columns.
struct BlendRun {
  int32_t splat;
  int begin, end;
};

// What a thread works in; for the largest weights, of lists of up to `longest` splats.
struct BlendSpace {
  float* floats;    // [kBand * longest * kColumn], and at least [kStateFloats]
  int32_t* splats;  // [kBand * longest]
  BlendRun* runs;   // [longest]
};

struct BlendKernels {
  const char* name;
  // Draws a tile.
  void (*draw)(const BlendList& list, int channels, bool top, float background, Area area, float* state,
               const BlendSpace& space);
  // Takes dL/dC(p), laid out as `from`, back: writes the moments of list entry k to moments[slots[k]].
  void (*take_back)(const BlendList& list, int channels, bool top, Area area, const float* state, Area from,
                    const float* d_planes, const BlendSpace& space, BlendMoments* moments);
};

// The variant of that name.
const BlendKernels* find_blend_kernels(const char* name);

}  // namespace smartsplat
