// Alpha blending and top-K blending of a tile, forward and backward.
//
// As in render/tile.cpp a thread works on one 64 x 64 tile, lanes run along x, and splats are walked one after the
// other, here over planes that also keep what blending needs to know of a pixel: the transmittance, or what the K
// largest weights are above. Every row has an exact exponential: next to the reading and writing of those planes it
// costs little. The K largest weights are searched for in one row after the other, since ten of them fill the
// registers.
//
// The backward pass walks from the front to the back again: what lies behind a splat is the pixel's colour less what
// was met so far, so that one number for each pixel is enough.
//
// This file is compiled once for each instruction set with SMARTSPLAT_VARIANT naming its namespace.
#include "blend_kernels.h"

#include "render/patch.h"

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

constexpr float kSlack = 1 - 1e-5f;  // of the K-th largest weight: forward and backward may round differently

constexpr auto kEverywhere = [](int) { return true; };

// A splat in kLanes columns from `column` on, counted from the area's corner: its window at a row.
struct Slice {
  Floats dx, sheared, half_x;
  float half_y;

  inline Slice(const Splat& s, Area area, int column)
      : dx(lane_index() + (static_cast<float>(area.x + column) + 0.5f - s.mean_x)),
        sheared(s.shear * dx - (s.mean_y - 0.5f - static_cast<float>(area.y))),
        half_x((0.5f * kLog2E * s.precision_x) * dx * dx),
        half_y(0.5f * kLog2E * s.precision_y) {}

  inline Floats along(int y) const { return sheared + static_cast<float>(y); }
  // exp(-q / 2) where `along` is t.
  inline Floats value(Floats t) const { return power_of_two(-minimum(half_x + half_y * t * t, all(kMaxPower))); }
};

// Calls visit(offset in the area, dx, t, exp(-q / 2)) for each vector of pixels that the splat can cover and that is
// `included`.
template <class Included, class Visit>
inline void for_each_vector(const Splat& s, Area area, const Included& included, const Visit& visit) {
  const Patch patch(s, area);
  for (int i = patch.first; i < patch.last; ++i) {
    const Slice slice(s, area, i * kLanes);
    for (int y = patch.begin[i - patch.first]; y < patch.end[i - patch.first]; ++y) {
      const int at = area.offset(i * kLanes, y);
      if (!included(at)) continue;
      const Floats t = slice.along(y);
      visit(at, slice.dx, t, slice.value(t));
    }
  }
}

template <int C>
void clear_state(Area area, float* state) {
  for (int column = 0; column < area.columns(); ++column)
    for (int y = 0; y < kTile; ++y) {
      float* at = state + area.offset(column * kColumnWidth, y);
      for (int i = 0; i < (C + kExtraPlanes) * kColumnWidth; ++i)
        at[i] = i / kColumnWidth == C ? 1.0f : 0.0f;  // nothing in front
    }
}

// Calls visit(offset in the state, offset in `from`) for each vector of the tile.
template <class Visit>
inline void for_each_position(Area area, Area from, const Visit& visit) {
  for (int x = 0; x < area.width; x += kLanes)
    for (int y = 0; y < area.height; ++y) visit(area.offset(x, y), from.offset(x, y));
}

// Splats between two checks whether the whole tile is opaque.
constexpr int64_t kCheckInterval = 32;

template <int C>
bool opaque(Area area, const float* state) {
  for (int x = 0; x < area.width; x += kLanes)
    for (int y = 0; y < area.height; ++y)
      if (any(load(state + area.offset(x, y) + C * kColumnWidth) >= all(kMinTransmittance))) return false;
  return true;
}

template <int C>
void forward_alpha(const BlendList& list, float background, Area area, float* state) {
  clear_state<C>(area, state);
  const auto not_opaque = [&](int at) { return any(load(state + at + C * kColumnWidth) >= all(kMinTransmittance)); };
  for (int64_t k = 0; k < list.count; ++k) {
    if (k % kCheckInterval == kCheckInterval - 1 && opaque<C>(area, state)) break;
    const Splat& s = list.splats[list.list[k]];
    const Floats opacity = all(list.opacity[list.list[k]]);
    for_each_vector(s, area, not_opaque, [&](int at, Floats, Floats, Floats g) {
      const Floats alpha = minimum(opacity * maximum(g - all(kEdge), Floats{}), all(kMaxAlpha));
      float* pixel = state + at;
      const Floats transmittance = load(pixel + C * kColumnWidth);
      const Floats part = select(transmittance >= all(kMinTransmittance), alpha * transmittance, Floats{});
      store(pixel + C * kColumnWidth, transmittance - part);
      for (int c = 0; c < C; ++c) store(pixel + c * kColumnWidth, load(pixel + c * kColumnWidth) + part * s.color[c]);
    });
  }
  for_each_position(area, area, [&](int at, int) {
    for (int c = 0; c < C; ++c) {
      float* plane = state + at + c * kColumnWidth;
      store(plane, load(plane) + background * load(state + at + C * kColumnWidth));
    }
  });
}

