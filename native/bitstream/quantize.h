// Gaussians <-> integer symbols: docs/format.md, "Symbols". Everything that the entropy coder must know
// (steps, numbers of bits, classes) follows from symbols by integer arithmetic alone, so that every
// decoder agrees bit for bit; only the final parameters are floating point.
#pragma once

#include <cstdint>

#include "core/gaussian_arrays.h"

namespace smartsplat {

// 2^(i/8) in 2^14 units.
constexpr int32_t kExp2[8] = {16384, 17867, 19484, 21247, 23170, 25268, 27554, 30048};

// One value of each per file.
struct QuantizerSettings {
  int quality;    // K = 2^(kQualityZero/8 - quality/8): the error budget of each attribute
  int cell_log2;  // side of a position cell, log2 pixels
  int width, height, channels;
  bool valid() const;
  int cells_x() const { return ((width - 1) >> cell_log2) + 1; }
  int cells_y() const { return ((height - 1) >> cell_log2) + 1; }
};

constexpr int kQualityZero = 64;
constexpr int kMaxQuality = 191;
constexpr int kMaxPositionCellLog2 = 12;
constexpr int kMaxCells = 1 << 16;  // a side
constexpr int kMinEnergy = -8, kMaxEnergy = 17;
constexpr int kOctave = 1024;  // units of log2 scale
constexpr int kMinMeanScale = -2 * kOctave, kMaxMeanScale = 16 * kOctave;
constexpr int kMaxRatio = 8 * kOctave;
constexpr int kMaxAngleBits = 12, kMaxPositionBits = 14;
constexpr int kMaxColor = (1 << 20) - 1;

struct Symbols {
  int32_t cell_x, cell_y;       // which cell the mean is in
  int32_t energy;               // class: log2(|colour| sqrt(pi su sv)), rounded
  int32_t mean_scale;           // (log2 su + log2 sv) / 2 in steps
  int32_t ratio;                // log2 su - log2 sv >= 0 in steps
  int32_t angle;                // in [0, 2^bits)
  int32_t color[kMaxChannels];  // along the axes of the colour transform, in steps
  int32_t offset_x, offset_y;   // inside the cell, [0, 2^bits)
};
constexpr int kSymbolFields = sizeof(Symbols) / sizeof(int32_t);

// What follows from a Gaussian's energy class and shape.
struct ShapeSteps {
  int mean, ratio;  // steps in units of 1/kOctave octaves
};
ShapeSteps shape_steps(const QuantizerSettings& q, int energy);
inline int mean_scale_units(const Symbols& s, ShapeSteps steps) { return s.mean_scale * steps.mean; }
inline int ratio_units(const Symbols& s, ShapeSteps steps) { return s.ratio * steps.ratio; }
int angle_bits(const QuantizerSettings& q, int energy, int ratio_units);
// log2 of the colour step, in eighths.
int color_step_eighths(const QuantizerSettings& q, int mean_units);

struct PositionBits {
  int x, y;
};
PositionBits position_bits(const QuantizerSettings& q, const Symbols& s, int mean_units, int ratio_units,
                           int angle_bits);

// All of that.
struct Shape {
  ShapeSteps steps;
  int mean_units, ratio_units, angle_bits;
  PositionBits position;
};
Shape shape_of(const QuantizerSettings& q, const Symbols& s);

Symbols quantize(const QuantizerSettings& q, const GaussianArrays& g, int64_t i);
void dequantize(const QuantizerSettings& q, const Symbols& s, const Shape& shape, const GaussianArrays& g, int64_t i);
inline void dequantize(const QuantizerSettings& q, const Symbols& s, const GaussianArrays& g, int64_t i) {
  dequantize(q, s, shape_of(q, s), g, i);
}
// dequantize(quantize(i)) with the axes in the order that `g` has them.
void fake_quantize(const QuantizerSettings& q, const GaussianArrays& g, const GaussianArrays& out, int64_t i);
// True if every field is in its range; a decoder refuses the file otherwise.
bool in_range(const QuantizerSettings& q, const Symbols& s);

// Position of a cell along the Morton curve.
uint64_t morton(uint32_t x, uint32_t y);
void unmorton(uint64_t code, uint32_t* x, uint32_t* y);

}  // namespace smartsplat
