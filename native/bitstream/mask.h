// Masks <-> bytes: opacity in sixteen levels, coded without loss. docs/format.md, "Masks".
#pragma once

#include <cstdint>
#include <string>

namespace smartsplat {

constexpr int kMaskBlock = 8;         // pixels: side of the blocks that are coded as a whole if all levels are equal
constexpr int kMaxLevel = 15;         // opaque
constexpr int kMaxBlocksPerByte = 4;  // mixed ones: bounds the work that a short file can ask for

// A part of a mask: `levels` [rows, columns], 0 to kMaxLevel, of which there are at least one. Sets the number of
// blocks that are neither transparent nor opaque.
std::string encode_mask(const uint8_t* levels, int64_t rows, int64_t columns, int64_t& mixed_blocks);

// Writes every level. Returns nullptr, or what is wrong with the bytes.
const char* decode_mask(const uint8_t* bytes, int64_t size, int64_t mixed_blocks, int64_t rows, int64_t columns,
                        uint8_t* levels);

}  // namespace smartsplat
