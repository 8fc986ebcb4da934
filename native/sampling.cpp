#include "sampling.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "threads.h"

namespace smartsplat {
namespace {

// Splits a row into planes: columns [left, left + count) of the picture, its first and last column repeating outwards.
template <int C>
void split(const uint8_t* row, int64_t width, int64_t left, int64_t count, uint16_t* planes) {
  const int64_t begin = std::clamp<int64_t>(-left, 0, count), end = std::clamp<int64_t>(width - left, begin, count);
  for (int64_t i = begin; i < end; ++i)
    for (int c = 0; c < C; ++c) planes[c * count + i] = row[(left + i) * C + c];
  for (int c = 0; c < C; ++c) {
    std::fill(planes + c * count, planes + c * count + begin, row[c]);
    std::fill(planes + c * count + end, planes + (c + 1) * count, row[(width - 1) * C + c]);
  }
}

// One row joins the window and one leaves it. Unsigned numbers wrap on the way, and the sums come out right.
void slide(const uint16_t* __restrict joins, const uint16_t* __restrict leaves, int64_t count,
           uint16_t* __restrict sums, uint32_t* __restrict squares) {
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t in = joins[i], out = leaves[i];
    sums[i] = static_cast<uint16_t>(sums[i] + in - out);
    squares[i] += static_cast<uint32_t>(in * in) - static_cast<uint32_t>(out * out);
  }
}

template <class T>
void window_sum(const T* __restrict from, int window, int64_t count, T* __restrict to) {
  std::copy(from, from + count, to);
  for (int k = 1; k < window; ++k)
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(to[i] + from[i + k]);
}

// Magnitude of the 3x3 Sobel derivative of one channel. The rows start one column to the left of `out`.
void add_gradient(const uint16_t* __restrict above, const uint16_t* __restrict here, const uint16_t* __restrict below,
                  int64_t count, float* __restrict out) {
  for (int64_t i = 0; i < count; ++i) {
    const auto left = static_cast<int16_t>(above[i] + 2 * here[i] + below[i]);
    const auto right = static_cast<int16_t>(above[i + 2] + 2 * here[i + 2] + below[i + 2]);
    const auto top = static_cast<int16_t>(above[i] + 2 * above[i + 1] + above[i + 2]);
    const auto bottom = static_cast<int16_t>(below[i] + 2 * below[i + 1] + below[i + 2]);
    const auto along_x = static_cast<int16_t>(right - left), along_y = static_cast<int16_t>(bottom - top);
    // The smoothing sums to 4 and the difference spans two pixels: divided by 8 it is a derivative.
    out[i] += std::sqrt(static_cast<float>(along_x * along_x + along_y * along_y)) * 0.125f;
  }
}

// The largest of a column so far. (A maximum along the row would not vectorise: its order might matter.)
void raise_peak(const float* __restrict row, int64_t count, float* __restrict peak) {
  for (int64_t i = 0; i < count; ++i) peak[i] = row[i] > peak[i] ? row[i] : peak[i];
}

}  // namespace

TileFeatures::TileFeatures(const Picture& picture, const SamplingSettings& settings)
    : picture_(picture),
      window_(settings.window),
      halo_(std::max(settings.window / 2, 1)),  // Sobel reaches a pixel
      gradient_share_(settings.gradient_share) {}

void TileFeatures::compute(const SeedTile& tile) {
  start(tile);
  for (int64_t row = -halo_; row < tile.height + halo_; ++row) {
    take(row);
    if (row >= halo_) finish(row - halo_);
  }
  largest_gradient_ = *std::max_element(gradient_peak_.begin(), gradient_peak_.end());
  largest_variance_ = *std::max_element(variance_peak_.begin(), variance_peak_.end());
}

void TileFeatures::start(const SeedTile& tile) {
  tile_ = tile;
  columns_ = tile.width + 2 * halo_;
  const auto columns = static_cast<size_t>(columns_), width = static_cast<size_t>(tile.width);
  const auto channels = static_cast<size_t>(picture_.channels), rows = static_cast<size_t>(2 * halo_ + 2);
  lines_.assign(rows * channels * columns, 0);  // what leaves the sums before there is anything to leave
  sums_.assign(channels * columns, 0);
  squares_.assign(columns, 0);
  total_.resize(width);
  spread_.resize(width);
  gradient_.resize(width * static_cast<size_t>(tile.height));
  variance_.resize(width * static_cast<size_t>(tile.height));
  gradient_peak_.assign(width, 0);
  variance_peak_.assign(width, 0);
}

uint16_t* TileFeatures::line(int64_t row, int channel) {
  const int64_t slots = 2 * halo_ + 2, slot = (row + 2 * slots) % slots;  // rows from -3 halo - 1 are asked for
  return lines_.data() + (slot * picture_.channels + channel) * columns_;
}

// Reads a row, and moves the sums down to the window that ends with it.
void TileFeatures::take(int64_t row) {
  const int64_t source = std::clamp<int64_t>(tile_.y + row, 0, picture_.height - 1);
  const uint8_t* from = picture_.pixels + source * picture_.width * picture_.channels;
  if (picture_.channels == 1)
    split<1>(from, picture_.width, tile_.x - halo_, columns_, line(row, 0));
  else
    split<3>(from, picture_.width, tile_.x - halo_, columns_, line(row, 0));
  for (int c = 0; c < picture_.channels; ++c)
    slide(line(row, c), line(row - 2 * halo_ - 1, c), columns_, sums_.data() + c * columns_, squares_.data());
}

