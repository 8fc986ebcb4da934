// From Gaussians to splats, and which areas each touches: tiles at full size, whole macrotiles on the levels above.
// Compiled once for each instruction set.
//
// kLanes Gaussians are worked on at a time, each in a lane: in one after the other, in double precision, the divisions,
// roots and functions of the C library took four times as long as all of it does.
#include "render/covariance.h"
#include "render/kernel_functions.h"

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

constexpr int kSplatFloats = sizeof(Splat) / sizeof(float);

// Rounded down or up, between `low` and `high`; NaN becomes low, or high.
inline Ints floor_within(Floats value, Floats low, Floats high) {
  const Floats within = minimum(maximum(value, low), high);
  const Ints whole = __builtin_convertvector(within, Ints);
  return whole + (__builtin_convertvector(whole, Floats) > within);  // true is -1
}
inline Ints ceil_within(Floats value, Floats low, Floats high) { return -floor_within(-value, -high, -low); }

inline Ints select(Ints mask, Ints yes, Ints no) { return (mask & yes) | (~mask & no); }
inline Ints at_least(Ints value, int low) { return select(value > low, value, value * 0 + low); }
inline Ints at_most(Ints value, Ints high) { return select(value < high, value, high); }

// What a splat has a box along, on its level: [begin, end) of its samples.
struct Range {
  Ints begin, end;

  // Along an axis on which the view has `size` output pixels.
  Range(Floats middle, Floats half_extent, Floats side, int size) {
    const Floats margin = select(side > 1.0f, all(2.0f * kMacrotileHaloX), Floats{});  // of samples that are needed too
    const Floats samples = (static_cast<float>(size) + side - 1.0f) / side;
    const Floats low = -margin;
    const Floats high = __builtin_convertvector(__builtin_convertvector(samples, Ints), Floats) + margin;
    begin = ceil_within(middle - half_extent - 0.5f, low, high);
    end = floor_within(middle + half_extent + 0.5f, low, high);
  }
  // Output pixels of the view in it.
  Floats inside(Ints side, int size) const {
    const Ints last = at_most(end * side, end * 0 + size), first = at_least(begin * side, 0);
    return __builtin_convertvector(at_least(last - first, 0), Floats);
  }
  // The tiles; or, above full size, the macrotiles whose part of the level it meets, with its border and the halo that
  // SSIM needs around it.
  void areas(Ints side, int macrotiles, Ints* first, Ints* last) const {
    const Ints around = (kPyramidBorder + 1) * side + kMacrotileHaloX, full_size = side == 1;
    *first = select(full_size, begin / kTile, at_least(begin * side - around, 0) / kMacrotile);
    *last = select(full_size, (end - 1) / kTile + 1,
                   at_most(at_least(end * side + around, 0) / kMacrotile + 1, end * 0 + macrotiles));
  }
};

// Of the shorter axis at full size, in output pixels^2.
inline Floats smaller_variance(const Covariance& cov, float scale_x, float scale_y) {
  const Floats xx = cov.xx * (scale_x * scale_x), yy = cov.yy * (scale_y * scale_y), xy = cov.xy * (scale_x * scale_y);
  const Floats half = 0.5f * (xx - yy), middle = 0.5f * (xx + yy);
  const Floats larger = middle + square_root(half * half + xy * xy);
  return cov.determinant * (scale_x * scale_x * scale_y * scale_y) / larger;
}

template <int C>
inline Ints level_for(Floats variance, const Floats* color, int max_level) {
  Floats max_color{};
  for (int c = 0; c < C; ++c) max_color = maximum(absolute(color[c]), max_color);
  const Floats samples = maximum(kMinDeviationPerColor * max_color, all(kMinDeviation));
  Floats min_variance = 4.0f * samples * samples;
  Ints level{};
  for (int i = 0; i < max_level; ++i, min_variance *= 4.0f) level -= variance >= min_variance;
  return level;
}

// The output coordinates of image coordinates. `from` is taken off in two parts, or it would be known to single
// precision only where a small part far into a large image is magnified.
inline Floats output_coordinate(Floats image, double from, float scale) {
  const float high = static_cast<float>(from), low = static_cast<float>(from - high);
  return ((image - high) - low) * scale;
}

// exp(-p). A run of n rows has p = 64 / n^2 at most and n^2 / 2 times its error: where p is small, that is rounding
// alone.
inline Floats row_factor_of(Floats p) {
  const Floats near =
      1.0f - p * (1.0f - p * (1.0f / 2) * (1.0f - p * (1.0f / 3) * (1.0f - p * (1.0f / 4) * (1.0f - p * (1.0f / 5)))));
  return select(p < 0.15f, near, power_of_two(maximum(-kLog2E * p, all(-kMaxPower))));
}

inline Floats bits(Ints value) { return reinterpret_cast<Floats>(value); }

