// Rendering a set of Gaussians, its gradient, and one optimisation step, over tiles and threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <vector>

#include "kernels.h"
#include "threads.h"

namespace smartsplat {

// Which part of the picture is drawn, and how large: raster/__init__.py, View.
struct ViewArea {
  double x, y;              // picture coordinates of the output's top left corner
  double scale_x, scale_y;  // output pixels for each picture pixel
  int width, height;        // output pixels
};

struct StepResult {
  double loss;
  double mean_square;  // of the clamped rendering against the target, in [0, 1] units
};

inline void add(LossSums& to, const LossSums& part) {
  to.absolute += part.absolute;
  to.square += part.square;
  to.ssim += part.ssim;
}

inline LossSums total(const std::vector<LossSums>& parts) {
  LossSums sums{};
  for (const LossSums& part : parts) add(sums, part);
  return sums;
}

// What a frame or a step is made of, for profiles: seconds summed over threads since the last reset.
enum Stage { kProject, kBin, kForward, kLoss, kBackward, kStore, kUpdate, kStages };
constexpr const char* kStageNames[kStages] = {"project", "bin", "forward", "loss", "backward", "store", "update"};

// Samples a side of a panel's part of a level at most; the floats of a row of it, with a column that vectors may run
// on into; and the floats before that of a level in a thread's buffer.
constexpr int level_side(int level) { return ((kPanel + 2 * kPanelHaloX) >> level) + 2 * kLevelBorder; }
constexpr int level_stride(int level) { return ((level_side(level) + kColumn - 1) / kColumn + 1) * kColumn; }
constexpr int level_start(int level) {
  return level <= 1 ? 0 : level_start(level - 1) + level_side(level - 1) * kMaxChannels * level_stride(level - 1);
}

// What a thread works in. Aligned to cache lines: no vector of theirs straddles two.
struct alignas(64) Workspace {
  float tile[kTileFloats];
  float drawn[level_start(kLevels)];     // the levels above full size of one panel
  float gradient[level_start(kLevels)];  // dL/d of them
};
struct alignas(64) PanelBuffer {
  float image[kMaxChannels * kPanelPlane];
  float target[kMaxChannels * kPanelPlane];
  float scratch[kPanelScratch];
};

// For vectors whose new elements are left as they are: the threads that fill them are the first to touch their pages.
template <class T>
struct Unfilled : std::allocator<T> {
  template <class U>
  struct rebind {
    using other = Unfilled<U>;
  };
  template <class U>
  void construct(U* at) noexcept {
    ::new (static_cast<void*>(at)) U;
  }
};
template <class T>
using UnfilledVector = std::vector<T, Unfilled<T>>;

constexpr int64_t kPiece = 4096;  // Gaussians handed to a thread at a time

class Rasterizer {
 public:
  // `variant` as in find_kernels; throws std::invalid_argument if it cannot run here. Splats are drawn on level
  // `coarsest` at most: with 0, all at full size.
  Rasterizer(int threads, const char* variant, int coarsest);

  const char* variant() const { return kernels_->name; }
  int threads() const { return pool_.size(); }

  double seconds(Stage stage) const;
  void reset_clocks() { clocks_.assign(clocks_.size(), Clock{}); }

  // Output: interleaved [height, width, C].
  void render(const GaussianArrays& g, const ViewArea& view, float* image);
  // Throws std::overflow_error before anything large is allocated if more than `overlap` Gaussians lie over a pixel on
  // average.
  void prepare_strips(const GaussianArrays& g, const ViewArea& view, double overlap) {
    prepare(g, view, false, overlap);
  }
  // Then draws the rows [top, top + rows) of the view, `top` a multiple of kPanel and `rows` too unless they are the
  // last.
  void draw_bytes(int top, int rows, uint8_t* image);
  // Or finds the mean residual (target - rendering) and mean square error over cells of `cell` x `cell` output pixels
  // of those rows, of which `target` has the pixels: out [ceil(rows / cell), ceil(width / cell), C + 1]. `cell` divides
  // kTile.
  void residual(int top, int rows, const uint8_t* target, int cell, float* out);
  const ViewArea& view() const { return view_; }
  int channels() const { return channels_; }

  // d_image [height, width, C]; the gradients have the shapes of the parameters.
  void render_gradient(const GaussianArrays& g, const ViewArea& view, const float* d_image,
                       const GaussianArrays& gradient);

  // One step: render, loss against target [height, width, C], gradient, Adam on g.
  StepResult step(const GaussianArrays& g, const AdamArrays& adam, const uint8_t* target, const ViewArea& view,
                  const StepSettings& settings);

