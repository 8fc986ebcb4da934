// The colours that Gaussians start with: a weighted median over each one's disc (E18-E20).

#pragma once

#include <cstdint>

namespace smartsplat {

// Writes the initial colour of each of `count` Gaussians, in [0, 1].
//
//   pixels    [height, width, channels] 8-bit levels, channels 1 or 3, height and width >= 1
//   mean      [count, 2] x, y in pixels, the centre of pixel (column i, row j) is (i + 0.5, j + 0.5)
//   scale_1d  [count] radius of the disc and standard deviation of the weight, pixels
//   color     [count, channels] written
//
// The median is the lower one, and exact for weights rounded to 2^-20; discs of more than 24 pixels
// radius are sampled on a regular lattice of at most about 1000 pixels. The result does not depend
// on `threads`. NaN and infinite input give some colour of the picture.
void weighted_median_colors(const uint8_t* pixels, int64_t height, int64_t width, int channels, const float* mean,
                            const float* scale_1d, int64_t count, float* color, int threads);

}  // namespace smartsplat
