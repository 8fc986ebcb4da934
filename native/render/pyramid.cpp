// Between the levels of an image: enlarging by two, and its adjoint. Compiled once for each instruction set.
//
// A Gaussian that is wide against the pixels need not be evaluated at each of them. One with a standard deviation of at
// least 4 * 2^level pixels along its shorter axis is evaluated on a grid of one sample for 2^level pixels a side, and
// the grid is enlarged step by step, linearly: sample j of a level lies a quarter between the samples floor(j / 2) and
// its neighbour of the level above. Enlarging blurs: by a variance of 3/4 of a pixel at full size, of (4^level - 1) / 4
// altogether. So the Gaussian is made narrower by as much before it is evaluated (project.cpp), and comes out as it
// should, up to 2e-4 of its value, and 5e-4 at the edge of its window, whose kink is rounded off.
#include "render/kernel_functions.h"
#include "render/simd.h"

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

// Both directions go in strips of two vectors of the larger level, which are one of the smaller. Weights along an axis
// are a quarter and three quarters; all four of a sample are multiplied by 16 until the end, then by kScale.
constexpr float kScale = 1.0f / 16;

// Two vectors of a row of the larger level.
struct Strip {
  Floats left, right;
};

// The samples 2n and 2n + 1 for the samples n of a vector, along x: they lie between n - 1, n and n + 1.
inline Strip widen(const float* small) {
  const Floats middle = (3.0f * kScale) * load(small);
  const Floats even = fma(kScale, load(small - 1), middle), odd = fma(kScale, load(small + 1), middle);
  return {zip_low(even, odd), zip_high(even, odd)};
}

// `to` begins at even samples.
template <int C>
void enlarge(Area from, const float* small, Area to, float* large) {
  const int first = to.x / 2 - from.x, above = to.y / 2 - 1 - from.y, samples = to.columns() * kColumnWidth;
  for (int x = 0; x < samples; x += 2 * kLanes) {
    const int right = to.offset(x + kLanes, 0) - to.offset(x, 0);
    const bool whole = x + kLanes < samples;
    const auto store_row = [&](float* out, Strip a, Strip b) {
      store(out, a.left + b.left);
      if (whole) store(out + right, a.right + b.right);
    };
    for (int c = 0; c < C; ++c) {
      const float* in = small + above * from.row_stride + c * from.channel_stride + first + x / 2;
      float* out = large + to.offset(x, 0) + c * to.channel_stride;
      Strip before = widen(in), row = widen(in + from.row_stride);
      in += 2 * from.row_stride;
      for (int j = 0; j < to.height; j += 2, in += from.row_stride, out += 2 * to.row_stride) {
        const Strip next = widen(in), three_quarters = {3.0f * row.left, 3.0f * row.right};
        store_row(out, before, three_quarters);
        if (j + 1 < to.height) store_row(out + to.row_stride, next, three_quarters);
        before = row;
        row = next;
      }
    }
  }
}

// What the larger level's rows j to j + 3 add to a row of the smaller one: a row's weight is 0 outside of the area.
struct Taps {
  int offset[4];
  float weight[4];

  Taps(Area area, int j) {
    for (int i = 0; i < 4; ++i) {
      const bool inside = j + i >= 0 && j + i < area.height;
      offset[i] = inside ? (j + i) * area.row_stride : 0;
      weight[i] = inside ? (i == 0 || i == 3 ? kScale : 3.0f * kScale) : 0.0f;
    }
  }
  inline Floats sum(const float* column) const {
    return fma(weight[0], load(column + offset[0]), weight[1] * load(column + offset[1])) +
           fma(weight[2], load(column + offset[2]), weight[3] * load(column + offset[3]));
  }
};

template <int C>
void reduce(Area from, const float* large, Area to, float* small) {
  const int first = from.x / 2 - to.x, samples = from.columns() * kColumnWidth;
  for (int n = ((from.y + 1) >> 1) - 1; n <= (from.y + from.height) >> 1; ++n) {
    const Taps taps(from, 2 * n - 1 - from.y);
    for (int c = 0; c < C; ++c) {
      // Sample m takes the odd one of m - 1, both of m and the even one of m + 1. `out` is a sample behind.
      float* out = small + (n - to.y) * to.row_stride + c * to.channel_stride + first - 1;
      Floats last_odd{}, last_three_quarters{};
      for (int x = 0; x < samples + kLanes; x += 2 * kLanes, out += kLanes) {
        const float* at = large + from.offset(x, 0) + c * from.channel_stride;
        const Floats left = x < samples ? taps.sum(at) : Floats{};
        const Floats right =
            x + kLanes < samples ? taps.sum(at + from.offset(x + kLanes, 0) - from.offset(x, 0)) : Floats{};
        const Floats even = unzip_even(left, right), odd = unzip_odd(left, right);
        const Floats three_quarters = fma(3.0f, even + odd, lanes_from<kLanes - 1>(last_odd, odd));
        store(out, load(out) + (even + lanes_from<kLanes - 1>(last_three_quarters, three_quarters)));
        last_odd = odd;
        last_three_quarters = three_quarters;
      }
    }
  }
}

}  // namespace

void enlarge(int channels, Area from, const float* small, Area to, float* large) {
  if (channels == 1)
    enlarge<1>(from, small, to, large);
  else
    enlarge<3>(from, small, to, large);
}

void reduce(int channels, Area from, const float* large, Area to, float* small) {
  if (channels == 1)
    reduce<1>(from, large, to, small);
  else
    reduce<3>(from, large, to, small);
}

}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
