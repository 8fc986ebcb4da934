#include "decoder/box_filter.h"

#include <algorithm>
#include <cmath>

namespace smartsplat {

BoxFilter::BoxFilter(double begin, double extent, int count, int length) : length_(length) {
  const double step = extent / count;
  for (int i = 0; i < count; ++i) {
    if (step >= 1) {  // side by side, with the same number for an edge that two have
      low_.push_back(begin + i * step);
      high_.push_back(begin + (i + 1) * step);
    } else {
      const double center = begin + (i + 0.5) * step;
      low_.push_back(center - 0.5);
      high_.push_back(center + 0.5);
    }
  }
  find_support();
}

BoxFilter BoxFilter::slice(int begin, int end) const {
  BoxFilter part;
  part.low_.assign(low_.begin() + begin, low_.begin() + end);
  part.high_.assign(high_.begin() + begin, high_.begin() + end);
  part.length_ = length_;
  part.find_support();
  return part;
}

void BoxFilter::find_support() {
  begin_ = static_cast<int>(std::clamp<double>(std::floor(low_.front()), 0, length_ - 1));
  end_ = static_cast<int>(std::clamp<double>(std::ceil(high_.back()), begin_ + 1, length_));
  identity_ = true;
  for (int i = 0; i < count(); ++i) identity_ = identity_ && low_[i] == begin_ + i && high_[i] - low_[i] == 1;
}

template <class Value>
void BoxFilter::means(const Value* values, int64_t stride, int length, float* out, int64_t out_stride) const {
  const int size = end_ - begin_;
  if (identity_) {
    for (int i = 0; i < count(); ++i)
      for (int x = 0; x < length; ++x) out[i * out_stride + x] = static_cast<float>(values[i * stride + x]);
    return;
  }
  const auto row = [&](double place) {  // beyond either end the last one goes on
    return values + static_cast<int64_t>(std::clamp<double>(place, 0, size - 1)) * stride;
  };
  std::vector<double> total(length);
  for (int i = 0; i < count(); ++i) {
    // Whole pixels, and then the parts at both edges.
    const double low = low_[i] - begin_, high = high_[i] - begin_;
    const double first = std::ceil(low), last = std::floor(high);
    std::fill(total.begin(), total.end(), 0.0);
    for (double place = first; place < last; ++place) {
      const Value* whole = row(place);
      for (int x = 0; x < length; ++x) total[x] += static_cast<double>(whole[x]);
    }
    const Value *before = row(first - 1), *behind = row(last);
    // Both edges in one pixel: what the two parts have in common is there twice, less a whole.
    const double before_part = first - low, behind_part = high - last;
    const double width = high - low;
    for (int x = 0; x < length; ++x) {
      const double sum = total[x] + before_part * static_cast<double>(before[x]) +
                         behind_part * static_cast<double>(behind[x]) -
                         (first > last ? static_cast<double>(before[x]) : 0.0);
      out[i * out_stride + x] = static_cast<float>(sum / width);
    }
  }
}

template void BoxFilter::means(const uint8_t*, int64_t, int, float*, int64_t) const;
template void BoxFilter::means(const float*, int64_t, int, float*, int64_t) const;

}  // namespace smartsplat
