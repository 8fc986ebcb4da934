// Alpha blending and the largest weights of a tile, forwards and backwards.
//
// As in kernels.cpp a thread works on one 64 x 64 tile, lanes run along x, and splats are walked one after the other,
// here over planes that also keep what blending needs to know of a pixel: the light that is left, or the smallest
// weight that counts. Every row has an exact exponential: beside the reading and writing of those planes it costs
// little. Only the largest weights are looked for in one row after the other, since ten of them fill the registers.
//
// Backwards the walk is from the front to the back again: what lies behind a splat is what the pixel is, less what
// has been met so far, so that one number for each pixel is enough.
//
// This file is compiled once for each instruction set with SMARTSPLAT_VARIANT naming its namespace.
#include "blend_kernels.h"

#include "vectors.h"

#define STRINGIFY_INNER(x) #x
#define STRINGIFY(x) STRINGIFY_INNER(x)

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

constexpr float kMargin = 0.05f;     // rows beyond the exact ellipse that are visited all the same, against rounding
constexpr float kSlack = 1 - 1e-5f;  // of the smallest weight that counts: walks may round differently

inline float least(float a, float b) { return a < b ? a : b; }
inline float most(float a, float b) { return a > b ? a : b; }

constexpr auto kEverywhere = [](int) { return true; };

struct Rows {
  int begin, end;
};

// Those of the area that q < 9 can reach in kLanes columns from `column` on, both counted from the area's corner.
inline Rows rows_of(const Splat& s, Area area, int column) {
  const int first = s.y_begin > area.y ? s.y_begin - area.y : 0;
  const int last = s.y_end < area.y + area.height ? s.y_end - area.y : area.height;
  const float middle = s.mean_y - 0.5f - static_cast<float>(area.y);
  const float left = static_cast<float>(area.x + column) + 0.5f - s.mean_x, right = left + (kLanes - 1);
  const float nearest = most(left, least(right, 0.0f));
  const float room = 9.0f - nearest * nearest * s.precision_x;
  if (!(room > 0.0f)) return {0, 0};
  const float reach = __builtin_sqrtf(room / s.precision_y) + kMargin;
  const float low = middle - most(s.shear * left, s.shear * right) - reach;
  const float high = middle - least(s.shear * left, s.shear * right) + reach;
  // Converted only between the rows of the tile: a far or absurd splat leaves the range of int.
  return {static_cast<int>(most(least(low, last - 1.0f), first - 1.0f) + 1.0f),
          static_cast<int>(most(least(high, last - 1.0f), first - 1.0f) + 1.0f)};
}

// A splat in those columns: its exponent at a row.
struct Slice {
  Floats dx, sheared, half_x;
  float half_y;

  inline Slice(const Splat& s, Area area, int column)
      : dx(lane_index() + (static_cast<float>(area.x + column) + 0.5f - s.mean_x)),
        sheared(s.shear * dx - (s.mean_y - 0.5f - static_cast<float>(area.y))),
        half_x((0.5f * kLog2E * s.precision_x) * dx * dx),
        half_y(0.5f * kLog2E * s.precision_y) {}

  inline Floats along(int y) const { return sheared + static_cast<float>(y); }
  // exp(-q / 2) where `along` is t.
  inline Floats value(Floats t) const { return power_of_two(-minimum(half_x + half_y * t * t, all(kMostPower))); }
};

// Calls visit(offset in the area, dx, t, exp(-q / 2)) for each vector of pixels that q < 9 can reach and is `wanted`.
template <class Wanted, class Visit>
inline void for_each_vector(const Splat& s, Area area, const Wanted& wanted, const Visit& visit) {
  const int x_begin = s.x_begin > area.x ? s.x_begin - area.x : 0;
  const int x_end = s.x_end < area.x + area.width ? s.x_end - area.x : area.width;
  for (int column = x_begin / kLanes * kLanes; column < x_end; column += kLanes) {
    const Rows rows = rows_of(s, area, column);
    const Slice slice(s, area, column);
    for (int y = rows.begin; y < rows.end; ++y) {
      const int at = area.offset(column, y);
      if (!wanted(at)) continue;
      const Floats t = slice.along(y);
      visit(at, slice.dx, t, slice.value(t));
    }
  }
}

