// Levels of grain <-> bytes, coded without loss. docs/format.md, "Grain".
#pragma once

#include <cstdint>
#include <string>

namespace smartsplat {

// `levels` [bands, rows, columns], 0 to 15.
std::string encode_grain(const uint8_t* levels, int64_t bands, int64_t rows, int64_t columns);

// Writes every level. Returns nullptr, or what is wrong with the bytes.
const char* decode_grain(const uint8_t* bytes, int64_t size, int64_t bands, int64_t rows, int64_t columns,
                         uint8_t* levels);

}  // namespace smartsplat
