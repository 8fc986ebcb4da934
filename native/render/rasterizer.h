// Rendering a set of Gaussians, over tiles and threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "core/threads.h"
#include "core/unfilled_vector.h"
#include "render/bin.h"
#include "render/kernels.h"

namespace smartsplat {

// Which part of the image is rendered, and how large: render/__init__.py, View.
struct View {
  double x, y;              // image coordinates of the output's top left corner
  double scale_x, scale_y;  // output pixels for each image pixel
  int columns, rows;        // output pixels
};

// A minified pixel averages 1/scale source pixels on each axis. The pixel filter is the Gaussian of
// docs/format.md whose variance vanishes at scale 1.
inline double filter_variance(double scale) {
  return scale < 1.0 ? kFilterVariance * (1.0 / (scale * scale) - 1.0) : 0.0;
}

// How strong grain is in each cell: render/__init__.py, Grain.
struct GrainStrengths {
  const float* strengths;  // [bands, rows, columns]
  int bands, rows, columns;
  int cell;  // image pixels
};

// What a file may make a reader do: render/__init__.py, max_covered_pixels and max_intersections.
struct WorkLimits {
  double covered_pixels = std::numeric_limits<double>::infinity();
  double intersections = std::numeric_limits<double>::infinity();
};

// What a frame or a step is made of, for profiles: seconds summed over threads since the last reset.
enum Stage { kProject, kBin, kForward, kLoss, kBackward, kStore, kUpdate, kStages };
constexpr const char* kStageNames[kStages] = {"project", "bin", "forward", "loss", "backward", "store", "update"};

// How a level of a macrotile's pyramid lies in a thread's buffer.
// Samples a side, at most, with the halo and the border.
constexpr int level_side(int level) { return ((kMacrotile + 2 * kMacrotileHaloX) >> level) + 2 * kPyramidBorder; }
// Floats of a row, with a column that vectors may run on into.
constexpr int level_stride(int level) {
  return ((level_side(level) + kColumnWidth - 1) / kColumnWidth + 1) * kColumnWidth;
}
// Floats before it, those of the finer levels.
constexpr int level_start(int level) {
  return level <= 1 ? 0 : level_start(level - 1) + level_side(level - 1) * kMaxChannels * level_stride(level - 1);
}

// What a thread works in. Aligned to cache lines: no vector of theirs straddles two.
struct alignas(64) Workspace {
  float tile[kTileFloats];
  float pyramid[level_start(kPyramidLevels)];   // the levels above full size of one macrotile
  float gradient[level_start(kPyramidLevels)];  // dL/d of them
};
constexpr int64_t kPieceGaussians = 4096;  // Gaussians that a thread takes at a time

// Sets an area's floats to 0.
inline void clear(Area area, int channels, float* floats) {
  for (int column = 0; column < area.columns(); ++column)
    for (int y = 0; y < area.height; ++y)
      for (int c = 0; c < channels; ++c)
        std::fill_n(floats + area.offset(column * kColumnWidth, y) + c * area.channel_stride, kColumnWidth, 0.0f);
}

class Rasterizer {
 public:
  // With threads that others may use, too, and the kernels of find_kernels. Splats are rendered on level `max_level` at
  // most: with 0, all at full size.
  Rasterizer(std::shared_ptr<ThreadPool> pool, const Kernels* kernels, int max_level);

  const char* variant() const { return kernels_->name; }
  int threads() const { return pool_->size(); }

  double seconds(Stage stage) const;
  void reset_clocks() { clocks_.assign(clocks_.size(), Clock{}); }

  // Output: interleaved [height, width, C].
  void render(const GaussianArrays& g, const View& view, float* image);
  // Returns false before anything large is allocated if the work is above its limits.
  bool prepare_strips(const GaussianArrays& g, const View& view, WorkLimits limits) {
    return prepare(g, view, false, limits);
  }
  // Then renders the rows [top_row, top_row + rows) of the view, `top_row` a multiple of kMacrotile and `rows` too
  // unless they are the last. `image` is uint16_t if `wide`, else uint8_t.
  // With grain, if any.
  void render_rows(int top_row, int rows, void* image, bool wide, const GrainStrengths* grain = nullptr);
  const View& view() const { return view_; }
  int channels() const { return channels_; }

