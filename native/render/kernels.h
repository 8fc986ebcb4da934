// The inner loops that are compiled once for each instruction set (table in kernels.cpp) and chosen at run
// time (dispatch.cpp). Plain structs and pointers only: nothing here may pull in inline library code,
// which the linker could share between instruction sets.
#pragma once

#include <cstdint>

#include "core/gaussian_arrays.h"

namespace smartsplat {

// 64 x 64 pixels measured best of seven shapes: smaller tiles repeat the set-up of each Gaussian, larger ones fall
// out of the second-level cache.
constexpr int kTile = 64;
// A tile's floats lie as [columns][kTile][C][kColumnWidth]: what a Gaussian touches while it runs down a column of
// lanes is one piece of memory, whatever the number of lanes. Those of a level above full size, of which few are
// touched for each pixel, lie as [rows][C][stride], so that a row can be read from anywhere.
constexpr int kColumnWidth = 16;
constexpr int kTileFloats = kTile * kTile * kMaxChannels;

// A part of an image, or of a level of one, and how it lies in memory.
struct Area {
  int x, y, width, height;  // width and height are clipped to the image
  // Floats from a column of kColumnWidth samples, a channel and a row to the next.
  int column_stride, channel_stride, row_stride;

  // Where a pixel lies, channel 0, by its place inside the area. The top left one lies at 0.
  int offset(int i, int j) const { return i / kColumnWidth * column_stride + j * row_stride + i % kColumnWidth; }
  int columns() const { return (width + kColumnWidth - 1) / kColumnWidth; }
};

// Rows between two exact exponentials, at most: see tile.cpp.
constexpr int kMaxRunRows = 32;

// Variance of the pixel filter, in units of (pixels averaged)^2 - 1: docs/format.md, "Rendering".
constexpr double kFilterVariance = 0.1;

// One Gaussian in output pixels, ready to be evaluated.
struct alignas(64) Splat {
  float mean_x, mean_y;  // output pixels, centres at +0.5
  // q = precision_x dx^2 + precision_y t^2 with t = dy + shear dx. Two squares, because the three terms of
  // a dx^2 + 2 b dx dy + c dy^2 cancel in a thin Gaussian: at aspect 64 they cost 1e-4 of the weight.
  float precision_x, precision_y, shear;
  int x_begin, x_end;         // columns and rows whose centres can be inside three sigma,
  int y_begin, y_end;         //   clipped to the image; empty when begin >= end
  int run;                    // rows between two exact exponentials
  float row_factor;           // exp(-precision_y): what the ratio of two rows' weights changes by from row to row
  float color[kMaxChannels];  // times the amplitude of the pixel filter and kWindowNorm
};

// The areas that a splat's box touches: columns [left, right), rows [top, bottom) of tiles, or of macrotiles above
// level 0.
struct TileRect {
  uint16_t left, top, right, bottom, level;
};

// The view: what part of the image is rendered on how many output pixels.
struct Projection {
  double x, y;                // image coordinates of the top left corner
  double scale_x, scale_y;    // output pixels for each image pixel
  double filter_x, filter_y;  // variances of the pixel filter, image pixels
  int columns, rows;          // output pixels
  int macrotiles_x, macrotiles_y;
  int max_level;  // highest pyramid level that splats are rendered on
};

// Sums over the pixels of one tile for one Gaussian; see backward_tile.
struct PartialSums {
  float x, t, xx, xt, tt;  // of h, times dx, t, dx^2, dx t, t^2
  float color[kMaxChannels];
};

// What the backward pass left for each Gaussian: partials [first_slot[i], first_slot[i + 1]), none if it was not
// rendered.
struct Partials {
  const PartialSums* partials;
  const int64_t* first_slot;  // [N + 1]
  const TileRect* rects;      // [N]
  Projection projection;
};

// StepSettings of render/__init__.py: each field's type and name. The binding reads the same list.
#define SMARTSPLAT_STEP_SETTINGS(FIELD) \
  FIELD(float, l1)                      \
  FIELD(float, l2)                      \
  FIELD(float, ssim)                    \
  FIELD(float, coarse)                  \
  FIELD(float, rate_weight)             \
  FIELD(float, rate_energy)             \
  FIELD(float, lr_mean_x)               \
  FIELD(float, lr_mean_y)               \
  FIELD(float, lr_scale)                \
  FIELD(float, lr_rotation)             \
  FIELD(float, lr_color)                \
  FIELD(float, beta1)                   \
  FIELD(float, beta2)                   \
  FIELD(float, epsilon)                 \
  FIELD(bool, relative)                 \
  FIELD(float, min_scale)               \
  FIELD(float, max_scale)               \
  FIELD(float, max_aspect)              \
  FIELD(float, width)                   \
  FIELD(float, height)

struct StepSettings {
#define SMARTSPLAT_FIELD(type, name) type name;
  SMARTSPLAT_STEP_SETTINGS(SMARTSPLAT_FIELD)
#undef SMARTSPLAT_FIELD
};

// Adam's moments and each Gaussian's age in steps; P = 5 + C, in the order of the parameters.
struct AdamArrays {
  float* first;   // [N, P]
  float* second;  // [N, P]
  int32_t* age;   // [N]
};

// 1 / (1 - beta^age) for both of Adam's moments: they start at 0.
struct BiasCorrection {
  float first, second;
};
struct BiasCorrections {
  const BiasCorrection* of_age;
  int32_t count;  // older Gaussians have the last
};

// What a rendering is compared with, from a pixel of it on.
struct Target {
  const void* pixels;  // [rows, columns, C] code values: uint8_t, or uint16_t if `wide`
  bool wide;
  const uint8_t* weights;  // [rows, columns] of each pixel's error, 255 being 1; null: all are 1
  int64_t columns;