template <int C>
void clear_alpha(Area area, float* state) {
  for (int column = 0; column < area.columns(); ++column)
    for (int y = 0; y < kTile; ++y) {
      float* at = state + area.offset(column * kColumn, y);
      for (int i = 0; i < (C + kExtra) * kColumn; ++i) at[i] = i / kColumn == C ? 1.0f : 0.0f;  // all light
    }
}

// Calls visit(offset in the state, offset in `from`) for each vector of the tile.
template <class Visit>
inline void for_each_place(Area area, Area from, const Visit& visit) {
  for (int x = 0; x < area.width; x += kLanes)
    for (int y = 0; y < area.height; ++y) visit(area.offset(x, y), from.offset(x, y));
}

// Splats between two looks at whether any light is left in the tile.
constexpr int64_t kLook = 32;

template <int C>
bool lit(Area area, const float* state) {
  for (int x = 0; x < area.width; x += kLanes)
    for (int y = 0; y < area.height; ++y)
      if (any(load(state + area.offset(x, y) + C * kColumn) >= all(kLeastLight))) return true;
  return false;
}

template <int C>
void draw_alpha(const BlendList& list, float background, Area area, float* state) {
  clear_alpha<C>(area, state);
  const auto wanted = [&](int at) { return any(load(state + at + C * kColumn) >= all(kLeastLight)); };
  for (int64_t k = 0; k < list.count; ++k) {
    if (k % kLook == kLook - 1 && !lit<C>(area, state)) break;
    const Splat& s = list.splats[list.list[k]];
    const Floats opacity = all(list.opacity[list.list[k]]);
    for_each_vector(s, area, wanted, [&](int at, Floats, Floats, Floats g) {
      const Floats alpha = minimum(opacity * maximum(g - all(kEdge), Floats{}), all(kLargestAlpha));
      float* pixel = state + at;
      const Floats through = load(pixel + C * kColumn);
      const Floats part = select(through >= all(kLeastLight), alpha * through, Floats{});
      store(pixel + C * kColumn, through - part);
      for (int c = 0; c < C; ++c) store(pixel + c * kColumn, load(pixel + c * kColumn) + part * s.color[c]);
    });
  }
  for_each_place(area, area, [&](int at, int) {
    for (int c = 0; c < C; ++c) {
      float* plane = state + at + c * kColumn;
      store(plane, load(plane) + background * load(state + at + C * kColumn));
    }
  });
}

// The kTop-th largest of each lane; 0 if there are fewer.
inline Floats last_that_counts(const float* weights, int64_t count) {
  Floats largest[kTop] = {};
  if (count < kTop) return largest[0];
  for (int64_t k = 0; k < count; ++k) {
    Floats weight = load(weights + k * kLanes);
    for (int i = 0; i < kTop; ++i) {
      const Floats kept = largest[i];
      largest[i] = maximum(kept, weight);
      weight = minimum(kept, weight);
    }
  }
  return largest[kTop - 1];
}

