// How an output is divided into areas, and which splats each of them renders.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/threads.h"
#include "core/unfilled_vector.h"
#include "render/kernels.h"

namespace smartsplat {

// The areas of an output: its tiles, then its macrotiles once for each level above full size.
struct Grid {
  int width = 0, height = 0;  // output pixels
  int tiles_x = 0, tiles_y = 0, macrotiles_x = 0, macrotiles_y = 0;

  Grid() = default;
  Grid(int width, int height)
      : width(width),
        height(height),
        tiles_x((width + kTile - 1) / kTile),
        tiles_y((height + kTile - 1) / kTile),
        macrotiles_x((width + kMacrotile - 1) / kMacrotile),
        macrotiles_y((height + kMacrotile - 1) / kMacrotile) {}

  int64_t tiles() const { return static_cast<int64_t>(tiles_x) * tiles_y; }
  int64_t macrotiles() const { return static_cast<int64_t>(macrotiles_x) * macrotiles_y; }
  int64_t areas() const { return first_area(kPyramidLevels); }
  int64_t first_area(int level) const { return level == 0 ? 0 : tiles() + (level - 1) * macrotiles(); }

  // Where a macrotile lies; its strides are 0.
  Area macrotile(int64_t index) const {
    const int x = static_cast<int>(index % macrotiles_x) * kMacrotile;
    const int y = static_cast<int>(index / macrotiles_x) * kMacrotile;
    return {x, y, std::min(kMacrotile, width - x), std::min(kMacrotile, height - y), 0, 0, 0};
  }

  // A macrotile and its halo, as far as the output goes.
  Area with_halo(Area macrotile) const {
    const int left = std::max(macrotile.x - kMacrotileHaloX, 0), top = std::max(macrotile.y - kMacrotileHaloY, 0);
    const int right = std::min(macrotile.x + kMacrotile + kMacrotileHaloX, width);
    const int bottom = std::min(macrotile.y + kMacrotile + kMacrotileHaloY, height);
    return {left, top, right - left, bottom - top, 0, 0, 0};
  }

  // Calls work(tile, its part inside) for each tile that an area touches. The part lies as `planes` planes of a tile.
  template <class Work>
  void for_each_tile(Area inside, int planes, const Work& work) const {
    const int right = inside.x + inside.width, bottom = inside.y + inside.height;
    for (int y = inside.y / kTile; y * kTile < bottom; ++y)
      for (int x = inside.x / kTile; x * kTile < right; ++x) {
        const int left = std::max(x * kTile, inside.x), top = std::max(y * kTile, inside.y);
        work(static_cast<int64_t>(y) * tiles_x + x,
             Area{left, top, std::min((x + 1) * kTile, right) - left, std::min((y + 1) * kTile, bottom) - top,
                  kTile * planes * kColumnWidth, kColumnWidth, planes * kColumnWidth});
      }
  }
};

// Calls each(sample of an interleaved image, where it lies in the area's floats) for all samples of an area.
template <class Each>
void for_each_sample(Area area, int channels, int64_t image_width, const Each& each) {
  for (int y = 0; y < area.height; ++y) {
    const int64_t row = (static_cast<int64_t>(area.y + y) * image_width + area.x) * channels;
    for (int x = 0; x < area.width; ++x)
      for (int c = 0; c < channels; ++c) each(row + x * channels + c, area.offset(x, y) + c * area.channel_stride);
  }
}

// The intersections of splats and areas.
class AreaLists {
 public:
  // From the areas that each of `count` splats touches. With slots if sums over pixels will be gathered. Returns false,
  // before anything large is allocated, if there are more than `max_intersections`.
  bool build(ThreadPool& pool, const Grid& grid, const TileRect* rects, int64_t count, bool with_slots,
             double max_intersections = std::numeric_limits<double>::infinity());

  int64_t intersections() const { return static_cast<int64_t>(list_.size()); }
  // An area's splats, in the order of their index, and the slots of its partial sums.
  int64_t count(int64_t area) const { return start_[area + 1] - start_[area]; }
  const int32_t* list(int64_t area) const { return list_.data() + start_[area]; }
  const int64_t* slots(int64_t area) const { return slots_.data() + start_[area]; }
  // [N + 1] slots of each splat, one for each area it touches.
  const int64_t* first_slot() const { return first_slot_.data(); }

 private:
  std::vector<int64_t> first_slot_;
  std::vector<int64_t> start_;  // [areas + 1] into list_
  std::vector<int64_t> next_;   // [areas] where build() puts an area's next splat
  UnfilledVector<int32_t> list_;
  UnfilledVector<int64_t> slots_;
};

}  // namespace smartsplat
