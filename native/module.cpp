// Numpy arrays in, the plain functions of the other files, errors out: with blend_module.cpp all that knows Python.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "entropy.h"
#include "raster.h"
#include "sampling.h"
#include "seed.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace smartsplat {
namespace {

template <class T, class... Options>
using Array = nb::ndarray<T, nb::device::cpu, nb::c_contig, Options...>;
using Floats = Array<float>;
using FloatPairs = Array<float, nb::shape<-1, 2>>;
using FloatColumn = Array<float, nb::shape<-1>>;
using FloatTable = Array<float, nb::shape<-1, -1>>;
using IntColumn = Array<int32_t, nb::shape<-1>>;
using IntTable = Array<int32_t, nb::shape<-1, kSymbolFields>>;
using Bytes = Array<const uint8_t>;
using Counts = Array<const int64_t, nb::shape<-1>>;
using Keys = Array<const uint64_t, nb::shape<-1>>;
using Tiles = Array<const int64_t, nb::shape<-1, 4>>;
using BytePicture = Array<const uint8_t, nb::shape<-1, -1, -1>>;
using Parameters = std::tuple<FloatPairs, FloatPairs, FloatColumn, FloatTable>;

template <class T, size_t D>
auto make_array(std::initializer_list<size_t> shape, T*& data) {
  size_t size = 1;
  for (size_t side : shape) size *= side;
  data = new T[std::max<size_t>(size, 1)];
  nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
  return nb::ndarray<nb::numpy, T, nb::ndim<D>>(data, shape, owner);
}

GaussianArrays arrays(const Parameters& p) {
  const auto& [mean, scale, rotation, color] = p;
  const size_t count = mean.shape(0);
  if (scale.shape(0) != count || rotation.shape(0) != count || color.shape(0) != count)
    throw std::invalid_argument("the arrays of the Gaussians differ in length");
  if (color.shape(1) != 1 && color.shape(1) != 3) throw std::invalid_argument("colours must have 1 or 3 channels");
  return {static_cast<int64_t>(count),
          static_cast<int>(color.shape(1)),
          mean.data(),
          scale.data(),
          rotation.data(),
          color.data()};
}

using ViewTuple = std::tuple<double, double, double, double, int, int>;
ViewArea area(const ViewTuple& v) {
  const auto& [x, y, scale_x, scale_y, width, height] = v;
  if (width < 1 || height < 1 || !(scale_x > 0) || !(scale_y > 0)) throw std::invalid_argument("an empty view");
  return {x, y, scale_x, scale_y, width, height};
}

template <class Picture>
void check_picture(const Picture& picture, const ViewArea& view, int channels) {
  if (picture.shape(0) != static_cast<size_t>(view.height) || picture.shape(1) != static_cast<size_t>(view.width) ||
      picture.shape(2) != static_cast<size_t>(channels))
    throw std::invalid_argument("the picture does not have the shape of the view");
}

void render(Rasterizer& self, const Parameters& p, const ViewTuple& v,
            const Array<float, nb::shape<-1, -1, -1>>& image) {
  const GaussianArrays g = arrays(p);
  const ViewArea view = area(v);
  check_picture(image, view, g.channels);
  nb::gil_scoped_release release;
  self.render(g, view, image.data());
}

// A view that is drawn, or compared, in strips of rows.
void prepare_strips(Rasterizer& self, const Parameters& p, const ViewTuple& v, double overlap) {
  const GaussianArrays g = arrays(p);
  const ViewArea view = area(v);
  nb::gil_scoped_release release;
  self.prepare_strips(g, view, overlap);
}

template <class Pixels>
int checked_rows(const Rasterizer& self, int top, const Pixels& pixels) {
  const ViewArea& view = self.view();
  const int64_t rows = static_cast<int64_t>(pixels.shape(0)), bottom = top + rows;
  if (pixels.shape(1) != static_cast<size_t>(view.width) || pixels.shape(2) != static_cast<size_t>(self.channels()) ||
      top < 0 || top % kPanel != 0 || bottom > view.height || (bottom % kPanel != 0 && bottom != view.height))
    throw std::invalid_argument("these are not rows of the view");
  return static_cast<int>(rows);
}

void draw_bytes(Rasterizer& self, int top, const Array<uint8_t, nb::shape<-1, -1, -1>>& image) {
  const int rows = checked_rows(self, top, image);
  nb::gil_scoped_release release;
  self.draw_bytes(top, rows, image.data());
}

void render_gradient(Rasterizer& self, const Parameters& p, const ViewTuple& v,
                     const Array<const float, nb::shape<-1, -1, -1>>& d_image, const Parameters& gradient) {
  const GaussianArrays g = arrays(p), out = arrays(gradient);
  const ViewArea view = area(v);
  check_picture(d_image, view, g.channels);
  if (out.count != g.count || out.channels != g.channels) throw std::invalid_argument("gradient has another shape");
  nb::gil_scoped_release release;
  self.render_gradient(g, view, d_image.data(), out);
}

std::tuple<double, double> step(Rasterizer& self, const Parameters& p, const FloatTable& first,
                                const FloatTable& second, const IntColumn& age, const BytePicture& target,
                                const ViewTuple& v, const std::tuple<double, double, double, double, double>& loss,
                                const std::tuple<double, double, double, double, double>& rates,
                                const std::tuple<double, double, double>& adam, bool relative,
                                const std::tuple<double, double, double>& bounds,
                                const std::tuple<double, double>& size) {
  const GaussianArrays g = arrays(p);
  const ViewArea view = area(v);
  check_picture(target, view, g.channels);
  const size_t parameters = 5 + g.channels;
  for (const FloatTable* table : {&first, &second})
    if (table->shape(0) != size_t(g.count) || table->shape(1) != parameters)
      throw std::invalid_argument("Adam's moments have another shape");
  if (age.shape(0) != size_t(g.count)) throw std::invalid_argument("the arrays of the step differ in length");
  StepSettings s{};
  const auto f = [](double value) { return static_cast<float>(value); };
  s.l1 = f(std::get<0>(loss)), s.l2 = f(std::get<1>(loss)), s.ssim = f(std::get<2>(loss));
  s.size = f(std::get<3>(loss)), s.size_floor = f(std::get<4>(loss));
  s.rate_mean_x = f(std::get<0>(rates)), s.rate_mean_y = f(std::get<1>(rates)), s.rate_scale = f(std::get<2>(rates));
  s.rate_rotation = f(std::get<3>(rates)), s.rate_color = f(std::get<4>(rates));
  s.beta1 = f(std::get<0>(adam)), s.beta2 = f(std::get<1>(adam)), s.epsilon = f(std::get<2>(adam));
  s.relative = relative;
  s.smallest_scale = f(std::get<0>(bounds)), s.largest_scale = f(std::get<1>(bounds));
  s.largest_aspect = f(std::get<2>(bounds));
  s.picture_width = f(std::get<0>(size)), s.picture_height = f(std::get<1>(size));
  nb::gil_scoped_release release;
  const StepResult result = self.step(g, {first.data(), second.data(), age.data()}, target.data(), view, s);
  return {result.loss, result.mean_square};
}

auto residual(Rasterizer& self, int top, const BytePicture& target, int cell) {
  const int rows = checked_rows(self, top, target);
  if (cell < 1 || kTile % cell != 0) throw std::invalid_argument("the cell must divide the tile");
  float* out;
  auto result = make_array<float, 3>(
      {size_t((rows + cell - 1) / cell), size_t((self.view().width + cell - 1) / cell), size_t(self.channels() + 1)},
      out);
  nb::gil_scoped_release release;
  self.residual(top, rows, target.data(), cell, out);
  return result;
}

nb::dict stage_seconds(const Rasterizer& self) {
  nb::dict seconds;
  for (int stage = 0; stage < kStages; ++stage) seconds[kStageNames[stage]] = self.seconds(static_cast<Stage>(stage));
  return seconds;
}

using QuantizerTuple = std::tuple<int, int, int, int, int>;
QuantizerSettings quantizer(const QuantizerTuple& t) {
  const auto& [quality, cell_log2, width, height, channels] = t;
  const QuantizerSettings q{quality, cell_log2, width, height, channels};
  if (!q.valid()) throw std::invalid_argument("quantiser settings out of range");
  return q;
}

void check_channels(const GaussianArrays& g, const QuantizerSettings& q) {
  if (g.channels != q.channels) throw std::invalid_argument("the quantiser expects other channels");
}

// Symbols in the order of the file: along the Morton curve, Gaussians of one cell as they came.
auto quantize_all(const Parameters& p, const QuantizerTuple& t) {
  const GaussianArrays g = arrays(p);
  const QuantizerSettings q = quantizer(t);
  check_channels(g, q);
  int32_t* out;
  auto result = make_array<int32_t, 2>({size_t(g.count), size_t(kSymbolFields)}, out);
  nb::gil_scoped_release release;
  std::vector<Symbols> symbols(g.count);
  std::vector<std::pair<uint64_t, int64_t>> order(g.count);
  for (int64_t i = 0; i < g.count; ++i) {
    symbols[i] = quantize(q, g, i);
    order[i] = {morton(symbols[i].cell_x, symbols[i].cell_y), i};
  }
  std::sort(order.begin(), order.end());
  for (int64_t i = 0; i < g.count; ++i) reinterpret_cast<Symbols*>(out)[i] = symbols[order[i].second];
  return result;
}

void check_symbols(const Symbols* symbols, int64_t count, const QuantizerSettings& q) {
  for (int64_t i = 0; i < count; ++i)
    if (!in_range(q, symbols[i])) throw std::invalid_argument("a symbol is out of range");
}

void dequantize_all(const IntTable& table, const QuantizerTuple& t, const Parameters& out) {
  const GaussianArrays g = arrays(out);
  const QuantizerSettings q = quantizer(t);
  check_channels(g, q);
  if (table.shape(0) != size_t(g.count)) throw std::invalid_argument("symbols and Gaussians differ in length");
  const Symbols* symbols = reinterpret_cast<const Symbols*>(table.data());
  nb::gil_scoped_release release;
  check_symbols(symbols, g.count, q);
  for (int64_t i = 0; i < g.count; ++i) dequantize(q, symbols[i], g, i);
}

void snap_all(const Parameters& p, const QuantizerTuple& t, const Parameters& out, int threads) {
  const GaussianArrays g = arrays(p), to = arrays(out);
  const QuantizerSettings q = quantizer(t);
  check_channels(g, q);
  if (to.count != g.count || to.channels != g.channels) throw std::invalid_argument("the arrays differ in shape");
  nb::gil_scoped_release release;
  constexpr int64_t kPiece = 1024;
  ThreadPool(std::max(threads, 1)).run((g.count + kPiece - 1) / kPiece, [&](int64_t piece, int) {
    for (int64_t i = piece * kPiece; i < std::min(g.count, (piece + 1) * kPiece); ++i) snap(q, g, to, i);
  });
}

void check_order(const Symbols* symbols, int64_t count) {
  uint64_t before = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t cell = morton(symbols[i].cell_x, symbols[i].cell_y);
    if (cell < before) throw std::invalid_argument("the symbols are not in the order of the Morton curve");
    before = cell;
  }
}

