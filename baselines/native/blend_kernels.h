// The inner loops of blending, as render/kernels.h: plain structs and pointers only.
#pragma once

#include <cstdint>

#include "render/kernels.h"

namespace smartsplat {

constexpr int kTopK = 10;
constexpr float kTopKFloor = 1e-4f / kWindowNorm;  // for weights that lack kWindowNorm
constexpr float kMaxAlpha = 0.999f;
constexpr float kMinTransmittance = 1e-4f;

struct Blend {
  bool top_k;        // otherwise by alpha
  float background;  // of every channel, for alpha
};

// A tile's state lies as [columns][kTile][C + kExtraPlanes][kColumnWidth]: the channels, then two planes that are, for
// alpha blending, the transmittance and nothing, and for top-K blending the sum of the K weights and what they are all
// above.
constexpr int kExtraPlanes = 2;
constexpr int kStateFloats = kTile * kTile * (kMaxChannels + kExtraPlanes);

// Sums over the pixels of one tile for one splat.
struct BlendSums : PartialSums {
  float opacity;  // of dL/d(opacity)
};

// The splats of a tile, from the front to the back.
struct BlendList {
  const Splat* splats;
  const float* opacity;  // of every splat, times kWindowNorm
  const int32_t* list;
  const int64_t* slots;  // of the partial sums
  int64_t count;
};

constexpr int kBandRows = 8;  // rows whose weights are gathered before the largest of each pixel are searched for

// The rows of a tile that a splat may cover in some columns.
struct RowSpan {
  int32_t splat;
  int begin, end;
};

// What a thread works in, for lists of up to `max_count` splats if blending is top-K.
struct BlendScratch {
  float* floats;    // [kBandRows * max_count * kColumnWidth], and at least [kStateFloats]
  int32_t* splats;  // [kBandRows * max_count]
  RowSpan* spans;   // [max_count]
};

// A tile to be rendered, or rendered already.
struct BlendTile {
  BlendList list;
  Area area;  // as the state lies
  float* state;
  BlendScratch scratch;
};

struct BlendKernels {
  const char* name;
  // Sets the tile's state.
  void (*forward)(const BlendTile& tile, int channels, Blend blend);
  // d_planes is dL/dC(p), laid out as `from`; writes the partial sums of list entry k to partials[slots[k]].
  void (*backward)(const BlendTile& tile, int channels, Blend blend, Area from, const float* d_planes,
                   BlendSums* partials);
};

// The variant of that name.
const BlendKernels* find_blend_kernels(const char* name);

}  // namespace smartsplat
