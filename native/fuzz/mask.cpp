// A part of a mask: levels from bytes, and bytes from levels, which come back.
#include "bitstream/mask.h"

#include <vector>

#include "fuzz/input.h"

using namespace smartsplat;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const bool encodes = input.take<uint8_t>() % 2 == 1;
  const int64_t rows = 1 + input.take<uint8_t>(), columns = 1 + input.take<uint8_t>();
  std::vector<uint8_t> levels(static_cast<size_t>(rows * columns));
  if (!encodes) {
    const int64_t mixed = input.take<uint16_t>() % 2048;
    if (mixed <= kMaxBlocksPerByte * input.size())
      if (decode_mask(input.bytes(), input.size(), mixed, rows, columns, levels.data()) == nullptr)
        for (uint8_t level : levels) require(level <= kMaxLevel);
    return 0;
  }
  for (size_t i = 0; i < levels.size() && input.size() > 0; ++i)
    levels[i] = input.bytes()[i % static_cast<size_t>(input.size())] & kMaxLevel;
  int64_t mixed = 0;
  const std::string coded = encode_mask(levels.data(), rows, columns, mixed);
  std::vector<uint8_t> again(levels.size());
  require(decode_mask(reinterpret_cast<const uint8_t*>(coded.data()), static_cast<int64_t>(coded.size()), mixed, rows,
                      columns, again.data()) == nullptr);
  require(levels == again);
  return 0;
}
