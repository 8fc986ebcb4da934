// One function, code_gaussian, describes the bitstream; it is instantiated with a coder that writes what it is given
// and with one that returns what it reads, so the two directions cannot disagree.
#include "bitstream/entropy.h"

#include <algorithm>
#include <cstdlib>

#include "bitstream/priors.h"
#include "bitstream/rans.h"
#include "core/threads.h"

// A group's decoder has its state in registers, which a call would spill: a quarter of its time.
#define INLINED inline __attribute__((always_inline))

namespace smartsplat {
namespace {

int bit_length(uint64_t value) { return 63 - __builtin_clzll(2 * value + 1); }
int floor_divide(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
int limit(int64_t value, int high) { return static_cast<int>(std::min<int64_t>(std::max<int64_t>(value, 0), high)); }

// ---- Numbers --------------------------------------------------------------------------------------------

// Small numbers are tokens; of larger ones the token gives the first two binary digits and how many follow.
constexpr int kEscape = kTokens - 1;
constexpr uint8_t kTokenBase[kEscape] = {0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128};
constexpr uint8_t kTokenDigits[kEscape] = {0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6};
constexpr int64_t kEscapeBase = 192;

template <class Coder>
__attribute__((noinline)) int64_t escaped(Coder& coder, int64_t value) {
  const int64_t rest = value - kEscapeBase + 1;
  coder.refill();  // 36 bits, and afterwards what the caller counts on
  const int digits = static_cast<int>(coder.bypass(bit_length(rest) - 1, 5));
  const int64_t first = int64_t{1} << digits;
  const int64_t decoded = kEscapeBase - 1 + first + coder.bypass(static_cast<uint32_t>(rest - first), digits);
  coder.refill();
  return decoded;
}

template <class Coder>
INLINED int64_t magnitude(Coder& coder, Distribution& d, int64_t value) {
  int token = kEscape;
  if (value < kEscapeBase) {
    const int length = std::max(bit_length(value), 2);
    token = value < 4 ? static_cast<int>(value) : 2 * (length - 1) + static_cast<int>(value >> (length - 2) & 1);
  }
  token = coder.token(d, token);
  if (__builtin_expect(token == kEscape, 0)) return escaped(coder, value);
  const int64_t base = kTokenBase[token];
  return base + coder.bypass(static_cast<uint32_t>(value - base), kTokenDigits[token]);
}

// The digits of a number below its multiple of 2^shift, as bypass bits.
template <class Coder>
INLINED int64_t with_digits(Coder& coder, int64_t multiple, int64_t value, int shift) {
  return multiple * (int64_t{1} << shift) + coder.bypass(static_cast<uint32_t>(value) & ((1u << shift) - 1), shift);
}

// In buckets of 2^shift, of which the first fifteen have a token each; the last token escapes to a magnitude.
template <class Coder>
INLINED int64_t bucketed(Coder& coder, Distribution& d, Distribution& escape, int64_t value, int shift) {
  int64_t bucket = value >> shift;
  const int token = coder.token(d, limit(bucket, kEscape));
  bucket = token == kEscape ? kEscape + magnitude(coder, escape, bucket - kEscape) : token;
  return with_digits(coder, bucket, value, shift);
}

// In buckets of both signs, of which those from -7 to 6 have a token each; the others escape.
template <class Coder>
INLINED int64_t centred(Coder& coder, Distribution& d, Distribution& escape, int64_t value, int shift) {
  constexpr int kMiddle = kTokens / 2;
  int64_t bucket = value >> shift;
  const int token = coder.token(d, limit(bucket + kMiddle, kEscape));
  if (token == 0)
    bucket = -kMiddle - magnitude(coder, escape, -kMiddle - bucket);
  else if (token == kEscape)
    bucket = kMiddle - 1 + magnitude(coder, escape, bucket - (kMiddle - 1));
  else
    bucket = token - kMiddle;
  return with_digits(coder, bucket, value, shift);
}

// The sign of a number of which the size is known.
template <class Coder>
INLINED int64_t with_sign(Coder& coder, int64_t size, int64_t value) {
  const int64_t sign = -static_cast<int64_t>(coder.bypass(value < 0, size != 0));
  return (size ^ sign) - sign;  // without a branch that nothing could predict
}

// ---- The model of one group -------------------------------------------------------------------------------

constexpr int kMaxColorClass = 13;

// Predicts one colour channel from another by least mean squares, as a factor of 2^-12.
struct CrossChannel {
  int64_t factor = 0;

  // One step; 4^(size - 2) is about the square of the colour's length in steps.
  void learn(int64_t error, int64_t by, int size) {
    const int64_t max_step = int64_t{4} << size, max_factor = 1 << 16;
    error = std::min(std::max(error, -max_step), max_step);
    by = std::min(std::max(by, -max_step), max_step);
    const int shift = 2 * size + 1;
    factor += (error * by * 4096 + (int64_t{1} << (shift - 1))) >> shift;
    factor = std::min(std::max(factor, -max_factor), max_factor);
  }
};

struct Model {
  Distribution contexts[kContexts];

  // What was coded before.
  int64_t cell = 0, gap1 = 0, gap2 = 0;  // along the Morton curve; the last two gaps
  int32_t energy16 = 16;                 // running mean of the energy class, sixteenths
  int32_t scale_units = 1024;            // running mean of the scale
  int32_t direction = 0;                 // of the last one, 4096ths of half a turn
  bool elongated = false;                // is the last one
  CrossChannel second_by_first, third_by_first, third_by_second;

  Model() { std::copy(std::begin(priors.contexts), std::end(priors.contexts), std::begin(contexts)); }
};

// The number of steps, limited so that as many lie between two numbers of units. What was written does already.
int32_t within(int64_t steps, int low, int high, int step) {
  if (steps * step < low) return low / step;
  if (steps * step > high) return high / step;
  return static_cast<int32_t>(steps);
}

// What the coded symbols of a Gaussian say of its shape.
struct CodedShape : Shape {
  int fineness;  // class of the steps
  int digits;    // of a scale or a ratio below its bucket, which is a quarter to half of an octave
};

// ---- One function for each attribute, in the order of the stream -------------------------------------------

// The position cell, as a gap along the Morton curve, which is returned.
template <class Coder>
INLINED int64_t code_cell(Coder& coder, Model& m, Symbols& s) {
  coder.attribute(kPosition);
  const int context = limit(bit_length((m.gap1 + m.gap2) / 2), kGapClasses - 1);
  int64_t cell = 0;
  if (!Coder::kReads)
    cell = static_cast<int64_t>(morton(static_cast<uint32_t>(s.cell_x), static_cast<uint32_t>(s.cell_y)));
  const int64_t gap = magnitude(coder, m.contexts[kGap + context], cell - m.cell);
  m.cell += gap;
  m.gap2 = m.gap1;
  m.gap1 = gap;
  uint32_t x, y;
  unmorton(static_cast<uint64_t>(m.cell), &x, &y);
  s.cell_x = static_cast<int32_t>(std::min<uint32_t>(x, INT32_MAX));
  s.cell_y = static_cast<int32_t>(std::min<uint32_t>(y, INT32_MAX));
  return gap;
}

// The energy class, around its running mean.
template <class Coder>
INLINED void code_energy(Coder& coder, Model& m, int64_t gap, Symbols& s) {
  coder.attribute(kEnergy);
  const int expected = (m.energy16 + 8) >> 4;
  const int context = limit(bit_length(gap), kGapClasses - 1);
  const int64_t energy =
      expected + centred(coder, m.contexts[kEnergies + context], m.contexts[kEnergyEscape], s.energy - expected, 0);
  s.energy = static_cast<int32_t>(std::min<int64_t>(std::max<int64_t>(energy, kMinEnergy), kMaxEnergy));
}

// The mean of both log scales. A Gaussian with more energy than its neighbours is as a rule larger, too.
template <class Coder>
INLINED void code_scale(Coder& coder, const QuantizerSettings& q, Model& m, Symbols& s, CodedShape& shape) {
  coder.attribute(kScale);
  shape.steps = shape_steps(q, s.energy);
  shape.fineness = bit_length(shape.steps.mean) - 4;  // steps are 8 to 1024
  shape.digits = std::max(5 - shape.fineness, 0);
  const int guess = m.scale_units + (16 * s.energy - m.energy16) * (5 * kOctave / 128);
  const int guess_steps = floor_divide(guess + shape.steps.mean / 2, shape.steps.mean);
  const int64_t mean_scale = guess_steps + centred(coder, m.contexts[kScales + shape.fineness],
                                                   m.contexts[kScaleEscape], s.mean_scale - guess_steps, shape.digits);
  s.mean_scale = within(mean_scale, kMinMeanScale, kMaxMeanScale, shape.steps.mean);
  shape.mean_units = mean_scale_units(s, shape.steps);
  m.scale_units += (shape.mean_units - m.scale_units) >> 4;
  m.energy16 += (16 * s.energy - m.energy16) >> 4;
}

// The ratio of the scales.
template <class Coder>
INLINED void code_ratio(Coder& coder, Model& m, Symbols& s, CodedShape& shape) {
  coder.attribute(kRatio);
  const int context =
      kSizeClasses * std::max(shape.fineness - 4, 0) + limit((shape.mean_units >> 9) + 2, kSizeClasses - 1);
  const int64_t ratio = bucketed(coder, m.contexts[kRatios + context], m.contexts[kRatioEscape], s.ratio, shape.digits);
  s.ratio = within(ratio, 0, kMaxRatio, shape.steps.ratio);
  shape.ratio_units = ratio_units(s, shape.steps);
}

// The angle, as a turn from the last direction: its first digits are a token. Half a bucket is added, so that no turn
// is in the middle of one.
template <class Coder>
INLINED void code_angle(Coder& coder, const QuantizerSettings& q, Model& m, Symbols& s, CodedShape& shape) {
  coder.attribute(kAngle);
  shape.angle_bits = angle_bits(q, s.energy, shape.ratio_units);
  const int turn_bits = shape.angle_bits;
  if (turn_bits > 0) {
    const int lead = std::min(turn_bits, kLeadBits), rest = turn_bits - lead, whole = 1 << turn_bits;
    const int from = (m.direction >> (kMaxAngleBits - turn_bits)) - (whole >> 1 >> lead);
    const int turn = (s.angle - from) & (whole - 1);
    const int token = coder.token(m.contexts[kTurns + 2 * (lead - 1) + m.elongated], turn >> rest);
    s.angle = static_cast<int32_t>((with_digits(coder, token, turn, rest) + from) & (whole - 1));
  } else {
    s.angle = 0;
  }
  m.direction = s.angle << (kMaxAngleBits - turn_bits);
  m.elongated = shape.ratio_units > kOctave;
}

// Out of range is not hidden by what the field can hold.
int32_t as_color(int64_t value) {
  return static_cast<int32_t>(std::min<int64_t>(std::max<int64_t>(value, -kMaxColor - 1), kMaxColor + 1));
}

// The second or third colour, as an error against what the others predict; returns the error.
template <class Coder>
INLINED int64_t code_chroma(Coder& coder, Model& m, int first_context, int size, int64_t expected, int32_t first,
                            int32_t& value) {
  const int shortfall = limit(size - bit_length(std::abs(first)), kShortfallClasses - 1);
  const int context = first_context + kShortfallClasses * std::min(size, kColorClasses - 1) + shortfall;
  const int shift = std::max(size - 7, 0);
  const int64_t error = value - expected;
  const int64_t bucket = magnitude(coder, m.contexts[context], std::abs(error) >> shift);
  const int64_t decoded = with_sign(coder, with_digits(coder, bucket, std::abs(error), shift), error);
  value = as_color(expected + decoded);
  return decoded;
}

template <class Coder>
INLINED void code_color(Coder& coder, const QuantizerSettings& q, Model& m, Symbols& s) {
  coder.attribute(kColor);
  // The energy class gives the length of the colour in steps: 2^energy / K.
  const int size = limit(s.energy + ((q.quality - kQualityZero) >> 3) + 2, kMaxColorClass);
  const int64_t first = bucketed(coder, m.contexts[kFirstColor + std::min(size, kFirstColorClasses - 1)],
                                 m.contexts[kColorEscape], std::abs(s.color[0]), std::max(size - 5, 0));
  s.color[0] = as_color(with_sign(coder, first, s.color[0]));
  if (q.channels != 3) return;
  const int64_t second = (m.second_by_first.factor * s.color[0] + 2048) >> 12;
  const int64_t error1 = code_chroma(coder, m, kSecondColor, size, second, s.color[0], s.color[1]);
  m.second_by_first.learn(error1, s.color[0], size);
  const int64_t third = (m.third_by_first.factor * s.color[0] + m.third_by_second.factor * s.color[1] + 2048) >> 12;
  const int64_t error2 = code_chroma(coder, m, kThirdColor, size, third, s.color[0], s.color[2]);
  m.third_by_first.learn(error2, s.color[0], size);
  m.third_by_second.learn(error2, s.color[1], size);
}

// Where in its cell the mean lies.
template <class Coder>
INLINED void code_offset(Coder& coder, const QuantizerSettings& q, CodedShape& shape, Symbols& s) {
  coder.attribute(kPosition);
  shape.position = position_bits(q, s, shape.mean_units, shape.ratio_units, shape.angle_bits);
  s.offset_x = static_cast<int32_t>(coder.bypass(static_cast<uint32_t>(s.offset_x), shape.position.x));
  s.offset_y = static_cast<int32_t>(coder.bypass(static_cast<uint32_t>(s.offset_y), shape.position.y));
}

// Between two refills there are at most 24, 35 and 28 bypass bits, but for those of escapes.
template <class Coder>
INLINED void code_gaussian(Coder& coder, const QuantizerSettings& q, Model& m, Symbols& s, CodedShape& shape) {
  coder.refill();
  const int64_t gap = code_cell(coder, m, s);
  code_energy(coder, m, gap, s);
  code_scale(coder, q, m, s, shape);
  code_ratio(coder, m, s, shape);
  code_angle(coder, q, m, s, shape);
  coder.refill();
  code_color(coder, q, m, s);
  coder.refill();
  code_offset(coder, q, shape, s);
}

// Calls visit(i, symbols, shape) for each Gaussian of a group.
template <bool kCount, class Visit>
const char* decode(const QuantizerSettings& q, const uint8_t* bytes, int64_t size, int64_t count, double* bits,
                   const Visit& visit) {
  using Decoder = RansDecoder<kCount>;
  const std::vector<uint8_t> padded = Decoder::padded(bytes, size);
  Decoder coder(padded.data() + Decoder::kPadding, size, bits);
  std::vector<Model> model(1);  // too large for the stack
  for (int64_t i = 0; i < count; ++i) {
    Symbols s{};
    CodedShape shape;
    code_gaussian(coder, q, model[0], s, shape);
    if (coder.overrun()) return "the coded Gaussians end too soon";
    // Everything else is limited where it is decoded.
    bool good = s.cell_x < q.cells_x() && s.cell_y < q.cells_y();
    for (int c = 0; c < q.channels; ++c) good = good && s.color[c] >= -kMaxColor && s.color[c] <= kMaxColor;
    if (!good) return "a Gaussian is out of range";
    visit(i, s, shape);
  }
  return coder.leftover() ? "there is more than the last Gaussian" : nullptr;
}

}  // namespace

std::string encode_group(const QuantizerSettings& q, const Symbols* symbols, int64_t count) {
  RansEncoder coder;
  std::vector<Model> model(1);
  for (int64_t i = 0; i < count; ++i) {
    Symbols s = symbols[i];
    CodedShape shape;
    code_gaussian(coder, q, model[0], s, shape);
  }
  return coder.finish(static_cast<size_t>(count));
}

const char* decode_group(const QuantizerSettings& q, const uint8_t* bytes, int64_t size, int64_t count,
                         Symbols* symbols, double* bits) {
  const auto keep = [&](int64_t i, const Symbols& s, const Shape&) { symbols[i] = s; };
  return bits ? decode<true>(q, bytes, size, count, bits, keep) : decode<false>(q, bytes, size, count, bits, keep);
}

const char* decode_gaussians(const QuantizerSettings& q, const uint8_t* bytes, int64_t size, int64_t count,
                             const GaussianArrays& out) {
  const auto write = [&](int64_t i, const Symbols& s, const Shape& shape) { dequantize(q, s, shape, out, i); };
  return decode<false>(q, bytes, size, count, nullptr, write);
}

}  // namespace smartsplat