nb::bytes encode_symbols(const IntTable& table, const QuantizerTuple& t) {
  const QuantizerSettings q = quantizer(t);
  const Symbols* symbols = reinterpret_cast<const Symbols*>(table.data());
  const int64_t count = table.shape(0);
  std::string bytes;
  {
    nb::gil_scoped_release release;
    check_symbols(symbols, count, q);
    check_order(symbols, count);
    bytes = encode_group(q, symbols, count);
  }
  return nb::bytes(bytes.data(), bytes.size());
}

// Raises ValueError for damaged bytes. Returns the symbols and, if asked, the bits of each attribute.
auto decode_symbols(const Bytes& bytes, int64_t count, const QuantizerTuple& t, bool account) {
  const QuantizerSettings q = quantizer(t);
  if (count < 0) throw std::invalid_argument("a negative count");
  int32_t* out;
  double* bits;
  auto result = make_array<int32_t, 2>({size_t(count), size_t(kSymbolFields)}, out);
  auto spent = make_array<double, 1>({size_t(kAttributes)}, bits);
  std::fill(bits, bits + kAttributes, 0.0);
  const char* problem;
  {
    nb::gil_scoped_release release;
    problem = decode_group(q, bytes.data(), static_cast<int64_t>(bytes.size()), count, reinterpret_cast<Symbols*>(out),
                           account ? bits : nullptr);
  }
  if (problem) throw std::invalid_argument(problem);
  return std::make_tuple(result, spent);
}

