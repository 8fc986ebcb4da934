#include "encoder/weighted_sampling.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "core/threads.h"

namespace smartsplat {
namespace {

// Stands in for a weight of zero in the race: behind all that have a weight, at random among its like.
constexpr float kMinWeight = 1e-30f;

// splitmix64 (Steele, Lea and Flood, 2014): a counter that starts at the key, its bits mixed.
class Random {
 public:
  explicit Random(uint64_t key) : state_(key) {}

  double next() {  // uniform in [0, 1), a multiple of 2^-53
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return static_cast<double>(static_cast<int64_t>((z ^ (z >> 31)) >> 11)) * 0x1p-53;
  }

 private:
  uint64_t state_;
};

class Race {
 public:
  void start(int64_t count, uint64_t key, double bound = std::numeric_limits<double>::infinity()) {
    count_ = static_cast<size_t>(count);
    random_ = Random(key);
    bound_ = bound;
    candidates_.clear();
  }

  // A time is -log(1 - u) / weight for a uniform u, and never before u / weight: nearly all are out without
  // a logarithm. Of those with the same time the first wins.
  void enter(int64_t first, const float* weights, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const double u = random_.next();
      const double weight = weights[i] > kMinWeight ? weights[i] : kMinWeight;
      if (!(u < bound_ * weight)) continue;
      const double time = -std::log(1 - u) / weight;
      if (time < bound_) add({time, first + i, weights[i]});
    }
  }

  // The winners in the order of their places.
  const std::vector<Candidate>& finish() {
    keep_first();
    std::sort(candidates_.begin(), candidates_.end(),
              [](const Candidate& a, const Candidate& b) { return a.place < b.place; });
    return candidates_;
  }

 private:
  void add(const Candidate& runner) {
    candidates_.push_back(runner);
    if (candidates_.size() == 2 * count_) keep_first();
  }

  void keep_first() {
    if (candidates_.size() <= count_) return;
    const auto last = candidates_.begin() + static_cast<std::ptrdiff_t>(count_ - 1);
    std::nth_element(candidates_.begin(), last, candidates_.end(), [](const Candidate& a, const Candidate& b) {
      return a.time < b.time || (a.time == b.time && a.place < b.place);
    });
    bound_ = last->time;
    candidates_.resize(count_);
  }

  size_t count_ = 0;
  Random random_{0};
  double bound_ = 0;  // times from here on do not win
  std::vector<Candidate> candidates_;
};

class TileSampler {
 public:
  TileSampler(const Image& image, const uint8_t* error_weights, const FeatureSettings& settings)
      : features_(image, settings), error_weights_(error_weights), image_width_(image.width) {}

  void operator()(const TileBudget& budget, float* mean, float* weight) {
    const SamplingTile& tile = budget.tile;
    features_.compute(tile);
    row_.resize(static_cast<size_t>(tile.width));
    race_.start(budget.count, budget.key);
    for (int64_t row = 0; row < tile.height; ++row) {
      features_.weight(row, row_.data());
      if (error_weights_ != nullptr) {
        const uint8_t* factors = error_weights_ + (tile.y + row) * image_width_ + tile.x;
        for (int64_t i = 0; i < tile.width; ++i) row_[static_cast<size_t>(i)] *= static_cast<float>(factors[i]) / 255;
      }
      race_.enter(row * tile.width, row_.data(), tile.width);
    }
    for (const Candidate& winner : race_.finish()) {
      *mean++ = static_cast<float>(tile.x + winner.place % tile.width) + 0.5f;
      *mean++ = static_cast<float>(tile.y + winner.place / tile.width) + 0.5f;
      *weight++ = winner.weight;
    }
  }

 private:
  TileFeatures features_;
  const uint8_t* error_weights_;
  int64_t image_width_;
  Race race_;
  std::vector<float> row_;
};

}  // namespace

std::vector<Candidate> race(const float* weights, int64_t size, int64_t count, uint64_t key, double bound) {
  if (count == 0) return {};
  Race run;
  run.start(count, key, bound);
  run.enter(0, weights, size);
  return run.finish();
}

void sample_pixels(const Image& image, const uint8_t* error_weights, const std::vector<TileBudget>& budgets,
                   const FeatureSettings& settings, float* mean, float* weight, int threads) {
  const auto tiles = static_cast<int64_t>(budgets.size());
  std::vector<int64_t> start(budgets.size() + 1, 0);
  for (size_t i = 0; i < budgets.size(); ++i) start[i + 1] = start[i] + budgets[i].count;
  ThreadPool pool(static_cast<int>(std::min<int64_t>(threads, tiles)));
  std::vector<TileSampler> samplers(static_cast<size_t>(pool.size()), TileSampler(image, error_weights, settings));
  pool.run(tiles, [&](int64_t i, int thread) {
    const TileBudget& budget = budgets[static_cast<size_t>(i)];
    const int64_t at = start[static_cast<size_t>(i)];
    if (budget.count > 0) samplers[static_cast<size_t>(thread)](budget, mean + 2 * at, weight + at);
  });
}

}  // namespace smartsplat
