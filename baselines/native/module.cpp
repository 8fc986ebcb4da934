// smartsplat_baselines._blend: Blender for Python, the renderer of blend.py.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <type_traits>

#include "bindings/arrays.h"
#include "blend.h"

namespace smartsplat {
namespace {

template <class T>
using ImageArray = Array<T, nb::shape<-1, -1, -1>>;

// CovarianceGaussians of blend.py; keeps its arrays alive.
class PyCovarianceGaussians : public CovarianceArrays {
 public:
  explicit PyCovarianceGaussians(nb::handle object)
      : mean_(attribute<FloatPairs>(object, "mean")),
        covariance_(attribute<Array<float, nb::shape<-1, 3>>>(object, "covariance")),
        color_(attribute<FloatTable>(object, "color")),
        opacity_(attribute<FloatColumn>(object, "opacity")) {
    const size_t length = mean_.shape(0);
    if (covariance_.shape(0) != length || color_.shape(0) != length || opacity_.shape(0) != length)
      throw std::invalid_argument("the arrays of the Gaussians differ in length");
    if (color_.shape(1) != 1 && color_.shape(1) != 3) throw std::invalid_argument("colours must have 1 or 3 channels");
    CovarianceArrays::operator=({static_cast<int64_t>(length), static_cast<int>(color_.shape(1)), mean_.data(),
                                 covariance_.data(), color_.data(), opacity_.data()});
  }

 private:
  FloatPairs mean_;
  Array<float, nb::shape<-1, 3>> covariance_;
  FloatTable color_;
  FloatColumn opacity_;
};

// Blend of blend.py.
Blend blend_of(nb::handle object) {
  const auto kind = nb::cast<std::string>(nb::getattr(object, "kind"));
  if (kind != "alpha" && kind != "top-k") throw std::invalid_argument("the kind of a blend must be alpha or top-k");
  return {kind == "top-k", static_cast<float>(number(object, "background"))};
}

// Loss of blend.py.
LossWeights weights_of(nb::handle object) {
  const auto weight = [&](const char* name) { return static_cast<float>(number(object, name)); };
  return {weight("l1"), weight("l2"), weight("ssim"), 0};
}

template <class T>
std::tuple<int, int> size_of(const ImageArray<T>& image, int channels) {
  if (image.size() == 0 || image.shape(2) != static_cast<size_t>(channels))
    throw std::invalid_argument("the image is empty or has other channels than the Gaussians");
  return {static_cast<int>(image.shape(1)), static_cast<int>(image.shape(0))};
}

void check_same_shape(const CovarianceArrays& a, const CovarianceArrays& b) {
  if (a.count != b.count || a.channels != b.channels) throw std::invalid_argument("the gradient has another shape");
}

template <class T>
void render(Blender& self, nb::handle gaussians, nb::handle blend_object, const ImageArray<T>& out) {
  const PyCovarianceGaussians g(gaussians);
  const Blend blend = blend_of(blend_object);
  const auto [width, height] = size_of(out, g.channels);
  float* image = nullptr;
  uint8_t* bytes = nullptr;
  if constexpr (std::is_same_v<T, float>)
    image = out.data();
  else
    bytes = out.data();
  nb::gil_scoped_release release;
  self.render(g, blend, width, height, image, bytes);
}

void render_gradient(Blender& self, nb::handle gaussians, nb::handle blend_object,
                     const ImageArray<const float>& d_image, nb::handle gradient) {
  const PyCovarianceGaussians g(gaussians), out(gradient);
  const Blend blend = blend_of(blend_object);
  const auto [width, height] = size_of(d_image, g.channels);
  check_same_shape(g, out);
  nb::gil_scoped_release release;
  self.render_gradient(g, blend, width, height, d_image.data(), out);
}

std::tuple<double, double> loss_gradient(Blender& self, nb::handle gaussians, nb::handle blend_object,
                                         const ImageArray<const uint8_t>& target, nb::handle loss,
                                         nb::handle gradient) {
  const PyCovarianceGaussians g(gaussians), out(gradient);
  const Blend blend = blend_of(blend_object);
  const LossWeights weights = weights_of(loss);
  const auto [width, height] = size_of(target, g.channels);
  check_same_shape(g, out);
  nb::gil_scoped_release release;
  const StepResult result = self.loss_gradient(g, blend, width, height, target.data(), weights, out);
  return {result.loss, result.mean_square};
}

}  // namespace
}  // namespace smartsplat

NB_MODULE(_blend, m) {
  using namespace smartsplat;
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
