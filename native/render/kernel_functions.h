// What kernels.cpp puts into its table, by the file that it is in: see kernels.h for each.
#pragma once

#include "render/kernels.h"

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {

double project(const GaussianArrays& g, int64_t begin, int64_t end, const Projection& view, Splat* splats,
               TileRect* rects);
void differentiate(const GaussianArrays& g, const Partials& sums, int64_t begin, int64_t end,
                   const GaussianArrays& gradient);
double update(const GaussianArrays& g, const Partials& sums, const GaussianArrays* other, int64_t begin, int64_t end,
              const StepSettings& settings, const AdamArrays& adam, const BiasCorrections& corrections);
void enlarge(int channels, Area from, const float* small, Area to, float* large);
void reduce(int channels, Area from, const float* large, Area to, float* small);
void find_grain(Area area, const Grain& grain, float* out);
void store_samples(const float* planes, const float* grain, int channels, Area area, void* out, bool wide,
                   int64_t stride);
LossSums pixel_loss(float* planes, int channels, Area area, const Target& target, LossWeights weights);
void cell_errors(const float* planes, int channels, Area area, const Target& target, int cell, float* out,
                 int64_t row_floats);
void macrotile_put(const float* planes, int channels, Area area, const Target& target, const Macrotile& macrotile);
LossSums macrotile_loss(const Macrotile& macrotile, int channels, LossWeights weights);
void forward_tile(const Splat* splats, const int32_t* list, int64_t count, int channels, Area area, float* planes);
void backward_tile(const Splat* splats, const int32_t* list, const int64_t* slots, int64_t count, int channels,
                   Area area, const float* d_planes, PartialSums* partials);

}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