Picture picture(const BytePicture& pixels) {
  const Picture p{pixels.data(), static_cast<int64_t>(pixels.shape(0)), static_cast<int64_t>(pixels.shape(1)),
                  static_cast<int>(pixels.shape(2))};
  if (p.height < 1 || p.width < 1) throw std::invalid_argument("an empty picture");
  if (p.channels != 1 && p.channels != 3) throw std::invalid_argument("pictures must have 1 or 3 channels");
  return p;
}

SamplingSettings sampling(int window, float gradient_share) {
  if (window < 1 || window > kLargestWindow || window % 2 == 0)
    throw std::invalid_argument("the window must be odd and at most " + std::to_string(kLargestWindow));
  return {window, gradient_share};
}

SeedTile tile(const Picture& p, int64_t x, int64_t y, int64_t width, int64_t height) {
  if (x < 0 || y < 0 || width < 1 || height < 1 || width > p.width - x || height > p.height - y)
    throw std::invalid_argument("a tile is not inside the picture");
  return {x, y, width, height};
}

// Gradient, variance and weight of one tile.
auto tile_features(const BytePicture& pixels, const std::tuple<int64_t, int64_t, int64_t, int64_t>& box, int window,
                   float gradient_share) {
  const Picture p = picture(pixels);
  const SeedTile t = std::apply([&](auto... sides) { return tile(p, sides...); }, box);
  const auto height = static_cast<size_t>(t.height), width = static_cast<size_t>(t.width);
  float *gradient, *variance, *weight;
  auto gradients = make_array<float, 2>({height, width}, gradient);
  auto variances = make_array<float, 2>({height, width}, variance);
  auto weights = make_array<float, 2>({height, width}, weight);
  TileFeatures features(p, sampling(window, gradient_share));
  {
    nb::gil_scoped_release release;
    features.compute(t);
    std::copy_n(features.gradient(), height * width, gradient);
    std::copy_n(features.variance(), height * width, variance);
    for (int64_t row = 0; row < t.height; ++row) features.weight(row, weight + row * t.width);
  }
  return std::make_tuple(gradients, variances, weights);
}

