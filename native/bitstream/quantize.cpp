// Steps follow sensitivity: with A = pi su sv (the integral of G^2), an error d in an attribute adds
//   colour A d^2,  log scale 3/4 |c|^2 A d^2,  position |c|^2 A d^2 / (2 s^2),
//   angle |c|^2 A (a - 1/a)^2 d^2 / 4        (a = su / sv)
// to the image's squared error. Each step is the d at which its term equals K^2, with |c| sqrt(A)
// known from the energy class. Measured against one step an attribute: +3 dB at equal bytes.
#include "bitstream/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace smartsplat {
namespace {

constexpr double kPi = 3.14159265358979323846;

constexpr int kShapes = 16 * (kMaxRatio / kOctave) + 1;
constexpr int kMaxFlatRatio = 96;      // in a flatter one the long axis adds nothing to the inverse variances
constexpr int kMaxSquared = 2 * 4096;  // of the sum of cosine2 and its complement

// Tables of rounded values; no entry is near a tie, so every libm gives the same integers.
struct Tables {
  int32_t shape[kShapes];              // 8 log2(a - 1/a) for a = 2^(i/16), i > 0
  int32_t squared[kMaxFlatRatio + 1];  // 2^(-2 i/16), 2^12 units: 1 at the end
  int32_t cosine2[256];                // cos^2(pi i/256), 2^12 units
  double fraction[2 * kOctave];        // 2^(i/2048)
  int8_t log2[kMaxSquared + 1];        // 8 log2(i / 4096), rounded down
  Tables() {
    for (int i = 0; i < 2 * kOctave; ++i) fraction[i] = std::exp2(i / (2.0 * kOctave));
    shape[0] = -1000;  // a circle has no angle
    for (int i = 0; i < kShapes; ++i) {
      const double a = std::exp2(i / 16.0);
      if (i > 0) shape[i] = static_cast<int32_t>(std::lround(8 * std::log2(a - 1 / a)));
    }
    for (int i = 0; i <= kMaxFlatRatio; ++i) squared[i] = static_cast<int32_t>(std::lround(4096 * std::exp2(-i / 8.0)));
    for (int i = 0; i < 256; ++i) {
      const double c = std::cos(kPi * i / 256);
      cosine2[i] = static_cast<int32_t>(std::lround(4096 * c * c));
    }
    log2[0] = 0;
    for (int i = 1; i <= kMaxSquared; ++i) log2[i] = static_cast<int8_t>(log2_of(i));
  }

 private:
  // By comparing with kExp2: integers, so that it is the same everywhere.
  int log2_of(int value) const {
    int exponent = 0;
    while (value >> (exponent + 1)) ++exponent;
    const int mantissa = value << (14 - exponent);
    int eighth = 0;
    while (eighth < 7 && mantissa >= kExp2[eighth + 1]) ++eighth;
    return 8 * (exponent - 12) + eighth;
  }
};
const Tables tables;

// 2^(units / 2048): exp2, several times as fast. The exponent is that of a normal number.
double power_of_two(int units) {
  const uint64_t bits = static_cast<uint64_t>(1023 + (units >> 11)) << 52;
  double whole;
  std::memcpy(&whole, &bits, sizeof whole);
  return tables.fraction[units & (2 * kOctave - 1)] * whole;
}

// 2^-n: exact, so that a product is what a quotient would be.
double power_of_half(int n) {
  const uint64_t bits = static_cast<uint64_t>(1023 - n) << 52;
  double half;
  std::memcpy(&half, &bits, sizeof half);
  return half;
}

int clamp(int value, int low, int high) { return std::min(std::max(value, low), high); }

// 2^(eighths/8), rounded down, for 0 <= eighths < 120.
int power_of_eighths(int eighths) { return kExp2[eighths & 7] >> (14 - (eighths >> 3)); }

// 8 log2(value / 4096), rounded down, for 0 < value <= kMaxSquared.
int log2_eighths(int value) { return tables.log2[value]; }

int sixteenths(int ratio_units) { return clamp((ratio_units + 32) >> 6, 0, kShapes - 1); }

int log2_k(const QuantizerSettings& q) { return kQualityZero - q.quality; }

int offset_bits(const QuantizerSettings& q, int energy, int deviation_eighths) {
  // cell / (sqrt(2) s K 2^-energy)
  const int eighths = 8 * q.cell_log2 - 4 - deviation_eighths - log2_k(q) + 8 * energy;
  return clamp((eighths + 4) >> 3, 0, kMaxPositionBits);
}

// Orthonormal axes of the colour transform: grey, red against blue, green against both.
constexpr double kAxes[3][3] = {{0.57735026918962576, 0.57735026918962576, 0.57735026918962576},
                                {0.70710678118654752, 0.0, -0.70710678118654752},
                                {0.40824829046386302, -0.81649658092772603, 0.40824829046386302}};

// The renderer leaves out what is not; it becomes a Gaussian without colour.
bool drawable(const GaussianArrays& g, int64_t i) {
  bool finite = std::isfinite(g.rotation[i]);
  for (int k = 0; k < 2; ++k) finite = finite && std::isfinite(g.mean[2 * i + k]) && std::isfinite(g.scale[2 * i + k]);
  for (int c = 0; c < g.channels; ++c) finite = finite && std::isfinite(g.color[i * g.channels + c]);
  return finite && g.scale[2 * i] > 0 && g.scale[2 * i + 1] > 0;
}

int nearest(double value, int low, int high) {
  return static_cast<int>(std::lround(std::min(std::max(value, static_cast<double>(low)), static_cast<double>(high))));
}

}  // namespace

