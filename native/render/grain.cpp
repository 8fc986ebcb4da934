// Grain, added to a tile that has been rendered: docs/format.md, "Grain". Compiled once for each instruction set.
#include "render/kernel_functions.h"
#include "render/simd.h"

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

inline int floor_of(double value) {
  const int whole = static_cast<int>(value);
  return whole - (value < whole);
}

// Whole positions, which symmetric views have, do not hang on how they are rounded.
constexpr double kNudge = 1.0 / 1021;

// The image's pixel that a sample lies in, along one axis; where pixels are enlarged, that and the next one.
struct Place {
  int pixel;
  float part;  // of the next one

  // Each sample has so many pixels, from `begin` on.
  Place(double begin, double pixels, int sample) {
    const double at = begin + (sample + 0.5) * pixels + (pixels < 1 ? -0.5 : kNudge);
    pixel = floor_of(at);
    part = pixels < 1 ? static_cast<float>(at - pixel) : 0.0f;
  }
};

// Where the centre of a pixel lies among `count` cells, beyond whose outermost centres these go on.
inline float cell_of(int pixel, float cells_per_pixel, int count) {
  const float at = (static_cast<float>(pixel) + 0.5f) * cells_per_pixel - 0.5f, last = static_cast<float>(count - 1);
  return at < 0 ? 0 : at > last ? last : at;
}

constexpr int kMaxPixels = kTile + kColumnWidth;  // that a tile sees along a row, in whole vectors

// The image's pixels along the rows of a tile: those of the samples, or at magnification all that these lie between.
struct alignas(64) Columns {
  int samples, pixels;
  bool enlarged, in_order;
  int pixel[kMaxPixels];
  int first[kTile];   // of the two that a sample lies between: its number among them
  float part[kTile];  // of the second

  Columns(const Grain& grain, const Area& area)
      : samples(area.width), enlarged(grain.pixels_x < 1), in_order(grain.pixels_x <= 1) {
    const int begin = Place(grain.x, grain.pixels_x, area.x).pixel;
    for (int i = 0; i < kMaxPixels; ++i) pixel[i] = begin + i;
    pixels = samples;
    if (grain.pixels_x == 1) return;
    for (int i = 0; i < samples; ++i) {
      const Place place(grain.x, grain.pixels_x, area.x + i);
      if (!enlarged) pixel[i] = place.pixel;
      first[i] = place.pixel - begin;
      part[i] = place.part;
    }
    if (enlarged) pixels = first[samples - 1] + 2;
  }
};

// A row of cells at the pixels, times a factor.
inline void along(const float* __restrict cells, float factor, const float* __restrict at, int count, int last,
                  float* __restrict out) {
  for (int i = 0; i < count; ++i) {
    const int low = static_cast<int>(at[i]), high = low < last ? low + 1 : last;
    out[i] = factor * (cells[low] + (at[i] - static_cast<float>(low)) * (cells[high] - cells[low]));
  }
}

// Between the pixels that samples lie between.
inline void enlarge_row(const float* __restrict pixels, const Columns& columns, float* __restrict out) {
  for (int i = 0; i < columns.samples; ++i) {
    const float* at = pixels + columns.first[i];
    out[i] = at[0] + columns.part[i] * (at[1] - at[0]);
  }
}

// The strengths of the bands along the rows between two rows of cells.
struct alignas(64) Strengths {
  int low = -1;
  bool any[kGrainBands] = {};
  float above[kGrainBands][kMaxPixels] = {}, step[kGrainBands][kMaxPixels] = {};  // step: to the row of cells below
};

// The grain of one of the image's rows.
struct alignas(64) PixelRow {
  int row = INT32_MIN;
  float values[kMaxPixels];
};

class TileGrain {
 public:
  TileGrain(const Grain& grain, const Area& area) : grain_(grain), columns_(grain, area) {
    for (int i = 0; i < columns_.pixels; ++i)
      cell_[i] = cell_of(columns_.pixel[i], static_cast<float>(grain.cells_per_pixel), grain.columns);
  }

  // The grain of a row of samples.
  void row(int sample, float* out) {
    const Place place(grain_.y, grain_.pixels_y, sample);
    if (!columns_.enlarged && place.part == 0) return fill(place.pixel, out);
    const float *values = pixels(place.pixel), *next = place.part > 0 ? pixels(place.pixel + 1) : values;
    float between[kMaxPixels];
    for (int i = 0; i < columns_.pixels; i += kLanes)
      store(between + i, load(values + i) + place.part * (load(next + i) - load(values + i)));
    if (columns_.enlarged)
      enlarge_row(between, columns_, out);
    else
      for (int i = 0; i < columns_.pixels; i += kLanes) store(out + i, load(between + i));
  }

 private:
  // The grain of the image's row, of which the last two are kept.
  const float* pixels(int row) {
    PixelRow& kept = rows_[row & 1];
    if (kept.row != row) {
      kept.row = row;
      fill(row, kept.values);
    }
    return kept.values;
  }

  void fill(int row, float* values) {
    const float cell = cell_of(row, static_cast<float>(grain_.cells_per_pixel), grain_.rows);
    const int low = static_cast<int>(cell);
    if (low != strengths_.low) find_strengths(low);
    const float part = cell - static_cast<float>(low);
    const int32_t* noise = grain_.noise + (row & (kGrainSide - 1)) * kGrainStride;
    if (columns_.in_order) {
      noise += columns_.pixel[0] & (kGrainSide - 1);
    } else {
      for (int i = 0; i < columns_.pixels; ++i) apart_[i] = noise[columns_.pixel[i] & (kGrainSide - 1)];
      noise = apart_;
    }
    for (int i = 0; i < columns_.pixels; i += kLanes) {
      const Ints packed = *reinterpret_cast<const UnalignedInts*>(noise + i);
      Floats total{};
      for (int band = 0; band < kGrainBands; ++band)
        if (strengths_.any[band])
          total += __builtin_convertvector(packed << (24 - 8 * band) >> 24, Floats) *
                   (load(strengths_.above[band] + i) + part * load(strengths_.step[band] + i));
      store(values + i, total);
    }
  }

  void find_strengths(int low) {
    strengths_.low = low;
    const int high = low + 1 < grain_.rows ? low + 1 : low;
    for (int band = 0; band < grain_.bands; ++band) {
      strengths_.any[band] = false;
      if (!(grain_.band_scale[band] > 0)) continue;
      float *above = strengths_.above[band], *step = strengths_.step[band];
      const auto find = [&](int row, float* out) {
        const int64_t at = (static_cast<int64_t>(band) * grain_.rows + row) * grain_.columns;
        along(grain_.strengths + at, grain_.band_scale[band], cell_, columns_.pixels, grain_.columns - 1, out);
      };
      find(low, above);
      find(high, step);
      Floats most{};
      for (int i = 0; i < columns_.pixels; i += kLanes) {
        most = maximum(most, maximum(load(above + i), load(step + i)));
        store(step + i, load(step + i) - load(above + i));
      }
      strengths_.any[band] = any(most > Floats{});
    }
  }

  const Grain& grain_;
  const Columns columns_;
  Strengths strengths_;
  PixelRow rows_[2];
  float cell_[kMaxPixels];  // of each pixel
  int32_t apart_[kMaxPixels] = {};
};

}  // namespace

void find_grain(Area area, const Grain& grain, float* out) {
  TileGrain tile(grain, area);
  for (int y = 0; y < area.height; ++y) tile.row(area.y + y, out + y * kTile);
}

}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
