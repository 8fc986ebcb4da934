// Pixels in and out: a column's row of kColumnWidth pixels at a time.
// Compiled once for each instruction set.
#pragma once

#include "render/kernels.h"
#include "render/simd.h"

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

typedef uint8_t Bytes __attribute__((vector_size(16)));
typedef uint8_t UnalignedBytes __attribute__((vector_size(16), aligned(1)));

// Of the type of a sample.
template <class Sample>
constexpr float kPeak = static_cast<float>(static_cast<Sample>(~Sample{}));
template <class Sample>
constexpr float kCodeValue = 1.0f / kPeak<Sample>;

// To [0, 1]; NaN becomes 0.
inline Floats clamped(Floats v) { return minimum(maximum(v, Floats{}), all(1.0f)); }
inline Ints load(const int32_t* from) { return *reinterpret_cast<const Ints*>(from); }

// kColumnWidth pixels as words, the first channel in the lowest byte.
struct alignas(64) Words {
  int32_t pixel[kColumnWidth];

  // A channel of the pixels [i, i + kLanes), 0 to 255.
  inline Floats code_values(int c, int i) const {
    return __builtin_convertvector((load(pixel + i) >> (8 * c)) & 255, Floats);
  }
};

// kColumnWidth pixels of more than 8 bits, by channels.
template <int C>
struct alignas(64) WidePixels {
  float channel[C][kColumnWidth];

  inline Floats code_values(int c, int i) const { return smartsplat::SMARTSPLAT_VARIANT::load(channel[c] + i); }
};
template <class Sample, int C>
struct TargetPixels : Words {};
template <int C>
struct TargetPixels<uint16_t, C> : WidePixels<C> {};

// value - code_values / peak, exactly 0 where both are white or both black, with and without fused multiply-adds: Adam
// would follow what rounding leaves there, however small, in steps of full size.
template <class Sample>
inline Floats error(Floats value, Floats code_values) {
  return fma(kPeak<Sample>, value, -code_values) * kCodeValue<Sample>;
}

inline void pack_rgb(const Words& words, uint8_t* to) {
  const Bytes* in = reinterpret_cast<const Bytes*>(words.pixel);
  UnalignedBytes* out = reinterpret_cast<UnalignedBytes*>(to);
  out[0] = __builtin_shufflevector(in[0], in[1], 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18, 20);
  out[1] = __builtin_shufflevector(in[1], in[2], 5, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18, 20, 21, 22, 24, 25);
  out[2] = __builtin_shufflevector(in[2], in[3], 10, 12, 13, 14, 16, 17, 18, 20, 21, 22, 24, 25, 26, 28, 29, 30);
}

// The bytes above the three channels hold whatever is next to them.
inline void unpack_rgb(const uint8_t* from, Words& words) {
  const UnalignedBytes* in = reinterpret_cast<const UnalignedBytes*>(from);
  Bytes* out = reinterpret_cast<Bytes*>(words.pixel);
  const Bytes a = in[0], b = in[1], c = in[2];
  out[0] = __builtin_shufflevector(a, a, 0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9, 10, 11, 12);
  out[1] = __builtin_shufflevector(a, b, 12, 13, 14, 15, 15, 16, 17, 18, 18, 19, 20, 21, 21, 22, 23, 24);
  out[2] = __builtin_shufflevector(b, c, 8, 9, 10, 11, 11, 12, 13, 14, 14, 15, 16, 17, 17, 18, 19, 20);
  out[3] = __builtin_shufflevector(c, c, 4, 5, 6, 7, 7, 8, 9, 10, 10, 11, 12, 13, 13, 14, 15, 15);
}

// The next `width` (at most kColumnWidth) pixels of a row of the target; the others become 0.
template <class Sample, int C>
inline void load_target(const Sample* from, int width, TargetPixels<Sample, C>& pixels) {
  Sample edge[C * kColumnWidth];
  if (width < kColumnWidth) {  // never past the end of the row
    for (int i = 0; i < C * kColumnWidth; ++i) edge[i] = i < width * C ? from[i] : 0;
    from = edge;
  }
  if constexpr (sizeof(Sample) > 1) {
    for (int c = 0; c < C; ++c)
      for (int i = 0; i < kColumnWidth; ++i) pixels.channel[c][i] = from[i * C + c];
  } else if constexpr (C == 1) {
    for (int i = 0; i < kColumnWidth; ++i) pixels.pixel[i] = from[i];
  } else {
    unpack_rgb(from, pixels);
  }
}

// The piece of an area's target that begins at (x, y).
template <class Sample, int C>
inline const Sample* target_row(const Target& target, int x, int y) {
  return static_cast<const Sample*>(target.pixels) + (y * target.columns + x) * C;
}

// The weights of up to kColumnWidth pixels, to be read as code values.
inline void load_weights(const Target& target, int x, int y, int width, TargetPixels<uint8_t, 1>& weights) {
  load_target<uint8_t, 1>(target.weights + y * target.columns + x, width, weights);
}

// Calls visit(pixels of channel 0, x, y, width) for each row's pieces of at most kColumnWidth pixels.
template <int C, class Visit>
inline void for_each_piece(Area area, const Visit& visit) {
  for (int y = 0; y < area.height; ++y)
    for (int x = 0; x < area.width; x += kColumnWidth)
      visit(area.offset(x, y), x, y, area.width - x < kColumnWidth ? area.width - x : kColumnWidth);
}

// The loss's gradient by one sample, without SSIM, and what the sample adds to the sums; without kL1 only the squares.
template <bool kL1>
struct PixelLoss {
  float l1, l2;
  Floats absolute{}, square{};

  inline Floats operator()(Floats error, Ints counted) {
    const Floats e = select(counted, error, Floats{});
    square = fma(e, e, square);
    if (!kL1) return (2.0f * l2) * e;
    const Floats sign = sign_of(e);
    absolute += e * sign;
    return fma(l1, sign, (2.0f * l2) * e);
  }

  // The same of a pixel with a weight, which is 0 for one that is not counted.
  inline Floats weighted(Floats e, Floats weight) {
    square = fma(weight * e, e, square);
    if (!kL1) return weight * (2.0f * l2) * e;
    const Floats sign = sign_of(e);
    absolute += weight * e * sign;
    return weight * (l1 * sign + (2.0f * l2) * e);
  }

 private:
  static inline Floats sign_of(Floats e) {
    return select(e > Floats{}, all(1.0f), select(e < Floats{}, all(-1.0f), Floats{}));
  }
};

}  // namespace

}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
