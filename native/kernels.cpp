// Forward and backward rasterisation of one tile, pixel loss, SSIM and 8-bit output.
//
// How the work maps to the machine: one thread works on one 64 x 64 tile at a time, whose planes stay
// in the first two cache levels. Vector lanes run along x. Down a column of lanes the Gaussian needs no
// exponential: with q quadratic in y, g(y+1) = g(y) r(y) and r(y+1) = r(y) exp(-c), so a pixel costs
// two multiplications for its weight. Rounding would grow with the rows, so g and r are computed anew
// every `run` rows (at most 32, fewer for flat Gaussians; see raster.cpp), which bounds the error of
// the weight to about 4e-5. Measured on a fitted 20-megapixel photograph, 32 rows decode a fifth faster than 16; 64
// would err by 1.4e-4.
//
// This file is compiled once for each instruction set with SMARTSPLAT_VARIANT naming its namespace.
#include "kernels.h"

#define STRINGIFY_INNER(x) #x
#define STRINGIFY(x) STRINGIFY_INNER(x)

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Floats __attribute__((vector_size(kLanes * 4)));
typedef float UnalignedFloats __attribute__((vector_size(kLanes * 4), aligned(4)));
typedef int32_t Ints __attribute__((vector_size(kLanes * 4)));

inline Floats splat(float value) { return value - Floats{}; }
inline Floats load(const float* from) { return *reinterpret_cast<const UnalignedFloats*>(from); }
inline void store(float* to, Floats value) { *reinterpret_cast<UnalignedFloats*>(to) = value; }
inline Floats select(Ints mask, Floats yes, Floats no) { return mask ? yes : no; }
inline Floats minimum(Floats a, Floats b) { return select(a < b, a, b); }
inline Floats maximum(Floats a, Floats b) { return select(a > b, a, b); }

inline float sum(Floats value) {
  // A fixed tree, so that the result does not depend on how the compiler would order it.
  float lane[kLanes];
  store(lane, value);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  return lane[0];
}

// exp(x) for -80 <= x <= 80: 2^n times a polynomial on [-ln2/2, ln2/2]; relative error 1e-7.
inline Floats exponential(Floats x) {
  const Floats shifter = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  Floats n = x * splat(1.44269504f) + shifter;
  const Ints bits = reinterpret_cast<Ints>(n) << 23;
  n = n - shifter;
  const Floats r = x - n * splat(0.693359375f) + n * splat(2.12194440e-4f);
  Floats p = splat(1.0f / 720);
  p = p * r + splat(1.0f / 120);
  p = p * r + splat(1.0f / 24);
  p = p * r + splat(1.0f / 6);
  p = p * r + splat(0.5f);
  p = p * r + splat(1.0f);
  p = p * r + splat(1.0f);
  return reinterpret_cast<Floats>(reinterpret_cast<Ints>(p) + bits);
}

// Rows beyond the exact ellipse that are visited all the same, against rounding.
constexpr float kRowMargin = 0.05f;

inline Floats lane_index() {
  Floats index;
  for (int i = 0; i < kLanes; ++i) index[i] = static_cast<float>(i);
  return index;
}

// The weight's recurrence down one column of lanes.
struct Column {
  Floats g, r, q;

  // dx and t of each lane's pixel centre in the first row.
  inline void start(const Splat& s, Floats dx, Floats t) {
    const Floats half_q = 0.5f * (s.precision_x * dx * dx + s.precision_y * t * t);
    // Beyond 80 the weight stays zero for a whole run: `run` spans at most 8 standard deviations.
    const Floats value = exponential(-minimum(half_q, splat(80.0f)));
    g = select(half_q < splat(80.0f), value, Floats{});
    const Floats slope = -s.precision_y * (t + 0.5f);
    r = exponential(maximum(minimum(slope, splat(80.0f)), splat(-80.0f)));
  }
  inline void next() {
    g *= r;
    r *= q;
  }
};

// exp(-precision_y): what the row ratio r changes by from row to row.
inline Floats row_factor(const Splat& s) { return exponential(-minimum(splat(s.precision_y), splat(80.0f))); }

