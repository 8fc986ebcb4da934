// The inner loops that are compiled once for each instruction set (kernels.cpp) and chosen at run
// time (dispatch.cpp). Plain structs and pointers only: nothing here may pull in inline library code,
// which the linker could share between instruction sets.
#pragma once

#include <cstdint>

namespace smartsplat {

// A tile's planes are kTile x kTile floats. 64 x 64 measured best of seven shapes: smaller tiles repeat
// the set-up of each Gaussian, larger ones fall out of the second-level cache.
constexpr int kTile = 64;
// Floats from one channel's plane of a tile to the next. The 128 bytes of padding keep the planes' equal pixels off
// equal offsets in a 4 KiB page, where a load would wait for a store that it has nothing to do with.
constexpr int kPlane = kTile * kTile + 32;
constexpr int kMaxChannels = 3;

// The window of docs/format.md: w(q) = (exp(-q/2) - kEdge) * kWindowNorm for q < 9, else 0.
constexpr float kEdge = 0.011108996538242306f;  // exp(-9/2)
constexpr float kWindowNorm = 1.0f / (1.0f - kEdge);

// Variance of the pixel filter, in units of (pixels averaged)^2 - 1: docs/format.md, "Minification".
constexpr double kFilterVariance = 0.1;

// One Gaussian in output pixels, ready to be evaluated.
struct Splat {
  float mean_x, mean_y;  // output pixels, centres at +0.5
  // q = precision_x dx^2 + precision_y t^2 with t = dy + shear dx. Two squares, because the three terms of
  // a dx^2 + 2 b dx dy + c dy^2 cancel in a thin Gaussian: at aspect 64 they cost 1e-4 of the weight.
  float precision_x, precision_y, shear;
  int x_begin, x_end;         // columns and rows whose centres can be inside three sigma,
  int y_begin, y_end;         //   clipped to the picture; empty when begin >= end
  int run;                    // rows between two exact exponentials
  float color[kMaxChannels];  // times the amplitude of the pixel filter and kWindowNorm
};

// Sums over the pixels of one tile for one Gaussian; see backward_tile.
struct Moments {
  float x, t, xx, xt, tt;  // of h, times dx, t, dx^2, dx t, t^2
  float color[kMaxChannels];
};

// A tile's place in the output picture; width and height are clipped to the picture.
struct TileArea {
  int x, y, width, height;
};

struct SsimBlock {
  const float* image;     // planar [C, H, W], already clamped to [0, 1]
  const uint8_t* target;  // interleaved [H, W, C]
  float* gradient;        // planar [C, H, W], this block is added to
  int height, width, channels;
  int x, y, block_width, block_height;
  float weight;    // of (1 - SSIM) / (H W C)
  float* scratch;  // ssim_scratch_floats() floats
};

constexpr int kSsimBlockWidth = 256;
constexpr int kSsimBlockHeight = 64;
constexpr int kSsimRadius = 5;

struct Kernels {
  const char* name;
  int lanes;
  // Adds the listed splats to planes [C, kTile, kTile], which the kernel clears first.
  void (*forward_tile)(const Splat* splats, const int32_t* list, int64_t count, int channels, TileArea area,
                       float* planes);
  // d_planes [C, kTile, kTile] is dL/dC(p); writes the moments of list entry k to moments[slots[k]].
  void (*backward_tile)(const Splat* splats, const int32_t* list, const int64_t* slots, int64_t count, int channels,
                        TileArea area, const float* d_planes, Moments* moments);
  // Clamps the planes to [0, 1] and stores them as rounded bytes, interleaved, row stride in bytes.
  void (*store_bytes)(const float* planes, int channels, TileArea area, uint8_t* out, int64_t stride);
  // Replaces the planes by l1 * sign(e) + l2 * 2 e, e = clamp(plane) - target / 255, both times
  // `norm`; returns sum(l1 |e| + l2 e^2) in *loss and sum(e^2) in *square.
  void (*pixel_loss)(float* planes, int channels, TileArea area, const uint8_t* target, int64_t stride, float l1,
                     float l2, float norm, double* loss, double* square);
  // Adds the gradient of weight * (1 - mean SSIM) for one block; returns the sum of its SSIM map.
  double (*ssim_block)(const SsimBlock& block);
};

int64_t ssim_scratch_floats();

// The best variant for this processor, or the one named ("v2", "v3", "v4"; "base" elsewhere); null if the
// processor cannot run it.
const Kernels* find_kernels(const char* name);

}  // namespace smartsplat
