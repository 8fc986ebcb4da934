// Features, weighted sampling and colour medians for Python: encoder/cpu_sampler.py, error_sampling.py.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>

#include <optional>
#include <tuple>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/gil.h"
#include "encoder/features.h"
#include "encoder/median_color.h"
#include "encoder/weighted_sampling.h"

namespace smartsplat {
namespace {

using Counts = Array<const int64_t, nb::shape<-1>>;
using Keys = Array<const uint64_t, nb::shape<-1>>;
using Boxes = Array<const int64_t, nb::shape<-1, 4>>;

FeatureSettings feature_settings(int window, float gradient_fraction) {
  if (window < 1 || window > kMaxVarianceWindow || window % 2 == 0)
    throw std::invalid_argument("the window must be odd and at most " + std::to_string(kMaxVarianceWindow));
  return {window, gradient_fraction};
}

SamplingTile tile_of(const Image& image, int64_t x, int64_t y, int64_t width, int64_t height) {
  if (x < 0 || y < 0 || width < 1 || height < 1 || width > image.width - x || height > image.height - y)
    throw std::invalid_argument("a tile is not inside the image");
  return {x, y, width, height};
}

// Gradient, variance and weight of one tile.
auto tile_features(const SampleImage& pixels, const std::tuple<int64_t, int64_t, int64_t, int64_t>& box, int window,
                   float gradient_fraction) {
  const Image image = image_of(pixels);
  const SamplingTile tile = std::apply([&](auto... sides) { return tile_of(image, sides...); }, box);
  const auto height = static_cast<size_t>(tile.height), width = static_cast<size_t>(tile.width);
  float *gradient, *variance, *weight;
  auto gradients = make_array<float, 2>({height, width}, gradient);
  auto variances = make_array<float, 2>({height, width}, variance);
  auto weights = make_array<float, 2>({height, width}, weight);
  TileFeatures features(image, feature_settings(window, gradient_fraction));
  {
    const ReleasedGil released;
    features.compute(tile);
    std::copy_n(features.gradient(), height * width, gradient);
    std::copy_n(features.variance(), height * width, variance);
    for (int64_t row = 0; row < tile.height; ++row) features.weight(row, weight + row * tile.width);
  }
  return std::make_tuple(gradients, variances, weights);
}

// Times and places of the winners.
auto race_of(const Array<const float, nb::ndim<1>>& weights, int64_t count, uint64_t key, double bound) {
  if (count < 0) throw std::invalid_argument("a negative count");
  std::vector<Candidate> winners;
  {
    const ReleasedGil released;
    winners = race(weights.data(), static_cast<int64_t>(weights.shape(0)), count, key, bound);
  }
  double* time;
  int64_t* place;
  auto times = make_array<double, 1>({winners.size()}, time);
  auto places = make_array<int64_t, 1>({winners.size()}, place);
  for (const Candidate& winner : winners) {
    *time++ = winner.time;
    *place++ = winner.place;
  }
  return std::make_tuple(times, places);
}

auto sample_pixels_of(const SampleImage& pixels, const std::optional<BytePlane>& error_weights, const Boxes& boxes,
                      const Counts& counts, const Keys& keys, int window, float gradient_fraction, int threads) {
  const Image image = image_of(pixels);
  if (error_weights && (error_weights->shape(0) != pixels.shape(0) || error_weights->shape(1) != pixels.shape(1)))
    throw std::invalid_argument("the weights do not have the shape of the image");
  if (counts.shape(0) != boxes.shape(0) || keys.shape(0) != boxes.shape(0))
    throw std::invalid_argument("boxes, counts and keys differ in length");
  std::vector<TileBudget> budgets;
  size_t total = 0;
  for (size_t i = 0; i < boxes.shape(0); ++i) {
    const int64_t* sides = boxes.data() + 4 * i;
    const SamplingTile tile = tile_of(image, sides[0], sides[1], sides[2], sides[3]);
    const int64_t count = counts.data()[i];
    if (count < 0 || count > tile.width * tile.height)
      throw std::invalid_argument("a tile has fewer pixels than asked for");
    budgets.push_back({tile, count, keys.data()[i]});
    total += static_cast<size_t>(count);
  }
  const FeatureSettings settings = feature_settings(window, gradient_fraction);
  float *mean, *weight;
  auto means = make_array<float, 2>({total, 2}, mean);
  auto weights = make_array<float, 1>({total}, weight);
  {
    const ReleasedGil released;
    sample_pixels(image, error_weights ? error_weights->data() : nullptr, budgets, settings, mean, weight, threads);
  }
  return std::make_tuple(means, weights);
}

auto median_color_of(const SampleImage& pixels, const FloatPairs& mean, const FloatColumn& radius, int threads) {
  const Image image = image_of(pixels);
  if (mean.shape(0) != radius.shape(0)) throw std::invalid_argument("means and radii differ in length");
  float* color;
  auto result = make_array<float, 2>({mean.shape(0), static_cast<size_t>(image.channels)}, color);
  const ReleasedGil released;
  median_color(image, mean.data(), radius.data(), static_cast<int64_t>(mean.shape(0)), color, threads);
  return result;
}

}  // namespace

void bind_encoder(nb::module_& m) {
  m.attr("MAX_VARIANCE_WINDOW") = kMaxVarianceWindow;
  m.def("tile_features", &tile_features);
  m.def("sample_pixels", &sample_pixels_of, "pixels"_a, "error_weights"_a.none(), "boxes"_a, "counts"_a, "keys"_a,
        "window"_a, "gradient_fraction"_a, "threads"_a);
  m.def("race", &race_of);
  m.def("median_color", &median_color_of);
}

}  // namespace smartsplat