// Times and places of the winners.
auto race_of(const Array<const float, nb::ndim<1>>& weights, int64_t count, uint64_t key, double bound) {
  if (count < 0) throw std::invalid_argument("a negative count");
  std::vector<Runner> winners;
  {
    nb::gil_scoped_release release;
    winners = race(weights.data(), static_cast<int64_t>(weights.shape(0)), count, key, bound);
  }
  double* time;
  int64_t* place;
  auto times = make_array<double, 1>({winners.size()}, time);
  auto places = make_array<int64_t, 1>({winners.size()}, place);
  for (const Runner& winner : winners) {
    *time++ = winner.time;
    *place++ = winner.place;
  }
  return std::make_tuple(times, places);
}

auto draw_weighted_pixels(const BytePicture& pixels, const Tiles& tiles, const Counts& counts, const Keys& keys,
                          int window, float gradient_share, int threads) {
  const Picture p = picture(pixels);
  if (counts.shape(0) != tiles.shape(0) || keys.shape(0) != tiles.shape(0))
    throw std::invalid_argument("tiles, counts and keys differ in length");
  std::vector<TileDraw> draws;
  size_t total = 0;
  for (size_t i = 0; i < tiles.shape(0); ++i) {
    const int64_t* sides = tiles.data() + 4 * i;
    const SeedTile t = tile(p, sides[0], sides[1], sides[2], sides[3]);
    const int64_t count = counts.data()[i];
    if (count < 0 || count > t.width * t.height) throw std::invalid_argument("a tile has fewer pixels than asked for");
    draws.push_back({t, count, keys.data()[i]});
    total += static_cast<size_t>(count);
  }
  const SamplingSettings settings = sampling(window, gradient_share);
  float *mean, *weight;
  auto means = make_array<float, 2>({total, 2}, mean);
  auto weights = make_array<float, 1>({total}, weight);
  {
    nb::gil_scoped_release release;
    draw_weighted(p, draws, settings, mean, weight, threads);
  }
  return std::make_tuple(means, weights);
}

