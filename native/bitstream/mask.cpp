// As in entropy.cpp, one function describes both directions.
#include "bitstream/mask.h"

#include <algorithm>
#include <vector>

#include "bitstream/priors.h"
#include "bitstream/rans.h"

namespace smartsplat {
namespace {

enum Kind : uint8_t { kTransparent, kOpaque, kMixed, kKinds };

// Of a level: none of its pixel, some, all.
int state(int level) { return level == 0 ? 0 : level == kMaxLevel ? 2 : 1; }
constexpr int kStates = 3;

// The kind of a block is coded by those of three neighbours, a level by the states of four.
struct MaskModel {
  Distribution kinds[kKinds * kKinds * kKinds];
  Distribution levels[kStates * kStates * kStates * kStates];

  MaskModel() {
    std::fill(std::begin(kinds), std::end(kinds), prior("000fffffffffffff"));
    std::fill(std::begin(levels), std::end(levels), prior("0555555555555550"));
  }
};

// The part of a mask that is coded, as rows of levels; whatever lies outside counts as transparent.
class Mask {
 public:
  Mask(int64_t rows, int64_t columns)
      : rows_(rows),
        columns_(columns),
        block_columns_((columns + kMaskBlock - 1) / kMaskBlock),
        block_rows_((rows + kMaskBlock - 1) / kMaskBlock),
        kinds_(static_cast<size_t>(block_rows_ * block_columns_)) {}

  // Kinds of the levels, of which mixed ones are counted.
  int64_t find_kinds(const uint8_t* levels) {
    int64_t mixed = 0;
    for_each_block([&](int64_t block, int64_t top, int64_t left, int64_t bottom, int64_t right) {
      const uint8_t first = levels[top * columns_ + left];
      bool equal = first == 0 || first == kMaxLevel;
      for (int64_t y = top; y < bottom && equal; ++y)
        equal = std::all_of(levels + y * columns_ + left, levels + y * columns_ + right,
                            [&](uint8_t level) { return level == first; });
      kinds_[static_cast<size_t>(block)] = !equal ? kMixed : first == 0 ? kTransparent : kOpaque;
      mixed += !equal;
    });
    return mixed;
  }

  // Codes the kinds of all blocks; of at most so many mixed ones. False if the bytes are damaged.
  template <class Coder>
  bool code_kinds(Coder& coder, MaskModel& model, int64_t mixed_blocks) {
    for (int64_t y = 0; y < block_rows_; ++y)
      for (int64_t x = 0; x < block_columns_; ++x) {
        const int context = (kind(y, x - 1) * kKinds + kind(y - 1, x)) * kKinds + kind(y - 1, x + 1);
        uint8_t& at = kinds_[static_cast<size_t>(y * block_columns_ + x)];
        const int token = coder.token(model.kinds[context], at);
        mixed_blocks -= token == kMixed;
        if (token >= kKinds || mixed_blocks < 0 || coder.overrun()) return false;
        at = static_cast<uint8_t>(token);
      }
    return mixed_blocks == 0;
  }

  // Codes the levels of mixed blocks, row by row of pixels, and fills in those of the others.
  template <class Coder>
  bool code_levels(Coder& coder, MaskModel& model, uint8_t* levels) {
    const std::vector<uint8_t> nothing(static_cast<size_t>(columns_), 0);
    for (int64_t y = 0; y < rows_; ++y) {
      uint8_t* row = levels + y * columns_;
      const uint8_t* above = y > 0 ? row - columns_ : nothing.data();
      for (int64_t x = 0; x < columns_; x += kMaskBlock) {
        const int64_t end = std::min(x + kMaskBlock, columns_);
        const int kind_here = kind(y / kMaskBlock, x / kMaskBlock);
        if (kind_here != kMixed)
          std::fill(row + x, row + end, static_cast<uint8_t>(kind_here == kOpaque ? kMaxLevel : 0));
        else if (!code_row(coder, model, row, above, x, end))
          return false;
      }
    }
    return true;
  }

 private:
  template <class Coder>
  bool code_row(Coder& coder, MaskModel& model, uint8_t* row, const uint8_t* above, int64_t x, int64_t end) const {
    int left = x > 0 ? state(row[x - 1]) : 0;
    int above_left = x > 0 ? state(above[x - 1]) : 0, above_here = state(above[x]);
    for (; x < end; ++x) {
      const int above_right = x + 1 < columns_ ? state(above[x + 1]) : 0;
      const int context = ((left * kStates + above_left) * kStates + above_here) * kStates + above_right;
      row[x] = static_cast<uint8_t>(coder.token(model.levels[context], row[x]));
      left = state(row[x]);
      above_left = above_here;
      above_here = above_right;
    }
    return !coder.overrun();
  }

  int kind(int64_t y, int64_t x) const {
    const bool inside = y >= 0 && x >= 0 && x < block_columns_;
    return inside ? kinds_[static_cast<size_t>(y * block_columns_ + x)] : int{kTransparent};
  }

  template <class Visit>
  void for_each_block(const Visit& visit) const {
    for (int64_t y = 0; y < block_rows_; ++y)
      for (int64_t x = 0; x < block_columns_; ++x)
        visit(y * block_columns_ + x, y * kMaskBlock, x * kMaskBlock, std::min((y + 1) * kMaskBlock, rows_),
              std::min((x + 1) * kMaskBlock, columns_));
  }

  const int64_t rows_, columns_, block_columns_, block_rows_;
  std::vector<uint8_t> kinds_;
};

}  // namespace

std::string encode_mask(const uint8_t* levels, int64_t rows, int64_t columns, int64_t& mixed_blocks) {
  Mask mask(rows, columns);
  mixed_blocks = mask.find_kinds(levels);
  RansEncoder coder;
  std::vector<MaskModel> model(1);  // too large for the stack
  std::vector<uint8_t> copy(levels, levels + rows * columns);
  mask.code_kinds(coder, model[0], mixed_blocks);
  mask.code_levels(coder, model[0], copy.data());
  return coder.finish(static_cast<size_t>((mixed_blocks + kMaxBlocksPerByte - 1) / kMaxBlocksPerByte));
}

const char* decode_mask(const uint8_t* bytes, int64_t size, int64_t mixed_blocks, int64_t rows, int64_t columns,
                        uint8_t* levels) {
  using Decoder = RansDecoder<false>;
  const std::vector<uint8_t> padded = Decoder::padded(bytes, size);
  Decoder coder(padded.data() + Decoder::kPadding, size, nullptr);
  std::vector<MaskModel> model(1);
  Mask mask(rows, columns);
  if (!mask.code_kinds(coder, model[0], mixed_blocks)) return "the kinds of its blocks make no sense";
  if (!mask.code_levels(coder, model[0], levels)) return "its levels end too soon";
  return coder.leftover() ? "there is more than the last level" : nullptr;
}

}  // namespace smartsplat
