// Blender for Python; see module.cpp.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>

#include "blend.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace smartsplat {
namespace {

template <class T, class... Options>
using Array = nb::ndarray<T, nb::device::cpu, nb::c_contig, Options...>;
template <class T>
using Picture = Array<T, nb::shape<-1, -1, -1>>;
using Fields = std::tuple<Array<float, nb::shape<-1, 2>>, Array<float, nb::shape<-1, 3>>,
                          Array<float, nb::shape<-1, -1>>, Array<float, nb::shape<-1>>>;

SplatArrays arrays(const Fields& fields) {
  const auto& [mean, covariance, color, opacity] = fields;
  const size_t count = mean.shape(0);
  if (covariance.shape(0) != count || color.shape(0) != count || opacity.shape(0) != count)
    throw std::invalid_argument("the arrays of the splats differ in length");
  if (color.shape(1) != 1 && color.shape(1) != 3) throw std::invalid_argument("colours must have 1 or 3 channels");
  return {static_cast<int64_t>(count),
          static_cast<int>(color.shape(1)),
          mean.data(),
          covariance.data(),
          color.data(),
          opacity.data()};
}

template <class T>
std::tuple<int, int> size_of(const Picture<T>& picture, int channels) {
  if (picture.size() == 0 || picture.shape(2) != static_cast<size_t>(channels))
    throw std::invalid_argument("the picture is empty or has other channels than the splats");
  return {static_cast<int>(picture.shape(1)), static_cast<int>(picture.shape(0))};
}

template <class T>
void render(Blender& self, const Fields& fields, bool top, float background, const Picture<T>& out) {
  const SplatArrays splats = arrays(fields);
  const auto [width, height] = size_of(out, splats.channels);
  float* image = nullptr;
  uint8_t* bytes = nullptr;
  if constexpr (std::is_same_v<T, float>)
    image = out.data();
  else
    bytes = out.data();
  nb::gil_scoped_release release;
  self.render(splats, {top, background}, width, height, image, bytes);
}

SplatArrays checked(const Fields& gradient, const SplatArrays& splats) {
  const SplatArrays out = arrays(gradient);
  if (out.count != splats.count || out.channels != splats.channels)
    throw std::invalid_argument("gradient has another shape");
  return out;
}

void render_gradient(Blender& self, const Fields& fields, bool top, float background,
                     const Picture<const float>& d_image, const Fields& gradient) {
  const SplatArrays splats = arrays(fields), out = checked(gradient, splats);
  const auto [width, height] = size_of(d_image, splats.channels);
  nb::gil_scoped_release release;
  self.render_gradient(splats, {top, background}, width, height, d_image.data(), out);
}

std::tuple<double, double> loss_gradient(Blender& self, const Fields& fields, bool top, float background,
                                         const Picture<const uint8_t>& target,
                                         const std::tuple<float, float, float>& loss, const Fields& gradient) {
  const SplatArrays splats = arrays(fields), out = checked(gradient, splats);
  const auto [width, height] = size_of(target, splats.channels);
  const auto [l1, l2, ssim] = loss;
  nb::gil_scoped_release release;
  const StepResult result =
      self.loss_gradient(splats, {top, background}, width, height, target.data(), {l1, l2, ssim, 0}, out);
  return {result.loss, result.mean_square};
}

}  // namespace

void add_blender(nb::module_& m) {
  nb::class_<Blender>(m, "Blender")
      .def(
          "__init__",
          [](Blender* self, int threads, std::optional<std::string> variant) {
            new (self) Blender(std::max(threads, 1), variant ? variant->c_str() : nullptr);
          },
          "threads"_a, "variant"_a = nb::none())
      .def("render", &render<float>)
      .def("render_bytes", &render<uint8_t>)
      .def("render_gradient", &render_gradient)
      .def("loss_gradient", &loss_gradient);
}

}  // namespace smartsplat
