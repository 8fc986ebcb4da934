// The colours that Gaussians start with: a weighted median over each one's disc (E18-E20).
#pragma once

#include <cstdint>

#include "core/gaussian_arrays.h"

namespace smartsplat {

// Writes the initial colour of each of `count` Gaussians, in [0, 1].
//
//   mean    [count, 2] x, y in pixels, the centre of pixel (column i, row j) is (i + 0.5, j + 0.5)
//   radius  [count] of the disc, and standard deviation of the weight, pixels
//   color   [count, image.channels] written
//
// The median is the lower one, and exact for weights rounded to 2^-20; discs of more than 24 pixels
// radius are sampled on a regular lattice of at most about 1000 pixels. The result does not depend
// on `threads`. NaN and infinite input give some colour of the image.
void median_color(const Image& image, const float* mean, const float* radius, int64_t count, float* color, int threads);

}  // namespace smartsplat
