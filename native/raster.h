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

class Rasterizer {
 public:
  // `variant` as in find_kernels; throws std::invalid_argument if it cannot run here.
  Rasterizer(int threads, const char* variant);

  const char* variant() const { return kernels_->name; }
  int threads() const { return pool_.size(); }

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

 private:
  void prepare(const GaussianArrays& g, const ViewArea& view);
  void bin();
  TileArea area(int64_t tile) const;
  float* planes(int thread) { return planes_.data() + thread * kMaxChannels * kPlane; }
  template <class Work>
  void for_each_tile(const Work& work);
  void forward(int64_t tile, TileArea area, float* planes);
  void backward(int64_t tile, TileArea area, const float* d_planes);
  void ssim_gradient(const uint8_t* target, float weight, double* loss);
  void gaussian_gradient(const GaussianArrays& g, int64_t i, double* gradient) const;

  const Kernels* kernels_;
  ThreadPool pool_;
  ViewArea view_{};
  int channels_ = 0;
  int tiles_x_ = 0, tiles_y_ = 0;
  std::vector<Splat> splats_;
  std::vector<int64_t> first_slot_;  // [N + 1] slots of each splat, one for each tile it touches
  std::vector<int64_t> tile_start_;  // [tiles + 1] into list_
  std::vector<int32_t> list_;        // splats of each tile, in the order of their index
  std::vector<int64_t> slots_;       // where the moments of each list entry go
  std::vector<Moments> moments_;
  std::vector<float> planes_;           // one tile for each thread
  std::vector<float> image_, d_image_;  // planar, only for the SSIM term
  std::vector<float> scratch_;
};

}  // namespace smartsplat
