// One function, code_gaussian, describes the bitstream; it is instantiated with a coder that writes the
// bits it is given and with one that returns the bits it reads, so the two directions cannot disagree.
#include "entropy.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "threads.h"

namespace smartsplat {
namespace {

// ---- Adaptive bits ------------------------------------------------------------------------------------

constexpr int kProbabilityBits = 12;
constexpr int kFinalZeros = 4;  // zero bytes at the end that a file may leave out
constexpr int kFastLimit = 20, kSlowLimit = 160;

struct Reciprocals {
  int32_t of[kSlowLimit + 1];  // 2^15 / (n + 3/2)
  Reciprocals() {
    for (int n = 0; n <= kSlowLimit; ++n) of[n] = 65536 / (2 * n + 3);
  }
};
const Reciprocals reciprocal;

// Estimates the probability of a 1 by the mean of two running averages with different memories; while
// it has seen few bits each average is the plain one (Krichevsky-Trofimov), so that it learns fast.
struct Bit {
  uint16_t fast = 1 << 15, slow = 1 << 15;
  uint16_t seen = 0;

  uint32_t probability() const {  // of a 1, in (0, 2^12)
    const uint32_t p = (static_cast<uint32_t>(fast) + slow) >> (17 - kProbabilityBits);
    return p < 1 ? 1 : (p > (1u << kProbabilityBits) - 1 ? (1u << kProbabilityBits) - 1 : p);
  }
  void learn(int bit) {
    // Products stay below 2^31, so that every language computes them alike.
    const int32_t goal = bit ? 65535 : 0;
    fast = static_cast<uint16_t>(fast + ((goal - fast) * reciprocal.of[std::min<int>(seen, kFastLimit)] >> 15));
    slow = static_cast<uint16_t>(slow + ((goal - slow) * reciprocal.of[seen] >> 15));
    if (seen < kSlowLimit) ++seen;
  }
};

// ---- Range coder: 32-bit range, bytes leave from the top, carries ripple through a cache ----------------

class Encoder {
 public:
  int bit(Bit& model, int value) {
    const uint32_t bound = (range_ >> kProbabilityBits) * model.probability();
    if (value) {
      range_ = bound;
    } else {
      low_ += bound;
      range_ -= bound;
    }
    model.learn(value);
    normalize();
    return value;
  }
  uint32_t raw(uint32_t value, int bits) {
    if (bits == 0) return 0;
    range_ >>= bits;
    low_ += static_cast<uint64_t>(value) * range_;
    normalize();
    return value;
  }
  void attribute(Attribute) {}

  std::string finish() {
    // Any number in [low, low + range) will do: take the one with the most zeros at its end, which need
    // not be stored because the decoder reads zeros beyond the end.
    uint64_t value = low_;
    for (int bits = 32; bits > 0; --bits) {
      const uint64_t mask = (uint64_t{1} << bits) - 1;
      const uint64_t rounded = (low_ + mask) & ~mask;
      if (rounded < low_ + range_) {
        value = rounded;
        break;
      }
    }
    low_ = value;
    for (int i = 0; i < 5; ++i) shift();
    std::string result = bytes_.substr(1);  // the first byte only ever held a carry, which cannot happen
    for (int i = 0; i < kFinalZeros && !result.empty() && result.back() == 0; ++i) result.pop_back();
    return result;
  }

 private:
  void normalize() {
    while (range_ < (1u << 24)) {
      range_ <<= 8;
      shift();
    }
  }
  void shift() {
    if (low_ < 0xff000000u || low_ >= (uint64_t{1} << 32)) {
      const int carry = static_cast<int>(low_ >> 32);
      bytes_.push_back(static_cast<char>(cache_ + carry));
      for (; pending_ > 0; --pending_) bytes_.push_back(static_cast<char>(0xff + carry));
      cache_ = static_cast<uint8_t>(low_ >> 24);
    } else {
      ++pending_;
    }
    low_ = (low_ & 0x00ffffffu) << 8;
  }

