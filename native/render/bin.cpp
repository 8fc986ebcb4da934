// Which splats each area renders, and in which order.
#include "render/bin.h"

namespace smartsplat {

bool AreaLists::build(ThreadPool& pool, const Grid& grid, const TileRect* rects, int64_t count, bool with_slots,
                      double max_intersections) {
  first_slot_.resize(count + 1);
  first_slot_[0] = 0;
  for (int64_t i = 0; i < count; ++i)
    first_slot_[i + 1] = first_slot_[i] + (rects[i].right - rects[i].left) * (rects[i].bottom - rects[i].top);
  // Boxes may be much larger than what is in them.
  if (static_cast<double>(first_slot_[count]) > max_intersections) return false;
  // Each band of rows of macrotiles is one thread's alone. All look at every rectangle, which is fast: they are
  // small.
  const int bands = std::min(pool.size(), grid.macrotiles_y);
  const auto for_each_intersection = [&](int64_t band, auto&& visit) {
    const int band_top = static_cast<int>(band * grid.macrotiles_y / bands);
    const int band_bottom = static_cast<int>((band + 1) * grid.macrotiles_y / bands);
    for (int64_t i = 0; i < count; ++i) {
      const TileRect rect = rects[i];
      const int columns = rect.right - rect.left, stride = rect.level ? grid.macrotiles_x : grid.tiles_x;
      const int rows = rect.level ? 1 : kMacrotile / kTile;
      const int64_t first = grid.first_area(rect.level);
      for (int y = std::max<int>(rect.top, band_top * rows); y < std::min<int>(rect.bottom, band_bottom * rows); ++y) {
        int64_t area = first + static_cast<int64_t>(y) * stride + rect.left;
        int64_t slot = first_slot_[i] + static_cast<int64_t>(y - rect.top) * columns;
        for (int x = 0; x < columns; ++x) visit(i, area++, slot++);
      }
    }
  };
  start_.assign(grid.areas() + 1, 0);
  pool.run(bands, [&](int64_t band, int) {
    for_each_intersection(band, [&](int64_t, int64_t area, int64_t) { ++start_[area + 1]; });
  });
  for (size_t area = 1; area < start_.size(); ++area) start_[area] += start_[area - 1];
  list_.resize(first_slot_[count]);
  slots_.resize(with_slots ? list_.size() : 0);
  next_.assign(start_.begin(), start_.end() - 1);
  pool.run(bands, [&](int64_t band, int) {
    for_each_intersection(band, [&](int64_t i, int64_t area, int64_t slot) {
      const int64_t at = next_[area]++;
      list_[at] = static_cast<int32_t>(i);
      if (with_slots) slots_[at] = slot;
    });
  });
  return true;
}

}  // namespace smartsplat
