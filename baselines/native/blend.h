// Gaussians by covariance, blended by alpha or by their K largest weights: blend.py has the equations.
#pragma once

#include <cstdint>
#include <vector>

#include "blend_kernels.h"
#include "render/fitter.h"

namespace smartsplat {

// N Gaussians as they lie in numpy arrays; see blend.py for units.
struct CovarianceArrays {
  int64_t count;
  int channels;
  float* mean;        // [N, 2]
  float* covariance;  // [N, 3]
  float* color;       // [N, C]
  float* opacity;     // [N]
};

class Blender {
 public:
  // As the constructor of Rasterizer.
  Blender(int threads, const char* variant);

  // Output: interleaved [height, width, C], either of them.
  void render(const CovarianceArrays& g, Blend blend, int width, int height, float* image, uint8_t* bytes);
  void render_gradient(const CovarianceArrays& g, Blend blend, int width, int height, const float* d_image,
                       const CovarianceArrays& gradient);
  // The loss against target [height, width, C] and its gradient.
  StepResult loss_gradient(const CovarianceArrays& g, Blend blend, int width, int height, const uint8_t* pixels,
                           LossWeights weights, const CovarianceArrays& gradient);

 private:
  struct alignas(64) Workspace {
    float state[kStateFloats];
    float d_planes[kTileFloats];
    UnfilledVector<float> floats;
    UnfilledVector<int32_t> splats;
    UnfilledVector<RowSpan> spans;
  };
  // Splats, the lists of the tiles, and what threads work in.
  void prepare(const CovarianceArrays& g, Blend blend, int width, int height);
  void allocate_scratch();
  Area tile_area(int64_t tile, int planes) const;
  BlendTile tile_of(int64_t tile, float* state, int thread);
  template <class Work>
  void for_each_tile(const Work& work);
  void forward(int64_t tile, float* state, int thread);
  void backward(int64_t tile, float* state, Area from, const float* d_planes, int thread);
  LossSums pixelwise_pass(const Target& target, LossWeights weights);
  LossSums ssim_pass(const Target& target, LossWeights weights);
  LossSums macrotile_pass(int64_t index, const Target& target, LossWeights weights, int thread);
  float* kept_state(int64_t tile);
  void differentiate(const CovarianceArrays& gradient);

  const Kernels* kernels_;
  const FitKernels* fit_kernels_;
  const BlendKernels* blend_kernels_;
  ThreadPool pool_;
  Blend blend_{};
  Grid grid_;
  int channels_ = 0;
  std::vector<Splat> splats_;
  std::vector<float> opacity_;  // times kWindowNorm
  std::vector<TileRect> rects_;
  AreaLists lists_;
  UnfilledVector<BlendSums> partials_;
  UnfilledVector<float> states_;       // of tiles in a row, only for the SSIM term: later ones replace the first
  std::vector<Workspace> workspaces_;  // one for each thread
  std::vector<MacrotileBuffer> macrotile_buffers_;
};

}  // namespace smartsplat