bool QuantizerSettings::valid() const {
  return quality >= 0 && quality <= kMaxQuality && cell_log2 >= 0 && cell_log2 <= kMaxPositionCellLog2 && width > 0 &&
         height > 0 && (channels == 1 || channels == 3);
}

ShapeSteps shape_steps(const QuantizerSettings& q, int energy) {
  // log2(1024 * K 2^-energy / (sqrt(3/4) ln 2)) in eighths; the mean of both log scales is twice as
  // sensitive as one of them, their difference half as much.
  const int eighths = log2_k(q) - 8 * energy + 86;
  return {power_of_eighths(clamp(eighths - 4, 24, 80)), power_of_eighths(clamp(eighths + 4, 24, 80))};
}

int angle_bits(const QuantizerSettings& q, int energy, int ratio_units) {
  // pi (a - 1/a) / (2 K 2^-energy)
  const int eighths = 13 + tables.shape[sixteenths(ratio_units)] - 8 - log2_k(q) + 8 * energy;
  return clamp((eighths + 4) >> 3, 0, kMaxAngleBits);
}

int color_step_eighths(const QuantizerSettings& q, int mean_units) {
  return log2_k(q) - 7 - ((mean_units + 64) >> 7);  // 7/8 stands for log2 sqrt(pi)
}

PositionBits position_bits(const QuantizerSettings& q, const Symbols& s, int mean_units, int ratio_units,
                           int angle_bits) {
  const int direction = (s.angle << 8) >> angle_bits;
  const int cosine2 = tables.cosine2[direction & 255], sine2 = 4096 - cosine2;
  const int flat = tables.squared[std::min(sixteenths(ratio_units), kMaxFlatRatio)];
  // Inverse variances along x and y at fixed y and x, relative to that of the short axis.
  const int along_x = std::max(1, ((cosine2 * flat) >> 12) + sine2);
  const int along_y = std::max(1, ((sine2 * flat) >> 12) + cosine2);
  const int short_axis = (mean_units - ratio_units / 2 + 64) >> 7;
  return {offset_bits(q, s.energy, short_axis - log2_eighths(along_x) / 2),
          offset_bits(q, s.energy, short_axis - log2_eighths(along_y) / 2)};
}

Symbols quantize(const QuantizerSettings& q, const GaussianArrays& g, int64_t i) {
  Symbols s{};
  if (!drawable(g, i)) {
    s.energy = kMinEnergy;
    return s;
  }
  double u = g.scale[2 * i], v = g.scale[2 * i + 1], rotation = g.rotation[i];
  if (u < v) {
    std::swap(u, v);
    rotation += kPi / 2;
  }
  const float* color = g.color + i * g.channels;
  double square = 0;
  for (int c = 0; c < g.channels; ++c) square += static_cast<double>(color[c]) * color[c];
  const double energy = 0.5 * std::log2(square * kPi * u * v + 1e-30);
  s.energy = nearest(energy, kMinEnergy, kMaxEnergy);
  const ShapeSteps steps = shape_steps(q, s.energy);
  const double mean_scale = 0.5 * kOctave * std::log2(u * v);
  s.mean_scale = nearest(mean_scale / steps.mean, kMinMeanScale / steps.mean, kMaxMeanScale / steps.mean);
  s.ratio = nearest(kOctave * std::log2(u / v) / steps.ratio, 0, kMaxRatio / steps.ratio);
  const int mean_units = mean_scale_units(s, steps), ratio = ratio_units(s, steps);
  const int bits = angle_bits(q, s.energy, ratio);
  const double turns = rotation / kPi;
  s.angle = static_cast<int32_t>(std::llround((turns - std::floor(turns)) * (1 << bits))) & ((1 << bits) - 1);
  const double step = std::exp2(color_step_eighths(q, mean_units) / 8.0);
  for (int c = 0; c < g.channels; ++c) {
    double value = color[0];
    if (g.channels == 3) value = kAxes[c][0] * color[0] + kAxes[c][1] * color[1] + kAxes[c][2] * color[2];
    s.color[c] = nearest(value / step, -kMaxColor, kMaxColor);
  }
  const PositionBits position = position_bits(q, s, mean_units, ratio, bits);
  const double cell = std::exp2(q.cell_log2);
  const auto split = [&](double at, int cells, int bits_of_offset, int32_t* index, int32_t* offset) {
    const double fine = std::floor(at / cell * (1 << bits_of_offset));
    const double last = static_cast<double>(cells) * (1 << bits_of_offset) - 1;
    const int64_t whole = static_cast<int64_t>(std::min(std::max(fine, 0.0), last));
    *index = static_cast<int32_t>(whole >> bits_of_offset);
    *offset = static_cast<int32_t>(whole & ((1 << bits_of_offset) - 1));
  };
  split(g.mean[2 * i], q.cells_x(), position.x, &s.cell_x, &s.offset_x);
  split(g.mean[2 * i + 1], q.cells_y(), position.y, &s.cell_y, &s.offset_y);
  return s;
}