// The K-th largest of each lane; 0 if there are fewer.
inline Floats kth_largest(const float* weights, int64_t count) {
  Floats largest[kTopK] = {};
  if (count < kTopK) return largest[0];
  for (int64_t k = 0; k < count; ++k) {
    Floats weight = load(weights + k * kLanes);
    for (int i = 0; i < kTopK; ++i) {
      const Floats previous = largest[i];
      largest[i] = maximum(previous, weight);
      weight = minimum(previous, weight);
    }
  }
  return largest[kTopK - 1];
}

// The spans of a tile's splats in kLanes columns from `column` on; returns their number.
inline int64_t gather_spans(const BlendList& list, Area area, int column, RowSpan* spans) {
  const Area lanes = {area.x + column, area.y, kLanes, area.height, 0, 0, 0};
  int64_t count = 0;
  for (int64_t k = 0; k < list.count; ++k) {
    const Splat& s = list.splats[list.list[k]];
    if (s.x_begin >= lanes.x + kLanes || s.x_end <= lanes.x) continue;
    const Patch patch(s, lanes);
    if (patch.begin[0] < patch.end[0]) spans[count++] = {list.list[k], patch.begin[0], patch.end[0]};
  }
  return count;
}

// Mixes the K largest of `count` weights into a pixel's state; `owners` says whose they are.
template <int C>
inline void mix_top_k(const Splat* splats, const int32_t* owners, const float* weights, int64_t count, float* pixel) {
  const Floats threshold = kSlack * kth_largest(weights, count);
  Floats total = all(kTopKFloor), mixed[C] = {};
  for (int64_t i = 0; i < count; ++i) {
    const Floats weight = load(weights + i * kLanes);
    const Floats part = select(weight > threshold, weight, Floats{});
    total += part;
    for (int c = 0; c < C; ++c) mixed[c] += part * splats[owners[i]].color[c];
  }
  for (int c = 0; c < C; ++c) store(pixel + c * kColumnWidth, mixed[c] / total);
  store(pixel + C * kColumnWidth, total);
  store(pixel + (C + 1) * kColumnWidth, threshold);
}

// The weights of kBandRows rows are gathered, splat by splat, and then each row is mixed in registers.
template <int C>
void forward_top_k(const BlendList& list, Area area, float* state, const BlendScratch& scratch) {
  for (int column = 0; column < area.columns() * kColumnWidth; column += kLanes) {
    const int64_t spans = gather_spans(list, area, column, scratch.spans);
    for (int top = 0; top < area.height; top += kBandRows) {
      const int bottom = top + kBandRows < area.height ? top + kBandRows : area.height;
      int64_t count[kBandRows] = {};
      for (int64_t k = 0; k < spans; ++k) {
        const RowSpan& span = scratch.spans[k];
        if (span.begin >= bottom || span.end <= top) continue;
        const Slice slice(list.splats[span.splat], area, column);
        for (int y = span.begin > top ? span.begin : top; y < bottom && y < span.end; ++y) {
          const int64_t at = (y - top) * list.count + count[y - top]++;
          store(scratch.floats + at * kLanes, slice.value(slice.along(y)) - all(kEdge));
          scratch.splats[at] = span.splat;
        }
      }
      for (int y = top; y < bottom; ++y) {
        const int64_t first = (y - top) * list.count;
        mix_top_k<C>(list.splats, scratch.splats + first, scratch.floats + first * kLanes, count[y - top],
                     state + area.offset(column, y));
      }
    }
  }
}

// What a splat gathers in the backward pass.
struct Sums {
  Floats x{}, t{}, xx{}, xt{}, tt{}, color[3] = {}, opacity{};

  // h is dL/d(log g).
  inline void add(Floats h, Floats dx, Floats along) {
    const Floats hx = h * dx, ht = h * along;
    x += hx;
    t += ht;
    xx += hx * dx;
    xt += hx * along;
    tt += ht * along;
  }

  inline void write(BlendSums& to) const {
    const Floats values[8] = {x, t, xx, xt, tt, color[0], color[1], color[2]};
    float sums[8];
    sum_each(values, sums);
    to = {{sums[0], sums[1], sums[2], sums[3], sums[4], {sums[5], sums[6], sums[7]}}, sum(opacity) * kWindowNorm};
  }
};

