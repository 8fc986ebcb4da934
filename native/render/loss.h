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
constexpr float kCodeValue = 1.0f / 255;

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

// value - code_values / 255, exactly 0 where both are white or both black, with and without fused multiply-adds: Adam
// would follow what rounding leaves there, however small, in steps of full size.
inline Floats error(Floats value, Floats code_values) { return (value * 255.0f - code_values) * kCodeValue; }

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
template <int C>
inline void load_target(const uint8_t* from, int width, Words& words) {
  uint8_t edge[C * kColumnWidth];
  if (width < kColumnWidth) {  // never past the end of the row
    for (int i = 0; i < C * kColumnWidth; ++i) edge[i] = i < width * C ? from[i] : 0;
    from = edge;
  }
  if (C == 1)
    for (int i = 0; i < kColumnWidth; ++i) words.pixel[i] = from[i];
  else
    unpack_rgb(from, words);
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
    square += e * e;
    if (!kL1) return (2.0f * l2) * e;
    const Floats sign = select(e > Floats{}, all(1.0f), select(e < Floats{}, all(-1.0f), Floats{}));
    absolute += e * sign;
    return l1 * sign + (2.0f * l2) * e;
  }
};

}  // namespace

}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
