// Fitting a set of Gaussians to an image: its gradient, its errors, and one optimisation step, over tiles and threads.
#pragma once

#include <cstdint>
#include <vector>

#include "render/rasterizer.h"

namespace smartsplat {

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

struct alignas(64) MacrotileBuffer {
  float image[kMaxChannels * kMacrotilePlane];
  float target[kMaxChannels * kMacrotilePlane];
  float scratch[kMacrotileScratch];
};

class Fitter : public Rasterizer {
 public:
  Fitter(int threads, const Kernels* kernels, int max_level)
      : Rasterizer(std::make_shared<ThreadPool>(threads), kernels, max_level), fit_(fit_kernels_of(kernels)) {}

  // After prepare_strips: the mean residual (target - rendering) and the mean square error over cells of `cell` x
  // `cell` output pixels of the rows [top_row, top_row + rows), of which `target` has the pixels: out [ceil(rows /
  // cell), ceil(width / cell), C + 1]. `cell` divides kTile.
  void residual(int top_row, int rows, const Target& target, int cell, float* out);

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
  void backward(int64_t index, Area area, const float* d_floats);
  // The backward pass: takes a tile's dL/dC(p) to its splats and to the levels; then, after all tiles, through the
  // levels.
  void backward_tile_and_pyramid(int64_t tile, Area area, const float* d_floats, Area macrotile, int coarsest,
                                 int thread);
  void backward_pyramid(int64_t macrotile, Area area, int coarsest, int thread);
  void clear_gradient(Area macrotile, int coarsest, int thread);
  // Renders, compares with the target and fills the partial sums.
  StepResult loss_pass(const GaussianArrays& g, const Target& target, const View& view, const StepSettings& settings,
                       bool clamp = true);
  LossSums pixelwise_pass(const Target& target, LossWeights weights);
  LossSums ssim_pass(const Target& target, LossWeights weights, bool clamp);
  // Fills the gradient of the term `structure`, with that by luma as colour, in memory of the rasterizer's; returns the
  // term.
  double structure_gradient(const GaussianArrays& g, const Structure& structure, GaussianArrays* gradient);
  Partials partials() const { return {partials_.data(), lists_.first_slot(), rects_.data(), projection_}; }
  BiasCorrections bias_corrections(const AdamArrays& adam, int64_t count, const StepSettings& settings);

  const FitKernels* fit_;
  UnfilledVector<PartialSums> partials_;
  UnfilledVector<float> structure_floats_;   // [7, N]: the gradient by natural parameters and luma, and luma
  std::vector<BiasCorrection> corrections_;  // by age, for beta1_ and beta2_
  float beta1_ = 0, beta2_ = 0;
  std::vector<MacrotileBuffer> macrotile_buffers_;  // one for each thread, only for the SSIM term
};

}  // namespace smartsplat
