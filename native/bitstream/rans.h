// Adaptive distributions of tokens, and the coder of tokens and bypass bits: docs/format.md, "Entropy coding".
//
// Tokens go through a rANS coder: decoding one takes a multiplication and no division, and finding it is a comparison
// of sixteen numbers at once, with nothing for the processor to predict. Digits that no model could foretell are
// stored as they are, from the end of the bytes backwards.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace smartsplat {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are read as they lie in memory");

// What the coded bits are spent on, for `smartsplat info`.
enum Attribute { kPosition, kEnergy, kScale, kRatio, kAngle, kColor, kAttributes };

constexpr int kTokens = 16;
constexpr int kFrequencyBits = 15, kWhole = 1 << kFrequencyBits;
constexpr uint32_t kMinState = 1 << 16;
constexpr int kFirstShift = 5, kSecondShiftFrom = 16, kThirdShiftFrom = 64;

// What the distribution of a token that is certain has below each token, and the shift by which another moves there.
struct LearningTables {
  alignas(16) int16_t certain[kTokens][kTokens];
  uint8_t shift[kThirdShiftFrom + 1];

  constexpr LearningTables() : certain(), shift() {
    for (int token = 0; token < kTokens; ++token)
      for (int i = 0; i < kTokens; ++i) certain[token][i] = static_cast<int16_t>(i <= token ? i : kWhole - kTokens + i);
    for (int seen = 0; seen <= kThirdShiftFrom; ++seen)
      shift[seen] = static_cast<uint8_t>(kFirstShift + (seen >= kSecondShiftFrom) + (seen >= kThirdShiftFrom));
  }
};
inline constexpr LearningTables kLearning;

// How often each token is expected, in 2^15ths, by the sums of those before it.
struct alignas(16) Distribution {
  uint16_t below[kTokens + 1];
  uint8_t seen;

  int frequency(int token) const { return below[token + 1] - below[token]; }

  int find(int slot) const {
#if defined(__SSE2__)
    const __m128i* low = reinterpret_cast<const __m128i*>(below);
    const __m128i at = _mm_set1_epi16(static_cast<int16_t>(slot));
    const __m128i above = _mm_packs_epi16(_mm_cmpgt_epi16(low[0], at), _mm_cmpgt_epi16(low[1], at));
    return __builtin_ctz(static_cast<unsigned>(_mm_movemask_epi8(above)) | 1u << kTokens) - 1;
#else
    int token = 0;
    while (below[token + 1] <= slot) ++token;
    return token;
#endif
  }

  // Moves by 1/32 towards a token that is certain, by less once more were seen. Each keeps a frequency of at least 1:
  // `certain` rises by at least 1 from entry to entry, and so does what it is mixed with.
  void learn(int token) {
    typedef int16_t Half __attribute__((vector_size(16), may_alias));
    const auto* certain = reinterpret_cast<const Half*>(kLearning.certain[token]);
    auto* now = reinterpret_cast<Half*>(below);
    const int16_t shift = kLearning.shift[seen];
    for (int i = 0; i < 2; ++i) now[i] += (certain[i] - now[i]) >> shift;
    seen = static_cast<uint8_t>(seen + (seen < kThirdShiftFrom));
  }
};

constexpr int kWindowBits = 57;  // of bypass bits that a decoder has at hand after a refill

class RansEncoder {
 public:
  static constexpr bool kReads = false;
  int token(Distribution& d, int token) {
    steps_.push_back({d.below[token], static_cast<uint16_t>(d.frequency(token))});
    d.learn(token);
    return token;
  }
  uint32_t bypass(uint32_t value, int bits) {
    for (int i = 0; i < bits; ++i, ++taken_) {
      if (taken_ % 8 == 0) tail_.push_back(0);
      tail_.back() = static_cast<char>(tail_.back() | (value >> i & 1) << taken_ % 8);
    }
    return value;
  }
  void refill() {}
  void attribute(Attribute) {}
  bool overrun() const { return false; }  // it does not run out of bytes