// The part of a splat's rectangle that lies in a tile, in tile coordinates; columns start on a lane
// boundary so that stores never leave the plane.
struct Patch {
  int x_begin, x_end, y_begin, y_end;
  inline Patch(const Splat& s, TileArea area) {
    x_begin = s.x_begin > area.x ? s.x_begin - area.x : 0;
    x_end = s.x_end < area.x + area.width ? s.x_end - area.x : area.width;
    y_begin = s.y_begin > area.y ? s.y_begin - area.y : 0;
    y_end = s.y_end < area.y + area.height ? s.y_end - area.y : area.height;
    x_begin = x_begin / kLanes * kLanes;
  }
};

// The rows of a patch that the ellipse q < 9 can reach in the columns [x, x + kLanes). For long thin
// splats the rectangle is mostly empty: this made such pictures several times faster, others equal.
struct Rows {
  int begin, end;
  inline Rows(const Splat& s, const Patch& patch, TileArea area, int x) {
    const float left = static_cast<float>(area.x + x) + 0.5f - s.mean_x, right = left + (kLanes - 1);
    const float nearest = left > 0.0f ? left : (right < 0.0f ? right : 0.0f);
    const float room = 9.0f - nearest * nearest * s.precision_x;
    const float reach = __builtin_sqrtf((room > 0.0f ? room : 0.0f) / s.precision_y) + kRowMargin;
    const float a = -s.shear * left, b = -s.shear * right, middle = s.mean_y - 0.5f - static_cast<float>(area.y);
    const float low = middle + (a < b ? a : b) - reach, high = middle + (a < b ? b : a) + reach;
    // Converted only between the patch's own rows: a far or absurd splat leaves the range of int.
    const float first = static_cast<float>(patch.y_begin), last = static_cast<float>(patch.y_end - 1);
    begin = low < first ? patch.y_begin : (low < last ? static_cast<int>(low) + 1 : patch.y_end);
    end = high < first ? patch.y_begin : (high < last ? static_cast<int>(high) + 1 : patch.y_end);
  }
};

template <int C>
void forward(const Splat* splats, const int32_t* list, int64_t count, TileArea area, float* planes) {
  for (int i = 0; i < C * kPlane; i += kLanes) store(planes + i, Floats{});
  const Floats lanes = lane_index();
  for (int64_t k = 0; k < count; ++k) {
    const Splat& s = splats[list[k]];
    const Patch patch(s, area);
    Column column;
    column.q = row_factor(s);
    Floats color[C];
    for (int c = 0; c < C; ++c) color[c] = splat(s.color[c]);
    for (int x = patch.x_begin; x < patch.x_end; x += kLanes) {
      const Floats dx = lanes + splat(static_cast<float>(area.x + x) + 0.5f - s.mean_x);
      const Rows rows(s, patch, area, x);
      for (int y = rows.begin; y < rows.end;) {
        const int stop = y + s.run < rows.end ? y + s.run : rows.end;
        column.start(s, dx, s.shear * dx + (static_cast<float>(area.y + y) + 0.5f - s.mean_y));
        for (; y < stop; ++y) {
          const Floats weight = maximum(column.g - splat(kEdge), Floats{});
          float* pixel = planes + y * kTile + x;
          for (int c = 0; c < C; ++c) store(pixel + c * kPlane, load(pixel + c * kPlane) + weight * color[c]);
          column.next();
        }
      }
    }
  }
}

