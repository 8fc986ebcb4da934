// What is compared and differentiated where, and by which thread.
//
// Results do not depend on the number of threads: each intersection of a splat and an area has its own partial-sum
// slot, and a splat's slots are added in order.
#include "render/fitter.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace smartsplat {
namespace {

constexpr int kMaxAges = 1 << 16;  // by then the corrections are 1: a beta2 of 0.9999 leaves 0.0014

}  // namespace

void Fitter::backward(int64_t index, Area area, const float* d_floats) {
  fit_->backward_tile(splats_.data(), lists_.list(index), lists_.slots(index), lists_.count(index), channels_, area,
                      d_floats, partials_.data());
}

void Fitter::clear_gradient(Area macrotile, int coarsest, int thread) {
  for (int level = 1; level <= coarsest; ++level)
    clear(level_area(macrotile, level, 0), channels_, workspaces_[thread].gradient + level_start(level));
}

void Fitter::backward_tile_and_pyramid(int64_t tile, Area area, const float* d_floats, Area macrotile, int coarsest,
                                       int thread) {
  timed(kBackward, thread, [&] {
    backward(tile, area, d_floats);
    if (coarsest > 0)
      fit_->reduce(channels_, area, d_floats, level_area(macrotile, 1, 0),
                   workspaces_[thread].gradient + level_start(1));
  });
}

void Fitter::backward_pyramid(int64_t macrotile, Area area, int coarsest, int thread) {
  timed(kBackward, thread, [&] {
    float* gradient = workspaces_[thread].gradient;
    for (int level = 1; level <= coarsest; ++level) {
      const Area from = level_area(area, level, 0);
      backward(grid_.first_area(level) + macrotile, from, gradient + level_start(level));
      if (level < coarsest)
        fit_->reduce(channels_, from, gradient + level_start(level), level_area(area, level + 1, 0),
                     gradient + level_start(level + 1));
    }
  });
}

void Fitter::render_gradient(const GaussianArrays& g, const View& view, const float* d_image,
                             const GaussianArrays& gradient) {
  prepare(g, view, true);
  partials_.resize(lists_.intersections());
  for_each_macrotile([&](int64_t macrotile, Area area, int coarsest, int thread) {
    clear_gradient(area, coarsest, thread);
    grid_.for_each_tile(area, channels_, [&](int64_t tile, Area a) {
      float* floats = workspaces_[thread].tile;
      clear(a, channels_, floats);  // beyond the image as well
      for_each_sample(a, channels_, view_.columns, [&](int64_t sample, int at) { floats[at] = d_image[sample]; });
      backward_tile_and_pyramid(tile, a, floats, area, coarsest, thread);
    });
    backward_pyramid(macrotile, area, coarsest, thread);
  });
  for_each_piece(kUpdate, g.count,
                 [&](int64_t begin, int64_t end) { fit_->differentiate(g, partials(), begin, end, gradient); });
}

// The loss and its gradient, a tile at a time: nothing else needs a tile's pixels.
LossSums Fitter::pixelwise_pass(const Target& target, LossWeights weights) {
  std::vector<LossSums> sums(grid_.macrotiles());
  for_each_macrotile([&](int64_t macrotile, Area area, int coarsest, int thread) {
    render_pyramid(macrotile, area, coarsest, 0, thread);
    clear_gradient(area, coarsest, thread);
    LossSums sum{};
    grid_.for_each_tile(area, channels_, [&](int64_t tile, Area a) {
      render_tile(tile, a, area, coarsest, 0, thread);
      timed(kLoss, thread, [&] {
        add(sum, fit_->pixel_loss(workspaces_[thread].tile, channels_, a, target.at(a.x, a.y, channels_), weights));
      });
      backward_tile_and_pyramid(tile, a, workspaces_[thread].tile, area, coarsest, thread);
    });
    backward_pyramid(macrotile, area, coarsest, thread);
    sums[macrotile] = sum;
  });
  return total(sums);
}

// The same with SSIM, which needs a macrotile as a whole: it is rendered with the halo that its pixels' windows reach
// into.
LossSums Fitter::ssim_pass(const Target& target, LossWeights weights, bool clamp) {
  std::vector<LossSums> sums(grid_.macrotiles());
  macrotile_buffers_.resize(pool_->size());
  for_each_macrotile([&](int64_t index, Area area, int coarsest, int thread) {
    MacrotileBuffer& buffer = macrotile_buffers_[thread];
    float* floats = workspaces_[thread].tile;
    const Macrotile macrotile = {area.x,     area.y,       area.width,    area.height,    view_.columns,
                                 view_.rows, buffer.image, buffer.target, buffer.scratch, clamp};
    const Area seen = grid_.with_halo(area);
    if (seen.width < kMacrotile + 2 * kMacrotileHaloX || seen.height < kMacrotile + 2 * kMacrotileHaloY) {
      // Beyond the image's edge the planes are 0; elsewhere everything is written.
      std::fill(std::begin(buffer.image), std::end(buffer.image), 0.0f);
      std::fill(std::begin(buffer.target), std::end(buffer.target), 0.0f);
    }
    render_pyramid(index, area, coarsest, kMacrotileHaloX, thread);
    grid_.for_each_tile(seen, channels_, [&](int64_t tile, Area a) {
      render_tile(tile, a, area, coarsest, kMacrotileHaloX, thread);
      timed(kLoss, thread,
            [&] { fit_->macrotile_put(floats, channels_, a, target.at(a.x, a.y, channels_), macrotile); });
    });
    timed(kLoss, thread, [&] { sums[index] = fit_->macrotile_loss(macrotile, channels_, weights); });
    clear_gradient(area, coarsest, thread);
    grid_.for_each_tile(area, channels_, [&](int64_t tile, Area a) {
      const Area inside = {a.x, a.y, a.width, a.height, kColumnWidth, kMacrotilePlane, kMacrotileStride};
      backward_tile_and_pyramid(tile, inside, buffer.image + macrotile_offset(a.x - area.x, a.y - area.y, 0), area,
                                coarsest, thread);
    });
    backward_pyramid(index, area, coarsest, thread);
  });
  return total(sums);
}