void store_rects(Ints left, Ints top, Ints right, Ints bottom, Ints level, int n, TileRect* rects) {
  int32_t lane[5][kLanes];
  const Ints columns[5] = {left, top, right, bottom, level};
  for (int k = 0; k < 5; ++k) store(lane[k], columns[k]);
  for (int i = 0; i < n; ++i)
    rects[i] = {static_cast<uint16_t>(lane[0][i]), static_cast<uint16_t>(lane[1][i]), static_cast<uint16_t>(lane[2][i]),
                static_cast<uint16_t>(lane[3][i]), static_cast<uint16_t>(lane[4][i])};
}

// Sets the splats and tile rectangles of the Gaussians [first, first + n); returns the output pixels that each covers.
template <int C>
inline Floats project_lanes(const GaussianArrays& g, int64_t first, int n, const Projection& view, Splat* splats,
                            TileRect* rects) {
  const float scale_x = static_cast<float>(view.scale_x), scale_y = static_cast<float>(view.scale_y);
  const Axes axes(g, first, n);
  Floats mean[2], color[C];
  load_columns<2>(g.mean + 2 * first, n, mean);
  load_columns<C>(g.color + C * first, n, color);
  const Covariance full_size(axes, LevelView(view, Ints{}));
  const Ints level = level_for<C>(smaller_variance(full_size, scale_x, scale_y), color, view.max_level);
  const LevelView level_view(view, level);
  const Covariance cov(axes, level_view);

  const Floats shrink_x = scale_x / level_view.side, shrink_y = scale_y / level_view.side;
  const Floats x = output_coordinate(mean[0], view.x, scale_x) / level_view.side;
  const Floats y = output_coordinate(mean[1], view.y, scale_y) / level_view.side;
  const Floats inverse_xx = 1.0f / cov.xx, along_y = cov.xx / cov.determinant;  // in image pixels
  const Floats precision_x = inverse_xx / (shrink_x * shrink_x), precision_y = along_y / (shrink_y * shrink_y);
  const Floats shear = -cov.xy * inverse_xx * (scale_y / scale_x);
  const Range columns(x, kCutoff * square_root(cov.xx) * shrink_x, level_view.side, view.columns);
  const Range rows(y, kCutoff * square_root(cov.yy) * shrink_y, level_view.side, view.rows);
  // A run spans at most eight standard deviations along y at fixed x: see set_up in tile.cpp.
  const Floats run = minimum(maximum(8.0f / square_root(precision_y), all(1.0f)), all(kMaxRunRows));
  const Floats amplitude = cov.amplitude(axes) * kWindowNorm;
  Floats splat[kSplatFloats] = {x,
                                y,
                                precision_x,
                                precision_y,
                                shear,
                                bits(columns.begin),
                                bits(columns.end),
                                bits(rows.begin),
                                bits(rows.end),
                                bits(__builtin_convertvector(run, Ints)),
                                row_factor_of(precision_y)};
  // What NaN, infinite, zero and absurd parameters lead to would spread over the image.
  Floats none = 0.0f * x + 0.0f * y + 0.0f * precision_x + 0.0f * precision_y + 0.0f * shear;  // or NaN
  for (int c = 0; c < C; ++c) {
    splat[11 + c] = color[c] * amplitude;
    none += 0.0f * splat[11 + c];
  }
  float lanes[kSplatFloats * kLanes];
  store_columns<kSplatFloats>(splat, kLanes, lanes);
  __builtin_memcpy(splats + first, lanes, n * sizeof(Splat));

  const Ints side = __builtin_convertvector(level_view.side, Ints);
  Ints left, top, right, bottom;
  columns.areas(side, view.macrotiles_x, &left, &right);
  rows.areas(side, view.macrotiles_y, &top, &bottom);
  const Ints visible = (columns.begin < columns.end) & (rows.begin < rows.end) & (precision_x >= 0.0f) &
                       (precision_y >= 0.0f) & (none == 0.0f) & (left < right) & (top < bottom);
  store_rects(left & visible, top & visible, right & visible, bottom & visible, level & visible, n, rects + first);
  const Floats box = columns.inside(side, view.columns) * rows.inside(side, view.rows);
  const Floats ellipse = (kCutoff * kCutoff * 3.14159265f * scale_x * scale_y) * square_root(full_size.determinant);
  return select(visible, minimum(ellipse, box), Floats{});
}

template <int C>
double project(const GaussianArrays& g, int64_t begin, int64_t end, const Projection& view, Splat* splats,
               TileRect* rects) {
  Floats covered{};
  for (int64_t i = begin; i < end; i += kLanes)
    covered += project_lanes<C>(g, i, end - i < kLanes ? static_cast<int>(end - i) : kLanes, view, splats, rects);
  return sum(covered);
}

}  // namespace

double project(const GaussianArrays& g, int64_t begin, int64_t end, const Projection& view, Splat* splats,
               TileRect* rects) {
  return g.channels == 1 ? project<1>(g, begin, end, view, splats, rects)
                         : project<3>(g, begin, end, view, splats, rects);
}

}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
