// SSIM and its gradient over a macrotile. Compiled once for each instruction set.
#include "render/kernel_functions.h"
#include "render/loss.h"

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

constexpr int kTaps = 2 * kSsimRadius + 1;
constexpr float kSsimWindow[kTaps] = {0.00102838f, 0.00759876f, 0.03600077f, 0.10936069f, 0.21300553f, 0.26601172f,
                                      0.21300553f, 0.10936069f, 0.03600077f, 0.00759876f, 0.00102838f};
constexpr int kRows = 4;  // that are blurred along y together
constexpr float kC1 = 0.01f * 0.01f;
constexpr float kC2 = 0.03f * 0.03f;

// The window at 11 samples, `at(tap)` being one of them: the two that have the same weight are added first.
template <class At>
inline Floats blur(const At& at) {
  Floats total = kSsimWindow[kSsimRadius] * at(kSsimRadius);
  for (int t = 0; t < kSsimRadius; ++t) total = fma(kSsimWindow[t], at(t) + at(kTaps - 1 - t), total);
  return total;
}

#if defined(__AVX512F__)
// A vector that begins elsewhere than a cache line costs two loads, and a shuffle of aligned ones only half as much.
inline Floats blur_row(const float* middle) {
  const Floats before = load(middle - kLanes), middle_lanes = load(middle), after = load(middle + kLanes);
  const Floats taps[kTaps] = {
      lanes_from<11>(before, middle_lanes), lanes_from<12>(before, middle_lanes), lanes_from<13>(before, middle_lanes),
      lanes_from<14>(before, middle_lanes), lanes_from<15>(before, middle_lanes), middle_lanes,
      lanes_from<1>(middle_lanes, after),   lanes_from<2>(middle_lanes, after),   lanes_from<3>(middle_lanes, after),
      lanes_from<4>(middle_lanes, after),   lanes_from<5>(middle_lanes, after)};
  return blur([&](int tap) { return taps[tap]; });
}
#else
inline Floats blur_row(const float* middle) {
  return blur([&](int tap) { return load(middle + tap - kSsimRadius); });
}
#endif

// The window down kRows + 10 rows, of which row(i) is one, for each of kRows: calls out(row, value).
template <class Row, class Out>
inline void blur_down(const Row& row, const Out& out) {
  Floats rows[kRows + kTaps - 1];
  for (int i = 0; i < kRows + kTaps - 1; ++i) rows[i] = row(i);
  for (int i = 0; i < kRows; ++i) out(i, blur([&](int tap) { return rows[i + tap]; }));
}

template <class Sample, int C>
void macrotile_put(const float* planes, Area area, const Target& target, const Macrotile& macrotile) {
  for_each_piece<C>(area, [&](int at, int x, int y, int width) {
    TargetPixels<Sample, C> pixels;
    load_target<Sample, C>(target_row<Sample, C>(target, x, y), width, pixels);
    for (int c = 0; c < C; ++c) {
      const int64_t to = macrotile_offset(area.x - macrotile.x + x, area.y - macrotile.y + y, c);
      for (int i = 0; i < kColumnWidth; i += kLanes) {
        // Columns beyond the image must stay 0.
        const Ints inside = lane_index() + all(static_cast<float>(i)) < all(static_cast<float>(width));
        const Floats value = load(planes + at + c * kColumnWidth + i);
        store(macrotile.image + to + i, select(inside, macrotile.clamp ? clamped(value) : value, Floats{}));
        store(macrotile.target + to + i, select(inside, pixels.code_values(c, i) * kCodeValue<Sample>, Floats{}));
      }
    }
  });
}

// SSIM of one channel of a macrotile, streamed down its rows, kRows at a time: as soon as the five rows below them are
// there, their statistics (blurred along y, then along x) and with them the map's derivatives; as soon as five more
// rows of derivatives are there, the gradient, which replaces a row of the image.
class ChannelSsim {
 public:
  ChannelSsim(const Macrotile& macrotile, int channel, LossWeights weights)
      : macrotile_(macrotile),
        image_(macrotile.image + channel * kMacrotilePlane),
        target_(macrotile.target + channel * kMacrotilePlane),
        weights_(weights),
        loss_{weights.l1, weights.l2},
        statistics_(macrotile.scratch + 2 * kMacrotileHaloX),
        means_(statistics_ + 4 * kRows * kMacrotileStride),
        slopes_(means_ + 4 * kMacrotileStride),
        blurred_(slopes_ + 3 * kMacrotileStride) {
    for (int64_t i = 0; i < kMacrotileScratch; i += kLanes) store(macrotile.scratch + i, Floats{});
  }

