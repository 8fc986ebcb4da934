// Symbols <-> bytes: adaptive rANS coding of tokens, integers only. docs/format.md, "Entropy coding".
#pragma once

#include <cstdint>
#include <string>

#include "bitstream/quantize.h"

namespace smartsplat {

// `symbols` are in the order of their cells along the Morton curve. Groups are independent.
std::string encode_group(const QuantizerSettings& q, const Symbols* symbols, int64_t count);

// Returns nullptr, or what is wrong with the bytes. If `bits` is not null, adds to bits[attribute].
const char* decode_group(const QuantizerSettings& q, const uint8_t* bytes, int64_t size, int64_t count,
                         Symbols* symbols, double* bits);

// decode_group and dequantize in one pass: the Gaussians of a group into `out`. Returns nullptr, or what is wrong.
const char* decode_gaussians(const QuantizerSettings& q, const uint8_t* bytes, int64_t size, int64_t count,
                             const GaussianArrays& out);

}  // namespace smartsplat