template <int C>
void backward(const Splat* splats, const int32_t* list, const int64_t* slots, int64_t count, TileArea area,
              const float* d_planes, Moments* moments) {
  const Floats lanes = lane_index();
  for (int64_t k = 0; k < count; ++k) {
    const Splat& s = splats[list[k]];
    const Patch patch(s, area);
    Column column;
    column.q = row_factor(s);
    Floats color[C], d_color[C];
    for (int c = 0; c < C; ++c) {
      color[c] = splat(s.color[c]);
      d_color[c] = Floats{};
    }
    Floats mx{}, mt{}, mxx{}, mxt{}, mtt{};
    for (int x = patch.x_begin; x < patch.x_end; x += kLanes) {
      const Floats dx = lanes + splat(static_cast<float>(area.x + x) + 0.5f - s.mean_x);
      Floats s0{}, s1{}, s2{};  // sums of h, h t, h t^2 down this column
      const Rows rows(s, patch, area, x);
      for (int y = rows.begin; y < rows.end;) {
        const int stop = y + s.run < rows.end ? y + s.run : rows.end;
        Floats t = s.shear * dx + (static_cast<float>(area.y + y) + 0.5f - s.mean_y);
        column.start(s, dx, t);
        for (; y < stop; ++y, t += 1.0f) {
          const Ints inside = column.g > splat(kEdge);
          const Floats weight = select(inside, column.g - splat(kEdge), Floats{});
          const float* pixel = d_planes + y * kTile + x;
          Floats along{};
          for (int c = 0; c < C; ++c) {
            const Floats d = load(pixel + c * kPlane);
            along += d * color[c];
            d_color[c] += d * weight;
          }
          const Floats h = select(inside, along * column.g, Floats{});
          s0 += h;
          const Floats ht = h * t;
          s1 += ht;
          s2 += ht * t;
          column.next();
        }
      }
      mx += dx * s0;
      mxx += dx * dx * s0;
      mxt += dx * s1;
      mt += s1;
      mtt += s2;
    }
    Moments& m = moments[slots[k]];
    m.x = sum(mx);
    m.t = sum(mt);
    m.xx = sum(mxx);
    m.xt = sum(mxt);
    m.tt = sum(mtt);
    for (int c = 0; c < C; ++c) m.color[c] = sum(d_color[c]) * kWindowNorm;
  }
}

void forward_tile(const Splat* splats, const int32_t* list, int64_t count, int channels, TileArea area, float* planes) {
  if (channels == 1)
    forward<1>(splats, list, count, area, planes);
  else
    forward<3>(splats, list, count, area, planes);
}

void backward_tile(const Splat* splats, const int32_t* list, const int64_t* slots, int64_t count, int channels,
                   TileArea area, const float* d_planes, Moments* moments) {
  if (channels == 1)
    backward<1>(splats, list, slots, count, area, d_planes, moments);
  else
    backward<3>(splats, list, slots, count, area, d_planes, moments);
}

inline float clamp01(float v) { return v > 0.0f ? (v < 1.0f ? v : 1.0f) : 0.0f; }  // NaN becomes 0

void store_bytes(const float* planes, int channels, TileArea area, uint8_t* out, int64_t stride) {
  uint8_t bytes[kMaxChannels][kTile];
  for (int y = 0; y < area.height; ++y) {
    for (int c = 0; c < channels; ++c) {
      const float* row = planes + c * kPlane + y * kTile;
      for (int x = 0; x < kTile; ++x)
        bytes[c][x] = static_cast<uint8_t>(static_cast<int>(clamp01(row[x]) * 255.0f + 0.5f));
    }
    uint8_t* to = out + y * stride;
    if (channels == 1) {
      for (int x = 0; x < area.width; ++x) to[x] = bytes[0][x];
    } else {
      for (int x = 0; x < area.width; ++x) {
        to[3 * x] = bytes[0][x];
        to[3 * x + 1] = bytes[1][x];
        to[3 * x + 2] = bytes[2][x];
      }
    }
  }
}

void pixel_loss(float* planes, int channels, TileArea area, const uint8_t* target, int64_t stride, float l1, float l2,
                float norm, double* loss, double* square) {
  double total_absolute = 0, total_square = 0;
  for (int c = 0; c < channels; ++c) {
    for (int y = 0; y < area.height; ++y) {
      float* row = planes + c * kPlane + y * kTile;
      const uint8_t* wanted = target + y * stride + c;
      float goal[kTile];
      for (int x = 0; x < area.width; ++x) goal[x] = static_cast<float>(wanted[x * channels]) * (1.0f / 255);
      Floats absolute{}, squared{};
      const Floats lanes = lane_index();
      for (int x = 0; x < area.width; x += kLanes) {
        const Floats value = load(row + x);
        Floats e = maximum(minimum(value, splat(1.0f)), Floats{}) - load(goal + x);
        e = select(lanes + splat(static_cast<float>(x)) < splat(static_cast<float>(area.width)), e, Floats{});
        const Floats sign = select(e > Floats{}, splat(1.0f), select(e < Floats{}, splat(-1.0f), Floats{}));
        absolute += e * sign;
        squared += e * e;
        store(row + x, norm * (l1 * sign + (2.0f * l2) * e));
      }
      total_absolute += sum(absolute);
      total_square += sum(squared);
    }
  }
  *loss = l1 * total_absolute + l2 * total_square;
  *square = total_square;
}

