// Between the levels of a picture: enlarging by two, and its adjoint. Compiled once for each instruction set.
//
// A Gaussian that is wide against the pixels need not be evaluated at each of them. One of at least kWide * 2^level
// standard deviations along its shorter axis is evaluated on a grid of one sample for 2^level pixels a side, and the
// grid is enlarged step by step, linearly: sample j of a level lies a quarter between the samples floor(j / 2) and its
// neighbour of the level above. Enlarging blurs: by a variance of 3/4 of a pixel at full size, of (4^level - 1) / 4
// altogether. So the Gaussian is made narrower by as much before it is evaluated (project.cpp), and comes out as it
// should, up to 2e-4 of its value, and 2e-3 at the edge of its window, whose kink is rounded off.
#include "pixels.h"

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

constexpr int kMargin = 2 * kColumn;  // zeros on both sides of a row
constexpr int kRow = kMostColumns * kColumn + 2 * kMargin;

// Calls visit(first sample) for each column of memory with some of the samples [begin, end) of an area's rows.
template <class Visit>
inline void for_each_column(Area area, int begin, int end, const Visit& visit) {
  const int last = (end + kColumn - 1) / kColumn < area.columns() ? (end + kColumn - 1) / kColumn : area.columns();
  for (int column = begin > 0 ? begin / kColumn : 0; column < last; ++column) visit(column * kColumn);
}

template <int C>
void enlarge(Area from, const float* small, Area to, float* large) {
  // Sample 2n of the row to make lies between n - 1 and n of the small one, 2n + 1 between n and n + 1.
  const int first = to.x / 2 - from.x, last = first + (to.width + 1) / 2;
  float row[C][kRow] = {};
  for (int j = 0; j < to.height; ++j) {
    const int y = to.y + j, above = ((y + 1) >> 1) - 1 - from.y;
    const float upper = y & 1 ? 0.75f : 0.25f, lower = 1.0f - upper;
    for_each_column(from, first - 1, last + 1, [&](int x) {
      for (int c = 0; c < C; ++c)
        for (int i = 0; i < kColumn; i += kLanes) {
          const float* at = small + from.offset(x, above, C) + c * kColumn + i;
          store(row[c] + kMargin + x + i, upper * load(at) + lower * load(at + C * kColumn));
        }
    });
    for (int c = 0; c < C; ++c) {
      const float* middle = row[c] + kMargin + first;
      for (int n = 0; 2 * n < to.width; n += kLanes) {
        const Floats here = 0.75f * load(middle + n);
        const Floats even = 0.25f * load(middle + n - 1) + here, odd = 0.25f * load(middle + n + 1) + here;
        store(large + to.offset(2 * n, j, C) + c * kColumn, zip_low(even, odd));
        if (2 * n + kLanes < to.columns() * kColumn)
          store(large + to.offset(2 * n + kLanes, j, C) + c * kColumn, zip_high(even, odd));
      }
    }
  }
}

template <int C>
void reduce(Area from, const float* large, Area to, float* small) {
  const int first = from.x / 2 - to.x, count = (from.width + 1) / 2;
  for (int j = 0; j < from.height; ++j) {
    const int y = from.y + j, above = ((y + 1) >> 1) - 1 - to.y;
    const float upper = y & 1 ? 0.75f : 0.25f, lower = 1.0f - upper;
    for (int c = 0; c < C; ++c) {
      float even[kRow] = {}, odd[kRow] = {}, row[kRow] = {};  // sample n of a row at kMargin + n
      for (int n = 0; n < count; n += kLanes) {
        const Floats a = load(large + from.offset(2 * n, j, C) + c * kColumn);
        const bool whole = 2 * n + kLanes < from.columns() * kColumn;
        const Floats b = whole ? load(large + from.offset(2 * n + kLanes, j, C) + c * kColumn) : Floats{};
        store(even + kMargin + n, unzip_even(a, b));
        store(odd + kMargin + n, unzip_odd(a, b));
      }
      for (int n = -kLanes; n < count + 1; n += kLanes) {
        const float* e = even + kMargin + n;
        const float* o = odd + kMargin + n;
        store(row + kMargin + n, 0.25f * (load(o - 1) + load(e + 1)) + 0.75f * (load(e) + load(o)));
      }
      for_each_column(to, first - 1, first + count + 1, [&](int x) {
        for (int i = 0; i < kColumn; i += kLanes) {
          const Floats value = load(row + kMargin + x + i - first);
          float* at = small + to.offset(x, above, C) + c * kColumn + i;
          store(at, load(at) + upper * value);
          store(at + C * kColumn, load(at + C * kColumn) + lower * value);
        }
      });
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