  uint64_t low_ = 0;
  uint32_t range_ = 0xffffffffu;
  uint8_t cache_ = 0;
  int64_t pending_ = 0;
  std::string bytes_;
};

template <bool kCount>
class Decoder {
 public:
  // `bytes` must be followed by kPadding zeros.
  Decoder(const uint8_t* bytes, int64_t size, double* bits)
      : next_(bytes + 4), end_(bytes + size), bits_(bits), code_(word(bytes)) {}
  int bit(Bit& model, int) {
    const uint32_t p = model.probability();
    const uint32_t bound = (range_ >> kProbabilityBits) * p;
    const int value = code_ < bound;
    if (value) {
      range_ = bound;
    } else {
      code_ -= bound;
      range_ -= bound;
    }
    if (kCount) bits_[attribute_] += kProbabilityBits - std::log2(value ? p : (1u << kProbabilityBits) - p);
    model.learn(value);
    normalize();
    return value;
  }
  uint32_t raw(uint32_t, int bits) {
    if (bits == 0) return 0;
    range_ >>= bits;
    const uint32_t value = std::min(code_ / range_, (1u << bits) - 1);
    code_ -= value * range_;
    if (kCount) bits_[attribute_] += bits;
    normalize();
    return value;
  }
  void attribute(Attribute attribute) { attribute_ = attribute; }
  bool overrun() const { return next_ > end_ + kFinalZeros; }
  // Zeros may follow, as they may be missing.
  bool leftover() const {
    return next_ < end_ && std::any_of(next_, end_, [](uint8_t byte) { return byte != 0; });
  }

 private:
  static uint32_t word(const uint8_t* at) {
    return static_cast<uint32_t>(at[0]) << 24 | static_cast<uint32_t>(at[1]) << 16 | static_cast<uint32_t>(at[2]) << 8 |
           at[3];
  }
  // As many whole bytes as leave the range above 2^24, without a branch that nothing could predict.
  void normalize() {
    const int bits = __builtin_clz(range_) & ~7;
    code_ = static_cast<uint32_t>((static_cast<uint64_t>(code_) << 32 | word(next_)) << bits >> 32);
    range_ <<= bits;
    next_ += bits >> 3;
  }

  const uint8_t *next_, *end_;
  double* bits_;
  uint32_t range_ = 0xffffffffu, code_;
  Attribute attribute_ = kPosition;
};

// ---- Numbers --------------------------------------------------------------------------------------------

int bit_length(uint64_t value) { return value == 0 ? 0 : 64 - __builtin_clzll(value); }

// Elias gamma with adaptive bits: the length in unary, then the digits, the first two of them adaptive.
struct Magnitude {
  static constexpr int kLengths = 48;
  Bit longer[kLengths];
  Bit digit[kLengths][3];

  template <class Coder>
  uint64_t code(Coder& coder, uint64_t value) {
    const int wanted = bit_length(value + 1);
    int length = 1;
    while (length < kLengths - 1 && coder.bit(longer[length - 1], wanted > length)) ++length;
    uint64_t result = 1;
    int left = length - 1;
    for (int tree = 0; left > 0 && tree < 3; --left) {
      const int bit = coder.bit(digit[length][tree], static_cast<int>((value + 1) >> (left - 1)) & 1);
      result = result << 1 | bit;
      tree = 2 * tree + 1 + bit;
    }
    while (left > 0) {
      const int some = std::min(left, 8);
      left -= some;
      result = result << some | coder.raw(static_cast<uint32_t>((value + 1) >> left) & ((1u << some) - 1), some);
    }
    return result - 1;
  }
};

constexpr int64_t kLargestNumber = 1 << 30;  // leaves room for adding a prediction

struct SignedNumber {
  Bit nonzero, negative;
  Magnitude magnitude;

  template <class Coder>
  int32_t code(Coder& coder, int32_t value) {
    if (!coder.bit(nonzero, value != 0)) return 0;
    const int minus = coder.bit(negative, value < 0);
    const int64_t size = static_cast<int64_t>(magnitude.code(coder, std::abs(static_cast<int64_t>(value)) - 1)) + 1;
    return static_cast<int32_t>(std::min<int64_t>(size, kLargestNumber) * (minus ? -1 : 1));
  }
};

// ---- The model of one group -------------------------------------------------------------------------------

constexpr int kStepClasses = 8, kColorClasses = 14, kGapClasses = 8;

struct Model {
  Magnitude gap[kGapClasses];
  SignedNumber energy[kGapClasses];
  SignedNumber scale[kStepClasses];
  Magnitude ratio[kStepClasses];
  SignedNumber color[kMaxChannels][kColorClasses];

