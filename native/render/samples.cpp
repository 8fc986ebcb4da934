// A rendered tile as code values. Compiled once for each instruction set.
#include "render/kernel_functions.h"
#include "render/loss.h"

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

// Pixels in [0, 1], with their grain: less of it near black and white.
template <int C>
struct StoredPixels {
  Floats channel[C];

  StoredPixels(const float* planes, const float* grain) {
    for (int c = 0; c < C; ++c) channel[c] = load(planes + c * kColumnWidth);
    if (grain != nullptr) {
      const Floats luma = C == 1 ? channel[0] : (channel[0] + channel[1] + channel[1] + channel[C - 1]) * 0.25f;
      const Floats added = clamped(minimum(luma, 1.0f - luma) * 4.0f) * load(grain);
      for (int c = 0; c < C; ++c) channel[c] += added;
    }
    for (int c = 0; c < C; ++c) channel[c] = clamped(channel[c]);
  }
};

template <int C>
void store_narrow(const float* planes, const float* grain, Area area, uint8_t* out, int64_t stride) {
  for_each_piece<C>(area, [&](int at, int x, int y, int width) {
    Words words;
    for (int i = 0; i < kColumnWidth; i += kLanes) {
      const StoredPixels<C> stored(planes + at + i, grain == nullptr ? nullptr : grain + y * kTile + x + i);
      Ints pixels{};
      for (int c = 0; c < C; ++c) {
        const Floats value = fma(255.0f, stored.channel[c], all(0.5f));
        pixels |= __builtin_convertvector(value, Ints) << (8 * c);
      }
      *reinterpret_cast<Ints*>(words.pixel + i) = pixels;
    }
    uint8_t edge[C * kColumnWidth];
    uint8_t* to = out + y * stride + x * C;
    uint8_t* whole = width < kColumnWidth ? edge : to;
    if (C == 1)
      for (int i = 0; i < kColumnWidth; ++i) whole[i] = static_cast<uint8_t>(words.pixel[i]);
    else
      pack_rgb(words, whole);
    if (width < kColumnWidth)
      for (int i = 0; i < width * C; ++i) to[i] = edge[i];
  });
}

template <int C>
void store_wide(const float* planes, const float* grain, Area area, uint16_t* out, int64_t stride) {
  for_each_piece<C>(area, [&](int at, int x, int y, int width) {
    alignas(64) int32_t values[C][kColumnWidth];
    for (int i = 0; i < kColumnWidth; i += kLanes) {
      const StoredPixels<C> stored(planes + at + i, grain == nullptr ? nullptr : grain + y * kTile + x + i);
      for (int c = 0; c < C; ++c) {
        const Floats value = fma(kPeak<uint16_t>, stored.channel[c], all(0.5f));
        *reinterpret_cast<Ints*>(values[c] + i) = __builtin_convertvector(value, Ints);
      }
    }
    uint16_t* to = out + y * stride + x * C;
    for (int i = 0; i < width; ++i)
      for (int c = 0; c < C; ++c) to[i * C + c] = static_cast<uint16_t>(values[c][i]);
  });
}

}  // namespace

void store_samples(const float* planes, const float* grain, int channels, Area area, void* out, bool wide,
                   int64_t stride) {
  if (wide)
    (channels == 1 ? store_wide<1> : store_wide<3>)(planes, grain, area, static_cast<uint16_t*>(out), stride);
  else
    (channels == 1 ? store_narrow<1> : store_narrow<3>)(planes, grain, area, static_cast<uint8_t*>(out), stride);
}

}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
