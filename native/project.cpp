// From Gaussians to splats, and which areas each touches: tiles at full size, whole panels on the levels above.
#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "gaussian.h"

namespace smartsplat {
namespace {

// Standard deviations along the shorter axis, in samples of a level, from which on a splat is drawn there: at least
// kWide, and kSteep times its colour. Enlarging errs by 2e-4 of the colour inside, and at the edge, by rounding off the
// window's kink, by 0.0067 of it over the samples in a deviation, which this keeps below 5e-4.
constexpr double kWide = 4.0;
constexpr double kSteep = 13.4;

// A minified pixel averages 1/scale source pixels on each axis. The pixel filter is the Gaussian of
// docs/format.md whose variance vanishes at scale 1.
double filter_variance(double scale) { return scale < 1.0 ? kFilterVariance * (1.0 / (scale * scale) - 1.0) : 0.0; }

// Rounded down or up, between `low` and `high`. Without std::floor, a call where nothing newer than SSE2 is asked for.
int floor_within(double value, int low, int high) {  // NaN becomes low
  if (!(value > low)) return low;
  if (value >= high) return high;
  const int whole = static_cast<int>(value);
  return value < whole ? whole - 1 : whole;
}
int ceil_within(double value, int low, int high) { return -floor_within(-value, -high, -low); }

// False for what NaN, infinite, zero and absurd parameters lead to; it would spread over the picture.
bool drawable(const Splat& s, int channels) {
  double sum = 0;  // as good as its parts: of floats, none is too large for it
  for (float value : {s.mean_x, s.mean_y, s.precision_x, s.precision_y, s.shear}) sum += value;
  for (int c = 0; c < channels; ++c) sum += s.color[c];
  return s.precision_x >= 0 && s.precision_y >= 0 && std::isfinite(sum);
}

Symmetric on_level(const Axes& axes, const LevelView& view) {
  const Symmetric cov = filtered_covariance(axes, view.filter_x, view.filter_y);
  return {cov.xx * view.scale_x * view.scale_x, cov.xy * view.scale_x * view.scale_y,
          cov.yy * view.scale_y * view.scale_y};
}

int level_for(const Symmetric& full_size, double color, int coarsest) {
  // The variance along the shorter axis is the middle of both less a root, which need not be taken to compare.
  const double half = 0.5 * (full_size.xx - full_size.yy), middle = 0.5 * (full_size.xx + full_size.yy);
  const double root_squared = half * half + full_size.xy * full_size.xy;
  const double samples = std::max(kWide, kSteep * color);
  const auto wide = [&](double least) {
    return middle >= least && (middle - least) * (middle - least) >= root_squared;
  };
  int level = 0;
  for (double least = 4 * samples * samples; level < coarsest && wide(least); least *= 4) ++level;
  return level;
}

// `out` is the covariance on the level.
Splat splat_of(const GaussianArrays& g, int64_t i, const Axes& axes, const Symmetric& out, const LevelView& view) {
  Splat s{};
  const double determinant = out.determinant(), precision_x = 1.0 / out.xx, precision_y = out.xx / determinant;
  const double x = (g.mean[2 * i] - view.x) * view.scale_x;
  const double y = (g.mean[2 * i + 1] - view.y) * view.scale_y;
  const double reach_x = 3.0 * std::sqrt(out.xx), reach_y = 3.0 * std::sqrt(out.yy);
  s.mean_x = static_cast<float>(x);
  s.mean_y = static_cast<float>(y);
  s.precision_x = static_cast<float>(precision_x);
  s.precision_y = static_cast<float>(precision_y);
  s.shear = static_cast<float>(-out.xy * precision_x);
  s.x_begin = ceil_within(x - reach_x - 0.5, -view.margin, view.width + view.margin);
  s.x_end = floor_within(x + reach_x + 0.5, -view.margin, view.width + view.margin);
  s.y_begin = ceil_within(y - reach_y - 0.5, -view.margin, view.height + view.margin);
  s.y_end = floor_within(y + reach_y + 0.5, -view.margin, view.height + view.margin);
  // A run spans at most eight standard deviations along y at fixed x: see set_up in kernels.cpp.
  const double deviation = std::sqrt(determinant * precision_x);
  s.row_factor = static_cast<float>(std::exp(-std::min(precision_y, 80.0)));
  s.run = static_cast<int>(std::min(static_cast<double>(kLongestRun), std::max(1.0, 8.0 * deviation)));
  const double area = view.scale_x * view.scale_x * view.scale_y * view.scale_y;
  const double amplitude = std::sqrt(axes.u2 * axes.v2 * area / determinant) * kWindowNorm;
  for (int c = 0; c < g.channels; ++c) s.color[c] = static_cast<float>(g.color[i * g.channels + c] * amplitude);
  return s;
}

// The panels whose part of a level [begin, end) meets, with its border and the halo that SSIM needs around it.
void panels_of(int begin, int end, int level, int count, uint16_t* first, uint16_t* last) {
  const int around = (kLevelBorder << level) + kPanelHaloX + (1 << level);
  *first = static_cast<uint16_t>(std::max(begin * (1 << level) - around, 0) / kPanel);
  *last = static_cast<uint16_t>(std::min(std::max(end * (1 << level) + around, 0) / kPanel + 1, count));
}

}  // namespace

void Rasterizer::prepare(const GaussianArrays& g, const ViewArea& view, bool with_slots, double overlap) {
  view_ = view;
  channels_ = g.channels;
  tiles_x_ = (view.width + kTile - 1) / kTile;
  tiles_y_ = (view.height + kTile - 1) / kTile;
  panels_x_ = (view.width + kPanel - 1) / kPanel;
  panels_y_ = (view.height + kPanel - 1) / kPanel;
  for (int level = 0; level < kLevels; ++level) {
    const double side = 1 << level, blur = (side * side - 1) / 4;  // the variance that enlarging adds, output pixels
    LevelView& v = level_views_[level];
    v.x = view.x;
    v.y = view.y;
    v.scale_x = view.scale_x / side;
    v.scale_y = view.scale_y / side;
    v.filter_x = filter_variance(view.scale_x) - blur / (view.scale_x * view.scale_x);
    v.filter_y = filter_variance(view.scale_y) - blur / (view.scale_y * view.scale_y);
    v.width = (view.width + (1 << level) - 1) >> level;
    v.height = (view.height + (1 << level) - 1) >> level;
    v.margin = level > 0 ? 2 * kPanelHaloX : 0;
  }
  splats_.resize(g.count);
  places_.resize(g.count);
  std::vector<double> covered(g.count / kPiece + 1, 0.0);  // output pixels, by each piece of Gaussians
  for_each_piece(kProject, g.count, [&](int64_t begin, int64_t end) {
    double sum = 0;  // its neighbours in `covered` are other threads'
    for (int64_t i = begin; i < end; ++i) sum += project(g, i);
    covered[begin / kPiece] = sum;
  });
  double work = 0;
  for (double part : covered) work += part;
  if (work > overlap * view.width * view.height + 64.0 * static_cast<double>(g.count))
    throw std::overflow_error("too many Gaussians lie over each other");
  timed(kBin, 0, [&] { bin(with_slots, overlap); });
}

// Sets splat i and its place; returns the output pixels that it covers.
double Rasterizer::project(const GaussianArrays& g, int64_t i) {
  const Axes axes = axes_of(g, i);
  const Symmetric full_size = on_level(axes, level_views_[0]);
  double color = 0;
  for (int c = 0; c < g.channels; ++c) color = std::max<double>(color, std::abs(g.color[i * g.channels + c]));
  const int level = level_for(full_size, color, coarsest_);
  Splat& s = splats_[i];
  const LevelView& view = level_views_[level];
  s = splat_of(g, i, axes, level == 0 ? full_size : on_level(axes, view), view);
  Place& place = places_[i];
  place = Place{};
  if (s.x_begin >= s.x_end || s.y_begin >= s.y_end || !drawable(s, g.channels)) return 0;
  place.level = static_cast<uint16_t>(level);
  if (level == 0) {
    place.left = static_cast<uint16_t>(s.x_begin / kTile);
    place.top = static_cast<uint16_t>(s.y_begin / kTile);
    place.right = static_cast<uint16_t>((s.x_end - 1) / kTile + 1);
    place.bottom = static_cast<uint16_t>((s.y_end - 1) / kTile + 1);
  } else {
    panels_of(s.x_begin, s.x_end, level, panels_x_, &place.left, &place.right);
    panels_of(s.y_begin, s.y_end, level, panels_y_, &place.top, &place.bottom);
    if (place.left >= place.right || place.top >= place.bottom) place = Place{};
  }
  const auto inside = [&](int begin, int end, int size) {
    return std::max(0, std::min(end * (1 << level), size) - std::max(begin * (1 << level), 0));
  };
  const double box =
      static_cast<double>(inside(s.x_begin, s.x_end, view_.width)) * inside(s.y_begin, s.y_end, view_.height);
  return std::min(box, 9 * 3.14159265358979323846 * std::sqrt(full_size.determinant()));
}

void Rasterizer::bin(bool with_slots, double overlap) {
  const int64_t count = static_cast<int64_t>(places_.size());
  const int64_t tiles = static_cast<int64_t>(tiles_x_) * tiles_y_, panels = static_cast<int64_t>(panels_x_) * panels_y_;
  first_slot_.resize(count + 1);
  first_slot_[0] = 0;
  for (int64_t i = 0; i < count; ++i)
    first_slot_[i + 1] = first_slot_[i] + (places_[i].right - places_[i].left) * (places_[i].bottom - places_[i].top);
  // Boxes may be much larger than what is in them.
  if (static_cast<double>(first_slot_[count]) > overlap * static_cast<double>(tiles) + 4.0 * static_cast<double>(count))
    throw std::overflow_error("the boxes of too many Gaussians lie over each other");
  // Each band of rows of panels is one thread's alone. All look at every place, which is fast: they are small.
  const int bands = std::min(pool_.size(), panels_y_);
  const auto for_each_pair = [&](int64_t band, auto&& visit) {
    const int band_top = static_cast<int>(band * panels_y_ / bands);
    const int band_bottom = static_cast<int>((band + 1) * panels_y_ / bands);
    for (int64_t i = 0; i < count; ++i) {
      const Place place = places_[i];
      const int columns = place.right - place.left, stride = place.level ? panels_x_ : tiles_x_;
      const int rows = place.level ? 1 : kPanel / kTile;
      const int64_t first = first_area(place.level);
      for (int y = std::max<int>(place.top, band_top * rows); y < std::min<int>(place.bottom, band_bottom * rows);
           ++y) {
        int64_t area = first + static_cast<int64_t>(y) * stride + place.left;
        int64_t slot = first_slot_[i] + static_cast<int64_t>(y - place.top) * columns;
        for (int x = 0; x < columns; ++x) visit(i, area++, slot++);
      }
    }
  };
  start_.assign(tiles + (kLevels - 1) * panels + 1, 0);
  pool_.run(bands, [&](int64_t band, int) {
    for_each_pair(band, [&](int64_t, int64_t area, int64_t) { ++start_[area + 1]; });
  });
  for (size_t area = 1; area < start_.size(); ++area) start_[area] += start_[area - 1];
  list_.resize(first_slot_[count]);
  slots_.resize(with_slots ? list_.size() : 0);
  next_.assign(start_.begin(), start_.end() - 1);
  pool_.run(bands, [&](int64_t band, int) {
    for_each_pair(band, [&](int64_t i, int64_t area, int64_t slot) {
      const int64_t at = next_[area]++;
      list_[at] = static_cast<int32_t>(i);
      if (with_slots) slots_[at] = slot;
    });
  });
}

}  // namespace smartsplat
