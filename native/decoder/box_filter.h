// Means over boxes, for masks: docs/format.md, "Masks".
#pragma once

#include <cstdint>
#include <vector>

namespace smartsplat {

// The boxes of consecutive output pixels along one axis: as wide as an output pixel, or as the image's if that is
// wider.
class BoxFilter {
 public:
  // `count` output pixels over `extent` pixels of an image of so many from `begin` on. Boxes may reach beyond the
  // image, where its edge repeats.
  BoxFilter(double begin, double extent, int count, int length);
  // Some of them.
  BoxFilter slice(int begin, int end) const;

  int count() const { return static_cast<int>(low_.size()); }
  // First and last (exclusive) pixel of the image that the boxes see.
  int begin() const { return begin_; }
  int end() const { return end_; }

  // The means over each box of rows of `length` values, of which begin() is the first and end() - 1 the last, `stride`
  // apart: out[i * out_stride] and those beside it.
  template <class Value>
  void means(const Value* values, int64_t stride, int length, float* out, int64_t out_stride) const;

 private:
  BoxFilter() = default;
  void find_support();

  std::vector<double> low_, high_;  // edges of each box, pixels of the image
  int length_ = 0, begin_ = 0, end_ = 0;
  bool identity_ = false;  // every box is one pixel
};

}  // namespace smartsplat
