// Forward and backward pass of one tile.
//
// How the work maps to the machine: one thread works on one 64 x 64 tile at a time, whose planes stay
// in the first two cache levels. Vector lanes run along x. Down a column of lanes the Gaussian needs no
// exponential: with q quadratic in y, g(y+1) = g(y) r(y) and r(y+1) = r(y) exp(-c), so a pixel costs
// two multiplications for its weight. Rounding would grow with the rows, so g and r are computed anew
// every `run` rows (at most 32, fewer for flat Gaussians; see project.cpp), which bounds the error of
// the weight to about 4e-5. Measured on a fitted 20-megapixel photograph, 32 rows decode a fifth faster than 16; 64
// would err by 1.4e-4.
//
// A run's first row takes two exponentials, whose latency is several rows' worth of work, and the end of a run is
// hard to predict. So the first rows of many runs are computed ahead, where they overlap each other, and the rows
// are walked afterwards.
//
// This file is compiled once for each instruction set with SMARTSPLAT_VARIANT naming its namespace.
#include "render/kernel_functions.h"
#include "render/patch.h"

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

// Consecutive rows of one splat in one column of lanes, and the weight's recurrence in the first of them.
struct Run {
  Floats g, r;
  Floats dx, t;  // each lane's distances in the first row; only for the gradient
  int offset, rows;
};

// Runs are set up until there are this many; one splat of a tile has at most one for each row of each column of
// lanes, and one of a level, where every run has the maximum of rows, fewer.
constexpr int kBatch = 64;
constexpr int kMaxRuns = kBatch + kTile / kLanes * kTile;
static_assert(kMaxSlices * ((kMaxLevelSide + kMaxRunRows - 1) / kMaxRunRows) <= kTile / kLanes * kTile, "");

// The runs of one splat; returns their number.
template <bool kDistances>
inline int set_up(const Splat& s, Area area, Run* runs) {
  const Patch patch(s, area);
  const Floats lanes = lane_index();
  int count = 0;
  for (int i = patch.first; i < patch.last; ++i) {
    const Floats dx = lanes + all(static_cast<float>(area.x + i * kLanes) + 0.5f - s.mean_x);
    const Floats sheared = fma(s.shear, dx, all(static_cast<float>(area.y) + 0.5f - s.mean_y));
    const Floats half_x = (0.5f * kLog2E * s.precision_x) * dx * dx;
    const int end = patch.end[i - patch.first];
    for (int y = patch.begin[i - patch.first]; y < end; y += s.run) {
      Run& run = runs[count++];
      const Floats t = sheared + static_cast<float>(y);
      const Floats half_q = fma((0.5f * kLog2E * s.precision_y) * t, t, half_x);
      // Beyond 80 / ln 2 the weight stays zero for a whole run: `run` spans at most 8 standard deviations.
      const Floats value = power_of_two(-minimum(half_q, all(kMaxPower)));
      run.g = select(half_q < all(kMaxPower), value, Floats{});
      const Floats slope = (-kLog2E * s.precision_y) * (t + 0.5f);
      run.r = power_of_two(maximum(minimum(slope, all(kMaxPower)), all(-kMaxPower)));
      if (kDistances) {
        run.dx = dx;
        run.t = t;
      }
      run.offset = area.offset(i * kLanes, y);
      run.rows = end - y < s.run ? end - y : s.run;
    }
  }
  return count;
}

// One splat's runs in a batch.
struct Entry {
  const Splat* splat;
  int first, end;
};

// Sets up the runs of a tile's splats batch by batch and gives each splat's to walk(k, splat, its runs, their end),
// k being its place in the list.
template <bool kDistances, class Walk>
inline void for_each_splat(const Splat* splats, const int32_t* list, int64_t count, Area area, const Walk& walk) {
  Run runs[kMaxRuns];
  Entry entries[kBatch];
  for (int64_t k = 0; k < count;) {
    const int64_t batch = k;
    for (int used = 0; k < count && k - batch < kBatch && used < kBatch; ++k) {
      if (k + 4 < count) __builtin_prefetch(&splats[list[k + 4]]);
      Entry& entry = entries[k - batch];
      entry.splat = &splats[list[k]];
      entry.first = used;
      used += set_up<kDistances>(*entry.splat, area, runs + used);
      entry.end = used;
    }
    for (int64_t i = batch; i < k; ++i) {
      const Entry& entry = entries[i - batch];
      walk(i, *entry.splat, runs + entry.first, runs + entry.end);
    }
  }
}

