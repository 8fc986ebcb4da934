// One function, code_gaussian, describes the bitstream; it is instantiated with a coder that writes what it is given
// and with one that returns what it reads, so the two directions cannot disagree.
#include "entropy.h"

#include <algorithm>
#include <cstdlib>

#include "priors.h"
#include "rans.h"
#include "threads.h"

namespace smartsplat {
namespace {

int bit_length(uint64_t value) { return value == 0 ? 0 : 64 - __builtin_clzll(value); }
int floor_divide(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
int limit(int64_t value, int high) { return static_cast<int>(std::min<int64_t>(std::max<int64_t>(value, 0), high)); }

// ---- Numbers --------------------------------------------------------------------------------------------

// Small numbers are tokens; of larger ones the token tells the first two binary digits and how many follow.
inline int64_t token_base(int token) { return token < 4 ? token : (2 + (token & 1)) << ((token >> 1) - 1); }
inline int token_digits(int token) { return token < 4 ? 0 : (token >> 1) - 1; }
constexpr int kEscape = kTokens - 1;
constexpr int64_t kEscapeBase = 192;

template <class Coder>
int64_t magnitude(Coder& coder, Distribution& d, int64_t value) {
  int token = kEscape;
  if (value < kEscapeBase) {
    const int length = std::max(bit_length(value), 2);
    token = value < 4 ? static_cast<int>(value) : 2 * (length - 1) + static_cast<int>(value >> (length - 2) & 1);
  }
  token = coder.token(d, token);
  if (token < kEscape) {
    const int64_t base = token_base(token);
    return base + coder.raw(static_cast<uint32_t>(value - base), token_digits(token));
  }
  const int64_t rest = value - kEscapeBase + 1;
  const int digits = static_cast<int>(coder.raw(bit_length(rest) - 1, 5));
  const int64_t first = int64_t{1} << digits;
  return kEscapeBase - 1 + first + coder.raw(static_cast<uint32_t>(rest - first), digits);
}

// The digits of a number below its multiple of 2^shift.
template <class Coder>
int64_t with_digits(Coder& coder, int64_t multiple, int64_t value, int shift) {
  return multiple * (int64_t{1} << shift) + coder.raw(static_cast<uint32_t>(value) & ((1u << shift) - 1), shift);
}

// In bins of 2^shift, of which the first fifteen have a token each.
template <class Coder>
int64_t binned(Coder& coder, Distribution& d, Distribution& beyond, int64_t value, int shift) {
  int64_t bin = value >> shift;
  const int token = coder.token(d, limit(bin, kEscape));
  bin = token == kEscape ? kEscape + magnitude(coder, beyond, bin - kEscape) : token;
  return with_digits(coder, bin, value, shift);
}

// In bins of both signs, of which those from -7 to 6 have a token each.
template <class Coder>
int64_t centred(Coder& coder, Distribution& d, Distribution& beyond, int64_t value, int shift) {
  constexpr int kMiddle = kTokens / 2;
  int64_t bin = value >> shift;
  const int token = coder.token(d, limit(bin + kMiddle, kEscape));
  if (token == 0)
    bin = -kMiddle - magnitude(coder, beyond, -kMiddle - bin);
  else if (token == kEscape)
    bin = kMiddle - 1 + magnitude(coder, beyond, bin - (kMiddle - 1));
  else
    bin = token - kMiddle;
  return with_digits(coder, bin, value, shift);
}

// The sign of a number of which the size is known.
template <class Coder>
int64_t with_sign(Coder& coder, int64_t size, int64_t value) {
  return coder.raw(value < 0, size != 0) ? -size : size;
}

// ---- The model of one group -------------------------------------------------------------------------------

constexpr int kLargestColorClass = 13;

struct Model {
  Distribution of[kContexts];

  // What was coded before.
  int64_t cell = 0, gap1 = 0, gap2 = 0;
  int32_t energy16 = 16;             // running mean of the energy class, sixteenths
  int32_t scale_units = 1024;        // running mean of the scale
  int32_t direction = 0;             // of the last one, 4096ths of half a turn
  bool elongated = false;            // is the last one
  int64_t slope1 = 0;                // how the second colour follows the first, 4096ths
  int64_t slope20 = 0, slope21 = 0;  // and the third the first and the second

  Model() { std::copy(std::begin(priors.of), std::end(priors.of), std::begin(of)); }
};

// One step of least mean squares; 4^(size - 2) is about the square of the colour's length in steps.
void follow(int64_t& slope, int64_t error, int64_t by, int size) {
  const int64_t most = int64_t{4} << size, steepest = 1 << 16;
  error = std::min(std::max(error, -most), most);
  by = std::min(std::max(by, -most), most);
  const int shift = 2 * size + 1;
  slope += (error * by * 4096 + (int64_t{1} << (shift - 1))) >> shift;
  slope = std::min(std::max(slope, -steepest), steepest);
}

// The number of steps, limited so that as many lie between two numbers of units. What was written does already.
int32_t within(int64_t steps, int low, int high, int step) {
  if (steps * step < low) return low / step;
  if (steps * step > high) return high / step;
  return static_cast<int32_t>(steps);
}

template <class Coder>
void code_gaussian(Coder& coder, const QuantizerSettings& q, Model& m, Symbols& s) {
  coder.attribute(kPosition);
  const int crowd = limit(bit_length((m.gap1 + m.gap2) / 2), kGapClasses - 1);
  const int64_t cell = static_cast<int64_t>(morton(static_cast<uint32_t>(s.cell_x), static_cast<uint32_t>(s.cell_y)));
  const int64_t gap = magnitude(coder, m.of[kGap + crowd], cell - m.cell);
  m.cell += gap;
  m.gap2 = m.gap1;
  m.gap1 = gap;
  uint32_t x, y;
  unmorton(static_cast<uint64_t>(m.cell), &x, &y);
  s.cell_x = static_cast<int32_t>(std::min<uint32_t>(x, INT32_MAX));
  s.cell_y = static_cast<int32_t>(std::min<uint32_t>(y, INT32_MAX));

  coder.attribute(kEnergy);
  const int expected = (m.energy16 + 8) >> 4;
  const int lonely = limit(bit_length(gap), kGapClasses - 1);
  const int64_t energy = expected + centred(coder, m.of[kEnergies + lonely], m.of[kBeyond], s.energy - expected, 0);
  s.energy = static_cast<int32_t>(std::min<int64_t>(std::max<int64_t>(energy, kSmallestEnergy), kLargestEnergy));

  coder.attribute(kScale);
  const ShapeSteps steps = shape_steps(q, s.energy);
  const int fineness = bit_length(steps.mean) - 4;  // steps are 8 to 1024
  const int digits = std::max(5 - fineness, 0);     // so that a bin is a quarter to half of an octave
  // A Gaussian with more energy than its neighbours is as a rule larger, too.
  const int guess = m.scale_units + (16 * s.energy - m.energy16) * (5 * kOctave / 128);
  const int guess_steps = floor_divide(guess + steps.mean / 2, steps.mean);
  const int64_t mean_scale =
      guess_steps + centred(coder, m.of[kScales + fineness], m.of[kBeyond + 1], s.mean_scale - guess_steps, digits);
  s.mean_scale = within(mean_scale, kLowestMean, kHighestMean, steps.mean);
  const int mean_units = mean_scale_units(s, steps);
  m.scale_units += (mean_units - m.scale_units) >> 4;
  m.energy16 += (16 * s.energy - m.energy16) >> 4;

  coder.attribute(kRatio);
  const int shape = kSizeClasses * std::max(fineness - 4, 0) + limit((mean_units >> 9) + 2, kSizeClasses - 1);
  s.ratio =
      within(binned(coder, m.of[kRatios + shape], m.of[kBeyond + 2], s.ratio, digits), 0, kLargestRatio, steps.ratio);
  const int ratio = ratio_units(s, steps);

  coder.attribute(kAngle);
  const int turn_bits = angle_bits(q, s.energy, ratio);
  if (turn_bits > 0) {
    // The first digits of the turn from the last direction; half a bin is added, so that none is in the middle of one.
    const int lead = std::min(turn_bits, kLeadBits), rest = turn_bits - lead, whole = 1 << turn_bits;
    const int from = (m.direction >> (kMostAngleBits - turn_bits)) - (whole >> 1 >> lead);
    const int turn = (s.angle - from) & (whole - 1);
    const int token = coder.token(m.of[kTurns + 2 * (lead - 1) + m.elongated], turn >> rest);
    s.angle = static_cast<int32_t>((with_digits(coder, token, turn, rest) + from) & (whole - 1));
  } else {
    s.angle = 0;
  }
  m.direction = s.angle << (kMostAngleBits - turn_bits);
  m.elongated = ratio > kOctave;

  coder.attribute(kColor);
  // The energy class tells the length of the colour in steps: 2^energy / K.
  const int size = limit(s.energy + ((q.quality - kQualityZero) >> 3) + 2, kLargestColorClass);
  const auto color = [](int64_t value) {  // out of range is not hidden by what the field can hold
    return static_cast<int32_t>(std::min<int64_t>(std::max<int64_t>(value, -kLargestColor - 1), kLargestColor + 1));
  };
  const int64_t first = binned(coder, m.of[kFirstColor + std::min(size, kFirstColorClasses - 1)], m.of[kBeyond + 3],
                               std::abs(s.color[0]), std::max(size - 5, 0));
  s.color[0] = color(with_sign(coder, first, s.color[0]));
  if (q.channels == 3) {
    const int lack = limit(size - bit_length(std::abs(s.color[0])), kLackClasses - 1);
    const int context = kLackClasses * std::min(size, kColorClasses - 1) + lack, shift = std::max(size - 7, 0);
    const auto other = [&](int base, int64_t expected, int32_t& value) {
      const int64_t error = value - expected;
      const int64_t large = magnitude(coder, m.of[base + context], std::abs(error) >> shift);
      const int64_t found = with_sign(coder, with_digits(coder, large, std::abs(error), shift), error);
      value = color(expected + found);
      return found;
    };
    const int64_t error1 = other(kSecondColor, (m.slope1 * s.color[0] + 2048) >> 12, s.color[1]);
    follow(m.slope1, error1, s.color[0], size);
    const int64_t error2 =
        other(kThirdColor, (m.slope20 * s.color[0] + m.slope21 * s.color[1] + 2048) >> 12, s.color[2]);
    follow(m.slope20, error2, s.color[0], size);
    follow(m.slope21, error2, s.color[1], size);
  }

  coder.attribute(kPosition);
  const PositionBits bits = position_bits(q, s, mean_units, ratio, turn_bits);
  s.offset_x = static_cast<int32_t>(coder.raw(static_cast<uint32_t>(s.offset_x), bits.x));
  s.offset_y = static_cast<int32_t>(coder.raw(static_cast<uint32_t>(s.offset_y), bits.y));
}

// Calls visit(i, symbols) for each Gaussian of a group.
template <bool kCount, class Visit>
const char* decode(const QuantizerSettings& q, const uint8_t* bytes, int64_t size, int64_t count, double* bits,
                   const Visit& visit) {
  constexpr int64_t kPadding = Decoder<kCount>::kPadding;
  std::vector<uint8_t> padded(size + 2 * kPadding, 0);
  std::copy(bytes, bytes + size, padded.begin() + kPadding);
  Decoder<kCount> coder(padded.data() + kPadding, size, bits);
  std::vector<Model> model(1);  // too large for the stack
  for (int64_t i = 0; i < count; ++i) {
    Symbols s{};
    code_gaussian(coder, q, model[0], s);
    if (coder.overrun()) return "the coded Gaussians end too soon";
    // Everything else is limited where it is decoded.
    bool good = s.cell_x < q.cells_x() && s.cell_y < q.cells_y();
    for (int c = 0; c < q.channels; ++c) good = good && s.color[c] >= -kLargestColor && s.color[c] <= kLargestColor;
    if (!good) return "a Gaussian is out of range";
    visit(i, s);
  }
  return coder.leftover() ? "there is more than the last Gaussian" : nullptr;
}

}  // namespace

std::string encode_group(const QuantizerSettings& q, const Symbols* symbols, int64_t count) {
  Encoder coder;
  std::vector<Model> model(1);
  for (int64_t i = 0; i < count; ++i) {
    Symbols s = symbols[i];
    code_gaussian(coder, q, model[0], s);
  }
  return coder.finish(static_cast<size_t>(count));
}

const char* decode_group(const QuantizerSettings& q, const uint8_t* bytes, int64_t size, int64_t count,
                         Symbols* symbols, double* bits) {
  const auto keep = [&](int64_t i, const Symbols& s) { symbols[i] = s; };
  return bits ? decode<true>(q, bytes, size, count, bits, keep) : decode<false>(q, bytes, size, count, bits, keep);
}

const char* decode_gaussians(const QuantizerSettings& q, const std::vector<CodedGroup>& groups,
                             const GaussianArrays& out, int threads) {
  std::vector<int64_t> first(groups.size() + 1, 0);
  for (size_t i = 0; i < groups.size(); ++i) first[i + 1] = first[i] + groups[i].count;
  std::vector<const char*> problems(groups.size(), nullptr);
  ThreadPool pool(static_cast<int>(std::min<size_t>(threads, groups.size())));
  pool.run(static_cast<int64_t>(groups.size()), [&](int64_t index, int) {
    const CodedGroup& group = groups[index];
    const auto write = [&](int64_t i, const Symbols& s) { dequantize(q, s, out, first[index] + i); };
    problems[index] = decode<false>(q, group.bytes, group.size, group.count, nullptr, write);
  });
  for (const char* problem : problems)
    if (problem) return problem;
  return nullptr;
}

}  // namespace smartsplat