BiasCorrections Fitter::bias_corrections(const AdamArrays& adam, int64_t count, const StepSettings& settings) {
  if (settings.beta1 != beta1_ || settings.beta2 != beta2_) corrections_.clear();
  beta1_ = settings.beta1;
  beta2_ = settings.beta2;
  const int oldest = count > 0 ? std::min(*std::max_element(adam.age, adam.age + count), kMaxAges) : 0;
  const auto correction = [](float beta, int age) {
    return static_cast<float>(1.0 / (1.0 - std::pow(static_cast<double>(beta), age)));
  };
  for (int age = static_cast<int>(corrections_.size()); age <= oldest + 1; ++age)
    corrections_.push_back({correction(beta1_, age), correction(beta2_, age)});
  return {corrections_.data(), static_cast<int32_t>(corrections_.size())};
}

StepResult Fitter::loss_pass(const GaussianArrays& g, const Target& target, const View& view,
                             const StepSettings& settings, bool clamp) {
  prepare(g, view, true);
  partials_.resize(lists_.intersections());
  const double samples = static_cast<double>(view.columns) * view.rows * channels_;
  const LossWeights weights = {settings.l1, settings.l2, settings.ssim, settings.coarse,
                               static_cast<float>(1.0 / samples)};
  const LossSums sums = settings.ssim > 0 ? ssim_pass(target, weights, clamp) : pixelwise_pass(target, weights);
  return step_result(sums, weights, samples);
}

StepResult Fitter::loss_gradient(const GaussianArrays& g, const Target& target, const View& view,
                                 const StepSettings& settings, const GaussianArrays& gradient) {
  const StepResult result = loss_pass(g, target, view, settings);
  for_each_piece(kUpdate, g.count,
                 [&](int64_t begin, int64_t end) { fit_->differentiate(g, partials(), begin, end, gradient); });
  return result;
}

double Fitter::structure_gradient(const GaussianArrays& g, const Structure& structure, GaussianArrays* gradient) {
  StepSettings settings{};
  settings.ssim = structure.weight;
  structure_floats_.resize(7 * g.count);
  float* floats = structure_floats_.data();
  *gradient = {g.count, 1, floats, floats + 2 * g.count, floats + 4 * g.count, floats + 5 * g.count};
  GaussianArrays grey = g;
  if (g.channels == 3) {
    grey.channels = 1;
    grey.color = floats + 6 * g.count;
    for (int64_t i = 0; i < g.count; ++i) {
      const float* color = g.color + 3 * i;
      grey.color[i] = kLuma[0] * color[0] + kLuma[1] * color[1] + kLuma[2] * color[2];
    }
  }
  const StepResult result = loss_pass(grey, structure.target, structure.view, settings, false);
  for_each_piece(kUpdate, g.count,
                 [&](int64_t begin, int64_t end) { fit_->differentiate(grey, partials(), begin, end, *gradient); });
  return result.loss;
}

StepResult Fitter::step(const GaussianArrays& g, const AdamArrays& adam, const Target& target, const View& view,
                        const StepSettings& settings, const Structure* structure) {
  GaussianArrays other{};
  const double structure_loss = structure == nullptr ? 0.0 : structure_gradient(g, *structure, &other);
  const StepResult result = loss_pass(g, target, view, settings);
  const BiasCorrections corrections = bias_corrections(adam, g.count, settings);
  std::vector<double> rates((g.count + kPieceGaussians - 1) / kPieceGaussians);
  for_each_piece(kUpdate, g.count, [&](int64_t begin, int64_t end) {
    rates[begin / kPieceGaussians] =
        fit_->update(g, partials(), structure == nullptr ? nullptr : &other, begin, end, settings, adam, corrections);
  });
  return {result.loss + structure_loss + std::accumulate(rates.begin(), rates.end(), 0.0), result.mean_square};
}

void Fitter::residual(int top_row, int rows, const Target& target, int cell, float* out) {
  const int64_t row_floats = static_cast<int64_t>((view_.columns + cell - 1) / cell) * (channels_ + 1);
  for_each_rendered_tile(top_row, rows, [&](Area a, int thread) {
    const int64_t row = a.y - top_row;
    fit_->cell_errors(workspaces_[thread].tile, channels_, a, target.at(a.x, row, channels_), cell,
                      out + row / cell * row_floats + a.x / cell * (channels_ + 1), row_floats);
  });
}

double Fitter::multiply_add(int64_t rounds) {
  std::vector<double> operations(pool_->size());
  pool_->run(pool_->size(), [&](int64_t piece, int) { operations[piece] = fit_->multiply_add(rounds); });
  return std::accumulate(operations.begin(), operations.end(), 0.0);
}

}  // namespace smartsplat
