// SSIM and its gradient over a panel. Compiled once for each instruction set.
#include "pixels.h"

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

constexpr int kTaps = 2 * kSsimRadius + 1;
constexpr float kWindow[kTaps] = {0.00102838f, 0.00759876f, 0.03600077f, 0.10936069f, 0.21300553f, 0.26601172f,
                                  0.21300553f, 0.10936069f, 0.03600077f, 0.00759876f, 0.00102838f};
constexpr int kRows = 4;  // that are blurred along y together
constexpr float kC1 = 0.01f * 0.01f;
constexpr float kC2 = 0.03f * 0.03f;

// The window at 11 samples, `at(tap)` being one of them: the two that have the same weight are added first.
template <class At>
inline Floats blur(const At& at) {
  Floats total = kWindow[kSsimRadius] * at(kSsimRadius);
  for (int t = 0; t < kSsimRadius; ++t) total += kWindow[t] * (at(t) + at(kTaps - 1 - t));
  return total;
}

#if defined(__AVX512F__)
// A vector that begins elsewhere than a cache line costs two loads, and a shuffle of aligned ones only half as much.
inline Floats blur_row(const float* middle) {
  const Floats before = load(middle - kLanes), here = load(middle), after = load(middle + kLanes);
  const Floats taps[kTaps] = {lanes_from<11>(before, here), lanes_from<12>(before, here), lanes_from<13>(before, here),
                              lanes_from<14>(before, here), lanes_from<15>(before, here), here,
                              lanes_from<1>(here, after),   lanes_from<2>(here, after),   lanes_from<3>(here, after),
                              lanes_from<4>(here, after),   lanes_from<5>(here, after)};
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

template <int C>
void panel_put(const float* planes, Area area, const uint8_t* target, int64_t stride, const Panel& panel) {
  for_each_piece<C>(area, [&](int at, int x, int y, int width) {
    Words goal;
    load_target<C>(target + y * stride + x * C, width, goal);
    for (int c = 0; c < C; ++c) {
      const int64_t to = panel_offset(area.x - panel.x + x, area.y - panel.y + y, c);
      for (int i = 0; i < kColumn; i += kLanes) {
        // Columns beyond the picture must stay 0.
        const Ints inside = lane_index() + all(static_cast<float>(i)) < all(static_cast<float>(width));
        store(panel.image + to + i, select(inside, clamped(load(planes + at + c * kColumn + i)), Floats{}));
        store(panel.target + to + i, select(inside, goal.levels(c, i) * kLevel, Floats{}));
      }
    }
  });
}

// SSIM of one channel of a panel, streamed down its rows, kRows at a time: as soon as the five rows below them are
// there, their statistics (blurred along y, then along x) and with them the map's derivatives; as soon as five more
// rows of derivatives are there, the gradient, which replaces a row of the image.
class ChannelSsim {
 public:
  ChannelSsim(const Panel& panel, int channel, LossWeights weights)
      : panel_(panel),
        image_(panel.image + channel * kPanelPlane),
        target_(panel.target + channel * kPanelPlane),
        weights_(weights),
        loss_{weights.l1, weights.l2},
        statistics_(panel.scratch + 2 * kPanelHaloX),
        means_(statistics_ + 4 * kRows * kPanelStride),
        slopes_(means_ + 4 * kPanelStride),
        blurred_(slopes_ + 3 * kPanelStride) {
    for (int64_t i = 0; i < kPanelScratch; i += kLanes) store(panel.scratch + i, Floats{});
  }

  LossSums run() {
    // The gradient lags by the radius of its blur, and begins at row 0.
    constexpr int kLag = (2 * kSsimRadius + kRows - 1) / kRows * kRows;
    for (int row = -kLag; row < panel_.height; row += kRows) {
      blur_statistics(row + kSsimRadius);
      for (int i = 0; i < kRows; ++i) map(row + kSsimRadius + i, statistics_ + 4 * i * kPanelStride);
      if (row >= 0) gradient(row);
    }
    return {sum(loss_.absolute), sum(loss_.square), ssim_};
  }

 private:
  static constexpr int kRing = kPanelRing;
  static constexpr int kFirst = (kSsimRadius + kLanes - 1) / kLanes * kLanes;  // columns of the map before the core

  // Rows and columns are counted from the core's first.
  float* blurred_row(int which, int row) { return blurred_ + (which * kRing + (row & (kRing - 1))) * kPanelStride; }

  // `statistics` of the row.
  void map(int row, const float* statistics) {
    if (row + panel_.y < 0 || row + panel_.y >= panel_.picture_height) {
      for (int i = 0; i < 3; ++i) {
        float* out = blurred_row(i, row);
        for (int x = 0; x < panel_.width; x += kLanes) store(out + x, Floats{});
      }
      return;
    }
    // Apart from what follows: a vector of both waits for itself longer than the processor looks ahead.
    for (int i = 0; i < 4; ++i)
      blur_along(statistics + i * kPanelStride, -kFirst, kSsimRadius, means_ + i * kPanelStride);
    set_slopes(row);
    // The adjoint of a blur with zero padding is the same blur.
    for (int i = 0; i < 3; ++i) blur_along(slopes_ + i * kPanelStride, 0, 0, blurred_row(i, row));
  }

  // A row blurred along x from column `first` to `more` beyond the core.
  void blur_along(const float* row, int first, int more, float* out) {
    for (int x = first; x < panel_.width + more; x += kLanes) store(out + x, blur_row(row + x));
  }

  // The derivatives of a row of the map by its four means.
  void set_slopes(int row) {
    const Floats lanes = lane_index();
    const bool counted_row = row >= 0 && row < panel_.height;
    const Floats first = all(static_cast<float>(-panel_.x));
    const Floats last = all(static_cast<float>(panel_.picture_width - panel_.x));
    Floats row_sum{};
    for (int x = -kFirst; x < panel_.width + kSsimRadius; x += kLanes) {
      Floats m[4];
      for (int i = 0; i < 4; ++i) m[i] = load(means_ + i * kPanelStride + x);
      const Floats product = m[0] * m[1], square = m[0] * m[0] + m[1] * m[1];
      const Floats luminance_top = 2.0f * product + kC1, contrast_top = 2.0f * (m[3] - product) + kC2;
      const Floats luminance_bottom = square + kC1, contrast_bottom = m[2] - square + kC2;
      const Floats inverse = 1.0f / (luminance_bottom * contrast_bottom);
      const Floats s = luminance_top * contrast_top * inverse;
      const Floats d_mean =
          2.0f * inverse * (m[1] * (contrast_top - luminance_top) - s * m[0] * (contrast_bottom - luminance_bottom));
      // The map exists only inside the picture; outside it has neither value nor gradient.
      const Floats column = lanes + all(static_cast<float>(x));
      const Ints inside = (column >= first) & (column < last);
      float* slope = slopes_ + x;
      store(slope, select(inside, d_mean, Floats{}));
      store(slope + kPanelStride, select(inside, -s * luminance_bottom * inverse, Floats{}));
      store(slope + 2 * kPanelStride, select(inside, 2.0f * luminance_top * inverse, Floats{}));
      const Ints counted = (column >= Floats{}) & (column < all(static_cast<float>(panel_.width)));
      row_sum += select(counted, s, Floats{});
    }
    if (counted_row) ssim_ += sum(row_sum);
  }

  // x, y, x^2 + y^2 and x y of kRows rows blurred along y: SSIM needs the two variances only as their sum.
  void blur_statistics(int row) {
    const float *x_rows[kRows + kTaps - 1], *y_rows[kRows + kTaps - 1];
    for (int i = 0; i < kRows + kTaps - 1; ++i) {
      // Rows that a panel does not have are only for rows that map() leaves out.
      const int64_t at = panel_offset(0, within(row + i - kSsimRadius), 0);
      x_rows[i] = image_ + at;
      y_rows[i] = target_ + at;
    }
    for (int at = -kPanelHaloX; at < panel_.width + kPanelHaloX; at += kLanes) {
      const auto put = [&](int which) {
        return [=](int i, Floats value) { store(statistics_ + (4 * i + which) * kPanelStride + at, value); };
      };
      blur_down([&](int i) { return load(x_rows[i] + at); }, put(0));
      blur_down([&](int i) { return load(y_rows[i] + at); }, put(1));
      const auto product = [&](const float* a, const float* b) { return load(a + at) * load(b + at); };
      blur_down([&](int i) { return product(x_rows[i], x_rows[i]) + product(y_rows[i], y_rows[i]); }, put(2));
      blur_down([&](int i) { return product(x_rows[i], y_rows[i]); }, put(3));
    }
  }

  int within(int row) const {
    const int first = -kPanelHaloY, last = panel_.height + kPanelHaloY - 1;
    return row < first ? first : (row > last ? last : row);
  }

  void gradient(int row) {
    const int64_t at = panel_offset(0, row, 0);
    const int rows = panel_.height - row < kRows ? panel_.height - row : kRows;
    const Floats lanes = lane_index();
    for (int x = 0; x < panel_.width; x += kLanes) {
      Floats slope[3][kRows];
      for (int i = 0; i < 3; ++i)
        blur_down([&](int t) { return load(blurred_row(i, row + t - kSsimRadius) + x); },
                  [&](int r, Floats value) { slope[i][r] = value; });
      const Ints counted = lanes + all(static_cast<float>(x)) < all(static_cast<float>(panel_.width));
      for (int r = 0; r < rows; ++r) {
        float* image = image_ + at + r * kPanelStride + x;
        const Floats value = load(image), wanted = load(target_ + at + r * kPanelStride + x);
        const Floats pixelwise = loss_(value - wanted, counted);
        const Floats ssim = slope[0][r] + 2.0f * value * slope[1][r] + wanted * slope[2][r];
        store(image, select(counted, weights_.norm * (pixelwise - weights_.ssim * ssim), Floats{}));
      }
    }
  }

  const Panel& panel_;
  float* image_;  // the channel's planes
  const float* target_;
  LossWeights weights_;
  PixelLoss<true> loss_;
  double ssim_ = 0;
  float* statistics_;  // [kRows, 4, kPanelStride]: blurred along y
  float* means_;       // [4, kPanelStride]: the same of one row, blurred along x too
  float* slopes_;      // [3, kPanelStride]: dS/dmean_x, dS/dE[x^2], dS/dE[x y] of one row
  float* blurred_;     // [3, kRing, kPanelStride]: the same, blurred along x
};

}  // namespace

void panel_put(const float* planes, int channels, Area area, const uint8_t* target, int64_t stride,
               const Panel& panel) {
  if (channels == 1)
    panel_put<1>(planes, area, target, stride, panel);
  else
    panel_put<3>(planes, area, target, stride, panel);
}

LossSums panel_loss(const Panel& panel, int channels, LossWeights weights) {
  LossSums sums{};
  for (int c = 0; c < channels; ++c) {
    const LossSums one = ChannelSsim(panel, c, weights).run();
    sums.absolute += one.absolute;
    sums.square += one.square;
    sums.ssim += one.ssim;
  }
  return sums;
}

}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
