// Grain, added to a tile that has been rendered: docs/format.md, "Grain". Compiled once for each instruction set.
#include "render/kernel_functions.h"
#include "render/simd.h"

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

inline double clamped_to(double value, double low, double high) {
  return value < low ? low : value > high ? high : value;
}

inline int floor_of(double value) {
  const int whole = static_cast<int>(value);
  return whole - (value < whole);
}

// A place between two of `count` cells, beyond whose centres the outermost go on.
struct Between {
  int low, high;
  float part;  // of `high`

  Between(double position, double cell, int count) {
    const double at = clamped_to(position / cell - 0.5, 0, count - 1);
    low = static_cast<int>(at);
    high = low + 1 < count ? low + 1 : low;
    part = static_cast<float>(at - low);
  }
};

// Whole positions, which symmetric views have, do not hang on how they are rounded.
constexpr double kNudge = 1.0 / 1021;

// Where a sample lies in the noise, along one axis: at a place of it, or if it is enlarged between two.
struct NoisePlace {
  int low, high;
  float part;

  NoisePlace(double position, double scale) {
    const double at = position + (scale > 1 ? -0.5 : kNudge);
    const int whole = floor_of(at);
    low = whole & (kGrainSide - 1);
    high = (whole + 1) & (kGrainSide - 1);
    part = scale > 1 ? static_cast<float>(at - whole) : 0.0f;
  }
};

// What the rows of a tile have in common.
struct Columns {
  int width;
  bool in_order;  // one place of the noise after the other
  int low[kTile], high[kTile];
  float part[kTile];
  int cell_low[kTile], cell_high[kTile];
  float cell_part[kTile];

  Columns(const Grain& grain, const Area& area) : width(area.width) {
    in_order = grain.scale_x == 1.0;
    for (int i = 0; i < width; ++i) {
      const double position = grain.x + (area.x + i + 0.5) / grain.scale_x;
      const NoisePlace place(position, grain.scale_x);
      low[i] = place.low, high[i] = place.high, part[i] = place.part;
      const Between cells(position, grain.cell, grain.columns);
      cell_low[i] = cells.low, cell_high[i] = cells.high, cell_part[i] = cells.part;
    }
  }
};

// The strength of a band at each column, of a row of cells.
void strengths_of(const float* cells, const Columns& columns, float* out) {
  for (int i = 0; i < columns.width; ++i) {
    const float low = cells[columns.cell_low[i]];
    out[i] = low + columns.cell_part[i] * (cells[columns.cell_high[i]] - low);
  }
}

// The noise of a band along a row.
void noise_of(const int8_t* row, const Columns& columns, float* out) {
  if (columns.in_order) {
    row += columns.low[0];
    for (int i = 0; i < columns.width; ++i) out[i] = row[i];
    return;
  }
  for (int i = 0; i < columns.width; ++i) {
    const float low = row[columns.low[i]];
    out[i] = low + columns.part[i] * (row[columns.high[i]] - low);
  }
}

// The strengths of a band between two rows of cells, worked out anew when a row lies between others.
struct BandRows {
  int low = -1;
  float above[kTile], below[kTile];
};

// Adds a band to a row's grain.
void add_band(const Grain& grain, int band, const Columns& columns, const NoisePlace& place, const Between& cells,
              BandRows& rows, float* sum) {
  const float* strengths = grain.strengths + static_cast<int64_t>(band) * grain.rows * grain.columns;
  if (rows.low != cells.low) {
    strengths_of(strengths + static_cast<int64_t>(cells.low) * grain.columns, columns, rows.above);
    strengths_of(strengths + static_cast<int64_t>(cells.high) * grain.columns, columns, rows.below);
    rows.low = cells.low;
  }
  const int8_t* noise = grain.noise + band * kGrainSide * kGrainStride;
  float at[kTile], next[kTile];
  noise_of(noise + place.low * kGrainStride, columns, at);
  if (place.part > 0) {
    noise_of(noise + place.high * kGrainStride, columns, next);
    for (int i = 0; i < columns.width; ++i) at[i] += place.part * (next[i] - at[i]);
  }
  const float scale = grain.band_scale[band];
  for (int i = 0; i < columns.width; ++i)
    sum[i] += scale * at[i] * (rows.above[i] + cells.part * (rows.below[i] - rows.above[i]));
}

// Adds a row's grain to its pixels, less of it near black and white.
template <int C>
void add_row(const float* sum, float* planes, const Area& area, int y) {
  for (int x = 0; x < area.width; x += kColumnWidth)
    for (int i = 0; i < kColumnWidth; i += kLanes) {
      float* at = planes + area.offset(x, y) + i;
      const auto plane = [&](int c) { return load(at + c * kColumnWidth); };
      const Floats luma = C == 1 ? plane(0) : (plane(0) + plane(1) + plane(1) + plane(C - 1)) * 0.25f;
      const Floats room = minimum(luma, 1.0f - luma) * 4.0f;
      const Floats grain = load(sum + x + i) * minimum(maximum(room, Floats{}), all(1.0f));
      for (int c = 0; c < C; ++c) store(at + c * kColumnWidth, plane(c) + grain);
    }
}

}  // namespace

void add_grain(float* planes, int channels, Area area, const Grain& grain) {
  const Columns columns(grain, area);
  BandRows rows[kGrainBands];
  for (int y = 0; y < area.height; ++y) {
    const double position = grain.y + (area.y + y + 0.5) / grain.scale_y;
    const NoisePlace place(position, grain.scale_y);
    const Between cells(position, grain.cell, grain.rows);
    float sum[kTile] = {};
    for (int band = 0; band < grain.bands; ++band)
      if (grain.band_scale[band] > 0) add_band(grain, band, columns, place, cells, rows[band], sum);
    (channels == 1 ? add_row<1> : add_row<3>)(sum, planes, area, y);
  }
}

}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
