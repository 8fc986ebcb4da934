// Pixels sampled by weight and without replacement (E11-E12), by an exponential race. Threads take tiles.
#pragma once

#include <cstdint>
#include <vector>

#include "encoder/features.h"

namespace smartsplat {

// A pixel or a cell in an exponential race (Efraimidis and Spirakis, 2006): its time is exponential, with its weight as
// the parameter.
struct Candidate {
  double time;
  int64_t place;
  float weight;
};

// The first `count` of a race among weights, of those before `bound`, in the order of their places: the same sample as
// one after the other, each time from those that are left.
std::vector<Candidate> race(const float* weights, int64_t size, int64_t count, uint64_t key, double bound);

// A tile's part of a sample.
struct TileBudget {
  SamplingTile tile;
  int64_t count;  // of pixels, at most those of the tile
  uint64_t key;   // of the tile's random numbers
};

// E12: for each tile in turn `count` of its pixels, sampled by weight and without replacement, row by row:
// `mean` [sum of the counts, 2] their centres and `weight` [sum of the counts] theirs. Weights are multiplied with
// `error_weights` [height, width], 255 being 1; null: all are 1.
void sample_pixels(const Image& image, const uint8_t* error_weights, const std::vector<TileBudget>& budgets,
                   const FeatureSettings& settings, float* mean, float* weight, int threads);

}  // namespace smartsplat
