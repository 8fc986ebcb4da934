// What the bindings have in common: numpy arrays in and out, and objects of Python whose attributes are read by name.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>

#include "core/gaussian_arrays.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace smartsplat {

template <class T, class... Options>
using Array = nb::ndarray<T, nb::device::cpu, nb::c_contig, Options...>;
using FloatPairs = Array<float, nb::shape<-1, 2>>;
using FloatColumn = Array<float, nb::shape<-1>>;
using FloatTable = Array<float, nb::shape<-1, -1>>;
// Code values, uint8_t or uint16_t: see `is_wide`.
using SampleImage = nb::ndarray<nb::ro, nb::device::cpu, nb::c_contig, nb::shape<-1, -1, -1>>;
using BytePlane = Array<const uint8_t, nb::shape<-1, -1>>;

// A new array that numpy owns; its values are written through `data`.
template <class T, size_t D>
auto make_array(std::initializer_list<size_t> shape, T*& data) {
  size_t size = 1;
  for (size_t side : shape) size *= side;
  data = new T[std::max<size_t>(size, 1)];
  nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
  return nb::ndarray<nb::numpy, T, nb::ndim<D>>(data, shape, owner);
}

// An attribute of a Python object. Arrays are never converted: what is written into a copy would be lost.
template <class T>
T attribute(nb::handle object, const char* name) {
  T value;
  nb::object found = nb::getattr(object, name);
  if (!nb::try_cast<T>(found, value, false))
    throw nb::type_error((std::string(name) + " has another type, shape or layout").c_str());
  return value;
}
inline double number(nb::handle object, const char* name) { return nb::cast<double>(nb::getattr(object, name)); }
inline int integer(nb::handle object, const char* name) { return nb::cast<int>(nb::getattr(object, name)); }

// smartsplat.gaussians.Gaussians; keeps its arrays alive.
class PyGaussians : public GaussianArrays {
 public:
  explicit PyGaussians(nb::handle object)
      : mean_(attribute<FloatPairs>(object, "mean")),
        scale_(attribute<FloatPairs>(object, "scale")),
        rotation_(attribute<FloatColumn>(object, "rotation")),
        color_(attribute<FloatTable>(object, "color")) {
    const size_t length = mean_.shape(0);
    if (scale_.shape(0) != length || rotation_.shape(0) != length || color_.shape(0) != length)
      throw std::invalid_argument("the arrays of the Gaussians differ in length");
    if (color_.shape(1) != 1 && color_.shape(1) != 3) throw std::invalid_argument("colours must have 1 or 3 channels");
    GaussianArrays::operator=({static_cast<int64_t>(length), static_cast<int>(color_.shape(1)), mean_.data(),
                               scale_.data(), rotation_.data(), color_.data()});
  }

 private:
  FloatPairs mean_, scale_;
  FloatColumn rotation_;
  FloatTable color_;
};

// Whether samples have 16 bits.
template <class Samples>
bool is_wide(const Samples& samples) {
  if (samples.dtype() == nb::dtype<uint16_t>()) return true;
  if (samples.dtype() != nb::dtype<uint8_t>()) throw nb::type_error("samples must be uint8 or uint16");
  return false;
}

inline Image image_of(const SampleImage& pixels) {
  const Image image{pixels.data(), is_wide(pixels), static_cast<int64_t>(pixels.shape(0)),
                    static_cast<int64_t>(pixels.shape(1)), static_cast<int>(pixels.shape(2))};
  if (image.height < 1 || image.width < 1) throw std::invalid_argument("an empty image");
  if (image.channels != 1 && image.channels != 3) throw std::invalid_argument("images must have 1 or 3 channels");
  return image;
}

}  // namespace smartsplat