// ---- SSIM -------------------------------------------------------------------------------------------

constexpr int kTaps = 2 * kSsimRadius + 1;
constexpr float kWindow[kTaps] = {0.00102838f, 0.00759876f, 0.03600077f, 0.10936069f, 0.21300553f, 0.26601172f,
                                  0.21300553f, 0.10936069f, 0.03600077f, 0.00759876f, 0.00102838f};
constexpr float kC1 = 0.01f * 0.01f;
constexpr float kC2 = 0.03f * 0.03f;

// A block is read with a halo of two radii and its statistics are needed with a halo of one.
constexpr int kOuterWidth = kSsimBlockWidth + 4 * kSsimRadius;
constexpr int kInnerWidth = kSsimBlockWidth + 2 * kSsimRadius;
constexpr int kOuterHeight = kSsimBlockHeight + 4 * kSsimRadius;
constexpr int kInnerHeight = kSsimBlockHeight + 2 * kSsimRadius;
constexpr int kStride = (kOuterWidth + 15) / 16 * 16 + 16;

inline void blur_rows(const float* in, float* out, int rows, int width) {
  for (int y = 0; y < rows; ++y) {
    const float* from = in + y * kStride;
    float* to = out + y * kStride;
    for (int x = 0; x < width; x += kLanes) {
      Floats total{};
      for (int t = 0; t < kTaps; ++t) total += kWindow[t] * load(from + x + t);
      store(to + x, total);
    }
  }
}

inline Floats blur_column(const float* in) {
  Floats total{};
  for (int t = 0; t < kTaps; ++t) total += kWindow[t] * load(in + t * kStride);
  return total;
}

