// The inner loops that are compiled once for each instruction set (table in kernels.cpp) and chosen at run
// time (dispatch.cpp). Plain structs and pointers only: nothing here may pull in inline library code,
// which the linker could share between instruction sets.
#pragma once

#include <cstdint>

#include "gaussian.h"

namespace smartsplat {

// 64 x 64 pixels measured best of seven shapes: smaller tiles repeat the set-up of each Gaussian, larger ones fall
// out of the second-level cache.
constexpr int kTile = 64;
// A tile's floats lie as [columns][kTile][C][kColumn]: what a Gaussian touches while it runs down a column of lanes
// is one piece of memory, whatever the number of lanes. Those of a level above full size, of which few are touched for
// each pixel, lie as [rows][C][stride], so that a row can be read from anywhere.
constexpr int kColumn = 16;
constexpr int kTileFloats = kTile * kTile * kMaxChannels;

// A part of a picture, or of a level of one, and how it lies in memory.
struct Area {
  int x, y, width, height;  // width and height are clipped to the picture
  int across, apart, down;  // floats from a column of kColumn samples, a channel and a row to the next

  // Where a pixel lies, channel 0, by its place inside the area. The top left one lies at 0.
  int offset(int i, int j) const { return i / kColumn * across + j * down + i % kColumn; }
  int columns() const { return (width + kColumn - 1) / kColumn; }
};

// The window of docs/format.md: w(q) = (exp(-q/2) - kEdge) * kWindowNorm for q < 9, else 0.
constexpr float kEdge = 0.011108996538242306f;  // exp(-9/2)
constexpr float kWindowNorm = 1.0f / (1.0f - kEdge);

// Rows between two exact exponentials, at most: see kernels.cpp.
constexpr int kLongestRun = 32;

// Variance of the pixel filter, in units of (pixels averaged)^2 - 1: docs/format.md, "Minification".
constexpr double kFilterVariance = 0.1;

// One Gaussian in output pixels, ready to be evaluated.
struct alignas(64) Splat {
  float mean_x, mean_y;  // output pixels, centres at +0.5
  // q = precision_x dx^2 + precision_y t^2 with t = dy + shear dx. Two squares, because the three terms of
  // a dx^2 + 2 b dx dy + c dy^2 cancel in a thin Gaussian: at aspect 64 they cost 1e-4 of the weight.
  float precision_x, precision_y, shear;
  int x_begin, x_end;         // columns and rows whose centres can be inside three sigma,
  int y_begin, y_end;         //   clipped to the picture; empty when begin >= end
  int run;                    // rows between two exact exponentials
  float row_factor;           // exp(-precision_y): what the ratio of two rows' weights changes by from row to row
  float color[kMaxChannels];  // times the amplitude of the pixel filter and kWindowNorm
};

struct LossWeights {
  float l1, l2, ssim;
  float norm;  // 1 / samples, which every gradient is multiplied by
};

// Sums over samples; SSIM without its weight.
struct LossSums {
  double absolute, square, ssim;
};

// A panel is the square of tiles that a thread works on at a time: it draws the levels below full size once for all
// of them (levels.cpp), and computes SSIM over the whole of it.
constexpr int kPanel = 256;

// What SSIM needs to see around a panel: the window reaches kSsimRadius pixels and so does its adjoint. Columns are
// rounded up to whole vectors.
constexpr int kSsimRadius = 5;
constexpr int kPanelHaloX = 16;
constexpr int kPanelHaloY = 2 * kSsimRadius;
constexpr int kPanelStride = kPanel + 4 * kPanelHaloX;  // the last vector of a blurred row reads on
constexpr int kPanelPlane = kPanelStride * (kPanel + 2 * kPanelHaloY);
constexpr int kPanelRing = 16;  // rows of derivatives that are kept: a power of two, at least the window's side
constexpr int64_t kPanelScratch =
    (16 + 4 + 3 + 3 * kPanelRing) * kPanelStride + kPanelHaloX;  // floats: see ChannelSsim

// Where the core's pixel (x, y) of a channel lies in a panel's planes.
static inline int64_t panel_offset(int x, int y, int channel) {
  return static_cast<int64_t>(channel) * kPanelPlane + (y + kPanelHaloY) * kPanelStride + x + kPanelHaloX;
}

struct Panel {
  int x, y, width, height;            // the core's place in the picture
  int picture_width, picture_height;  // beyond it the planes are 0
  float* image;                       // [C, kPanelPlane]: the rendering, clamped to [0, 1]
  float* target;                      // [C, kPanelPlane]
  float* scratch;                     // [kPanelScratch]
};

// Large splats are drawn on a grid of one sample for 2^level pixels a side, which is then enlarged: levels.cpp.
constexpr int kLevels = 5;
constexpr int kLevelBorder = 2;  // samples that a panel's part of a level has around it; even, for `enlarge`
constexpr int kLevelSide = (kPanel + 2 * kPanelHaloX) / 2 + 2 * kLevelBorder;  // most samples, at level 1
constexpr int kMostColumns = (kLevelSide + kColumn - 1) / kColumn;             // of an area

struct Kernels {
  const char* name;
  int lanes;
  // Sets the splats and places of the Gaussians [begin, end); returns how many output pixels they cover.
  double (*project)(const GaussianArrays& g, int64_t begin, int64_t end, const Projection& view, Splat* splats,
                    Place* places);
  // Adds the listed splats to an area's floats.
  void (*forward_tile)(const Splat* splats, const int32_t* list, int64_t count, int channels, Area area, float* planes);
  // d_planes is dL/dC(p) of an area; writes the moments of list entry k to moments[slots[k]].
  void (*backward_tile)(const Splat* splats, const int32_t* list, const int64_t* slots, int64_t count, int channels,
                        Area area, const float* d_planes, Moments* moments);
  // An area of a level from that of the level below it, linearly; and the adjoint, which adds.
  void (*enlarge)(int channels, Area from, const float* small, Area to, float* large);
  void (*reduce)(int channels, Area from, const float* large, Area to, float* small);
  // From the sums over pixels to the gradient of the Gaussians [begin, end).
  void (*differentiate)(const GaussianArrays& g, const GradientSums& sums, int64_t begin, int64_t end,
                        const GaussianArrays& gradient);
  // And Adam's step; returns the value of the size term (raster/reference.py, size_term).
  double (*update)(const GaussianArrays& g, const GradientSums& sums, int64_t begin, int64_t end,
                   const StepSettings& settings, const AdamArrays& adam, const BiasCorrections& corrections);
  // Stores a tile, clamped to [0, 1], as rounded bytes, interleaved, row stride in bytes.
  void (*store_bytes)(const float* planes, int channels, Area area, uint8_t* out, int64_t stride);
  // Replaces a tile by dL/dC(p) of the loss without SSIM, of e = clamp(plane) - target / 255.
  LossSums (*pixel_loss)(float* planes, int channels, Area area, const uint8_t* target, int64_t stride,
                         LossWeights weights);
  // Mean of (target / 255 - clamp(plane)) for each channel, then the mean square over all, for each of a tile's cells
  // of `cell` x `cell` pixels: out [cells down, cells across, C + 1], its rows `row_floats` apart.
  void (*cell_errors)(const float* planes, int channels, Area area, const uint8_t* target, int64_t stride, int cell,
                      float* out, int64_t row_floats);
  // Puts a tile, clamped, and its target, interleaved, into the planes of a panel.
  void (*panel_put)(const float* planes, int channels, Area area, const uint8_t* target, int64_t stride,
                    const Panel& panel);
  // Replaces the core of a panel's image by dL/dC(p), 0 beyond the picture.
  LossSums (*panel_loss)(const Panel& panel, int channels, LossWeights weights);
  // Multiply-adds as fast as the instruction set can, the ceiling of the other kernels: returns how many floating-point
  // operations it did.
  double (*multiply_add)(int64_t rounds);
};

// The best variant for this processor, or the one named ("v2", "v3", "v4"; "base" elsewhere); null if the
// processor cannot run it.
const Kernels* find_kernels(const char* name);

}  // namespace smartsplat
