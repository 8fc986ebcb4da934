// Rendering a set of Gaussians, its gradient, and one optimisation step, over tiles and threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
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

struct StepResult {
  double loss;
  double mean_square;  // of the clamped rendering against the target, in [0, 1] units
};

inline void add(LossSums& to, const LossSums& part) {
  to.absolute += part.absolute;
  to.square += part.square;
  to.ssim += part.ssim;
  to.coarse += part.coarse;
}

inline LossSums total(const std::vector<LossSums>& parts) {
  LossSums sums{};
  for (const LossSums& part : parts) add(sums, part);
  return sums;
}

// A term of a step's loss beside the others: weight x (1 - SSIM) of luma of the rendering, not clamped, at a view of
// its own.
struct Structure {
  Target target;  // luma
  View view;
  float weight;
};

// E22 and the mean square error, from sums over so many samples.
inline StepResult step_result(const LossSums& sums, const LossWeights& weights, double samples) {
  const double similarity = weights.ssim > 0 ? weights.ssim * (1.0 - sums.ssim / samples) : 0.0;
  const double square = (1.0 - weights.coarse) * sums.square + weights.coarse * sums.coarse;
  const double pixelwise = (weights.l1 * sums.absolute + weights.l2 * square) / samples;
  return {pixelwise + similarity, sums.square / samples};
}

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
struct alignas(64) MacrotileBuffer {
  float image[kMaxChannels * kMacrotilePlane];
  float target[kMaxChannels * kMacrotilePlane];
  float scratch[kMacrotileScratch];
};

constexpr int64_t kPieceGaussians = 4096;  // Gaussians that a thread takes at a time

class Rasterizer {
 public:
  // With the kernels of find_kernels. Splats are rendered on level `max_level` at most: with 0, all at full size.
  Rasterizer(int threads, const Kernels* kernels, int max_level);

  const char* variant() const { return kernels_->name; }
  int threads() const { return pool_.size(); }

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
  // Or finds the mean residual (target - rendering) and mean square error over cells of `cell` x `cell` output pixels
  // of those rows, of which `target` has the pixels: out [ceil(rows / cell), ceil(width / cell), C + 1]. `cell` divides
  // kTile.
  void residual(int top_row, int rows, const Target& target, int cell, float* out);
  const View& view() const { return view_; }
  int channels() const { return channels_; }

  // d_image [height, width, C]; the gradients have the shapes of the parameters.
  void render_gradient(const GaussianArrays& g, const View& view, const float* d_image, const GaussianArrays& gradient);

  // The loss without the rate term, and its gradient.
  StepResult loss_gradient(const GaussianArrays& g, const Target& target, const View& view,
                           const StepSettings& settings, const GaussianArrays& gradient);

  // One step: render, loss against target [height, width, C], gradient, Adam on g; with the term `structure`, if any.
  StepResult step(const GaussianArrays& g, const AdamArrays& adam, const Target& target, const View& view,
                  const StepSettings& settings, const Structure* structure = nullptr);

  // `rounds` of the kernels' multiply_add on every thread; returns the floating-point operations of all.
  double multiply_add(int64_t rounds);

 private:
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
  void backward(int64_t index, Area area, const float* d_floats);
  // Renders the pyramid of a macrotile with a halo of so many pixels; then a tile of it, onto what they enlarge to.
  void render_pyramid(int64_t macrotile, Area area, int coarsest, int halo, int thread);
  void render_tile(int64_t tile, Area area, Area macrotile, int coarsest, int halo, int thread);
  // The backward pass: takes a tile's dL/dC(p) to its splats and to the levels; then, after all tiles, through the
  // levels.
  void backward_tile_and_pyramid(int64_t tile, Area area, const float* d_floats, Area macrotile, int coarsest,
                                 int thread);
  void backward_pyramid(int64_t macrotile, Area area, int coarsest, int thread);
  void clear_gradient(Area macrotile, int coarsest, int thread);
  // Renders, compares with the target and fills the partial sums.
  StepResult loss_pass(const GaussianArrays& g, const Target& target, const View& view, const StepSettings& settings,
                       bool clamp = true);
  // Grain at the prepared view.
  Grain grain_of(const GrainStrengths& strengths) const;
  LossSums pixelwise_pass(const Target& target, LossWeights weights);
  LossSums ssim_pass(const Target& target, LossWeights weights, bool clamp);
  // Fills the gradient of the term `structure`, with that by luma as colour, in memory of the rasterizer's; returns the
  // term.
  double structure_gradient(const GaussianArrays& g, const Structure& structure, GaussianArrays* gradient);
  Partials partials() const { return {partials_.data(), lists_.first_slot(), rects_.data(), projection_}; }
  BiasCorrections bias_corrections(const AdamArrays& adam, int64_t count, const StepSettings& settings);

  const Kernels* kernels_;
  ThreadPool pool_;
  std::vector<Clock> clocks_;  // one for each thread
  View view_{};
  int channels_ = 0;
  int max_level_;
  Grid grid_;
  Projection projection_{};
  UnfilledVector<Splat> splats_;
  UnfilledVector<TileRect> rects_;
  AreaLists lists_;
  UnfilledVector<PartialSums> partials_;
  UnfilledVector<float> structure_floats_;   // [7, N]: the gradient by natural parameters and luma, and luma
  std::vector<BiasCorrection> corrections_;  // by age, for beta1_ and beta2_
  float beta1_ = 0, beta2_ = 0;
  std::vector<Workspace> workspaces_;               // one for each thread
  std::vector<MacrotileBuffer> macrotile_buffers_;  // one for each thread, only for the SSIM term
};

template <class Work>
void Rasterizer::timed(Stage stage, int thread, const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  clocks_[thread].seconds[stage] += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <class Work>
void Rasterizer::for_each_piece(Stage stage, int64_t count, const Work& work) {
  pool_.run_in_pieces(count, kPieceGaussians,
                      [&](int64_t begin, int64_t end, int thread) { timed(stage, thread, [&] { work(begin, end); }); });
}

}  // namespace smartsplat
