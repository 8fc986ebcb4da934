// The rows of a tile that a splat can reach. Compiled once for each instruction set.
#pragma once

#include "render/kernels.h"
#include "render/simd.h"

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

constexpr int kMaxSlices = kMaxColumns * kColumnWidth / kLanes;  // columns of lanes in an area

// Rows beyond the exact ellipse that are visited all the same, against rounding.
constexpr float kRowMargin = 0.05f;

// A splat as a tile sees it: for each column of lanes the rows that its ellipse (E8) can reach, in tile coordinates.
// For long thin splats the rectangle is mostly empty: this made such images several times faster.
struct Patch {
  int first, last;  // columns of lanes; those of number i begin at begin[i - first]
  int begin[kMaxSlices + kLanes], end[kMaxSlices + kLanes];

  inline Patch(const Splat& s, Area area) {
    const int x_begin = s.x_begin > area.x ? s.x_begin - area.x : 0;
    const int x_end = s.x_end < area.x + area.width ? s.x_end - area.x : area.width;
    const int y_begin = s.y_begin > area.y ? s.y_begin - area.y : 0;
    const int y_end = s.y_end < area.y + area.height ? s.y_end - area.y : area.height;
    first = x_begin / kLanes;
    last = (x_end + kLanes - 1) / kLanes;
    const Floats above = all(static_cast<float>(y_begin - 1)), bottom = all(static_cast<float>(y_end - 1));
    const Floats middle = all(s.mean_y - 0.5f - static_cast<float>(area.y)), spread = all(1.0f / s.precision_y);
    const Floats start = kLanes * lane_index() + all(static_cast<float>(area.x) + 0.5f - s.mean_x);
    for (int i = first; i < last; i += kLanes) {  // one lane for each column of lanes
      const Floats left = start + all(static_cast<float>(i * kLanes)), right = left + (kLanes - 1.0f);
      const Floats nearest = maximum(left, minimum(right, Floats{}));
      const Floats room = maximum(kCutoff * kCutoff - nearest * nearest * s.precision_x, Floats{});
      const Floats half_extent = square_root(room * spread) + kRowMargin;
      const Floats a = -s.shear * left, b = -s.shear * right;
      const Floats low = middle + minimum(a, b) - half_extent, high = middle + maximum(a, b) + half_extent;
      // Converted only between the patch's own rows: a far or absurd splat leaves the range of int.
      store(begin + i - first, __builtin_convertvector(maximum(minimum(low, bottom), above) + 1.0f, Ints));
      store(end + i - first, __builtin_convertvector(maximum(minimum(high, bottom), above) + 1.0f, Ints));
    }
  }
};

}  // namespace
}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