  // `rounds` of the kernels' multiply_add on every thread; returns the floating-point operations of all.
  double multiply_add(int64_t rounds);

 private:
  struct alignas(64) Clock {
    double seconds[kStages] = {};
  };
  // Adds what work() takes to a thread's clock.
  template <class Work>
  void timed(Stage stage, int thread, const Work& work);

  // Splats and lists (bin.cpp); with_slots if backward will be called.
  void prepare(const GaussianArrays& g, const ViewArea& view, bool with_slots,
               double overlap = std::numeric_limits<double>::infinity());
  void bin(bool with_slots, double overlap);
  // The lists are those of the tiles, then those of the panels for each level above.
  int64_t first_area(int level) const {
    return level == 0
               ? 0
               : static_cast<int64_t>(tiles_x_) * tiles_y_ + static_cast<int64_t>(level - 1) * panels_x_ * panels_y_;
  }
  bool empty(int64_t area) const { return start_[area] == start_[area + 1]; }

  template <class Work>
  void for_each_piece(Stage stage, int64_t count, const Work& work);
  // Calls work(panel, its area, its highest level with splats, thread) for all panels, on all threads.
  template <class Work>
  void for_each_panel(const Work& work) {
    for_each_panel(0, panels_y_, work);
  }
  template <class Work>
  void for_each_panel(int first_row, int last_row, const Work& work);
  // Calls work(tile, its part inside) for each tile that an area in the picture touches.
  template <class Work>
  void for_each_tile(Area inside, const Work& work) const;
  // Draws the rows [top_row, top_row + rows) and calls work(area, thread) for each tile once it is in the thread's
  // workspace.
  template <class Work>
  void for_each_drawn_tile(int top_row, int rows, const Work& work);
  Area level_area(Area panel, int level, int halo) const;
  void forward(int64_t index, Area area, float* floats) const;
  void backward(int64_t index, Area area, const float* d_floats);
  // Draws the levels of a panel with a halo of so many pixels; then a tile of it, onto what they enlarge to.
  void draw_levels(int64_t panel, Area area, int top, int halo, int thread);
  void draw_tile(int64_t tile, Area area, Area panel, int top, int halo, int thread);
  // The way back: takes a tile's dL/dC(p) to its splats and to the levels; then, after all tiles, through the levels.
  void return_tile(int64_t tile, Area area, const float* d_floats, Area panel, int top, int thread);
  void return_levels(int64_t panel, Area area, int top, int thread);
  void clear_gradient(Area panel, int top, int thread);
  LossSums pixelwise_pass(const uint8_t* target, LossWeights weights);
  LossSums ssim_pass(const uint8_t* target, LossWeights weights);
  GradientSums gradient_sums() const { return {moments_.data(), first_slot_.data(), places_.data(), projection_}; }
  BiasCorrections bias_corrections(const AdamArrays& adam, int64_t count, const StepSettings& settings);

  const Kernels* kernels_;
  ThreadPool pool_;
  std::vector<Clock> clocks_;  // one for each thread
  ViewArea view_{};
  int channels_ = 0;
  int coarsest_;
  int tiles_x_ = 0, tiles_y_ = 0, panels_x_ = 0, panels_y_ = 0;
  Projection projection_{};
  UnfilledVector<Splat> splats_;
  UnfilledVector<Place> places_;
  std::vector<int64_t> first_slot_;  // [N + 1] slots of each splat, one for each area it touches
  std::vector<int64_t> start_;       // [areas + 1] into list_
  std::vector<int64_t> next_;        // [areas] where bin() puts an area's next splat
  UnfilledVector<int32_t> list_;     // splats of each area, in the order of their index
  UnfilledVector<int64_t> slots_;    // where the moments of each list entry go
  UnfilledVector<Moments> moments_;
  std::vector<BiasCorrection> corrections_;  // by age, for the decay rates beta1_ and beta2_
  float beta1_ = 0, beta2_ = 0;
  std::vector<Workspace> workspaces_;  // one for each thread
  std::vector<PanelBuffer> panels_;    // one for each thread, only for the SSIM term
};

template <class Work>
void Rasterizer::timed(Stage stage, int thread, const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  clocks_[thread].seconds[stage] += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <class Work>
void Rasterizer::for_each_piece(Stage stage, int64_t count, const Work& work) {
  pool_.run((count + kPiece - 1) / kPiece, [&](int64_t piece, int thread) {
    timed(stage, thread, [&] { work(piece * kPiece, count < (piece + 1) * kPiece ? count : (piece + 1) * kPiece); });
  });
}

}  // namespace smartsplat
