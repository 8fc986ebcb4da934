// The noise that grain is made of: docs/format.md, "Grain".
#pragma once

#include <cstdint>

#include "render/kernels.h"

namespace smartsplat {

// [kGrainSide][kGrainStride], the first band in the lowest byte, the next above it. Each row is followed by its own
// beginning, so that a tile's width can be read from anywhere. Made at the first call.
const int32_t* grain_noise();

}  // namespace smartsplat
