// The pixelwise loss and the errors of cells. Compiled once for each instruction set.
#include "render/loss.h"

#include "render/kernel_functions.h"

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

template <class Sample, int C, bool kL1, bool kWeighted>
LossSums pixel_loss(float* planes, Area area, const Target& target, LossWeights weights) {
  LossSums sums{};
  const Floats lanes = lane_index();
  for (int x = 0; x < area.width; x += kColumnWidth) {
    PixelLoss<kL1> loss{weights.l1, weights.l2};
    for (int y = 0; y < area.height; ++y) {
      const int width = area.width - x < kColumnWidth ? area.width - x : kColumnWidth;
      TargetPixels<Sample, C> pixels;
      load_target<Sample, C>(target_row<Sample, C>(target, x, y), width, pixels);
      TargetPixels<uint8_t, 1> pixel_weights;
      if (kWeighted) load_weights(target, x, y, width, pixel_weights);
      for (int c = 0; c < C; ++c)
        for (int i = 0; i < kColumnWidth; i += kLanes) {
          float* at = planes + area.offset(x, y) + c * kColumnWidth + i;
          const Floats e = error<Sample>(clamped(load(at)), pixels.code_values(c, i));
          if (kWeighted) {
            store(at, weights.norm * loss.weighted(e, pixel_weights.code_values(0, i) * kCodeValue<uint8_t>));
          } else {
            const Ints counted = lanes + all(static_cast<float>(i)) < all(static_cast<float>(width));
            store(at, weights.norm * loss(e, counted));
          }
        }
    }
    sums.absolute += sum(loss.absolute);
    sums.square += sum(loss.square);
  }
  return sums;
}

// kCoarseCell rows of a column of pixels, with what they are compared with.
template <class Sample, int C>
struct CellRows {
  TargetPixels<Sample, C> pixels[kCoarseCell];
  TargetPixels<uint8_t, 1> weights[kCoarseCell];
  int width, count;  // pixels there are, of a row and rows

  CellRows(Area area, const Target& target, int x, int top)
      : width(area.width - x < kColumnWidth ? area.width - x : kColumnWidth),
        count(area.height - top < kCoarseCell ? area.height - top : kCoarseCell) {
    for (int row = 0; row < count; ++row) {
      load_target<Sample, C>(target_row<Sample, C>(target, x, top + row), width, pixels[row]);
      if (target.weights != nullptr) load_weights(target, x, top + row, width, weights[row]);
    }
  }

  // Of the errors of the pixels [i, i + kLanes) of a row; 0 where there is none.
  Floats weight(int row, int i, bool given) const {
    if (row >= count) return Floats{};
    const Ints there = lane_index() + all(static_cast<float>(i)) < all(static_cast<float>(width));
    return select(there, given ? weights[row].code_values(0, i) * kCodeValue<uint8_t> : all(1.0f), Floats{});
  }
};

// With a part of the squared error taken of the mean errors of cells: l2 of a channel is
//   (1 - coarse) sum w e^2 + coarse sum over cells (sum w e)^2 / sum w.
template <class Sample, int C, bool kL1>
LossSums coarse_loss(float* planes, Area area, const Target& target, LossWeights weights) {
  static_assert(kCoarseCell == 4, "of which sum_of_fours adds up lanes");
  LossSums sums{};
  const float coarse_slope = 2.0f * weights.l2 * weights.coarse;
  for (int x = 0; x < area.width; x += kColumnWidth) {
    PixelLoss<kL1> loss{weights.l1, weights.l2 * (1.0f - weights.coarse)};
    Floats coarse{};
    for (int top = 0; top < area.height; top += kCoarseCell) {
      const CellRows<Sample, C> rows(area, target, x, top);
      for (int i = 0; i < kColumnWidth; i += kLanes) {
        Floats weight[kCoarseCell], total{};
        for (int row = 0; row < kCoarseCell; ++row) {
          weight[row] = rows.weight(row, i, target.weights != nullptr);
          total += weight[row];
        }
        total = sum_of_fours(total);
        const Floats over = select(total > Floats{}, 1.0f / maximum(total, all(1e-9f)), Floats{});
        for (int c = 0; c < C; ++c) {
          float* at = planes + area.offset(x, top) + c * kColumnWidth + i;
          Floats e[kCoarseCell], sum{};
          for (int row = 0; row < rows.count; ++row) {
            e[row] = error<Sample>(clamped(load(at + row * area.row_stride)), rows.pixels[row].code_values(c, i));
            sum = fma(weight[row], e[row], sum);
          }
          sum = sum_of_fours(sum);
          const Floats mean = sum * over;
          coarse = fma(sum, mean, coarse);
          for (int row = 0; row < rows.count; ++row) {
            const Floats slope = fma(coarse_slope * weight[row], mean, loss.weighted(e[row], weight[row]));
            store(at + row * area.row_stride, weights.norm * slope);
          }
        }
      }
    }
    sums.absolute += sum(loss.absolute);
    sums.square += sum(loss.square);
    sums.coarse += sum(coarse) / kCoarseCell;
  }
  return sums;
}