template <int C>
void forward(const Splat* splats, const int32_t* list, int64_t count, Area area, float* planes) {
  for_each_splat<false>(splats, list, count, area, [&](int64_t, const Splat& s, const Run* run, const Run* end) {
    Floats color[C];
    for (int c = 0; c < C; ++c) color[c] = all(s.color[c]);
    const Floats factor = all(s.row_factor);
    for (; run != end; ++run) {
      Floats g = run->g, r = run->r;
      float* pixel = planes + run->offset;
      for (int row = run->rows; row > 0; --row, pixel += area.row_stride) {
        const Floats weight = maximum(g - all(kEdge), Floats{});
        for (int c = 0; c < C; ++c)
          store(pixel + c * area.channel_stride, fma(weight, color[c], load(pixel + c * area.channel_stride)));
        g *= r;
        r *= factor;
      }
    }
  });
}

template <int C>
void backward(const Splat* splats, const int32_t* list, const int64_t* slots, int64_t count, Area area,
              const float* d_planes, PartialSums* partials) {
  for_each_splat<true>(splats, list, count, area, [&](int64_t k, const Splat& s, const Run* run, const Run* end) {
    Floats color[C], d_color[3] = {};
    for (int c = 0; c < C; ++c) color[c] = all(s.color[c]);
    const Floats factor = all(s.row_factor);
    Floats mx{}, mt{}, mxx{}, mxt{}, mtt{};
    for (; run != end; ++run) {
      Floats g = run->g, r = run->r, t = run->t;
      const float* pixel = d_planes + run->offset;
      Floats s0{}, s1{}, s2{};  // sums of h, h t, h t^2 down this column
      for (int row = run->rows; row > 0; --row, pixel += area.row_stride) {
        const Ints inside = g > all(kEdge);
        const Floats weight = select(inside, g - all(kEdge), Floats{});
        Floats along{};
        for (int c = 0; c < C; ++c) {
          const Floats d = load(pixel + c * area.channel_stride);
          along = fma(d, color[c], along);
          d_color[c] = fma(d, weight, d_color[c]);
        }
        const Floats h = select(inside, along * g, Floats{});
        s0 += h;
        const Floats ht = h * t;
        s1 += ht;
        s2 = fma(ht, t, s2);
        t += 1.0f;
        g *= r;
        r *= factor;
      }
      const Floats dx = run->dx, x0 = dx * s0;
      mx += x0;
      mt += s1;
      mxx = fma(dx, x0, mxx);
      mxt = fma(dx, s1, mxt);
      mtt += s2;
    }
    const Floats all_sums[8] = {mx, mt, mxx, mxt, mtt, d_color[0], d_color[1], d_color[2]};
    float sums[8];
    sum_each(all_sums, sums);
    PartialSums& to = partials[slots[k]];
    to.x = sums[0];
    to.t = sums[1];
    to.xx = sums[2];
    to.xt = sums[3];
    to.tt = sums[4];
    for (int c = 0; c < C; ++c) to.color[c] = sums[5 + c] * kWindowNorm;
  });
}

}  // namespace

void forward_tile(const Splat* splats, const int32_t* list, int64_t count, int channels, Area area, float* planes) {
  if (channels == 1)
    forward<1>(splats, list, count, area, planes);
  else
    forward<3>(splats, list, count, area, planes);
}

void backward_tile(const Splat* splats, const int32_t* list, const int64_t* slots, int64_t count, int channels,
                   Area area, const float* d_planes, PartialSums* partials) {
  if (channels == 1)
    backward<1>(splats, list, slots, count, area, d_planes, partials);
  else
    backward<3>(splats, list, slots, count, area, d_planes, partials);
}

}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
