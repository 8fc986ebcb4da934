// Reading files for Python: bitstream/container.py, planes.py and decoder.py.
#include "decoder/decoder.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/gil.h"

namespace smartsplat {
namespace {

using OutputPlane = nb::ndarray<nb::device::cpu, nb::c_contig, nb::shape<-1, -1>>;
using OutputSamples = nb::ndarray<nb::device::cpu, nb::c_contig, nb::shape<-1, -1, -1>>;

// Raises the error of smartsplat.errors that a refusal is.
void check(const Refusal& refusal) {
  constexpr const char* kNames[] = {"", "FormatError", "UnsupportedError", "LimitError"};
  if (!refusal) return;
  const nb::object type = nb::module_::import_("smartsplat.errors").attr(kNames[refusal.kind]);
  PyErr_SetString(type.ptr(), refusal.why.c_str());
  throw nb::python_error();
}

// smartsplat.limits.Limits.
Limits limits_of(nb::handle object) {
  return {number(object, "side"),         number(object, "pixels"),         number(object, "gaussians"),
          number(object, "file_bytes"),   number(object, "metadata_bytes"), number(object, "overlap"),
          number(object, "output_pixels")};
}

// smartsplat.render.View.
Request request_of(nb::handle object) {
  const Request request{number(object, "x"),      number(object, "y"),        number(object, "width"),
                        number(object, "height"), integer(object, "columns"), integer(object, "rows")};
  if (request.columns < 1 || request.rows < 1 || !(request.width > 0) || !(request.height > 0))
    throw std::invalid_argument("an empty view");
  return request;
}

// The same of a view that is smaller than the image and may leave out what hardly shows; none of None.
std::optional<Request> request_of(nb::handle view, bool preview) {
  if (view.is_none()) return std::nullopt;
  Request request = request_of(view);
  request.preview = preview;
  return request;
}

nb::bytes bytes_of(const uint8_t* bytes, int64_t size) { return nb::bytes(bytes, static_cast<size_t>(size)); }

// Bytes of Python's, in one piece and kept where they are: bytes, or a mapping that is filled on demand.
class Buffer {
 public:
  explicit Buffer(nb::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) throw nb::python_error();
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { PyBuffer_Release(&view_); }

  const uint8_t* data() const { return static_cast<const uint8_t*>(view_.buf); }
  int64_t size() const { return static_cast<int64_t>(view_.len); }