// Raises ValueError for damaged bytes. `out` holds as many Gaussians as the groups, pairs of bytes and count.
void decode_into(const std::vector<std::tuple<nb::bytes, int64_t>>& coded, const QuantizerTuple& t,
                 const Parameters& out, int threads) {
  const GaussianArrays g = arrays(out);
  const QuantizerSettings q = quantizer(t);
  check_channels(g, q);
  std::vector<CodedGroup> groups;
  int64_t total = 0;
  for (const auto& [bytes, count] : coded) {
    if (count < 0) throw std::invalid_argument("a negative count");
    groups.push_back({static_cast<const uint8_t*>(bytes.data()), static_cast<int64_t>(bytes.size()), count});
    total += count;
  }
  if (total != g.count) throw std::invalid_argument("groups and Gaussians differ in number");
  const char* problem;
  {
    nb::gil_scoped_release release;
    problem = decode_gaussians(q, groups, g, std::max(threads, 1));
  }
  if (problem) throw std::invalid_argument(problem);
}

auto median_colors(const BytePicture& pixels, const FloatPairs& mean, const FloatColumn& scale, int threads) {
  float* color;
  const size_t channels = pixels.shape(2);
  if (mean.shape(0) != scale.shape(0)) throw std::invalid_argument("means and scales differ in length");
  if (channels != 1 && channels != 3) throw std::invalid_argument("pictures must have 1 or 3 channels");
  auto result = make_array<float, 2>({mean.shape(0), channels}, color);
  nb::gil_scoped_release release;
  weighted_median_colors(pixels.data(), pixels.shape(0), pixels.shape(1), static_cast<int>(channels), mean.data(),
                         scale.data(), mean.shape(0), color, threads);
  return result;
}

}  // namespace

void add_blender(nb::module_& m);  // blend_module.cpp
}  // namespace smartsplat

NB_MODULE(_native, m) {
  using namespace smartsplat;
  m.attr("PANEL") = kPanel;
  m.attr("SYMBOL_FIELDS") = kSymbolFields;
  m.attr("LARGEST_QUALITY") = kLargestQuality;
  m.attr("QUALITY_ZERO") = kQualityZero;
  m.attr("LARGEST_CELL_LOG2") = kLargestCell;
  nb::class_<Rasterizer>(m, "Rasterizer")
      .def(
          "__init__",
          [](Rasterizer* self, int threads, std::optional<std::string> variant, int coarsest) {
            new (self) Rasterizer(std::max(threads, 1), variant ? variant->c_str() : nullptr, coarsest);
          },
          "threads"_a, "variant"_a = nb::none(), "coarsest"_a = kLevels - 1)
      .def_prop_ro("variant", &Rasterizer::variant)
      .def_prop_ro("threads", &Rasterizer::threads)
      .def("render", &render)
      .def("prepare_strips", &prepare_strips)
      .def("draw_bytes", &draw_bytes)
      .def("render_gradient", &render_gradient)
      .def("step", &step)
      .def("residual", &residual)
      .def("stage_seconds", &stage_seconds)
      .def("reset_clocks", &Rasterizer::reset_clocks)
      .def("multiply_add", &Rasterizer::multiply_add, "rounds"_a, nb::call_guard<nb::gil_scoped_release>());
  add_blender(m);
  m.def("quantize", &quantize_all);
  m.def("dequantize", &dequantize_all);
  m.def("snap", &snap_all);
  m.def("encode_symbols", &encode_symbols);
  m.def("decode_symbols", &decode_symbols, "data"_a, "count"_a, "settings"_a, "account"_a = false);
  m.attr("LARGEST_WINDOW") = kLargestWindow;
  m.def("tile_features", &tile_features);
  m.def("draw_weighted", &draw_weighted_pixels);
  m.def("race", &race_of);
  m.def("decode_gaussians", &decode_into);
  m.def("weighted_median_colors", &median_colors);
}