Shape shape_of(const QuantizerSettings& q, const Symbols& s) {
  Shape shape;
  shape.steps = shape_steps(q, s.energy);
  shape.mean_units = mean_scale_units(s, shape.steps);
  shape.ratio_units = ratio_units(s, shape.steps);
  shape.angle_bits = angle_bits(q, s.energy, shape.ratio_units);
  shape.position = position_bits(q, s, shape.mean_units, shape.ratio_units, shape.angle_bits);
  return shape;
}

void dequantize(const QuantizerSettings& q, const Symbols& s, const Shape& shape, const GaussianArrays& g, int64_t i) {
  g.scale[2 * i] = static_cast<float>(power_of_two(2 * shape.mean_units + shape.ratio_units));
  g.scale[2 * i + 1] = static_cast<float>(power_of_two(2 * shape.mean_units - shape.ratio_units));
  g.rotation[i] = static_cast<float>(kPi * s.angle * power_of_half(shape.angle_bits));
  const double step = power_of_two(color_step_eighths(q, shape.mean_units) * (2 * kOctave / 8));
  float* color = g.color + i * g.channels;
  if (g.channels == 1) {
    color[0] = static_cast<float>(s.color[0] * step);
  } else {
    for (int c = 0; c < 3; ++c)
      color[c] =
          static_cast<float>((kAxes[0][c] * s.color[0] + kAxes[1][c] * s.color[1] + kAxes[2][c] * s.color[2]) * step);
  }
  const double cell = 1 << q.cell_log2;
  g.mean[2 * i] = static_cast<float>((s.cell_x + (s.offset_x + 0.5) * power_of_half(shape.position.x)) * cell);
  g.mean[2 * i + 1] = static_cast<float>((s.cell_y + (s.offset_y + 0.5) * power_of_half(shape.position.y)) * cell);
}

void fake_quantize(const QuantizerSettings& q, const GaussianArrays& g, const GaussianArrays& out, int64_t i) {
  dequantize(q, quantize(q, g, i), out, i);
  if (g.scale[2 * i] < g.scale[2 * i + 1]) {
    std::swap(out.scale[2 * i], out.scale[2 * i + 1]);
    out.rotation[i] -= static_cast<float>(kPi / 2);
  }
}

bool in_range(const QuantizerSettings& q, const Symbols& s) {
  if (s.energy < kMinEnergy || s.energy > kMaxEnergy) return false;
  const ShapeSteps steps = shape_steps(q, s.energy);
  if (s.mean_scale < kMinMeanScale / steps.mean || s.mean_scale > kMaxMeanScale / steps.mean) return false;
  if (s.ratio < 0 || s.ratio > kMaxRatio / steps.ratio) return false;
  for (int c = 0; c < q.channels; ++c)
    if (s.color[c] < -kMaxColor || s.color[c] > kMaxColor) return false;
  const int mean_units = mean_scale_units(s, steps), ratio = ratio_units(s, steps);
  const int turn_bits = angle_bits(q, s.energy, ratio);
  if (s.angle >> turn_bits != 0) return false;
  const PositionBits position = position_bits(q, s, mean_units, ratio, turn_bits);
  if (s.offset_x >> position.x != 0 || s.offset_y >> position.y != 0) return false;
  return s.cell_x >= 0 && s.cell_x < q.cells_x() && s.cell_y >= 0 && s.cell_y < q.cells_y();
}

namespace {
uint64_t spread(uint32_t value) {
  uint64_t v = value;
  v = (v | v << 16) & 0x0000ffff0000ffffull;
  v = (v | v << 8) & 0x00ff00ff00ff00ffull;
  v = (v | v << 4) & 0x0f0f0f0f0f0f0f0full;
  v = (v | v << 2) & 0x3333333333333333ull;
  return (v | v << 1) & 0x5555555555555555ull;
}

// The even bits of a byte in the lower half of another, the odd ones in its upper half.
struct SplitBytes {
  uint8_t of[256];
  constexpr SplitBytes() : of() {
    for (int byte = 0; byte < 256; ++byte)
      for (int i = 0; i < 4; ++i)
        of[byte] = static_cast<uint8_t>(of[byte] | (byte >> 2 * i & 1) << i | (byte >> (2 * i + 1) & 1) << (i + 4));
  }
};
constexpr SplitBytes kSplit;
}  // namespace

uint64_t morton(uint32_t x, uint32_t y) { return spread(x) | spread(y) << 1; }
void unmorton(uint64_t code, uint32_t* x, uint32_t* y) {
  *x = *y = 0;
  for (int shift = 0; code != 0; code >>= 8, shift += 4) {
    const uint32_t split = kSplit.of[code & 255];
    *x |= (split & 15) << shift;
    *y |= (split >> 4) << shift;
  }
}

}  // namespace smartsplat
