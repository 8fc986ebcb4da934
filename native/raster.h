// Rendering a set of Gaussians, its gradient, and one optimisation step, over tiles and threads.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"
#include "threads.h"

namespace smartsplat {

// N Gaussians as they lie in numpy arrays; see gaussians.py for units.
struct GaussianArrays {
  int64_t count;
  int channels;
  float* mean;      // [N, 2]
  float* scale;     // [N, 2]
  float* rotation;  // [N]
  float* color;     // [N, C]
};

// Which part of the picture is drawn, and how large: raster/__init__.py, View.
struct ViewArea {
  double x, y;              // picture coordinates of the output's top left corner
  double scale_x, scale_y;  // output pixels for each picture pixel
  int width, height;        // output pixels
};

struct StepSettings {
  float l1, l2, ssim;  // weights of the loss terms
  float rate_mean_x, rate_mean_y, rate_scale, rate_rotation, rate_color;
  float beta1, beta2, epsilon;
  bool relative;  // rates of mean and scale in units of the Gaussian's own scales
  float smallest_scale, largest_scale, largest_aspect;
  float picture_width, picture_height;
};

// Adam's moments and each Gaussian's age in steps; P = 5 + C, in the order of the parameters.
struct AdamArrays {
  float* first;   // [N, P]
  float* second;  // [N, P]
  int32_t* age;   // [N]
};

struct StepResult {
  double loss;
  double mean_square;  // of the clamped rendering against the target, in [0, 1] units
};

// What a frame or a step is made of, for profiles: seconds summed over threads since the last reset.
enum Stage { kProject, kBin, kForward, kLoss, kBackward, kStore, kUpdate, kStages };
constexpr const char* kStageNames[kStages] = {"project", "bin", "forward", "loss", "backward", "store", "update"};

// The tiles that a splat's rectangle touches: columns [left, right), rows [top, bottom).
struct TileRect {
  uint16_t left, top, right, bottom;
};

// What a thread works in. Aligned to cache lines: no vector of theirs straddles two.
struct alignas(64) TileBuffer {
  float floats[kTileFloats];
};
struct alignas(64) PanelBuffer {
  float image[kMaxChannels * kPanelPlane];
  float target[kMaxChannels * kPanelPlane];
  float scratch[kPanelScratch];
};

class Rasterizer {
 public:
  // `variant` as in find_kernels; throws std::invalid_argument if it cannot run here.
  Rasterizer(int threads, const char* variant);

  const char* variant() const { return kernels_->name; }
  int threads() const { return pool_.size(); }

  double seconds(Stage stage) const;
  void reset_clocks() { clocks_.assign(clocks_.size(), Clock{}); }

  // Output: interleaved [height, width, C].
  void render(const GaussianArrays& g, const ViewArea& view, float* image);
  void render_bytes(const GaussianArrays& g, const ViewArea& view, uint8_t* image);

  // d_image [height, width, C]; the gradients have the shapes of the parameters.
  void render_gradient(const GaussianArrays& g, const ViewArea& view, const float* d_image,
                       const GaussianArrays& gradient);

  // One step: render, loss against target [height, width, C], gradient, Adam. `drawn` are the values
  // that are rendered (the quantised ones while training with rounding), `g` those that are updated.
  StepResult step(const GaussianArrays& g, const GaussianArrays& drawn, const AdamArrays& adam, const uint8_t* target,
                  const ViewArea& view, const StepSettings& settings);

  // Mean residual (target - rendering) and mean square error over cells of `cell` x `cell` output
  // pixels: out [ceil(height / cell), ceil(width / cell), C + 1]. `cell` divides kTile.
  void residual(const GaussianArrays& g, const uint8_t* target, const ViewArea& view, int cell, float* out);

  // `rounds` of the kernels' multiply_add on every thread; returns the floating-point operations of all.
  double multiply_add(int64_t rounds);

 private:
  struct alignas(64) Clock {
    double seconds[kStages] = {};
  };
  // Adds what work() takes to a thread's clock.
  template <class Work>
  void timed(Stage stage, int thread, const Work& work);

  // Splats and tile lists; with_slots if backward will be called.
  void prepare(const GaussianArrays& g, const ViewArea& view, bool with_slots);
  void bin(bool with_slots);
  TileArea area(int64_t tile) const;
  template <class Work>
  void for_each_piece(Stage stage, int64_t count, const Work& work);
  template <class Work>
  void for_each_tile(const Work& work);
  void forward(int64_t tile, TileArea area, float* planes, int thread);
  void backward(int64_t tile, TileArea area, const float* d_planes, int thread);
  LossSums pixelwise_pass(const uint8_t* target, LossWeights weights);
  LossSums panel_pass(const uint8_t* target, LossWeights weights);
  void gaussian_gradient(const GaussianArrays& g, int64_t i, double* gradient) const;

  const Kernels* kernels_;
  ThreadPool pool_;
  std::vector<Clock> clocks_;  // one for each thread
  ViewArea view_{};
  int channels_ = 0;
  int tiles_x_ = 0, tiles_y_ = 0;
  std::vector<Splat> splats_;
  std::vector<TileRect> rects_;
  std::vector<int64_t> first_slot_;  // [N + 1] slots of each splat, one for each tile it touches
  std::vector<int64_t> tile_start_;  // [tiles + 1] into list_
  std::vector<int64_t> next_;        // [tiles] where bin() puts a tile's next splat
  std::vector<int32_t> list_;        // splats of each tile, in the order of their index
  std::vector<int64_t> slots_;       // where the moments of each list entry go
  std::vector<Moments> moments_;
  std::vector<TileBuffer> tiles_;    // one for each thread
  std::vector<PanelBuffer> panels_;  // one for each thread, only for the SSIM term
};

}  // namespace smartsplat
