// All in integers: the same noise on every machine.
#include "render/noise.h"

#include <algorithm>
#include <vector>

namespace smartsplat {
namespace {

constexpr int kPlace = kGrainSide - 1;               // mask: places repeat
constexpr int kNorm[kGrainBands] = {1103, 203, 29};  // 2^16 times 32 over the band's standard deviation

uint32_t hash(uint32_t x) {
  x = (x ^ x >> 16) * 0x7FEB352Du;
  x = (x ^ x >> 15) * 0x846CA68Bu;
  return x ^ x >> 16;
}

using Plane = std::vector<int32_t>;

// The sum of 1, 2, 1 times places `distance` apart, along both axes.
Plane smoothed(const Plane& plane, int distance) {
  Plane across(plane.size()), both(plane.size());
  for (int y = 0; y < kGrainSide; ++y)
    for (int x = 0; x < kGrainSide; ++x) {
      const int32_t* row = plane.data() + y * kGrainSide;
      across[y * kGrainSide + x] = row[(x - distance) & kPlace] + 2 * row[x] + row[(x + distance) & kPlace];
    }
  for (int y = 0; y < kGrainSide; ++y)
    for (int x = 0; x < kGrainSide; ++x) {
      const auto at = [&](int row) { return across[(row & kPlace) * kGrainSide + x]; };
      both[y * kGrainSide + x] = at(y - distance) + 2 * at(y) + at(y + distance);
    }
  return both;
}

std::vector<int32_t> make_noise() {
  Plane plane(kGrainSide * kGrainSide);
  for (uint32_t i = 0; i < plane.size(); ++i) {
    const uint32_t bits = hash(i);
    plane[i] = static_cast<int32_t>((bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24)) - 510;
  }
  std::vector<int32_t> noise(kGrainSide * kGrainStride);
  for (int band = 0; band < kGrainBands; ++band) {
    const Plane smooth = smoothed(plane, 1 << band);
    for (int y = 0; y < kGrainSide; ++y)
      for (int x = 0; x < kGrainStride; ++x) {
        const int from = y * kGrainSide + (x & kPlace);
        const int32_t value = ((16 * plane[from] - smooth[from]) * kNorm[band] + (1 << 15)) >> 16;
        noise[y * kGrainStride + x] |= (std::clamp(value, -127, 127) & 255) << 8 * band;
      }
    plane = smooth;
  }
  return noise;
}

}  // namespace

const int32_t* grain_noise() {
  static const std::vector<int32_t> noise = make_noise();
  return noise.data();
}

}  // namespace smartsplat