  Target at(int64_t x, int64_t y, int channels) const {
    const int64_t pixel = y * columns + x;
    return {static_cast<const uint8_t*>(pixels) + pixel * channels * (wide ? 2 : 1), wide,
            weights == nullptr ? nullptr : weights + pixel, columns};
  }
};

struct LossWeights {
  float l1, l2, ssim;
  float coarse;  // the part of l2 that is of coarse cells
  float norm;    // 1 / samples, which every gradient is multiplied by
};

// Sums over samples; SSIM without its weight. `coarse` is of the squares of the cells' mean errors, 0 if they have no
// part in the loss.
struct LossSums {
  double absolute, square, ssim, coarse;
};

// Side of the cells of the coarse error, pixels.
constexpr int kCoarseCell = 4;

// A macrotile is the square of tiles that a thread works on at a time: it renders the pyramid once for all
// of them (pyramid.cpp), and computes SSIM over the whole of it.
constexpr int kMacrotile = 256;

// What SSIM needs to see around a macrotile: the window reaches kSsimRadius pixels and so does its adjoint. Columns are
// rounded up to whole vectors.
constexpr int kSsimRadius = 5;
constexpr int kMacrotileHaloX = 16;
constexpr int kMacrotileHaloY = 2 * kSsimRadius;
constexpr int kMacrotileStride = kMacrotile + 4 * kMacrotileHaloX;  // the last vector of a blurred row reads on
constexpr int kMacrotilePlane = kMacrotileStride * (kMacrotile + 2 * kMacrotileHaloY);
constexpr int kMacrotileRing = 16;  // rows of derivatives that are kept: a power of two, at least the window's side
constexpr int64_t kMacrotileScratch =
    (16 + 4 + 3 + 3 * kMacrotileRing) * kMacrotileStride + kMacrotileHaloX;  // floats: see ChannelSsim

// Where the core's pixel (x, y) of a channel lies in a macrotile's planes.
static inline int64_t macrotile_offset(int x, int y, int channel) {
  return static_cast<int64_t>(channel) * kMacrotilePlane + (y + kMacrotileHaloY) * kMacrotileStride + x +
         kMacrotileHaloX;
}

struct Macrotile {
  int x, y, width, height;        // of the core in the image
  int image_width, image_height;  // beyond it the planes are 0
  float* image;                   // [C, kMacrotilePlane]: the rendering
  float* target;                  // [C, kMacrotilePlane]
  float* scratch;                 // [kMacrotileScratch]
  bool clamp = true;              // the rendering to [0, 1]
};

// Wide splats are rendered on a grid of one sample for 2^level pixels a side, which is then enlarged: pyramid.cpp.
constexpr int kPyramidLevels = 5;
constexpr int kPyramidBorder = 2;  // samples that a macrotile's part of a level has around it; even, for `enlarge`
constexpr int kMaxLevelSide = (kMacrotile + 2 * kMacrotileHaloX) / 2 + 2 * kPyramidBorder;  // samples, at level 1
constexpr int kMaxColumns = (kMaxLevelSide + kColumnWidth - 1) / kColumnWidth;              // of an area

// Standard deviations along the shorter axis, in samples of a level, from which on a splat is rendered there: at least
// kMinDeviation, and kMinDeviationPerColor times its colour. Enlarging errs by 2e-4 of the colour inside, and at the
// edge, by rounding off the window's kink, by 0.0067 of it over the samples in a deviation, which this keeps below
// 5e-4.
constexpr float kMinDeviation = 4.0f;
constexpr float kMinDeviationPerColor = 13.4f;

// Noise of docs/format.md, "Grain": bands of a square that repeats, whose rows go on for more
// than a tile.
constexpr int kGrainBands = 3;
constexpr int kGrainSide = 256;
constexpr int kGrainStride = kGrainSide + kTile + kColumnWidth;
constexpr double kGrainDeviation = 32.0;  // standard deviation of each band

// Grain at a view.
struct Grain {
  const int32_t* noise;      // grain_noise()
  const float* strengths;    // [bands, rows, columns]: standard deviations, in [0, 1] units
  int bands, rows, columns;  // of cells
  double cells_per_pixel;
  double x, y;                    // of the view: its corner,
  double pixels_x, pixels_y;      //   and image pixels for each of its samples
  float band_scale[kGrainBands];  // what the view leaves of a band, over the noise's standard deviation
};

// DO(name) for each instruction set that kernels are compiled for, the widest first: each has a namespace of that name.
#if defined(__x86_64__)
#define SMARTSPLAT_FOR_EACH_VARIANT(DO) DO(v4) DO(v3) DO(v2)
#else
#define SMARTSPLAT_FOR_EACH_VARIANT(DO) DO(base)
#endif

// What renders.
struct Kernels {
  const char* name;
  // Sets the splats and tile rectangles of the Gaussians [begin, end); returns how many output pixels they cover.
  double (*project)(const GaussianArrays& g, int64_t begin, int64_t end, const Projection& view, Splat* splats,
                    TileRect* rects);
  // Adds the splats of a tile list to an area's floats.
  void (*forward_tile)(const Splat* splats, const int32_t* list, int64_t count, int channels, Area area, float* planes);
  // A level's area from that of the next coarser level, linearly.
  void (*enlarge)(int channels, Area from, const float* small, Area to, float* large);
  // The grain of a tile, [kTile, kTile], before it is fitted to what is rendered.
  void (*find_grain)(Area area, const Grain& grain, float* out);
  // Stores a tile, with its grain if that is not null and clamped to [0, 1], as rounded code values, uint16_t if
  // `wide`, else uint8_t; interleaved, the row stride in samples.
  void (*store_samples)(const float* planes, const float* grain, int channels, Area area, void* out, bool wide,
                        int64_t stride);
};

// The best variant for this processor, or the one named ("v2", "v3", "v4"; "base" elsewhere); null if the
// processor cannot run it.
const Kernels* find_kernels(const char* name);

// What fits Gaussians to an image beside that.
struct FitKernels {
  // d_planes is dL/dC(p) of an area; writes the partials of list entry k to partials[slots[k]].
  void (*backward_tile)(const Splat* splats, const int32_t* list, const int64_t* slots, int64_t count, int channels,
                        Area area, const float* d_planes, PartialSums* partials);
  // The adjoint of enlarge, which adds.
  void (*reduce)(int channels, Area from, const float* large, Area to, float* small);
  // From the sums over pixels to the gradient of the Gaussians [begin, end).
  void (*differentiate)(const GaussianArrays& g, const Partials& sums, int64_t begin, int64_t end,
                        const GaussianArrays& gradient);
  // And Adam's step; `other` is the gradient of another term by natural parameters and luma, to be added, or null.
  // Returns the value of the rate term (render/reference.py, rate_term).
  double (*update)(const GaussianArrays& g, const Partials& sums, const GaussianArrays* other, int64_t begin,
                   int64_t end, const StepSettings& settings, const AdamArrays& adam,
                   const BiasCorrections& corrections);
  // Replaces a tile by dL/dC(p) of the loss without SSIM, of e = clamp(plane) - target; `target` begins with the tile's
  // first pixel here and below.
  LossSums (*pixel_loss)(float* planes, int channels, Area area, const Target& target, LossWeights weights);
  // Mean of (target - clamp(plane)) by the pixels' weights for each channel, then the mean weighted square over all,
  // for each of a tile's cells of `cell` x `cell` pixels: out [cells down, cells across, C + 1], its rows `row_floats`
  // apart.
  void (*cell_errors)(const float* planes, int channels, Area area, const Target& target, int cell, float* out,
                      int64_t row_floats);
  // Puts a tile and its target, interleaved, into the planes of a macrotile. Weights are left out.
  void (*macrotile_put)(const float* planes, int channels, Area area, const Target& target, const Macrotile& macrotile);
  // Replaces the core of a macrotile's image by dL/dC(p), 0 beyond the image.
  LossSums (*macrotile_loss)(const Macrotile& macrotile, int channels, LossWeights weights);
  // Multiply-adds as fast as the instruction set can, the ceiling of the other kernels: returns how many floating-point
  // operations it did.
  double (*multiply_add)(int64_t rounds);
};

// Of the same variant.
const FitKernels* fit_kernels_of(const Kernels* kernels);

}  // namespace smartsplat