// Sums down a cell's columns of pixels.
template <int C>
struct ColumnSums {
  float residual[C][kTile] = {}, square[kTile] = {}, weight[kTile] = {};
};

template <class Sample, int C, bool kWeighted>
void add_errors(const float* planes, Area area, const Target& target, int x, int y, ColumnSums<C>& sums) {
  const int width = area.width - x < kColumnWidth ? area.width - x : kColumnWidth;
  TargetPixels<Sample, C> pixels;
  load_target<Sample, C>(target_row<Sample, C>(target, x, y), width, pixels);
  TargetPixels<uint8_t, 1> weights;
  if (kWeighted) load_weights(target, x, y, width, weights);
  for (int i = 0; i < kColumnWidth; i += kLanes) {
    const Floats weight = kWeighted ? weights.code_values(0, i) * kCodeValue<uint8_t> : all(1.0f);
    if (kWeighted) store(sums.weight + x + i, load(sums.weight + x + i) + weight);
    for (int c = 0; c < C; ++c) {
      const Floats value = clamped(load(planes + area.offset(x, y) + c * kColumnWidth + i));
      const Floats e = error<Sample>(value, pixels.code_values(c, i)), counted = kWeighted ? weight * e : e;
      store(sums.residual[c] + x + i, load(sums.residual[c] + x + i) - counted);
      store(sums.square + x + i, load(sums.square + x + i) + counted * e);
    }
  }
}

template <class Sample, int C, bool kWeighted>
void cell_errors(const float* planes, Area area, const Target& target, int cell, float* out, int64_t row_floats) {
  for (int top = 0; top < area.height; top += cell, out += row_floats) {
    const int bottom = top + cell < area.height ? top + cell : area.height;
    ColumnSums<C> sums;
    for (int x = 0; x < area.width; x += kColumnWidth)
      for (int y = top; y < bottom; ++y) add_errors<Sample, C, kWeighted>(planes, area, target, x, y, sums);
    float* to = out;
    for (int left = 0; left < area.width; left += cell, to += C + 1) {
      const int right = left + cell < area.width ? left + cell : area.width;
      const auto total = [&](const float* columns) {
        float sum = 0;
        for (int x = left; x < right; ++x) sum += columns[x];
        return sum;
      };
      const float norm = 1.0f / static_cast<float>((bottom - top) * (right - left));
      const float weight = kWeighted ? total(sums.weight) : 0;
      const float residual_norm = !kWeighted ? norm : weight > 0 ? 1.0f / weight : 0;
      to[C] = total(sums.square) * norm / C;
      for (int c = 0; c < C; ++c) to[c] = total(sums.residual[c]) * residual_norm;
    }
  }
}

// By whether there are weights; what few fits need is not compiled apart.
template <class Sample, int C>
LossSums pixel_loss_of(float* planes, Area area, const Target& target, LossWeights weights) {
  if (weights.coarse > 0)
    return (weights.l1 > 0 ? coarse_loss<Sample, C, true> : coarse_loss<Sample, C, false>)(planes, area, target,
                                                                                           weights);
  if constexpr (sizeof(Sample) == 1 && C == 3)
    if (weights.l1 == 0.0f)
      return (target.weights != nullptr ? pixel_loss<Sample, C, false, true>
                                        : pixel_loss<Sample, C, false, false>)(planes, area, target, weights);
  if (target.weights != nullptr) return pixel_loss<Sample, C, true, true>(planes, area, target, weights);
  return pixel_loss<Sample, C, true, false>(planes, area, target, weights);
}

template <class Sample, int C>
void cell_errors_of(const float* planes, Area area, const Target& target, int cell, float* out, int64_t row_floats) {
  if (target.weights != nullptr)
    cell_errors<Sample, C, true>(planes, area, target, cell, out, row_floats);
  else
    cell_errors<Sample, C, false>(planes, area, target, cell, out, row_floats);
}

}  // namespace

LossSums pixel_loss(float* planes, int channels, Area area, const Target& target, LossWeights weights) {
  const auto loss = target.wide ? (channels == 1 ? pixel_loss_of<uint16_t, 1> : pixel_loss_of<uint16_t, 3>)
                                : (channels == 1 ? pixel_loss_of<uint8_t, 1> : pixel_loss_of<uint8_t, 3>);
  return loss(planes, area, target, weights);
}

void cell_errors(const float* planes, int channels, Area area, const Target& target, int cell, float* out,
                 int64_t row_floats) {
  const auto errors = target.wide ? (channels == 1 ? cell_errors_of<uint16_t, 1> : cell_errors_of<uint16_t, 3>)
                                  : (channels == 1 ? cell_errors_of<uint8_t, 1> : cell_errors_of<uint8_t, 3>);
  errors(planes, area, target, cell, out, row_floats);
}

}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