  // What was coded before.
  uint64_t cell = 0, gap1 = 0, gap2 = 0;
  int32_t energy16 = 16;       // running mean of the energy class, sixteenths
  int32_t scale_units = 1024;  // running mean of the scale
};

int floor_divide(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
int limit(int value, int high) { return std::min(std::max(value, 0), high); }

template <class Coder>
void code_gaussian(Coder& coder, const QuantizerSettings& q, Model& m, Symbols& s) {
  coder.attribute(kPosition);
  const int crowd = limit(bit_length((m.gap1 + m.gap2) / 2), kGapClasses - 1);
  const uint64_t cell = morton(static_cast<uint32_t>(s.cell_x), static_cast<uint32_t>(s.cell_y));
  const uint64_t gap = m.gap[crowd].code(coder, cell - m.cell);
  m.cell += gap;
  m.gap2 = m.gap1;
  m.gap1 = gap;
  uint32_t x, y;
  unmorton(m.cell, &x, &y);
  s.cell_x = static_cast<int32_t>(std::min<uint32_t>(x, INT32_MAX));
  s.cell_y = static_cast<int32_t>(std::min<uint32_t>(y, INT32_MAX));

  coder.attribute(kEnergy);
  const int expected = (m.energy16 + 8) >> 4;
  s.energy = expected + m.energy[limit(bit_length(gap), kGapClasses - 1)].code(coder, s.energy - expected);
  s.energy = std::min(std::max(s.energy, kSmallestEnergy), kLargestEnergy);

  coder.attribute(kScale);
  const ShapeSteps steps = shape_steps(q, s.energy);
  const int fineness = bit_length(steps.mean) - 4;  // steps are 8 to 1024
  // A Gaussian with more energy than its neighbours is as a rule larger, too.
  const int guess = m.scale_units + (16 * s.energy - m.energy16) * (5 * kOctave / 128);
  const int guess_steps = floor_divide(guess + steps.mean / 2, steps.mean);
  s.mean_scale = guess_steps + m.scale[fineness].code(coder, s.mean_scale - guess_steps);
  s.mean_scale = std::min(std::max(s.mean_scale, kLowestMean / steps.mean), kHighestMean / steps.mean);
  const int mean_units = mean_scale_units(s, steps);
  m.scale_units += (mean_units - m.scale_units) >> 4;
  m.energy16 += (16 * s.energy - m.energy16) >> 4;

  coder.attribute(kRatio);
  s.ratio =
      static_cast<int32_t>(std::min<uint64_t>(m.ratio[fineness].code(coder, s.ratio), kLargestRatio / steps.ratio));
  const int ratio = ratio_units(s, steps);

  coder.attribute(kAngle);
  const int turn_bits = angle_bits(q, s.energy, ratio);
  s.angle = static_cast<int32_t>(coder.raw(static_cast<uint32_t>(s.angle), turn_bits));

  coder.attribute(kColor);
  // The energy class tells the length of the colour in steps: 2^energy / K.
  const int size = limit(s.energy + ((q.quality - kQualityZero) >> 3) + 2, kColorClasses - 1);
  for (int c = 0; c < q.channels; ++c) s.color[c] = m.color[c][size].code(coder, s.color[c]);

  coder.attribute(kPosition);
  const PositionBits bits = position_bits(q, s, mean_units, ratio, turn_bits);
  s.offset_x = static_cast<int32_t>(coder.raw(static_cast<uint32_t>(s.offset_x), bits.x));
  s.offset_y = static_cast<int32_t>(coder.raw(static_cast<uint32_t>(s.offset_y), bits.y));
}

// Bytes that one Gaussian cannot read past before its end is checked: each adaptive bit takes at most two, a raw number
// two, and a Gaussian has fewer than 400 of both.
constexpr int64_t kPadding = 1024;

// Calls visit(i, symbols) for each Gaussian of a group.
template <bool kCount, class Visit>
const char* decode(const QuantizerSettings& q, const uint8_t* bytes, int64_t size, int64_t count, double* bits,
                   const Visit& visit) {
  std::vector<uint8_t> padded(size + kPadding, 0);
  std::copy(bytes, bytes + size, padded.begin());
  Decoder<kCount> coder(padded.data(), size, bits);
  std::vector<Model> model(1);  // too large for the stack
  for (int64_t i = 0; i < count; ++i) {
    Symbols s{};
    code_gaussian(coder, q, model[0], s);
    // Everything else is limited where it is decoded.
    bool good = s.cell_x < q.cells_x() && s.cell_y < q.cells_y();
    for (int c = 0; c < q.channels; ++c) good = good && s.color[c] >= -kLargestColor && s.color[c] <= kLargestColor;
    if (!good) return "a Gaussian is out of range";
    if (coder.overrun()) return "the coded Gaussians end too soon";
    visit(i, s);
  }
  return coder.leftover() ? "there are bytes after the last Gaussian" : nullptr;
}

}  // namespace

std::string encode_group(const QuantizerSettings& q, const Symbols* symbols, int64_t count) {
  Encoder coder;
  std::vector<Model> model(1);
  for (int64_t i = 0; i < count; ++i) {
    Symbols s = symbols[i];
    code_gaussian(coder, q, model[0], s);
  }
  return coder.finish();
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
