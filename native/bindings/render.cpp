// Fitter for Python: the renderer of render/cpu.py.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <tuple>

#include "bindings/arrays.h"
#include "bindings/gil.h"
#include "render/fitter.h"

namespace smartsplat {
namespace {

using OutputImage = nb::ndarray<nb::device::cpu, nb::c_contig, nb::shape<-1, -1, -1>>;
using FloatImage = Array<float, nb::shape<-1, -1, -1>>;

// smartsplat.render.View.
View view_of(nb::handle object) {
  const View view{number(object, "x"),       number(object, "y"),        number(object, "scale_x"),
                  number(object, "scale_y"), integer(object, "columns"), integer(object, "rows")};
  if (view.columns < 1 || view.rows < 1 || !(view.scale_x > 0) || !(view.scale_y > 0))
    throw std::invalid_argument("an empty view");
  return view;
}

// smartsplat.render.StepSettings, whose fields have the names of the struct's.
StepSettings settings_of(nb::handle object) {
  StepSettings settings{};
#define SMARTSPLAT_FIELD(type, name) settings.name = static_cast<type>(number(object, #name));
  SMARTSPLAT_STEP_SETTINGS(SMARTSPLAT_FIELD)
#undef SMARTSPLAT_FIELD
  return settings;
}

// smartsplat.render.cpu.AdamState; keeps its arrays alive.
struct PyAdam : AdamArrays {
  PyAdam(nb::handle object, const GaussianArrays& g)
      : first_(attribute<FloatTable>(object, "first")),
        second_(attribute<FloatTable>(object, "second")),
        age_(attribute<Array<int32_t, nb::shape<-1>>>(object, "age")) {
    const size_t count = static_cast<size_t>(g.count), parameters = 5 + static_cast<size_t>(g.channels);
    for (const FloatTable* table : {&first_, &second_})
      if (table->shape(0) != count || table->shape(1) != parameters)
        throw std::invalid_argument("Adam's moments have another shape");
    if (age_.shape(0) != count) throw std::invalid_argument("ages and Gaussians differ in length");
    AdamArrays::operator=({first_.data(), second_.data(), age_.data()});
  }