// The weights of kBand rows are gathered, splat by splat, and then each row is mixed in registers.
template <int C>
void draw_top(const BlendList& list, Area area, float* state, const BlendSpace& space) {
  for (int column = 0; column < area.columns() * kColumn; column += kLanes) {
    int64_t runs = 0;
    for (int64_t k = 0; k < list.count; ++k) {
      const Splat& s = list.splats[list.list[k]];
      if (s.x_begin >= area.x + column + kLanes || s.x_end <= area.x + column) continue;
      const Rows rows = rows_of(s, area, column);
      if (rows.begin < rows.end) space.runs[runs++] = {list.list[k], rows.begin, rows.end};
    }
    for (int top = 0; top < area.height; top += kBand) {
      const int bottom = top + kBand < area.height ? top + kBand : area.height;
      int64_t count[kBand] = {};
      for (int64_t k = 0; k < runs; ++k) {
        const BlendRun& run = space.runs[k];
        if (run.begin >= bottom || run.end <= top) continue;
        const Slice slice(list.splats[run.splat], area, column);
        for (int y = run.begin > top ? run.begin : top; y < bottom && y < run.end; ++y) {
          const int64_t at = (y - top) * list.count + count[y - top]++;
          store(space.floats + at * kLanes, slice.value(slice.along(y)) - all(kEdge));
          space.splats[at] = run.splat;
        }
      }
      for (int y = top; y < bottom; ++y) {
        const int64_t first = (y - top) * list.count;
        const Floats least = kSlack * last_that_counts(space.floats + first * kLanes, count[y - top]);
        Floats total = all(kTopFloor), mixed[C] = {};
        for (int64_t at = first; at < first + count[y - top]; ++at) {
          const Floats weight = load(space.floats + at * kLanes);
          const Floats part = select(weight > least, weight, Floats{});
          total += part;
          for (int c = 0; c < C; ++c) mixed[c] += part * list.splats[space.splats[at]].color[c];
        }
        float* pixel = state + area.offset(column, y);
        for (int c = 0; c < C; ++c) store(pixel + c * kColumn, mixed[c] / total);
        store(pixel + C * kColumn, total);
        store(pixel + (C + 1) * kColumn, least);
      }
    }
  }
}

// What a splat gathers on the way back.
struct Sums {
  Floats x{}, t{}, xx{}, xt{}, tt{}, color[3] = {}, opacity{};

  // h is dL/d(log g).
  inline void add(Floats h, Floats dx, Floats along) {
    const Floats hx = h * dx, ht = h * along;
    x += hx;
    t += ht;
    xx += hx * dx;
    xt += hx * along;
    tt += ht * along;
  }

  inline void write(BlendMoments& to, float of_colors) const {
    const Floats values[8] = {x, t, xx, xt, tt, color[0], color[1], color[2]};
    float sums[8];
    sum_each(values, sums);
    to = {sums[0], sums[1], sums[2], sums[3], sums[4], {}, sum(opacity) * kWindowNorm};
    for (int c = 0; c < 3; ++c) to.color[c] = sums[5 + c] * of_colors;
  }
};

// In scratch, laid out as [columns][kTile][C + kExtra][kColumn] too: d for each channel, then two planes.
template <int C>
void alpha_back(const BlendList& list, Area area, const float* state, Area from, const float* d_planes, float* scratch,
                BlendMoments* moments) {
  for_each_place(area, from, [&](int at, int d_at) {
    Floats behind{};
    for (int c = 0; c < C; ++c) {
      const Floats d = load(d_planes + d_at + c * from.apart);
      store(scratch + at + c * kColumn, d);
      behind += d * load(state + at + c * kColumn);
    }
    store(scratch + at + C * kColumn, all(1.0f));  // the light that is left
    store(scratch + at + (C + 1) * kColumn, behind);
  });
  const auto wanted = [&](int at) { return any(load(scratch + at + C * kColumn) >= all(kLeastLight)); };
  for (int64_t k = 0; k < list.count; ++k) {
    if (k % kLook == kLook - 1 && !lit<C>(area, scratch)) {
      for (; k < list.count; ++k) moments[list.slots[k]] = {};
      break;
    }
    const Splat& s = list.splats[list.list[k]];
    const Floats opacity = all(list.opacity[list.list[k]]);
    Sums sums;
    for_each_vector(s, area, wanted, [&](int at, Floats dx, Floats t, Floats g) {
      float* pixel = scratch + at;
      const Floats weight = maximum(g - all(kEdge), Floats{}), uncut = opacity * weight;
      const Floats alpha = minimum(uncut, all(kLargestAlpha));
      const Floats through = load(pixel + C * kColumn);
      const Ints counts = through >= all(kLeastLight);
      const Floats part = select(counts, alpha * through, Floats{});
      Floats along{};
      for (int c = 0; c < C; ++c) {
        const Floats d = load(pixel + c * kColumn);
        along += d * s.color[c];
        sums.color[c] += d * part;
      }
      const Floats behind = load(pixel + (C + 1) * kColumn) - part * along;
      store(pixel + (C + 1) * kColumn, behind);
      store(pixel + C * kColumn, through - part);
      const Floats d_alpha =
          select(counts & (uncut < all(kLargestAlpha)), through * along - behind / (1.0f - alpha), Floats{});
      sums.opacity += d_alpha * weight;
      sums.add(select(g > all(kEdge), d_alpha * opacity * g, Floats{}), dx, t);
    });
    sums.write(moments[list.slots[k]], 1.0f);
  }
}

