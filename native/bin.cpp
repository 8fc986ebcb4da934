// Which splats each area draws, and in which order.
#include <algorithm>
#include <stdexcept>

#include "raster.h"

namespace smartsplat {
namespace {

// A minified pixel averages 1/scale source pixels on each axis. The pixel filter is the Gaussian of
// docs/format.md whose variance vanishes at scale 1.
double filter_variance(double scale) { return scale < 1.0 ? kFilterVariance * (1.0 / (scale * scale) - 1.0) : 0.0; }

}  // namespace

void Rasterizer::prepare(const GaussianArrays& g, const ViewArea& view, bool with_slots, double overlap) {
  view_ = view;
  channels_ = g.channels;
  tiles_x_ = (view.width + kTile - 1) / kTile;
  tiles_y_ = (view.height + kTile - 1) / kTile;
  panels_x_ = (view.width + kPanel - 1) / kPanel;
  panels_y_ = (view.height + kPanel - 1) / kPanel;
  projection_ = {view.x,
                 view.y,
                 view.scale_x,
                 view.scale_y,
                 filter_variance(view.scale_x),
                 filter_variance(view.scale_y),
                 view.width,
                 view.height,
                 panels_x_,
                 panels_y_,
                 coarsest_};
  splats_.resize(g.count);
  places_.resize(g.count);
  std::vector<double> covered(g.count / kPiece + 1, 0.0);  // output pixels, by each piece of Gaussians
  for_each_piece(kProject, g.count, [&](int64_t begin, int64_t end) {
    covered[begin / kPiece] = kernels_->project(g, begin, end, projection_, splats_.data(), places_.data());
  });
  double work = 0;
  for (double part : covered) work += part;
  if (work > overlap * view.width * view.height + 64.0 * static_cast<double>(g.count))
    throw std::overflow_error("too many Gaussians lie over each other");
  timed(kBin, 0, [&] { bin(with_slots, overlap); });
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