  LossSums run() {
    // The gradient lags by the radius of its blur, and begins at row 0.
    constexpr int kLag = (2 * kSsimRadius + kRows - 1) / kRows * kRows;
    for (int row = -kLag; row < macrotile_.height; row += kRows) {
      blur_statistics(row + kSsimRadius);
      for (int i = 0; i < kRows; ++i) map(row + kSsimRadius + i, statistics_ + 4 * i * kMacrotileStride);
      if (row >= 0) gradient(row);
    }
    return {sum(loss_.absolute), sum(loss_.square), ssim_, 0.0};
  }

 private:
  static constexpr int kRing = kMacrotileRing;
  static constexpr int kFirst = (kSsimRadius + kLanes - 1) / kLanes * kLanes;  // columns of the map before the core

  // Rows and columns are counted from the core's first.
  float* blurred_row(int which, int row) { return blurred_ + (which * kRing + (row & (kRing - 1))) * kMacrotileStride; }

  // `statistics` of the row.
  void map(int row, const float* statistics) {
    if (row + macrotile_.y < 0 || row + macrotile_.y >= macrotile_.image_height) {
      for (int i = 0; i < 3; ++i) {
        float* out = blurred_row(i, row);
        for (int x = 0; x < macrotile_.width; x += kLanes) store(out + x, Floats{});
      }
      return;
    }
    // Separate from what follows: a vector of both waits for itself longer than the processor looks ahead.
    for (int i = 0; i < 4; ++i)
      blur_along(statistics + i * kMacrotileStride, -kFirst, kSsimRadius, means_ + i * kMacrotileStride);
    set_slopes(row);
    // The adjoint of a blur with zero padding is the same blur.
    for (int i = 0; i < 3; ++i) blur_along(slopes_ + i * kMacrotileStride, 0, 0, blurred_row(i, row));
  }

  // A row blurred along x from column `first` to `more` beyond the core.
  void blur_along(const float* row, int first, int more, float* out) {
    for (int x = first; x < macrotile_.width + more; x += kLanes) store(out + x, blur_row(row + x));
  }

  // The derivatives of a row of the map by its four means.
  void set_slopes(int row) {
    const Floats lanes = lane_index();
    const bool counted_row = row >= 0 && row < macrotile_.height;
    const Floats first = all(static_cast<float>(-macrotile_.x));
    const Floats last = all(static_cast<float>(macrotile_.image_width - macrotile_.x));
    Floats row_sum{};
    for (int x = -kFirst; x < macrotile_.width + kSsimRadius; x += kLanes) {
      Floats m[4];
      for (int i = 0; i < 4; ++i) m[i] = load(means_ + i * kMacrotileStride + x);
      const Floats product = m[0] * m[1], square = fma(m[0], m[0], m[1] * m[1]);
      const Floats luminance_top = 2.0f * product + kC1, contrast_top = 2.0f * (m[3] - product) + kC2;
      const Floats luminance_bottom = square + kC1, contrast_bottom = m[2] - square + kC2;
      const Floats inverse = 1.0f / (luminance_bottom * contrast_bottom);
      const Floats s = luminance_top * contrast_top * inverse;
      const Floats d_mean =
          2.0f * inverse * (m[1] * (contrast_top - luminance_top) - s * m[0] * (contrast_bottom - luminance_bottom));
      // The map exists only inside the image; outside it has neither value nor gradient.
      const Floats column = lanes + all(static_cast<float>(x));
      const Ints inside = (column >= first) & (column < last);
      float* slope = slopes_ + x;
      store(slope, select(inside, d_mean, Floats{}));
      store(slope + kMacrotileStride, select(inside, -s * luminance_bottom * inverse, Floats{}));
      store(slope + 2 * kMacrotileStride, select(inside, 2.0f * luminance_top * inverse, Floats{}));
      const Ints counted = (column >= Floats{}) & (column < all(static_cast<float>(macrotile_.width)));
      row_sum += select(counted, s, Floats{});
    }
    if (counted_row) ssim_ += sum(row_sum);
  }