 private:
  FloatTable first_, second_;
  Array<int32_t, nb::shape<-1>> age_;
};

template <class Pixels>
void check_shape(const Pixels& pixels, const View& view, int channels) {
  if (pixels.shape(0) != static_cast<size_t>(view.rows) || pixels.shape(1) != static_cast<size_t>(view.columns) ||
      pixels.shape(2) != static_cast<size_t>(channels))
    throw std::invalid_argument("the image does not have the shape of the view");
}

void check_same_shape(const GaussianArrays& a, const GaussianArrays& b) {
  if (a.count != b.count || a.channels != b.channels) throw std::invalid_argument("the gradient has another shape");
}

void render(Fitter& self, nb::handle gaussians, nb::handle view_object, const FloatImage& image) {
  const PyGaussians g(gaussians);
  const View view = view_of(view_object);
  check_shape(image, view, g.channels);
  const ReleasedGil released;
  self.render(g, view, image.data());
}

// A view that is rendered, or compared, in strips of rows.
void prepare_strips(Fitter& self, nb::handle gaussians, nb::handle view_object, double max_covered_pixels,
                    double max_intersections) {
  const PyGaussians g(gaussians);
  const View view = view_of(view_object);
  const ReleasedGil released;
  if (!self.prepare_strips(g, view, {max_covered_pixels, max_intersections}))
    throw std::overflow_error("too many Gaussians lie over each other");
}

// Of as many rows as the pixels have.
Target target_of(const SampleImage& pixels, const std::optional<BytePlane>& weights) {
  if (weights && (weights->shape(0) != pixels.shape(0) || weights->shape(1) != pixels.shape(1)))
    throw std::invalid_argument("the weights do not have the shape of the target");
  return {pixels.data(), is_wide(pixels), weights ? weights->data() : nullptr, static_cast<int64_t>(pixels.shape(1))};
}

template <class Pixels>
int checked_rows(const Fitter& self, int top, const Pixels& pixels) {
  const View& view = self.view();
  const int64_t rows = static_cast<int64_t>(pixels.shape(0)), bottom = top + rows;
  if (pixels.shape(1) != static_cast<size_t>(view.columns) || pixels.shape(2) != static_cast<size_t>(self.channels()) ||
      top < 0 || top % kMacrotile != 0 || bottom > view.rows || (bottom % kMacrotile != 0 && bottom != view.rows))
    throw std::invalid_argument("these are not rows of the view");
  return static_cast<int>(rows);
}

void render_rows(Fitter& self, int top, const OutputImage& image, nb::handle grain_object) {
  const int rows = checked_rows(self, top, image);
  const bool wide = is_wide(image);
  using Strengths = Array<const float, nb::shape<-1, -1, -1>>;
  std::optional<Strengths> strengths;
  GrainStrengths grain{};
  if (!grain_object.is_none()) {
    strengths = attribute<Strengths>(grain_object, "strengths");
    const int cell = integer(grain_object, "cell");
    if (strengths->size() == 0 || strengths->shape(0) > kGrainBands || cell < 1)
      throw std::invalid_argument("grain of an impossible shape");
    grain = {strengths->data(), static_cast<int>(strengths->shape(0)), static_cast<int>(strengths->shape(1)),
             static_cast<int>(strengths->shape(2)), cell};
  }
  const ReleasedGil released;
  self.render_rows(top, rows, image.data(), wide, strengths ? &grain : nullptr);
}

void render_gradient(Fitter& self, nb::handle gaussians, nb::handle view_object,
                     const Array<const float, nb::shape<-1, -1, -1>>& d_image, nb::handle gradient) {
  const PyGaussians g(gaussians), out(gradient);
  const View view = view_of(view_object);
  check_shape(d_image, view, g.channels);
  check_same_shape(g, out);
  const ReleasedGil released;
  self.render_gradient(g, view, d_image.data(), out);
}

std::tuple<double, double> loss_gradient(Fitter& self, nb::handle gaussians, const SampleImage& pixels,
                                         const std::optional<BytePlane>& weights, nb::handle view_object,
                                         nb::handle settings_object, nb::handle gradient) {
  const PyGaussians g(gaussians), out(gradient);
  const View view = view_of(view_object);
  const StepSettings settings = settings_of(settings_object);
  check_shape(pixels, view, g.channels);
  check_same_shape(g, out);
  const Target target = target_of(pixels, weights);
  const ReleasedGil released;
  const StepResult result = self.loss_gradient(g, target, view, settings, out);
  return {result.loss, result.mean_square};
}

std::tuple<double, double> step(Fitter& self, nb::handle gaussians, nb::handle adam_object, const SampleImage& pixels,
                                const std::optional<BytePlane>& weights, nb::handle view_object,
                                nb::handle settings_object, nb::handle structure_object) {
  const PyGaussians g(gaussians);
  const PyAdam adam(adam_object, g);
  const View view = view_of(view_object);
  const StepSettings settings = settings_of(settings_object);
  check_shape(pixels, view, g.channels);
  const Target target = target_of(pixels, weights);
  std::optional<SampleImage> structure_pixels;
  Structure structure{};
  if (!structure_object.is_none()) {
    structure_pixels = attribute<SampleImage>(structure_object, "pixels");
    structure = {target_of(*structure_pixels, std::nullopt), view_of(structure_object.attr("view")),
                 static_cast<float>(number(structure_object, "weight"))};
    check_shape(*structure_pixels, structure.view, 1);
  }
  const ReleasedGil released;
  const StepResult result = self.step(g, adam, target, view, settings, structure_pixels ? &structure : nullptr);
  return {result.loss, result.mean_square};
}

auto residual(Fitter& self, int top, const SampleImage& pixels, const std::optional<BytePlane>& weights, int cell) {
  const int rows = checked_rows(self, top, pixels);
  const Target target = target_of(pixels, weights);
  if (cell < 1 || kTile % cell != 0) throw std::invalid_argument("the cell must divide the tile");
  float* out;
  auto result = make_array<float, 3>(
      {size_t((rows + cell - 1) / cell), size_t((self.view().columns + cell - 1) / cell), size_t(self.channels() + 1)},
      out);
  const ReleasedGil released;
  self.residual(top, rows, target, cell, out);
  return result;
}

nb::dict stage_seconds(const Fitter& self) {
  nb::dict seconds;
  for (int stage = 0; stage < kStages; ++stage) seconds[kStageNames[stage]] = self.seconds(static_cast<Stage>(stage));
  return seconds;
}

}  // namespace

void bind_render(nb::module_& m) {
  m.attr("TILE") = kTile;
  m.attr("MACROTILE") = kMacrotile;
  m.attr("COARSE_CELL") = kCoarseCell;
  m.attr("LUMA") = nb::make_tuple(kLuma[0], kLuma[1], kLuma[2]);
  m.attr("GRAIN_BANDS") = kGrainBands;
  m.attr("CUTOFF") = kCutoff;
  m.attr("EDGE") = kEdge;
  m.attr("PYRAMID_LEVELS") = kPyramidLevels;
  m.attr("MIN_PYRAMID_DEVIATION") = kMinDeviation;
  m.attr("MIN_PYRAMID_DEVIATION_PER_COLOR") = kMinDeviationPerColor;
  nb::class_<Fitter>(m, "Fitter")
      .def(
          "__init__",
          [](Fitter* self, int threads, std::optional<std::string> variant, int max_level) {
            const Kernels* kernels = find_kernels(variant ? variant->c_str() : nullptr);
            if (kernels == nullptr) throw std::invalid_argument("this processor cannot run that kernel variant");
            new (self) Fitter(std::max(threads, 1), kernels, max_level);
          },
          "threads"_a, "variant"_a = nb::none(), "max_level"_a = kPyramidLevels - 1)
      .def_prop_ro("variant", &Fitter::variant)
      .def_prop_ro("threads", &Fitter::threads)
      .def("render", &render)
      .def("prepare_strips", &prepare_strips)
      .def("render_rows", &render_rows, "top"_a, "image"_a, "grain"_a = nb::none())
      .def("render_gradient", &render_gradient)
      .def("loss_gradient", &loss_gradient, "gaussians"_a, "target"_a, "weights"_a.none(), "view"_a, "settings"_a,
           "gradient"_a)
      .def("step", &step, "gaussians"_a, "adam"_a, "target"_a, "weights"_a.none(), "view"_a, "settings"_a,
           "structure"_a.none())
      .def("residual", &residual, "top"_a, "target"_a, "weights"_a.none(), "cell"_a)
      .def("stage_seconds", &stage_seconds)
      .def("reset_clocks", &Fitter::reset_clocks)
      .def("multiply_add", &Fitter::multiply_add, "rounds"_a, nb::call_guard<ReleasedGil>());
}

}  // namespace smartsplat
