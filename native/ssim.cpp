// SSIM and its gradient over a panel. Compiled once for each instruction set.
#include "pixels.h"

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

constexpr int kTaps = 2 * kSsimRadius + 1;
constexpr float kWindow[kTaps] = {0.00102838f, 0.00759876f, 0.03600077f, 0.10936069f, 0.21300553f, 0.26601172f,
                                  0.21300553f, 0.10936069f, 0.03600077f, 0.00759876f, 0.00102838f};
constexpr float kC1 = 0.01f * 0.01f;
constexpr float kC2 = 0.03f * 0.03f;

// The window at 11 samples, `at(tap)` being one of them: the two that have the same weight are added first.
template <class At>
inline Floats blur(const At& at) {
  Floats total = kWindow[kSsimRadius] * at(kSsimRadius);
  for (int t = 0; t < kSsimRadius; ++t) total += kWindow[t] * (at(t) + at(kTaps - 1 - t));
  return total;
}

inline Floats blur_row(const float* middle) {
  return blur([&](int tap) { return load(middle + tap - kSsimRadius); });
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

template <int C>
void panel_get(const Panel& panel, Area area, float* planes) {
  for_each_piece<C>(area, [&](int at, int x, int y, int width) {
    for (int c = 0; c < C; ++c) {
      const float* from = panel.image + panel_offset(area.x - panel.x + x, area.y - panel.y + y, c);
      for (int i = 0; i < kColumn; ++i) planes[at + c * kColumn + i] = i < width ? from[i] : 0.0f;
    }
  });
}

// SSIM of one channel of a panel, streamed down its rows: as soon as the eleven rows around one are there, the
// statistics of that row (blurred along y, then along x) and with them the map's derivatives; as soon as eleven rows
// of derivatives are there, the gradient of the row in their middle, which replaces that row of the image.
class ChannelSsim {
 public:
  ChannelSsim(const Panel& panel, int channel, LossWeights weights)
      : panel_(panel),
        image_(panel.image + channel * kPanelPlane),
        target_(panel.target + channel * kPanelPlane),
        weights_(weights),
        loss_{weights.l1, weights.l2},
        statistics_(panel.scratch),
        slopes_(statistics_ + 4 * kPanelStride),
        blurred_(slopes_ + 3 * kPanelStride) {
    for (int64_t i = 0; i < kPanelScratch; i += kLanes) store(panel.scratch + i, Floats{});
  }

  LossSums run() {
    for (int row = -kSsimRadius; row < panel_.height + kSsimRadius; ++row) {
      map(row);
      if (row >= kSsimRadius) gradient(row - kSsimRadius);
    }
    return {sum(loss_.absolute), sum(loss_.square), ssim_};
  }

 private:
  static constexpr int kRing = kPanelRing;

  // Rows and columns are counted from the core's first.
  float* blurred_row(int which, int row) {
    return blurred_ + (which * kRing + (row & (kRing - 1))) * kPanelStride + kPanelHaloX;
  }

  void map(int row) {
    if (row + panel_.y < 0 || row + panel_.y >= panel_.picture_height) {
      for (int i = 0; i < 3; ++i) {
        float* out = blurred_row(i, row);
        for (int x = 0; x < panel_.width; x += kLanes) store(out + x, Floats{});
      }
      return;
    }
    blur_statistics(row);
    const Floats lanes = lane_index();
    const bool counted_row = row >= 0 && row < panel_.height;
    const Floats first = all(static_cast<float>(-panel_.x));
    const Floats last = all(static_cast<float>(panel_.picture_width - panel_.x));
    Floats row_sum{};
    for (int x = -kSsimRadius; x < panel_.width + kSsimRadius; x += kLanes) {
      Floats m[4];
      for (int i = 0; i < 4; ++i) m[i] = blur_row(statistics_ + i * kPanelStride + kPanelHaloX + x);
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
      float* slope = slopes_ + kPanelHaloX + x;
      store(slope, select(inside, d_mean, Floats{}));
      store(slope + kPanelStride, select(inside, -s * luminance_bottom * inverse, Floats{}));
      store(slope + 2 * kPanelStride, select(inside, 2.0f * luminance_top * inverse, Floats{}));
      const Ints counted = (column >= Floats{}) & (column < all(static_cast<float>(panel_.width)));
      row_sum += select(counted, s, Floats{});
    }
    if (counted_row) ssim_ += sum(row_sum);
    // The adjoint of a blur with zero padding is the same blur.
    for (int i = 0; i < 3; ++i) {
      const float* in = slopes_ + i * kPanelStride + kPanelHaloX;
      float* out = blurred_row(i, row);
      for (int x = 0; x < panel_.width; x += kLanes) store(out + x, blur_row(in + x));
    }
  }

  // x, y, x^2 + y^2 and x y blurred along y: SSIM needs the two variances only as their sum.
  void blur_statistics(int row) {
    const float *x_rows[kTaps], *y_rows[kTaps];
    for (int t = 0; t < kTaps; ++t) {
      x_rows[t] = image_ + panel_offset(0, row + t - kSsimRadius, 0);
      y_rows[t] = target_ + panel_offset(0, row + t - kSsimRadius, 0);
    }
    float* out = statistics_ + kPanelHaloX;
    for (int at = -kPanelHaloX; at < panel_.width + kPanelHaloX; at += kLanes) {
      Floats x = load(x_rows[kSsimRadius] + at), y = load(y_rows[kSsimRadius] + at);
      const float middle = kWindow[kSsimRadius];
      Floats mean_x = middle * x, mean_y = middle * y, squares = middle * (x * x + y * y), product = middle * (x * y);
      for (int t = 0; t < kSsimRadius; ++t) {
        const Floats x0 = load(x_rows[t] + at), x1 = load(x_rows[kTaps - 1 - t] + at);
        const Floats y0 = load(y_rows[t] + at), y1 = load(y_rows[kTaps - 1 - t] + at);
        mean_x += kWindow[t] * (x0 + x1);
        mean_y += kWindow[t] * (y0 + y1);
        squares += kWindow[t] * ((x0 * x0 + y0 * y0) + (x1 * x1 + y1 * y1));
        product += kWindow[t] * (x0 * y0 + x1 * y1);
      }
      store(out + at, mean_x);
      store(out + kPanelStride + at, mean_y);
      store(out + 2 * kPanelStride + at, squares);
      store(out + 3 * kPanelStride + at, product);
    }
  }

  void gradient(int row) {
    const float* rows[3][kTaps];
    for (int i = 0; i < 3; ++i)
      for (int t = 0; t < kTaps; ++t) rows[i][t] = blurred_row(i, row + t - kSsimRadius);
    float* image = image_ + panel_offset(0, row, 0);
    const float* target = target_ + panel_offset(0, row, 0);
    const Floats lanes = lane_index();
    for (int x = 0; x < panel_.width; x += kLanes) {
      Floats slope[3];
      for (int i = 0; i < 3; ++i) slope[i] = blur([&](int tap) { return load(rows[i][tap] + x); });
      const Floats value = load(image + x), wanted = load(target + x);
      const Ints counted = lanes + all(static_cast<float>(x)) < all(static_cast<float>(panel_.width));
      const Floats pixelwise = loss_(value - wanted, counted);
      const Floats ssim = slope[0] + 2.0f * value * slope[1] + wanted * slope[2];
      store(image + x, weights_.norm * (pixelwise - weights_.ssim * ssim));
    }
  }

  const Panel& panel_;
  float* image_;  // the channel's planes
  const float* target_;
  LossWeights weights_;
  PixelLoss loss_;
  double ssim_ = 0;
  float* statistics_;  // [4, kPanelStride]: of one row, blurred along y
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

void panel_get(const Panel& panel, int channels, Area area, float* planes) {
  if (channels == 1)
    panel_get<1>(panel, area, planes);
  else
    panel_get<3>(panel, area, planes);
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
