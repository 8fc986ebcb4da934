// As in entropy.cpp, one function describes both directions.
#include "bitstream/grain.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "bitstream/priors.h"
#include "bitstream/rans.h"

namespace smartsplat {
namespace {

// A level is coded by what it is expected to be: the farther from that, the less likely it is at first.
struct GrainModel {
  Distribution levels[kTokens];

  GrainModel() {
    for (int expected = 0; expected < kTokens; ++expected) {
      char digits[kTokens + 1] = {};
      for (int token = 0; token < kTokens; ++token)
        digits[token] = "0123456789abcdef"[std::min(2 * std::abs(token - expected), kTokens - 1)];
      levels[expected] = prior(digits);
    }
  }
};

// The mean of the neighbours to the left and above, rounded up; of one if there is but one, 0 at the first.
int neighbours(const uint8_t* band, int64_t columns, int64_t y, int64_t x) {
  const uint8_t* at = band + y * columns + x;
  if (x == 0 && y == 0) return 0;
  const int left = at[x > 0 ? -1 : -columns], above = at[y > 0 ? -columns : -1];
  return (left + above + 1) >> 1;
}

// A band differs from what its neighbours say about as the finer band before it does.
template <class Coder>
bool code_levels(Coder& coder, GrainModel& model, int64_t bands, int64_t rows, int64_t columns, uint8_t* levels) {
  for (int64_t band = 0; band < bands; ++band) {
    uint8_t* own = levels + band * rows * columns;
    const uint8_t* finer = own - rows * columns;
    for (int64_t y = 0; y < rows; ++y) {
      for (int64_t x = 0; x < columns; ++x) {
        int expected = neighbours(own, columns, y, x);
        if (band > 0) expected += finer[y * columns + x] - neighbours(finer, columns, y, x);
        uint8_t& level = own[y * columns + x];
        level = static_cast<uint8_t>(coder.token(model.levels[std::clamp(expected, 0, kTokens - 1)], level));
        if (coder.overrun()) return false;
      }
    }
  }
  return true;
}

}  // namespace

std::string encode_grain(const uint8_t* levels, int64_t bands, int64_t rows, int64_t columns) {
  RansEncoder coder;
  GrainModel model;
  std::vector<uint8_t> copy(levels, levels + bands * rows * columns);
  code_levels(coder, model, bands, rows, columns, copy.data());
  return coder.finish(0);
}

const char* decode_grain(const uint8_t* bytes, int64_t size, int64_t bands, int64_t rows, int64_t columns,
                         uint8_t* levels) {
  using Decoder = RansDecoder<false>;
  const std::vector<uint8_t> padded = Decoder::padded(bytes, size);
  Decoder coder(padded.data() + Decoder::kPadding, size, nullptr);
  GrainModel model;
  if (!code_levels(coder, model, bands, rows, columns, levels)) return "its levels end too soon";
  return coder.leftover() ? "there is more than the last level" : nullptr;
}

}  // namespace smartsplat
