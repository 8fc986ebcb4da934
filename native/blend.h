// Splats by covariance, blended by alpha or by their ten largest weights: raster/blend.py has the equations.
#pragma once

#include <cstdint>
#include <vector>

#include "blend_kernels.h"
#include "raster.h"

namespace smartsplat {

// N splats as they lie in numpy arrays.
struct SplatArrays {
  int64_t count;
  int channels;
  float* mean;        // [N, 2]
  float* covariance;  // [N, 3]
  float* color;       // [N, C]
  float* opacity;     // [N]
};

struct Blending {
  bool top;
  float background;
};

class Blender {
 public:
  // As the constructor of Rasterizer.
  Blender(int threads, const char* variant);

  // Output: interleaved [height, width, C], either of them.
  void render(const SplatArrays& s, Blending blending, int width, int height, float* image, uint8_t* bytes);
  void render_gradient(const SplatArrays& s, Blending blending, int width, int height, const float* d_image,
                       const SplatArrays& gradient);
  // The loss against target [height, width, C] and its gradient.
  StepResult loss_gradient(const SplatArrays& s, Blending blending, int width, int height, const uint8_t* target,
                           LossWeights weights, const SplatArrays& gradient);

 private:
  struct alignas(64) Buffers {
    float state[kStateFloats];
    float d_planes[kTileFloats];
    UnfilledVector<float> floats;
    UnfilledVector<int32_t> splats;
    UnfilledVector<BlendRun> runs;

    BlendSpace space() { return {floats.data(), splats.data(), runs.data()}; }
  };
  // Splats, the lists of the tiles, and what threads work in.
  void prepare(const SplatArrays& s, Blending blending, int width, int height);
  void bin();
  void make_room(bool top);
  BlendList list_of(int64_t tile) const;
  Area area_of(int64_t tile, int planes) const;
  template <class Work>
  void for_each_tile(const Work& work);
  void draw(int64_t tile, Blending blending, float* state, int thread);
  void take_back(int64_t tile, Blending blending, const float* state, Area from, const float* d_planes, int thread);
  LossSums pixelwise_pass(Blending blending, const uint8_t* target, LossWeights weights);
  LossSums ssim_pass(Blending blending, const uint8_t* target, LossWeights weights);
  LossSums compare_panel(int64_t index, Blending blending, const uint8_t* target, LossWeights weights, int thread);
  void put_panel(Area core, const uint8_t* target, const Panel& panel);
  float* state_of(int64_t tile);
  void finish(const SplatArrays& gradient);

  const Kernels* kernels_;
  const BlendKernels* blend_;
  ThreadPool pool_;
  int width_ = 0, height_ = 0, channels_ = 0, tiles_x_ = 0, tiles_y_ = 0, panels_x_ = 0, panels_y_ = 0;
  std::vector<Splat> splats_;
  std::vector<float> opacity_;
  std::vector<int64_t> first_slot_;  // [N + 1] slots of each splat, one for each tile it touches
  std::vector<int64_t> start_;       // [tiles + 1] into list_
  std::vector<int32_t> list_;
  std::vector<int64_t> slots_;
  UnfilledVector<BlendMoments> moments_;
  UnfilledVector<float> states_;  // of tiles in a row, only for the SSIM term: later ones replace the first
  std::vector<Buffers> buffers_;  // one for each thread
  std::vector<PanelBuffer> panels_;
};

}  // namespace smartsplat
