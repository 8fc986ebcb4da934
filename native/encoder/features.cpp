#include "encoder/features.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace smartsplat {
namespace {

// Splits a row into planes: columns [left, left + count) of the image, its first and last column repeating outwards.
template <int C, class Sample>
void split(const Sample* row, int64_t width, int64_t left, int64_t count, uint16_t* planes) {
  constexpr int kShift = 8 * (sizeof(Sample) - 1);  // to 8 bits
  const int64_t begin = std::clamp<int64_t>(-left, 0, count), end = std::clamp<int64_t>(width - left, begin, count);
  for (int64_t i = begin; i < end; ++i)
    for (int c = 0; c < C; ++c) planes[c * count + i] = row[(left + i) * C + c] >> kShift;
  for (int c = 0; c < C; ++c) {
    std::fill(planes + c * count, planes + c * count + begin, row[c] >> kShift);
    std::fill(planes + c * count + end, planes + (c + 1) * count, row[(width - 1) * C + c] >> kShift);
  }
}

// The row of an image that begins with so many samples before it.
template <class Sample>
void split_row(const Image& image, int64_t samples, int64_t left, int64_t count, uint16_t* planes) {
  const Sample* row = static_cast<const Sample*>(image.pixels) + samples;
  (image.channels == 1 ? split<1, Sample> : split<3, Sample>)(row, image.width, left, count, planes);
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
void add_gradient(const uint16_t* __restrict above, const uint16_t* __restrict middle, const uint16_t* __restrict below,
                  int64_t count, float* __restrict out) {
  for (int64_t i = 0; i < count; ++i) {
    const auto left = static_cast<int16_t>(above[i] + 2 * middle[i] + below[i]);
    const auto right = static_cast<int16_t>(above[i + 2] + 2 * middle[i + 2] + below[i + 2]);
    const auto top = static_cast<int16_t>(above[i] + 2 * above[i + 1] + above[i + 2]);
    const auto bottom = static_cast<int16_t>(below[i] + 2 * below[i + 1] + below[i + 2]);
    const auto along_x = static_cast<int16_t>(right - left), along_y = static_cast<int16_t>(bottom - top);
    // The smoothing sums to 4 and the difference spans two pixels: divided by 8 it is a derivative.
    out[i] += std::sqrt(static_cast<float>(along_x * along_x + along_y * along_y)) * 0.125f;
  }
}

// The maximum of a column so far. (A maximum along the row would not vectorise: its order might matter.)
void raise_peak(const float* __restrict row, int64_t count, float* __restrict peak) {
  for (int64_t i = 0; i < count; ++i) peak[i] = row[i] > peak[i] ? row[i] : peak[i];
}

}  // namespace

TileFeatures::TileFeatures(const Image& image, const FeatureSettings& settings)
    : image_(image),
      window_(settings.window),
      halo_(std::max(settings.window / 2, 1)),  // Sobel reaches a pixel
      gradient_fraction_(settings.gradient_fraction) {}

void TileFeatures::compute(const SamplingTile& tile) {
  start(tile);
  for (int64_t row = -halo_; row < tile.height + halo_; ++row) {
    take(row);
    if (row >= halo_) finish(row - halo_);
  }
  max_gradient_ = *std::max_element(gradient_peak_.begin(), gradient_peak_.end());
  max_variance_ = *std::max_element(variance_peak_.begin(), variance_peak_.end());
}

void TileFeatures::start(const SamplingTile& tile) {
  tile_ = tile;
  columns_ = tile.width + 2 * halo_;
  const auto columns = static_cast<size_t>(columns_), width = static_cast<size_t>(tile.width);
  const auto channels = static_cast<size_t>(image_.channels), rows = static_cast<size_t>(2 * halo_ + 2);
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
  const int64_t lines = 2 * halo_ + 2, index = (row + 2 * lines) % lines;  // rows from -3 halo - 1 are asked for
  return lines_.data() + (index * image_.channels + channel) * columns_;
}

// Reads a row, and moves the sums down to the window that ends with it.
void TileFeatures::take(int64_t row) {
  const int64_t source = std::clamp<int64_t>(tile_.y + row, 0, image_.height - 1);
  const int64_t samples = source * image_.width * image_.channels;
  (image_.wide ? split_row<uint16_t> : split_row<uint8_t>)(image_, samples, tile_.x - halo_, columns_, line(row, 0));
  for (int c = 0; c < image_.channels; ++c)
    slide(line(row, c), line(row - 2 * halo_ - 1, c), columns_, sums_.data() + c * columns_, squares_.data());
}

// Computes a row whose halo has been taken.
void TileFeatures::finish(int64_t row) {
  const int64_t width = tile_.width;
  float* gradient = gradient_.data() + row * width;
  float* variance = variance_.data() + row * width;
  std::fill(gradient, gradient + width, 0.0f);
  std::fill(variance, variance + width, 0.0f);
  for (int c = 0; c < image_.channels; ++c)
    add_gradient(line(row - 1, c) + halo_ - 1, line(row, c) + halo_ - 1, line(row + 1, c) + halo_ - 1, width, gradient);
  const auto channels = static_cast<float>(image_.channels);
  for (int64_t i = 0; i < width; ++i) gradient[i] /= channels;
  raise_peak(gradient, width, gradient_peak_.data());
  if (window_ == 1) return;  // one pixel does not vary

  // n sum x^2 - (sum x)^2 in integers: the difference of two large floats would leave noise in flat areas.
  const auto samples = static_cast<uint32_t>(window_ * window_);
  window_sum(squares_.data(), window_, width, spread_.data());
  for (int64_t i = 0; i < width; ++i) spread_[i] *= samples;
  for (int c = 0; c < image_.channels; ++c) {
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
  const float gradient_unit = max_gradient_ > 0 ? max_gradient_ : 1;
  const float variance_unit = max_variance_ > 0 ? max_variance_ : 1;
  for (int64_t i = 0; i < tile_.width; ++i)
    out[i] =
        gradient_fraction_ * (gradient[i] / gradient_unit) + (1 - gradient_fraction_) * (variance[i] / variance_unit);
}

}  // namespace smartsplat
