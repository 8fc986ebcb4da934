// Gaussians between bytes, symbols and pixels, begun at either: bytes that decode without complaint are symbols in
// range, symbols in range come back from their bytes, and both can be rendered.
#include <algorithm>
#include <vector>

#include "bitstream/entropy.h"
#include "fuzz/input.h"
#include "render/rasterizer.h"

using namespace smartsplat;

namespace {

int scaled(Input& input, int low, int high) {  // ends often, where mistakes are
  const uint32_t value = input.take<uint16_t>();
  if (value < 4096) return value % 2 == 0 ? low : high;
  return low + static_cast<int>(value * static_cast<uint64_t>(high - low + 1) >> 16);
}

// Symbols of any Gaussian.
Symbols symbols_of(const QuantizerSettings& q, Input& input) {
  Symbols s{};
  s.cell_x = scaled(input, 0, q.cells_x() - 1);
  s.cell_y = scaled(input, 0, q.cells_y() - 1);
  s.energy = scaled(input, kMinEnergy, kMaxEnergy);
  const ShapeSteps steps = shape_steps(q, s.energy);
  s.mean_scale = scaled(input, kMinMeanScale / steps.mean, kMaxMeanScale / steps.mean);
  s.ratio = scaled(input, 0, kMaxRatio / steps.ratio);
  const int mean = mean_scale_units(s, steps), ratio = ratio_units(s, steps), bits = angle_bits(q, s.energy, ratio);
  s.angle = scaled(input, 0, (1 << bits) - 1);
  for (int c = 0; c < q.channels; ++c) {
    const int most = std::min(kMaxColor, 1 << input.take<uint8_t>() % 21);
    s.color[c] = scaled(input, -most, most);
  }
  const PositionBits position = position_bits(q, s, mean, ratio, bits);
  s.offset_x = scaled(input, 0, (1 << position.x) - 1);
  s.offset_y = scaled(input, 0, (1 << position.y) - 1);
  return s;
}

bool decode(const QuantizerSettings& q, const uint8_t* bytes, int64_t size, std::vector<Symbols>& symbols) {
  return decode_group(q, bytes, size, static_cast<int64_t>(symbols.size()), symbols.data(), nullptr) == nullptr;
}

void check_coding(const QuantizerSettings& q, const std::vector<Symbols>& symbols) {
  const std::string coded = encode_group(q, symbols.data(), static_cast<int64_t>(symbols.size()));
  std::vector<Symbols> again(symbols.size());
  require(decode(q, reinterpret_cast<const uint8_t*>(coded.data()), static_cast<int64_t>(coded.size()), again));
  require(symbols.empty() || std::memcmp(symbols.data(), again.data(), symbols.size() * sizeof(Symbols)) == 0);
}

void render(const QuantizerSettings& q, const GaussianArrays& g) {
  static Rasterizer rasterizer(std::make_shared<ThreadPool>(1), find_kernels(nullptr), kPyramidLevels - 1);
  constexpr int kSide = 80;
  const View view{0, 0, static_cast<double>(kSide) / q.width, static_cast<double>(kSide) / q.height, kSide, kSide};
  uint8_t image[kSide * kSide * kMaxChannels];
  if (rasterizer.prepare_strips(g, view, {1024.0 * kSide * kSide, 4096.0}))  // else too many lie over each other
    rasterizer.render_rows(0, kSide, image, false);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  QuantizerSettings q{};
  q.quality = input.take<uint8_t>() % (kMaxQuality + 1);
  q.cell_log2 = input.take<uint8_t>() % (kMaxPositionCellLog2 + 1);
  q.width = 1 + input.take<uint16_t>();
  q.height = 1 + input.take<uint16_t>();
  const int form = input.take<uint8_t>();
  q.channels = form % 2 == 0 ? 1 : 3;
  const int64_t count = input.take<uint16_t>() % 1024;
  require(q.valid());

  std::vector<Symbols> symbols;
  if (form & 2) {
    while (input.size() > 0) symbols.push_back(symbols_of(q, input));
    std::stable_sort(symbols.begin(), symbols.end(), [](const Symbols& a, const Symbols& b) {
      return morton(a.cell_x, a.cell_y) < morton(b.cell_x, b.cell_y);
    });
  } else {
    if (count > input.size()) return 0;  // as the container refuses it
    symbols.resize(static_cast<size_t>(count));
    if (!decode(q, input.bytes(), input.size(), symbols)) return 0;
  }
  for (const Symbols& each : symbols) require(in_range(q, each));
  check_coding(q, symbols);

  const int64_t gaussians = static_cast<int64_t>(symbols.size());
  std::vector<float> floats(symbols.size() * static_cast<size_t>(5 + q.channels));
  float* first = floats.data();
  const GaussianArrays g{
      gaussians, q.channels, first, first + 2 * gaussians, first + 4 * gaussians, first + 5 * gaussians};
  for (int64_t i = 0; i < gaussians; ++i) dequantize(q, symbols[static_cast<size_t>(i)], g, i);
  render(q, g);
  return 0;
}