 protected:
  struct alignas(64) Clock {
    double seconds[kStages] = {};
  };
  // Adds what work() takes to a thread's clock.
  template <class Work>
  void timed(Stage stage, int thread, const Work& work);

  // Splats and lists; with_slots if backward will be called. Returns false if the work is above its limits.
  bool prepare(const GaussianArrays& g, const View& view, bool with_slots, WorkLimits limits = {});

  template <class Work>
  void for_each_piece(Stage stage, int64_t count, const Work& work);
  // Calls work(macrotile, its area, its coarsest level with splats, thread) for all macrotiles, on all threads.
  template <class Work>
  void for_each_macrotile(const Work& work) {
    for_each_macrotile(0, grid_.macrotiles_y, work);
  }
  template <class Work>
  void for_each_macrotile(int first_row, int last_row, const Work& work);
  // Renders the rows [top_row, top_row + rows) and calls work(area, thread) for each tile once it is in the thread's
  // workspace.
  template <class Work>
  void for_each_rendered_tile(int top_row, int rows, const Work& work);
  Area level_area(Area macrotile, int level, int halo) const;
  void forward(int64_t index, Area area, float* floats) const;
  // Renders the pyramid of a macrotile with a halo of so many pixels; then a tile of it, onto what they enlarge to.
  void render_pyramid(int64_t macrotile, Area area, int coarsest, int halo, int thread);
  void render_tile(int64_t tile, Area area, Area macrotile, int coarsest, int halo, int thread);
  // Grain at the prepared view.
  Grain grain_of(const GrainStrengths& strengths) const;

  const Kernels* kernels_;
  const std::shared_ptr<ThreadPool> pool_;
  std::vector<Clock> clocks_;  // one for each thread
  View view_{};
  int channels_ = 0;
  int max_level_;
  Grid grid_;
  Projection projection_{};
  UnfilledVector<Splat> splats_;
  UnfilledVector<TileRect> rects_;
  AreaLists lists_;
  std::vector<Workspace> workspaces_;  // one for each thread
};

template <class Work>
void Rasterizer::timed(Stage stage, int thread, const Work& work) {
#if defined(__wasm__)  // which has no clock of its own
  static_cast<void>(stage), static_cast<void>(thread);
  work();
#else
  const auto start = std::chrono::steady_clock::now();
  work();
  clocks_[thread].seconds[stage] += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
#endif
}

template <class Work>
void Rasterizer::for_each_piece(Stage stage, int64_t count, const Work& work) {
  pool_->run_in_pieces(count, kPieceGaussians, [&](int64_t begin, int64_t end, int thread) {
    timed(stage, thread, [&] { work(begin, end); });
  });
}

template <class Work>
void Rasterizer::for_each_macrotile(int first_row, int last_row, const Work& work) {
  const int64_t first = static_cast<int64_t>(first_row) * grid_.macrotiles_x;
  pool_->run(static_cast<int64_t>(last_row - first_row) * grid_.macrotiles_x, [&](int64_t index, int thread) {
    const int64_t macrotile = first + index;
    int coarsest = kPyramidLevels - 1;
    while (coarsest > 0 && lists_.count(grid_.first_area(coarsest) + macrotile) == 0) --coarsest;
    work(macrotile, grid_.macrotile(macrotile), coarsest, thread);
  });
}

template <class Work>
void Rasterizer::for_each_rendered_tile(int top_row, int rows, const Work& work) {
  for_each_macrotile(top_row / kMacrotile, (top_row + rows + kMacrotile - 1) / kMacrotile,
                     [&](int64_t macrotile, Area area, int coarsest, int thread) {
                       render_pyramid(macrotile, area, coarsest, 0, thread);
                       grid_.for_each_tile(area, channels_, [&](int64_t tile, Area a) {
                         render_tile(tile, a, area, coarsest, 0, thread);
                         work(a, thread);
                       });
                     });
}

}  // namespace smartsplat