  // x, y, x^2 + y^2 and x y of kRows rows blurred along y: SSIM needs the two variances only as their sum.
  void blur_statistics(int row) {
    const float *x_rows[kRows + kTaps - 1], *y_rows[kRows + kTaps - 1];
    for (int i = 0; i < kRows + kTaps - 1; ++i) {
      // Rows that a macrotile does not have are only for rows that map() leaves out.
      const int64_t at = macrotile_offset(0, within(row + i - kSsimRadius), 0);
      x_rows[i] = image_ + at;
      y_rows[i] = target_ + at;
    }
    for (int at = -kMacrotileHaloX; at < macrotile_.width + kMacrotileHaloX; at += kLanes) {
      const auto put = [&](int which) {
        return [=](int i, Floats value) { store(statistics_ + (4 * i + which) * kMacrotileStride + at, value); };
      };
      const auto x = [&](int i) { return load(x_rows[i] + at); };
      const auto y = [&](int i) { return load(y_rows[i] + at); };
      blur_down(x, put(0));
      blur_down(y, put(1));
      blur_down([&](int i) { return fma(x(i), x(i), y(i) * y(i)); }, put(2));
      blur_down([&](int i) { return x(i) * y(i); }, put(3));
    }
  }

  int within(int row) const {
    const int first = -kMacrotileHaloY, last = macrotile_.height + kMacrotileHaloY - 1;
    return row < first ? first : (row > last ? last : row);
  }

  void gradient(int row) {
    const int64_t at = macrotile_offset(0, row, 0);
    const int rows = macrotile_.height - row < kRows ? macrotile_.height - row : kRows;
    const Floats lanes = lane_index();
    for (int x = 0; x < macrotile_.width; x += kLanes) {
      Floats slope[3][kRows];
      for (int i = 0; i < 3; ++i)
        blur_down([&](int t) { return load(blurred_row(i, row + t - kSsimRadius) + x); },
                  [&](int r, Floats value) { slope[i][r] = value; });
      const Ints counted = lanes + all(static_cast<float>(x)) < all(static_cast<float>(macrotile_.width));
      for (int r = 0; r < rows; ++r) {
        float* image = image_ + at + r * kMacrotileStride + x;
        const Floats value = load(image), expected = load(target_ + at + r * kMacrotileStride + x);
        const Floats pixelwise = loss_(value - expected, counted);
        const Floats ssim = fma(expected, slope[2][r], fma(2.0f * value, slope[1][r], slope[0][r]));
        store(image, select(counted, weights_.norm * fma(-weights_.ssim, ssim, pixelwise), Floats{}));
      }
    }
  }

  const Macrotile& macrotile_;
  float* image_;  // the channel's planes
  const float* target_;
  LossWeights weights_;
  PixelLoss<true> loss_;
  double ssim_ = 0;
  float* statistics_;  // [kRows, 4, kMacrotileStride]: blurred along y
  float* means_;       // [4, kMacrotileStride]: the same of one row, blurred along x too
  float* slopes_;      // [3, kMacrotileStride]: dS/dmean_x, dS/dE[x^2], dS/dE[x y] of one row
  float* blurred_;     // [3, kRing, kMacrotileStride]: the same, blurred along x
};

}  // namespace

void macrotile_put(const float* planes, int channels, Area area, const Target& target, const Macrotile& macrotile) {
  const auto put = target.wide ? (channels == 1 ? macrotile_put<uint16_t, 1> : macrotile_put<uint16_t, 3>)
                               : (channels == 1 ? macrotile_put<uint8_t, 1> : macrotile_put<uint8_t, 3>);
  put(planes, area, target, macrotile);
}

LossSums macrotile_loss(const Macrotile& macrotile, int channels, LossWeights weights) {
  LossSums sums{};
  for (int c = 0; c < channels; ++c) {
    const LossSums one = ChannelSsim(macrotile, c, weights).run();
    sums.absolute += one.absolute;
    sums.square += one.square;
    sums.ssim += one.ssim;
  }
  return sums;
}

}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