// In scratch, laid out as the state is: d for each channel, the transmittance, and d times what lies behind.
template <int C>
void backward_alpha(const BlendList& list, Area area, const float* state, Area from, const float* d_planes,
                    float* scratch, BlendSums* partials) {
  for_each_position(area, from, [&](int at, int d_at) {
    Floats behind{};
    for (int c = 0; c < C; ++c) {
      const Floats d = load(d_planes + d_at + c * from.channel_stride);
      store(scratch + at + c * kColumnWidth, d);
      behind += d * load(state + at + c * kColumnWidth);
    }
    store(scratch + at + C * kColumnWidth, all(1.0f));
    store(scratch + at + (C + 1) * kColumnWidth, behind);
  });
  const auto not_opaque = [&](int at) { return any(load(scratch + at + C * kColumnWidth) >= all(kMinTransmittance)); };
  for (int64_t k = 0; k < list.count; ++k) {
    if (k % kCheckInterval == kCheckInterval - 1 && opaque<C>(area, scratch)) {
      for (; k < list.count; ++k) partials[list.slots[k]] = {};
      break;
    }
    const Splat& s = list.splats[list.list[k]];
    const Floats opacity = all(list.opacity[list.list[k]]);
    Sums sums;
    for_each_vector(s, area, not_opaque, [&](int at, Floats dx, Floats t, Floats g) {
      float* pixel = scratch + at;
      const Floats weight = maximum(g - all(kEdge), Floats{}), uncut = opacity * weight;
      const Floats alpha = minimum(uncut, all(kMaxAlpha));
      const Floats transmittance = load(pixel + C * kColumnWidth);
      const Ints counts = transmittance >= all(kMinTransmittance);
      const Floats part = select(counts, alpha * transmittance, Floats{});
      Floats along{};
      for (int c = 0; c < C; ++c) {
        const Floats d = load(pixel + c * kColumnWidth);
        along += d * s.color[c];
        sums.color[c] += d * part;
      }
      const Floats behind = load(pixel + (C + 1) * kColumnWidth) - part * along;
      store(pixel + (C + 1) * kColumnWidth, behind);
      store(pixel + C * kColumnWidth, transmittance - part);
      const Floats d_alpha =
          select(counts & (uncut < all(kMaxAlpha)), transmittance * along - behind / (1.0f - alpha), Floats{});
      sums.opacity += d_alpha * weight;
      sums.add(select(g > all(kEdge), d_alpha * opacity * g, Floats{}), dx, t);
    });
    sums.write(partials[list.slots[k]]);
  }
}

template <int C>
void backward_top_k(const BlendList& list, Area area, const float* state, Area from, const float* d_planes,
                    float* scratch, BlendSums* partials) {
  for_each_position(area, from, [&](int at, int d_at) {
    const Floats total = load(state + at + C * kColumnWidth);
    Floats mixed{};
    for (int c = 0; c < C; ++c) {
      const Floats d = load(d_planes + d_at + c * from.channel_stride) / total;
      store(scratch + at + c * kColumnWidth, d);
      mixed += d * load(state + at + c * kColumnWidth);
    }
    store(scratch + at + C * kColumnWidth, mixed);
  });
  for (int64_t k = 0; k < list.count; ++k) {
    const Splat& s = list.splats[list.list[k]];
    Sums sums;
    for_each_vector(s, area, kEverywhere, [&](int at, Floats dx, Floats t, Floats g) {
      const float* pixel = scratch + at;
      const Floats weight = g - all(kEdge);
      const Ints counts = weight > load(state + at + (C + 1) * kColumnWidth);
      const Floats part = select(counts, weight, Floats{});
      Floats along = -load(pixel + C * kColumnWidth);
      for (int c = 0; c < C; ++c) {
        const Floats d = load(pixel + c * kColumnWidth);
        along += d * s.color[c];
        sums.color[c] += d * part;
      }
      sums.add(select(counts, along * g, Floats{}), dx, t);
    });
    sums.write(partials[list.slots[k]]);
  }
}

template <int C>
void forward_blend(const BlendTile& tile, Blend blend) {
  if (blend.top_k)
    forward_top_k<C>(tile.list, tile.area, tile.state, tile.scratch);
  else
    forward_alpha<C>(tile.list, blend.background, tile.area, tile.state);
}

template <int C>
void backward_blend(const BlendTile& tile, Blend blend, Area from, const float* d_planes, BlendSums* partials) {
  if (blend.top_k)
    backward_top_k<C>(tile.list, tile.area, tile.state, from, d_planes, tile.scratch.floats, partials);
  else
    backward_alpha<C>(tile.list, tile.area, tile.state, from, d_planes, tile.scratch.floats, partials);
}

void forward(const BlendTile& tile, int channels, Blend blend) {
  channels == 1 ? forward_blend<1>(tile, blend) : forward_blend<3>(tile, blend);
}

void backward(const BlendTile& tile, int channels, Blend blend, Area from, const float* d_planes, BlendSums* partials) {
  channels == 1 ? backward_blend<1>(tile, blend, from, d_planes, partials)
                : backward_blend<3>(tile, blend, from, d_planes, partials);
}

}  // namespace

extern const BlendKernels blend_kernels;
const BlendKernels blend_kernels = {SMARTSPLAT_VARIANT_NAME, forward, backward};

}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
