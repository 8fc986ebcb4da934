// Between the levels of a picture: enlarging by two, and its adjoint. Compiled once for each instruction set.
//
// A Gaussian that is wide against the pixels need not be evaluated at each of them. One with a standard deviation of at
// least 4 * 2^level pixels along its shorter axis is evaluated on a grid of one sample for 2^level pixels a side, and
// the grid is enlarged step by step, linearly: sample j of a level lies a quarter between the samples floor(j / 2) and
// its neighbour of the level above. Enlarging blurs: by a variance of 3/4 of a pixel at full size, of (4^level - 1) / 4
// altogether. So the Gaussian is made narrower by as much before it is evaluated (project.cpp), and comes out as it
// should, up to 2e-4 of its value, and 5e-4 at the edge of its window, whose kink is rounded off.
#include "pixels.h"

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

constexpr int kMargin = 2 * kColumn;  // zeros on both sides of a row
constexpr int kRow = kMostColumns * kColumn + 2 * kMargin;
constexpr int kWideRow = kMostColumns * kColumn + kColumn;  // floats of a widened row

// Calls visit(first sample) for each column of memory with some of the samples [begin, end) of an area's rows.
template <class Visit>
inline void for_each_column(Area area, int begin, int end, const Visit& visit) {
  const int last = (end + kColumn - 1) / kColumn < area.columns() ? (end + kColumn - 1) / kColumn : area.columns();
  for (int column = begin > 0 ? begin / kColumn : 0; column < last; ++column) visit(column * kColumn);
}

// A row of a level enlarged along x: samples 2n and 2n + 1 lie between n - 1, n and n + 1. `wide` [C, kColumn *
// columns] begins with sample 2 * first.
template <int C>
inline void widen(Area from, const float* small, int y, int first, int columns, float* wide) {
  float row[kRow];
  for (int c = 0; c < C; ++c) {
    for_each_column(from, first - 1, first + columns * (kColumn / 2) + 1, [&](int x) {
      for (int i = 0; i < kColumn; i += kLanes)
        store(row + kMargin + x + i, load(small + from.offset(x, y, C) + c * kColumn + i));
    });
    const float* middle = row + kMargin + first;
    for (int n = 0; 2 * n < columns * kColumn; n += kLanes) {
      const Floats here = 0.75f * load(middle + n);
      const Floats even = 0.25f * load(middle + n - 1) + here, odd = 0.25f * load(middle + n + 1) + here;
      store(wide + c * kWideRow + 2 * n, zip_low(even, odd));
      store(wide + c * kWideRow + 2 * n + kLanes, zip_high(even, odd));
    }
  }
}

// Where row y of a level lies between two rows of the one above: number `above` and the next.
struct Between {
  int above;
  float upper, lower;
  explicit Between(int y) : above(((y + 1) >> 1) - 1), upper(y & 1 ? 0.75f : 0.25f), lower(1.0f - upper) {}
};

template <int C>
void enlarge(Area from, const float* small, Area to, float* large) {
  const int first = to.x / 2 - from.x, columns = to.columns();
  float rows[2][C * kWideRow];  // two rows of the level, widened: number y at y & 1
  int ready = 0;                // rows before this one, counted from the first that is needed, are there
  const int base = Between(to.y).above - from.y;
  for (int j = 0; j < to.height; ++j) {
    const Between row(to.y + j);
    const int above = row.above - from.y;
    for (; base + ready <= above + 1; ++ready)
      widen<C>(from, small, base + ready, first, columns, rows[(base + ready) & 1]);
    const float *a = rows[above & 1], *b = rows[(above + 1) & 1];
    for (int column = 0; column < columns; ++column)
      for (int c = 0; c < C; ++c)
        for (int i = 0; i < kColumn; i += kLanes) {
          const int at = c * kWideRow + column * kColumn + i;
          store(large + to.offset(column * kColumn, j, C) + c * kColumn + i,
                row.upper * load(a + at) + row.lower * load(b + at));
        }
  }
}

template <int C>
void reduce(Area from, const float* large, Area to, float* small) {
  const int first = from.x / 2 - to.x, count = (from.width + 1) / 2;
  for (int j = 0; j < from.height; ++j) {
    const Between between(from.y + j);
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
          float* at = small + to.offset(x, between.above - to.y, C) + c * kColumn + i;
          store(at, load(at) + between.upper * value);
          store(at + C * kColumn, load(at + C * kColumn) + between.lower * value);
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
