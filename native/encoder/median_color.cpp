// One Gaussian at a time: the weights of its disc are summed into a histogram of the 256 code values for
// each channel (a few KB, so it stays in the first-level cache), and a scan up to half of the total
// finds the median without sorting. Cost: the pixels of the disc plus 256 steps a channel. Threads
// take blocks of Gaussians; each Gaussian is finished by one thread in integers, so the order does
// not matter.

#include "encoder/median_color.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/threads.h"

namespace smartsplat {
namespace {

constexpr int kCodeValues = 256;
constexpr int64_t kBlockGaussians = 512;  // Gaussians that a thread takes at a time

// Every pixel up to this radius (1810 of them); beyond, a lattice step that keeps about
// kLatticePixels: a median over 1000 samples of a disc moves little with more.
constexpr double kFullRadius = 24.0;
constexpr double kLatticePixels = 1000.0;
constexpr double kPi = 3.14159265358979323846;

// Weights are fixed-point: at most 1850 pixels of at most 2^20 fit 32 bits, sums are exact, and a
// tie between two code values is a tie.
constexpr double kUnitWeight = 1 << 20;

// What NaN, zero and infinite scales become; at the smallest only the pixel that contains the mean
// is left.
constexpr double kMinRadius = 1e-3;
constexpr double kMaxRadius = 1e9;

// The lattice positions of a disc along one axis, and the factor exp(-d^2 / (2 s^2)) at each: the
// weight of E19 is a product, so a disc needs a row and a column of exponentials, not a square.
struct Axis {
  std::vector<int64_t> index;
  std::vector<double> squared_distance;
  std::vector<double> factor;

  void fill(double center, double radius, int64_t home, int64_t step, int64_t length) {
    index.clear();
    squared_distance.clear();
    factor.clear();
    const auto radius_steps = static_cast<int64_t>(std::ceil(radius)) / step + 1;
    const int64_t before = std::min(radius_steps, home / step);
    const int64_t after = std::min(radius_steps, (length - 1 - home) / step);
    for (int64_t k = -before; k <= after; ++k) {
      const int64_t position = home + k * step;
      const double distance = static_cast<double>(position) + 0.5 - center;
      index.push_back(position);
      squared_distance.push_back(distance * distance);
      factor.push_back(std::exp(-distance * distance / (2.0 * radius * radius)));
    }
  }
};

// The pixel that contains a coordinate, or the nearest one of the image; 0 for NaN.
int64_t home_pixel(double coordinate, int64_t length) {
  if (!(coordinate > 0.0)) return 0;
  return static_cast<int64_t>(std::min(std::floor(coordinate), static_cast<double>(length - 1)));
}

class MedianColor {
 public:
  explicit MedianColor(const Image& image) : image_(image) {}

  void operator()(double x, double y, double scale, float* color) {
    const double radius = scale > kMinRadius ? std::min(scale, kMaxRadius) : kMinRadius;
    const double lattice = std::ceil(radius * std::sqrt(kPi / kLatticePixels));
    const int64_t step = radius <= kFullRadius ? 1 : static_cast<int64_t>(lattice);
    const int64_t home_column = home_pixel(x, image_.width);
    const int64_t home_row = home_pixel(y, image_.height);
    columns_.fill(x, radius, home_column, step, image_.width);
    rows_.fill(y, radius, home_row, step, image_.height);
    std::memset(histogram_, 0, sizeof(histogram_[0]) * static_cast<size_t>(image_.channels));
    const uint32_t total = image_.wide ? accumulate<uint16_t>(home_column, home_row, radius * radius)
                                       : accumulate<uint8_t>(home_column, home_row, radius * radius);
    for (int channel = 0; channel < image_.channels; ++channel) {
      color[channel] = static_cast<float>(lower_median(histogram_[channel], total)) / 255.0f;
    }
  }

 private:
  // Adds the disc to the histograms and returns the sum of its weights.
  template <class Sample>
  uint32_t accumulate(int64_t home_column, int64_t home_row, double squared_radius) {
    constexpr int kShift = 8 * (sizeof(Sample) - 1);  // to 8 bits
    uint32_t total = 0;
    for (size_t j = 0; j < rows_.index.size(); ++j) {
      const int64_t row = rows_.index[j];
      const Sample* line = static_cast<const Sample*>(image_.pixels) + row * image_.width * image_.channels;
      for (size_t i = 0; i < columns_.index.size(); ++i) {
        const int64_t column = columns_.index[i];
        const bool inside = columns_.squared_distance[i] + rows_.squared_distance[j] <= squared_radius;
        // A disc smaller than a pixel may contain no pixel centre: its own pixel always belongs.
        if (!inside && (column != home_column || row != home_row)) continue;
        const double exact = kUnitWeight * columns_.factor[i] * rows_.factor[j];
        const uint32_t weight = exact >= 1.0 ? static_cast<uint32_t>(exact + 0.5) : 1;  // or NaN
        total += weight;
        const Sample* pixel = line + column * image_.channels;
        for (int channel = 0; channel < image_.channels; ++channel) {
          histogram_[channel][pixel[channel] >> kShift] += weight;
        }
      }
    }
    return total;
  }

  // E20: the smallest code value at or below which half of the weight lies.
  static int lower_median(const uint32_t* histogram, uint32_t total) {
    const uint32_t half = total / 2 + total % 2;
    uint32_t below = 0;
    int code_value = 0;
    while ((below += histogram[code_value]) < half) ++code_value;
    return code_value;
  }

  const Image image_;
  Axis columns_;
  Axis rows_;
  uint32_t histogram_[kMaxChannels][kCodeValues] = {};
};

}  // namespace

void median_color(const Image& image, const float* mean, const float* radius, int64_t count, float* color,
                  int threads) {
  const int64_t blocks = (count + kBlockGaussians - 1) / kBlockGaussians;
  ThreadPool pool(static_cast<int>(std::min<int64_t>(threads, blocks)));
  std::vector<MedianColor> medians(static_cast<size_t>(pool.size()), MedianColor(image));
  pool.run_in_pieces(count, kBlockGaussians, [&](int64_t begin, int64_t end, int thread) {
    MedianColor& median = medians[static_cast<size_t>(thread)];
    for (int64_t n = begin; n < end; ++n) {
      median(mean[2 * n], mean[2 * n + 1], radius[n], color + n * image.channels);
    }
  });
}

}  // namespace smartsplat