  // At least `size` bytes. The decoder runs forwards, so the tokens are coded from the last one to the first.
  std::string finish(size_t size) const {
    uint32_t state = kMinState;
    std::string head;  // backwards
    for (size_t i = steps_.size(); i-- > 0;) {
      const Step step = steps_[i];
      if (state >= static_cast<uint64_t>(step.frequency) << (32 - kFrequencyBits)) {
        head.push_back(static_cast<char>(state >> 8));
        head.push_back(static_cast<char>(state));
        state >>= 16;
      }
      state = (state / step.frequency << kFrequencyBits) + state % step.frequency + step.below;
    }
    for (int shift = 24; shift >= 0; shift -= 8) head.push_back(static_cast<char>(state >> shift));
    std::reverse(head.begin(), head.end());
    head.resize(std::max(head.size(), size - std::min(size, tail_.size())), '\0');
    return head.append(tail_.rbegin(), tail_.rend());
  }

 private:
  struct Step {
    uint16_t below, frequency;
  };
  std::vector<Step> steps_;
  std::string tail_;  // backwards
  int64_t taken_ = 0;
};

template <bool kCount>
class RansDecoder {
 public:
  static constexpr bool kReads = true;
  // What one Gaussian may read past the bytes at either end, before `overrun` is asked.
  static constexpr int64_t kPadding = 256;

  // The bytes with kPadding zeros on both sides.
  static std::vector<uint8_t> padded(const uint8_t* bytes, int64_t size) {
    std::vector<uint8_t> result(static_cast<size_t>(size + 2 * kPadding), 0);
    std::copy(bytes, bytes + size, result.begin() + kPadding);
    return result;
  }

  // `bytes` lie inside of what `padded` returns.
  RansDecoder(const uint8_t* bytes, int64_t size, double* bits)
      : next_(bytes + sizeof state_), end_(bytes + size), bits_(bits) {
    std::memcpy(&state_, bytes, sizeof state_);
  }

  int token(Distribution& d, int) {
    const int slot = static_cast<int>(state_ & (kWhole - 1));
    const int token = d.find(slot), below = d.below[token], frequency = d.below[token + 1] - below;
    if (kCount) bits_[attribute_] += kFrequencyBits - std::log2(frequency);
    state_ = frequency * (state_ >> kFrequencyBits) + slot - below;
    uint16_t word;
    std::memcpy(&word, next_, sizeof word);
    // Without a branch, which nothing could predict: compilers make one of a choice.
    const uint32_t small = state_ < kMinState;
    state_ ^= (state_ ^ (state_ << 16 | word)) & (0 - small);
    next_ += small * sizeof word;
    d.learn(token);
    return token;
  }

  // At most 31 bits, and kWindowBits from one refill to the next.
  uint32_t bypass(uint32_t, int bits) {
    if (kCount) bits_[attribute_] += bits;
    const uint32_t value = static_cast<uint32_t>(window_) & ((1u << bits) - 1);
    window_ >>= bits;
    taken_ += bits;
    return value;
  }
  void refill() {
    std::memcpy(&window_, end_ - (taken_ >> 3) - sizeof window_, sizeof window_);
    window_ = __builtin_bswap64(window_) >> (taken_ & 7);
  }
  void attribute(Attribute attribute) { attribute_ = attribute; }

  bool overrun() const { return next_ > end_ - ((taken_ + 7) >> 3); }
  // After the last token: anything but zeros between the two ends, or another state than the encoder's first.
  bool leftover() const {
    const uint8_t* last = end_ - (taken_ >> 3);  // behind the byte that was taken from in part
    if (taken_ & 7 && *--last >> (taken_ & 7) != 0) return true;
    return state_ != kMinState || std::any_of(next_, last, [](uint8_t byte) { return byte != 0; });
  }

 private:
  const uint8_t *next_, *end_;
  int64_t taken_ = 0;    // bypass bits
  uint64_t window_ = 0;  // those that come next
  uint32_t state_;
  double* bits_;
  Attribute attribute_ = kPosition;
};

}  // namespace smartsplat