// Computes a row whose halo has been taken.
void TileFeatures::finish(int64_t row) {
  const int64_t width = tile_.width;
  float* gradient = gradient_.data() + row * width;
  float* variance = variance_.data() + row * width;
  std::fill(gradient, gradient + width, 0.0f);
  std::fill(variance, variance + width, 0.0f);
  for (int c = 0; c < picture_.channels; ++c)
    add_gradient(line(row - 1, c) + halo_ - 1, line(row, c) + halo_ - 1, line(row + 1, c) + halo_ - 1, width, gradient);
  const auto channels = static_cast<float>(picture_.channels);
  for (int64_t i = 0; i < width; ++i) gradient[i] /= channels;
  raise_peak(gradient, width, gradient_peak_.data());
  if (window_ == 1) return;  // one pixel does not vary

  // n sum x^2 - (sum x)^2 in integers: the difference of two large floats would leave noise in flat areas.
  const auto samples = static_cast<uint32_t>(window_ * window_);
  window_sum(squares_.data(), window_, width, spread_.data());
  for (int64_t i = 0; i < width; ++i) spread_[i] *= samples;
  for (int c = 0; c < picture_.channels; ++c) {
    window_sum(sums_.data() + c * columns_, window_, width, total_.data());
    for (int64_t i = 0; i < width; ++i) spread_[i] -= static_cast<uint32_t>(total_[i]) * total_[i];
  }
  const float divisor = static_cast<float>(samples * samples) * channels;
  for (int64_t i = 0; i < width; ++i) variance[i] = static_cast<float>(static_cast<int32_t>(spread_[i])) / divisor;
  raise_peak(variance, width, variance_peak_.data());
}

void TileFeatures::weight(int64_t row, float* out) const {
  const float* gradient = gradient_.data() + row * tile_.width;
  const float* variance = variance_.data() + row * tile_.width;
  const float gradient_unit = largest_gradient_ > 0 ? largest_gradient_ : 1;
  const float variance_unit = largest_variance_ > 0 ? largest_variance_ : 1;
  for (int64_t i = 0; i < tile_.width; ++i)
    out[i] = gradient_share_ * (gradient[i] / gradient_unit) + (1 - gradient_share_) * (variance[i] / variance_unit);
}

namespace {

// Stands in for a weight of zero in the race: behind all that have a weight, at random among its like.
constexpr float kNever = 1e-30f;

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
    runners_.clear();
  }

  // A time is -log(1 - u) / weight for a uniform u, and never before u / weight: nearly all are out without
  // a logarithm. Of those with the same time the first wins.
  void enter(int64_t first, const float* weights, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const double u = random_.next();
      const double rate = weights[i] > kNever ? weights[i] : kNever;
      if (!(u < bound_ * rate)) continue;
      const double time = -std::log(1 - u) / rate;
      if (time < bound_) add({time, first + i, weights[i]});
    }
  }

  // The winners in the order of their places.
  const std::vector<Runner>& finish() {
    keep_first();
    std::sort(runners_.begin(), runners_.end(), [](const Runner& a, const Runner& b) { return a.place < b.place; });
    return runners_;
  }

 private:
  void add(const Runner& runner) {
    runners_.push_back(runner);
    if (runners_.size() == 2 * count_) keep_first();
  }

  void keep_first() {
    if (runners_.size() <= count_) return;
    const auto last = runners_.begin() + static_cast<std::ptrdiff_t>(count_ - 1);
    std::nth_element(runners_.begin(), last, runners_.end(), [](const Runner& a, const Runner& b) {
      return a.time < b.time || (a.time == b.time && a.place < b.place);
    });
    bound_ = last->time;
    runners_.resize(count_);
  }

  size_t count_ = 0;
  Random random_{0};
  double bound_ = 0;  // times from here on do not win
  std::vector<Runner> runners_;
};

class Sampler {
 public:
  Sampler(const Picture& picture, const SamplingSettings& settings) : features_(picture, settings) {}

  void operator()(const TileDraw& draw, float* mean, float* weight) {
    const SeedTile& tile = draw.tile;
    features_.compute(tile);
    row_.resize(static_cast<size_t>(tile.width));
    race_.start(draw.count, draw.key);
    for (int64_t row = 0; row < tile.height; ++row) {
      features_.weight(row, row_.data());
      race_.enter(row * tile.width, row_.data(), tile.width);
    }
    for (const Runner& winner : race_.finish()) {
      *mean++ = static_cast<float>(tile.x + winner.place % tile.width) + 0.5f;
      *mean++ = static_cast<float>(tile.y + winner.place / tile.width) + 0.5f;
      *weight++ = winner.weight;
    }
  }

 private:
  TileFeatures features_;
  Race race_;
  std::vector<float> row_;
};

}  // namespace

std::vector<Runner> race(const float* weights, int64_t size, int64_t count, uint64_t key, double bound) {
  if (count == 0) return {};
  Race run;
  run.start(count, key, bound);
  run.enter(0, weights, size);
  return run.finish();
}

void draw_weighted(const Picture& picture, const std::vector<TileDraw>& draws, const SamplingSettings& settings,
                   float* mean, float* weight, int threads) {
  const auto tiles = static_cast<int64_t>(draws.size());
  std::vector<int64_t> start(draws.size() + 1, 0);
  for (size_t i = 0; i < draws.size(); ++i) start[i + 1] = start[i] + draws[i].count;
  ThreadPool pool(static_cast<int>(std::min<int64_t>(threads, tiles)));
  std::vector<Sampler> samplers(static_cast<size_t>(pool.size()), Sampler(picture, settings));
  pool.run(tiles, [&](int64_t i, int thread) {
    const TileDraw& draw = draws[static_cast<size_t>(i)];
    const int64_t at = start[static_cast<size_t>(i)];
    if (draw.count > 0) samplers[static_cast<size_t>(thread)](draw, mean + 2 * at, weight + at);
  });
}

}  // namespace smartsplat