template <int C>
void top_back(const BlendList& list, Area area, const float* state, Area from, const float* d_planes, float* scratch,
              BlendMoments* moments) {
  for_each_place(area, from, [&](int at, int d_at) {
    const Floats total = load(state + at + C * kColumn);
    Floats mixed{};
    for (int c = 0; c < C; ++c) {
      const Floats d = load(d_planes + d_at + c * from.apart) / total;
      store(scratch + at + c * kColumn, d);
      mixed += d * load(state + at + c * kColumn);
    }
    store(scratch + at + C * kColumn, mixed);
  });
  for (int64_t k = 0; k < list.count; ++k) {
    const Splat& s = list.splats[list.list[k]];
    Sums sums;
    for_each_vector(s, area, kEverywhere, [&](int at, Floats dx, Floats t, Floats g) {
      const float* pixel = scratch + at;
      const Floats weight = g - all(kEdge);
      const Ints counts = weight > load(state + at + (C + 1) * kColumn);
      const Floats part = select(counts, weight, Floats{});
      Floats along = -load(pixel + C * kColumn);
      for (int c = 0; c < C; ++c) {
        const Floats d = load(pixel + c * kColumn);
        along += d * s.color[c];
        sums.color[c] += d * part;
      }
      sums.add(select(counts, along * g, Floats{}), dx, t);
    });
    sums.write(moments[list.slots[k]], 1.0f);
  }
}

template <int C>
void draw(const BlendList& list, bool top, float background, Area area, float* state, const BlendSpace& space) {
  if (top)
    draw_top<C>(list, area, state, space);
  else
    draw_alpha<C>(list, background, area, state);
}

template <int C>
void take_back(const BlendList& list, bool top, Area area, const float* state, Area from, const float* d_planes,
               float* scratch, BlendMoments* moments) {
  if (top)
    top_back<C>(list, area, state, from, d_planes, scratch, moments);
  else
    alpha_back<C>(list, area, state, from, d_planes, scratch, moments);
}

void draw_tile(const BlendList& list, int channels, bool top, float background, Area area, float* state,
               const BlendSpace& space) {
  channels == 1 ? draw<1>(list, top, background, area, state, space)
                : draw<3>(list, top, background, area, state, space);
}

void take_back_tile(const BlendList& list, int channels, bool top, Area area, const float* state, Area from,
                    const float* d_planes, const BlendSpace& space, BlendMoments* moments) {
  channels == 1 ? take_back<1>(list, top, area, state, from, d_planes, space.floats, moments)
                : take_back<3>(list, top, area, state, from, d_planes, space.floats, moments);
}

}  // namespace

extern const BlendKernels blend_kernels;
const BlendKernels blend_kernels = {STRINGIFY(SMARTSPLAT_VARIANT), draw_tile, take_back_tile};

}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
