// 8-bit output, the pixelwise loss and the errors of cells. Compiled once for each instruction set.
#include "render/loss.h"

#include "render/kernel_functions.h"

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

template <int C>
void store_bytes(const float* planes, Area area, uint8_t* out, int64_t stride) {
  for_each_piece<C>(area, [&](int at, int x, int y, int width) {
    Words words;
    for (int i = 0; i < kColumnWidth; i += kLanes) {
      Ints pixels{};
      for (int c = 0; c < C; ++c) {
        const Floats value = clamped(load(planes + at + c * kColumnWidth + i)) * 255.0f + 0.5f;
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

template <int C, bool kL1>
LossSums pixel_loss(float* planes, Area area, const uint8_t* target, int64_t stride, LossWeights weights) {
  LossSums sums{};
  const Floats lanes = lane_index();
  for (int x = 0; x < area.width; x += kColumnWidth) {
    PixelLoss<kL1> loss{weights.l1, weights.l2};
    for (int y = 0; y < area.height; ++y) {
      const int width = area.width - x < kColumnWidth ? area.width - x : kColumnWidth;
      Words target_pixels;
      load_target<C>(target + y * stride + x * C, width, target_pixels);
      for (int c = 0; c < C; ++c)
        for (int i = 0; i < kColumnWidth; i += kLanes) {
          float* at = planes + area.offset(x, y) + c * kColumnWidth + i;
          const Ints counted = lanes + all(static_cast<float>(i)) < all(static_cast<float>(width));
          store(at, weights.norm * loss(error(clamped(load(at)), target_pixels.code_values(c, i)), counted));
        }
    }
    sums.absolute += sum(loss.absolute);
    sums.square += sum(loss.square);
  }
  return sums;
}

template <int C>
void cell_errors(const float* planes, Area area, const uint8_t* target, int64_t stride, int cell, float* out,
                 int64_t row_floats) {
  for (int top = 0; top < area.height; top += cell, out += row_floats) {
    const int bottom = top + cell < area.height ? top + cell : area.height;
    float sums[C][kTile] = {}, square[kTile] = {};  // sums down the columns of pixels
    for (int x = 0; x < area.width; x += kColumnWidth)
      for (int y = top; y < bottom; ++y) {
        Words target_pixels;
        load_target<C>(target + y * stride + x * C, area.width - x < kColumnWidth ? area.width - x : kColumnWidth,
                       target_pixels);
        for (int c = 0; c < C; ++c)
          for (int i = 0; i < kColumnWidth; i += kLanes) {
            const Floats e = error(clamped(load(planes + area.offset(x, y) + c * kColumnWidth + i)),
                                   target_pixels.code_values(c, i));
            store(sums[c] + x + i, load(sums[c] + x + i) - e);
            store(square + x + i, load(square + x + i) + e * e);
          }
      }
    float* to = out;
    for (int left = 0; left < area.width; left += cell, to += C + 1) {
      const int right = left + cell < area.width ? left + cell : area.width;
      const float norm = 1.0f / static_cast<float>((bottom - top) * (right - left));
      float total = 0;
      for (int x = left; x < right; ++x) total += square[x];
      to[C] = total * norm / C;
      for (int c = 0; c < C; ++c) {
        total = 0;
        for (int x = left; x < right; ++x) total += sums[c][x];
        to[c] = total * norm;
      }
    }
  }
}

}  // namespace

void store_bytes(const float* planes, int channels, Area area, uint8_t* out, int64_t stride) {
  if (channels == 1)
    store_bytes<1>(planes, area, out, stride);
  else
    store_bytes<3>(planes, area, out, stride);
}

LossSums pixel_loss(float* planes, int channels, Area area, const uint8_t* target, int64_t stride,
                    LossWeights weights) {
  if (channels == 1) return pixel_loss<1, true>(planes, area, target, stride, weights);
  return weights.l1 != 0.0f ? pixel_loss<3, true>(planes, area, target, stride, weights)
                            : pixel_loss<3, false>(planes, area, target, stride, weights);
}

void cell_errors(const float* planes, int channels, Area area, const uint8_t* target, int64_t stride, int cell,
                 float* out, int64_t row_floats) {
  if (channels == 1)
    cell_errors<1>(planes, area, target, stride, cell, out, row_floats);
  else
    cell_errors<3>(planes, area, target, stride, cell, out, row_floats);
}

}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
