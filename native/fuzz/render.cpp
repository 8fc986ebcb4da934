// Gaussians of any floats, NaN and subnormal ones included, at any view: rendered with grain, compared, differentiated
// and moved by a step.
#include <vector>

#include "fuzz/input.h"
#include "render/fitter.h"

using namespace smartsplat;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const int columns = input.take(1, 160), rows = input.take(1, 160);
  const double zooms[] = {1.0 / 64, 0.37, 1, 1, 1, 2.5, 300};
  View view{static_cast<double>(input.take(0, 65535)) / 4,
            static_cast<double>(input.take(0, 65535)) / 4,
            zooms[input.take<uint8_t>() % 7],
            zooms[input.take<uint8_t>() % 7],
            columns,
            rows};
  const int channels = input.take<uint8_t>() % 2 == 0 ? 1 : 3, max_level = input.take<uint8_t>() % kPyramidLevels;
  const bool wide = input.take<uint8_t>() % 2 == 1, steps = input.take<uint8_t>() % 4 == 0;
  const int bands = input.take<uint8_t>() % (kGrainBands + 1), cells = 1 + input.take<uint8_t>() % 5;
  const int cell = 1 << (input.take<uint8_t>() % 13);
  std::vector<float> strengths(static_cast<size_t>(kGrainBands * cells * cells));
  for (float& strength : strengths) strength = input.take<uint8_t>() / 1000.0f;

  const int64_t each = (5 + channels) * static_cast<int64_t>(sizeof(float));
  const int64_t count = std::min<int64_t>(input.size() / each, 64);
  std::vector<float> floats(static_cast<size_t>(count * (5 + channels)));
  if (count > 0) std::memcpy(floats.data(), input.bytes(), floats.size() * sizeof(float));
  float* first = floats.data();
  const GaussianArrays g{count, channels, first, first + 2 * count, first + 4 * count, first + 5 * count};

  Fitter fitter(1, find_kernels(nullptr), max_level);
  const size_t samples = static_cast<size_t>(columns) * static_cast<size_t>(rows * channels);
  std::vector<uint16_t> image(samples);
  const GrainStrengths grain{strengths.data(), bands, cells, cells, cell};
  fitter.prepare_strips(g, view, {});
  for (int top = 0; top < rows; top += kMacrotile)
    fitter.render_rows(top, std::min(rows - top, kMacrotile), image.data(), wide, bands > 0 ? &grain : nullptr);

  const std::vector<uint16_t> pixels(samples, 30000);
  const Target target{pixels.data(), true, nullptr, columns};
  std::vector<float> cells_out(static_cast<size_t>((columns / 16 + 1) * (rows / 16 + 1) * (channels + 1)));
  fitter.prepare_strips(g, view, {});
  fitter.residual(0, rows, target, 16, cells_out.data());
  if (!steps) return 0;

  StepSettings settings{};
  settings.l2 = 0.5f;
  settings.ssim = input.take<uint8_t>() % 2 == 0 ? 0.0f : 0.5f;
  settings.coarse = settings.ssim > 0 ? 0.0f : 0.3f;
  settings.rate_weight = 0.01f;
  settings.rate_energy = 1.0f;
  settings.lr_mean_x = settings.lr_mean_y = settings.lr_scale = settings.lr_rotation = settings.lr_color = 0.1f;
  settings.beta1 = 0.9f;
  settings.beta2 = 0.99f;
  settings.epsilon = 1e-15f;
  settings.relative = true;
  settings.min_scale = 0.25f;
  settings.max_scale = 65536.0f;
  settings.max_aspect = 256.0f;
  settings.width = settings.height = 4096.0f;
  std::vector<float> moments(2 * floats.size());
  std::vector<int32_t> ages(static_cast<size_t>(count));
  const AdamArrays adam{moments.data(), moments.data() + floats.size(), ages.data()};
  for (int step = 0; step < 2; ++step) fitter.step(g, adam, target, view, settings);
  return 0;
}