 private:
  Py_buffer view_;
};

// A file that has been checked, with its bytes.
struct Container {
  Container(nb::object data, nb::handle limits, bool partial, bool on_demand)
      : object(std::move(data)), bytes(std::make_shared<Buffer>(object)) {
    const Presence presence = on_demand ? Presence::kOnDemand : partial ? Presence::kPartial : Presence::kWhole;
    check(read_container(bytes->data(), bytes->size(), limits_of(limits), presence, file));
  }
  nb::object object;
  std::shared_ptr<const Buffer> bytes;
  File file;
};

// (count, extent, coded bytes) of each group.
auto groups_of(const std::vector<Group>& groups) {
  std::vector<std::tuple<int64_t, std::tuple<int, int, int, int>, nb::bytes>> found;
  for (const Group& group : groups)
    found.emplace_back(group.count, std::make_tuple(group.x0, group.y0, group.x1, group.y1),
                       bytes_of(group.bytes, group.size));
  return found;
}

// A dictionary of the names of smartsplat.bitstream.quantize.Quantizer.
nb::dict quantizer_fields(const QuantizerSettings& q) {
  nb::dict fields;
  fields["quality"] = q.quality;
  fields["cell_log2"] = q.cell_log2;
  fields["width"] = q.width;
  fields["height"] = q.height;
  fields["channels"] = q.channels;
  return fields;
}

// (index of the chunk, stored bytes, length when unpacked) of each packed chunk, None for those that are not there.
nb::list packed_of(const Container& self) {
  nb::list found;
  for (const PackedChunk& chunk : self.file.packed)
    found.append(chunk.bytes
                     ? nb::object(nb::make_tuple(chunk.index, bytes_of(chunk.bytes, chunk.size), chunk.unpacked))
                     : nb::none());
  return found;
}

// What its parts take, and how many there are: smartsplat.decoder.Info.
nb::dict sizes_of(const Container& self) {
  const File& file = self.file;
  int64_t color = 0, alpha = 0;
  for (const Group& group : file.groups) color += group.size;
  for (const Group& group : file.alpha_groups) alpha += group.size;
  for (const Group& group : file.mask) alpha += group.size;
  nb::dict sizes;
  sizes["bytes"] = self.bytes->size();
  sizes["gaussians"] = file.gaussians();
  sizes["groups"] = file.groups.size() + file.alpha_groups.size();
  sizes["color_bytes"] = color;
  sizes["alpha_bytes"] = alpha;
  sizes["grain_bytes"] = file.grain.bands ? file.grain.size : 0;
  return sizes;
}

nb::object grain_of(const Container& self) {
  const CodedGrain& grain = self.file.grain;
  if (grain.bands == 0) return nb::none();
  return nb::make_tuple(grain.cell_log2, grain.bands, bytes_of(grain.bytes, grain.size));
}

// A decoder, and the bytes that it reads.
struct PyDecoder {
  PyDecoder(const Container& container, nb::handle limits)
      : bytes(container.bytes), decoder(container.file, limits_of(limits)) {}
  const std::shared_ptr<const Buffer> bytes;
  Decoder decoder;
};

// Where the bytes begin, and how many they are, of each group that a view needs and that is neither checked nor decoded
// yet; of all groups without a view.
auto awaited(const PyDecoder& self, nb::handle view, bool preview) {
  const std::optional<Request> request = request_of(view, preview);
  std::vector<std::tuple<int64_t, int64_t>> found;
  for (const Group* group : self.decoder.awaited(request ? &*request : nullptr))
    found.emplace_back(group->header() - self.bytes->data(), group->chunk_size());
  return found;
}

// A rendering, and what is asked of it.
struct PyRendering {
  PyRendering(const PyDecoder& of, int threads)
      : channels(of.decoder.channels()), rendering(of.decoder, std::max(threads, 1)) {}
  const int channels;
  Rendering rendering;
  Request request{};
  bool wide = false;
};

void begin(PyRendering& self, PyDecoder& decoder, nb::handle view, bool wide, bool with_grain, bool preview) {
  self.request = request_of(view);
  self.request.preview = preview;
  self.wide = wide;
  Refusal refusal;
  {
    const ReleasedGil released;
    refusal = self.rendering.begin(decoder.decoder, self.request, wide, with_grain);
  }
  check(refusal);
}

void render_rows(PyRendering& self, int top, const OutputSamples& samples) {
  const auto rows = static_cast<int64_t>(samples.shape(0)), bottom = top + rows;
  if (is_wide(samples) != self.wide || samples.shape(1) != size_t(self.request.columns) ||
      samples.shape(2) != size_t(self.channels) || top < 0 || top % kMacrotile != 0 || bottom > self.request.rows ||
      (bottom % kMacrotile != 0 && bottom != self.request.rows))
    throw std::invalid_argument("these are not rows of the view");
  Refusal refusal;
  {
    const ReleasedGil released;
    const int64_t stride = static_cast<int64_t>(samples.shape(1) * samples.shape(2)) * (self.wide ? 2 : 1);
    refusal = self.rendering.render_rows(top, static_cast<int>(rows), samples.data(), stride);
  }
  check(refusal);
}

// (mean, scale, rotation, colour) of the Gaussians of colours, or of opacity, that may touch a view, or of all.
auto gather(PyRendering& self, PyDecoder& decoder, nb::handle view, bool alpha, bool preview) {
  const std::optional<Request> request = request_of(view, preview);
  GaussianVector found;
  Refusal refusal;
  {
    const ReleasedGil released;
    GaussianPlane& plane = alpha ? decoder.decoder.alpha() : decoder.decoder.colors();
    refusal = plane.gather(request ? &*request : nullptr, self.rendering.pool(), found);
  }
  check(refusal);
  const GaussianArrays from = found.from();
  const auto count = static_cast<size_t>(from.count), channels = static_cast<size_t>(from.channels);
  float *mean, *scale, *rotation, *color;
  auto result =
      std::make_tuple(make_array<float, 2>({count, 2}, mean), make_array<float, 2>({count, 2}, scale),
                      make_array<float, 1>({count}, rotation), make_array<float, 2>({count, channels}, color));
  std::copy_n(from.mean, 2 * count, mean);
  std::copy_n(from.scale, 2 * count, scale);
  std::copy_n(from.rotation, count, rotation);
  std::copy_n(from.color, channels * count, color);
  return result;
}

void render_mask(PyRendering& self, nb::handle view, int top, const OutputPlane& samples) {
  const Request request = request_of(view);
  const auto rows = static_cast<int64_t>(samples.shape(0));
  if (samples.shape(1) != size_t(request.columns) || top < 0 || rows < 1 || top + rows > request.rows)
    throw std::invalid_argument("these are not rows of the view");
  const bool wide = is_wide(samples);
  Refusal refusal;
  {
    const ReleasedGil released;
    refusal = self.rendering.render_mask(request, top, static_cast<int>(rows), wide, samples.data());
  }
  check(refusal);
}

// Standard deviations [bands, rows, columns].
auto grain_strengths(PyDecoder& self) {
  GrainStrengths grain{};
  check(self.decoder.find_grain(grain));
  float* out;
  auto result = make_array<float, 3>({size_t(grain.bands), size_t(grain.rows), size_t(grain.columns)}, out);
  std::copy_n(grain.strengths, int64_t{grain.bands} * grain.rows * grain.columns, out);
  return result;
}

}  // namespace

void bind_decoder(nb::module_& m) {
  nb::class_<Container>(m, "Container")
      .def(nb::init<nb::object, nb::handle, bool, bool>(), "data"_a, "limits"_a, "partial"_a = false,
           "on_demand"_a = false)
      .def_prop_ro("data", [](const Container& self) { return self.object; })
      .def_prop_ro("sizes", &sizes_of)
      .def_prop_ro("minor_version", [](const Container& self) { return self.file.minor_version; })
      .def_prop_ro("color", [](const Container& self) { return quantizer_fields(self.file.color); })
      .def_prop_ro("alpha", [](const Container& self) { return quantizer_fields(self.file.alpha); })
      .def_prop_ro("has_alpha", [](const Container& self) { return self.file.has_alpha(); })
      .def_prop_ro("depth", [](const Container& self) { return self.file.depth; })
      .def_prop_ro("primaries", [](const Container& self) { return self.file.primaries; })
      .def_prop_ro("transfer", [](const Container& self) { return self.file.transfer; })
      .def_prop_ro("density",
                   [](const Container& self) { return nb::make_tuple(self.file.density[0], self.file.density[1]); })
      .def_prop_ro("groups", [](const Container& self) { return groups_of(self.file.groups); })
      .def_prop_ro("alpha_groups", [](const Container& self) { return groups_of(self.file.alpha_groups); })
      .def_prop_ro("mask", [](const Container& self) { return groups_of(self.file.mask); })
      .def_prop_ro("packed", &packed_of)
      .def_prop_ro("grain", &grain_of);
  nb::class_<PyDecoder>(m, "Decoder")
      .def(nb::init<const Container&, nb::handle>(), "container"_a, "limits"_a)
      .def_prop_ro("decoded_groups",
                   [](PyDecoder& self) {
                     return self.decoder.colors().decoded_groups() + self.decoder.alpha().decoded_groups();
                   })
      .def("awaited", &awaited, "view"_a.none(), "preview"_a = false)
      .def("grain_strengths", &grain_strengths);
  nb::class_<PyRendering>(m, "Rendering")
      .def(nb::init<const PyDecoder&, int>(), "decoder"_a, "threads"_a, nb::keep_alive<1, 2>())
      .def_prop_ro("channels", [](const PyRendering& self) { return self.channels; })
      .def("begin", &begin, "decoder"_a, "view"_a, "wide"_a, "grain"_a, "preview"_a = false)
      .def("render_rows", &render_rows, "top"_a, "samples"_a)
      .def("gaussians", &gather, "decoder"_a, "view"_a.none(), "alpha"_a, "preview"_a = false)
      .def("render_mask", &render_mask, "view"_a, "top"_a, "samples"_a);
}

}  // namespace smartsplat
