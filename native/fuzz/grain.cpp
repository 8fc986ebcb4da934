// Levels of grain: from bytes, and bytes from levels, which come back.
#include "bitstream/grain.h"

#include <vector>

#include "fuzz/input.h"

using namespace smartsplat;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const bool encodes = input.take<uint8_t>() % 2 == 1;
  const int64_t bands = 1 + input.take<uint8_t>() % 3;
  const int64_t rows = 1 + input.take<uint8_t>() % 64, columns = 1 + input.take<uint8_t>() % 64;
  std::vector<uint8_t> levels(static_cast<size_t>(bands * rows * columns));
  if (!encodes) {
    if (decode_grain(input.bytes(), input.size(), bands, rows, columns, levels.data()) == nullptr)
      for (uint8_t level : levels) require(level <= 15);
    return 0;
  }
  for (size_t i = 0; i < levels.size() && input.size() > 0; ++i)
    levels[i] = input.bytes()[i % static_cast<size_t>(input.size())] & 15;
  const std::string coded = encode_grain(levels.data(), bands, rows, columns);
  std::vector<uint8_t> again(levels.size());
  require(decode_grain(reinterpret_cast<const uint8_t*>(coded.data()), static_cast<int64_t>(coded.size()), bands, rows,
                       columns, again.data()) == nullptr);
  require(levels == again);
  return 0;
}