double ssim_block(const SsimBlock& b) {
  constexpr int kPlane = kStride * kOuterHeight;
  float* x0 = b.scratch;         // image with halo
  float* y0 = x0 + kPlane;       // target with halo
  float* product = y0 + kPlane;  // a product, then reused
  float* blurred[5];             // x, y, xx, yy, xy blurred along rows
  for (int i = 0; i < 5; ++i) blurred[i] = product + (1 + i) * kPlane;
  float* d[3];  // dS/dmean_x, dS/dE[xx], dS/dE[xy], then blurred along rows
  for (int i = 0; i < 3; ++i) d[i] = product + (6 + i) * kPlane;

  const int outer_width = b.block_width + 4 * kSsimRadius;
  const int outer_height = b.block_height + 4 * kSsimRadius;
  const int inner_width = b.block_width + 2 * kSsimRadius;
  const int inner_height = b.block_height + 2 * kSsimRadius;
  const int64_t plane = static_cast<int64_t>(b.height) * b.width;
  double total = 0;
  for (int c = 0; c < b.channels; ++c) {
    for (int y = 0; y < outer_height; ++y) {
      const int row = b.y + y - 2 * kSsimRadius;
      for (int x = 0; x < kStride; ++x) x0[y * kStride + x] = y0[y * kStride + x] = 0.0f;
      if (row < 0 || row >= b.height) continue;
      const int first = b.x - 2 * kSsimRadius < 0 ? 2 * kSsimRadius - b.x : 0;
      const int last = b.x - 2 * kSsimRadius + outer_width > b.width ? b.width - b.x + 2 * kSsimRadius : outer_width;
      const int64_t offset = static_cast<int64_t>(row) * b.width + b.x - 2 * kSsimRadius;
      for (int x = first; x < last; ++x) {
        x0[y * kStride + x] = b.image[c * plane + offset + x];
        y0[y * kStride + x] = static_cast<float>(b.target[(offset + x) * b.channels + c]) * (1.0f / 255);
      }
    }
    blur_rows(x0, blurred[0], outer_height, inner_width);
    blur_rows(y0, blurred[1], outer_height, inner_width);
    const float* factors[3][2] = {{x0, x0}, {y0, y0}, {x0, y0}};
    for (int i = 0; i < 3; ++i) {
      for (int p = 0; p < outer_height * kStride; p += kLanes)
        store(product + p, load(factors[i][0] + p) * load(factors[i][1] + p));
      blur_rows(product, blurred[2 + i], outer_height, inner_width);
    }
    const Floats lanes = lane_index();
    for (int y = 0; y < inner_height; ++y) {
      const int row = b.y + y - kSsimRadius;
      const bool counted_row = y >= kSsimRadius && y < kSsimRadius + b.block_height;
      float row_sum = 0;
      for (int x = 0; x < inner_width; x += kLanes) {
        Floats m[5];
        for (int i = 0; i < 5; ++i) m[i] = blur_column(blurred[i] + y * kStride + x);
        const Floats xx = m[2] - m[0] * m[0], yy = m[3] - m[1] * m[1], xy = m[4] - m[0] * m[1];
        const Floats luminance_top = 2.0f * m[0] * m[1] + kC1, contrast_top = 2.0f * xy + kC2;
        const Floats luminance_bottom = m[0] * m[0] + m[1] * m[1] + kC1, contrast_bottom = xx + yy + kC2;
        const Floats inverse = 1.0f / (luminance_bottom * contrast_bottom);
        const Floats s = luminance_top * contrast_top * inverse;
        // The map exists only inside the picture; outside it has neither value nor gradient.
        const Floats column = lanes + splat(static_cast<float>(b.x + x - kSsimRadius));
        const Ints inside = (column >= splat(0.0f)) & (column < splat(static_cast<float>(b.width))) &
                            (lanes + splat(static_cast<float>(x)) < splat(static_cast<float>(inner_width))) &
                            (row >= 0 && row < b.height ? Ints{} - 1 : Ints{});
        const Floats d_mean = 2.0f * inverse * (m[1] * (contrast_top - luminance_top)) -
                              2.0f * s * m[0] * (1.0f / luminance_bottom - 1.0f / contrast_bottom);
        const int at = y * kStride + x;
        store(d[0] + at, select(inside, d_mean, Floats{}));
        store(d[1] + at, select(inside, -s / contrast_bottom, Floats{}));
        store(d[2] + at, select(inside, 2.0f * luminance_top * inverse, Floats{}));
        if (counted_row) {
          const Floats offset = lanes + splat(static_cast<float>(x - kSsimRadius));
          const Ints counted = inside & (offset >= splat(0.0f)) & (offset < splat(static_cast<float>(b.block_width)));
          row_sum += sum(select(counted, s, Floats{}));
        }
      }
      total += row_sum;
    }
    // The adjoint of a blur with zero padding is the same blur.
    for (int i = 0; i < 3; ++i) blur_rows(d[i], blurred[i], inner_height, b.block_width);
    for (int y = 0; y < b.block_height; ++y) {
      float row[kSsimBlockWidth + 16];
      for (int x = 0; x < b.block_width; x += kLanes) {
        const int at = y * kStride + x, centre = (y + 2 * kSsimRadius) * kStride + x + 2 * kSsimRadius;
        const Floats gradient = blur_column(blurred[0] + at) + 2.0f * load(x0 + centre) * blur_column(blurred[1] + at) +
                                load(y0 + centre) * blur_column(blurred[2] + at);
        store(row + x, -b.weight * gradient);
      }
      float* to = b.gradient + c * plane + static_cast<int64_t>(b.y + y) * b.width + b.x;
      for (int x = 0; x < b.block_width; ++x) to[x] += row[x];
    }
  }
  return total;
}

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {
    STRINGIFY(SMARTSPLAT_VARIANT), kLanes, forward_tile, backward_tile, store_bytes, pixel_loss, ssim_block};
extern const int64_t ssim_scratch;
const int64_t ssim_scratch = 11 * kStride * kOuterHeight;  // the planes of ssim_block

}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
