// The loops over panels and tiles: what is drawn, compared and taken back where, and by which thread.
//
// Results do not depend on the number of threads: an area adds its splats in the order of their index,
// each (area, splat) pair has its own slot for gradient sums, and a splat's slots are added in order.
#include "raster.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

namespace smartsplat {
namespace {

constexpr int kMostAges = 1 << 16;  // by then the corrections are 1: a beta2 of 0.9999 leaves 0.0014

void clear(Area area, int channels, float* floats) {
  for (int column = 0; column < area.columns(); ++column)
    for (int y = 0; y < area.height; ++y)
      for (int c = 0; c < channels; ++c)
        std::fill_n(floats + area.offset(column * kColumn, y) + c * area.apart, kColumn, 0.0f);
}

// A tile's floats from and to the rows of an interleaved picture.
template <class Each>
void for_each_sample(Area area, int channels, int64_t picture_width, const Each& each) {
  for (int y = 0; y < area.height; ++y) {
    const int64_t row = (static_cast<int64_t>(area.y + y) * picture_width + area.x) * channels;
    for (int x = 0; x < area.width; ++x)
      for (int c = 0; c < channels; ++c) each(row + x * channels + c, area.offset(x, y) + c * area.apart);
  }
}

}  // namespace

Rasterizer::Rasterizer(int threads, const char* variant, int coarsest)
    : kernels_(find_kernels(variant)), pool_(threads), coarsest_(std::min(std::max(coarsest, 0), kLevels - 1)) {
  if (kernels_ == nullptr) throw std::invalid_argument("this processor cannot run that kernel variant");
  workspaces_.resize(pool_.size());
  clocks_.resize(pool_.size());
}

double Rasterizer::seconds(Stage stage) const {
  double total = 0;
  for (const Clock& clock : clocks_) total += clock.seconds[stage];
  return total;
}

template <class Work>
void Rasterizer::for_each_panel(int first_row, int last_row, const Work& work) {
  const int64_t first = static_cast<int64_t>(first_row) * panels_x_;
  pool_.run(static_cast<int64_t>(last_row - first_row) * panels_x_, [&](int64_t index, int thread) {
    const int64_t panel = first + index;
    const int x = static_cast<int>(panel % panels_x_) * kPanel, y = static_cast<int>(panel / panels_x_) * kPanel;
    int top = kLevels - 1;
    while (top > 0 && empty(first_area(top) + panel)) --top;
    const int width = std::min(kPanel, view_.width - x), height = std::min(kPanel, view_.height - y);
    work(panel, Area{x, y, width, height, 0, 0, 0}, top, thread);
  });
}

template <class Work>
void Rasterizer::for_each_tile(Area inside, const Work& work) const {
  const int right = inside.x + inside.width, bottom = inside.y + inside.height;
  for (int y = inside.y / kTile; y * kTile < bottom; ++y)
    for (int x = inside.x / kTile; x * kTile < right; ++x) {
      const int left = std::max(x * kTile, inside.x), top = std::max(y * kTile, inside.y);
      work(static_cast<int64_t>(y) * tiles_x_ + x,
           Area{left, top, std::min((x + 1) * kTile, right) - left, std::min((y + 1) * kTile, bottom) - top,
                kTile * channels_ * kColumn, kColumn, channels_ * kColumn});
    }
}

Area Rasterizer::level_area(Area panel, int level, int halo) const {
  const int side = 1 << level;
  const auto samples = [&](int size) { return (size + 2 * halo + side - 1) / side + 2 * kLevelBorder; };
  return {(panel.x - halo) / side - kLevelBorder,
          (panel.y - halo) / side - kLevelBorder,
          samples(panel.width),
          samples(panel.height),
          kColumn,
          level_stride(level),
          channels_ * level_stride(level)};
}

void Rasterizer::forward(int64_t index, Area area, float* floats) const {
  kernels_->forward_tile(splats_.data(), list_.data() + start_[index], start_[index + 1] - start_[index], channels_,
                         area, floats);
}

void Rasterizer::backward(int64_t index, Area area, const float* d_floats) {
  kernels_->backward_tile(splats_.data(), list_.data() + start_[index], slots_.data() + start_[index],
                          start_[index + 1] - start_[index], channels_, area, d_floats, moments_.data());
}

void Rasterizer::draw_levels(int64_t panel, Area area, int top, int halo, int thread) {
  timed(kForward, thread, [&] {
    float* drawn = workspaces_[thread].drawn;
    for (int level = top; level > 0; --level) {
      const Area to = level_area(area, level, halo);
      float* floats = drawn + level_start(level);
      if (level == top)
        clear(to, channels_, floats);
      else
        kernels_->enlarge(channels_, level_area(area, level + 1, halo), drawn + level_start(level + 1), to, floats);
      forward(first_area(level) + panel, to, floats);
    }
  });
}

void Rasterizer::draw_tile(int64_t tile, Area area, Area panel, int top, int halo, int thread) {
  timed(kForward, thread, [&] {
    Workspace& space = workspaces_[thread];
    if (top == 0)
      clear(area, channels_, space.tile);
    else
      kernels_->enlarge(channels_, level_area(panel, 1, halo), space.drawn + level_start(1), area, space.tile);
    forward(tile, area, space.tile);
  });
}

void Rasterizer::clear_gradient(Area panel, int top, int thread) {
  for (int level = 1; level <= top; ++level)
    clear(level_area(panel, level, 0), channels_, workspaces_[thread].gradient + level_start(level));
}

void Rasterizer::return_tile(int64_t tile, Area area, const float* d_floats, Area panel, int top, int thread) {
  timed(kBackward, thread, [&] {
    backward(tile, area, d_floats);
    if (top > 0)
      kernels_->reduce(channels_, area, d_floats, level_area(panel, 1, 0),
                       workspaces_[thread].gradient + level_start(1));
  });
}

void Rasterizer::return_levels(int64_t panel, Area area, int top, int thread) {
  timed(kBackward, thread, [&] {
    float* gradient = workspaces_[thread].gradient;
    for (int level = 1; level <= top; ++level) {
      const Area from = level_area(area, level, 0);
      backward(first_area(level) + panel, from, gradient + level_start(level));
      if (level < top)
        kernels_->reduce(channels_, from, gradient + level_start(level), level_area(area, level + 1, 0),
                         gradient + level_start(level + 1));
    }
  });
}

template <class Work>
void Rasterizer::for_each_drawn_tile(int top_row, int rows, const Work& work) {
  for_each_panel(top_row / kPanel, (top_row + rows + kPanel - 1) / kPanel,
                 [&](int64_t panel, Area area, int top, int thread) {
                   draw_levels(panel, area, top, 0, thread);
                   for_each_tile(area, [&](int64_t tile, Area a) {
                     draw_tile(tile, a, area, top, 0, thread);
                     work(a, thread);
                   });
                 });
}

void Rasterizer::render(const GaussianArrays& g, const ViewArea& view, float* image) {
  prepare(g, view, false);
  for_each_drawn_tile(0, view.height, [&](Area a, int thread) {
    const float* floats = workspaces_[thread].tile;
    for_each_sample(a, channels_, view_.width, [&](int64_t sample, int at) { image[sample] = floats[at]; });
  });
}

void Rasterizer::draw_bytes(int top_row, int rows, uint8_t* image) {
  const int64_t stride = static_cast<int64_t>(view_.width) * channels_;
  for_each_drawn_tile(top_row, rows, [&](Area a, int thread) {
    timed(kStore, thread, [&] {
      kernels_->store_bytes(workspaces_[thread].tile, channels_, a, image + (a.y - top_row) * stride + a.x * channels_,
                            stride);
    });
  });
}

void Rasterizer::render_gradient(const GaussianArrays& g, const ViewArea& view, const float* d_image,
                                 const GaussianArrays& gradient) {
  prepare(g, view, true);
  moments_.resize(list_.size());
  for_each_panel([&](int64_t panel, Area area, int top, int thread) {
    clear_gradient(area, top, thread);
    for_each_tile(area, [&](int64_t tile, Area a) {
      float* floats = workspaces_[thread].tile;
      clear(a, channels_, floats);  // beyond the picture as well
      for_each_sample(a, channels_, view_.width, [&](int64_t sample, int at) { floats[at] = d_image[sample]; });
      return_tile(tile, a, floats, area, top, thread);
    });
    return_levels(panel, area, top, thread);
  });
  for_each_piece(kUpdate, g.count, [&](int64_t begin, int64_t end) {
    kernels_->differentiate(g, gradient_sums(), begin, end, gradient);
  });
}

// The loss and its gradient, a tile at a time: nothing else needs a tile's pixels.
LossSums Rasterizer::pixelwise_pass(const uint8_t* target, LossWeights weights) {
  const int64_t stride = static_cast<int64_t>(view_.width) * channels_;
  std::vector<LossSums> sums(static_cast<size_t>(panels_x_) * panels_y_);
  for_each_panel([&](int64_t panel, Area area, int top, int thread) {
    draw_levels(panel, area, top, 0, thread);
    clear_gradient(area, top, thread);
    LossSums sum{};
    for_each_tile(area, [&](int64_t tile, Area a) {
      draw_tile(tile, a, area, top, 0, thread);
      timed(kLoss, thread, [&] {
        add(sum, kernels_->pixel_loss(workspaces_[thread].tile, channels_, a, target + a.y * stride + a.x * channels_,
                                      stride, weights));
      });
      return_tile(tile, a, workspaces_[thread].tile, area, top, thread);
    });
    return_levels(panel, area, top, thread);
    sums[panel] = sum;
  });
  return total(sums);
}

// The same with SSIM, which needs a panel as a whole: it is drawn with the halo that its pixels' windows reach into.
LossSums Rasterizer::ssim_pass(const uint8_t* target, LossWeights weights) {
  const int64_t stride = static_cast<int64_t>(view_.width) * channels_;
  std::vector<LossSums> sums(static_cast<size_t>(panels_x_) * panels_y_);
  panels_.resize(pool_.size());
  for_each_panel([&](int64_t index, Area area, int top, int thread) {
    PanelBuffer& buffer = panels_[thread];
    float* floats = workspaces_[thread].tile;
    const Panel panel = {area.x,       area.y,       area.width,    area.height,   view_.width,
                         view_.height, buffer.image, buffer.target, buffer.scratch};
    const int left = std::max(area.x - kPanelHaloX, 0), above = std::max(area.y - kPanelHaloY, 0);
    const int right = std::min(area.x + kPanel + kPanelHaloX, view_.width);
    const int below = std::min(area.y + kPanel + kPanelHaloY, view_.height);
    const Area seen = {left, above, right - left, below - above, 0, 0, 0};
    if (seen.width < kPanel + 2 * kPanelHaloX || seen.height < kPanel + 2 * kPanelHaloY) {
      // Beyond the picture's edge the planes are 0; elsewhere everything is written.
      std::fill(std::begin(buffer.image), std::end(buffer.image), 0.0f);
      std::fill(std::begin(buffer.target), std::end(buffer.target), 0.0f);
    }
    draw_levels(index, area, top, kPanelHaloX, thread);
    for_each_tile(seen, [&](int64_t tile, Area a) {
      draw_tile(tile, a, area, top, kPanelHaloX, thread);
      timed(kLoss, thread,
            [&] { kernels_->panel_put(floats, channels_, a, target + a.y * stride + a.x * channels_, stride, panel); });
    });
    timed(kLoss, thread, [&] { sums[index] = kernels_->panel_loss(panel, channels_, weights); });
    clear_gradient(area, top, thread);
    for_each_tile(area, [&](int64_t tile, Area a) {
      const Area inside = {a.x, a.y, a.width, a.height, kColumn, kPanelPlane, kPanelStride};
      return_tile(tile, inside, buffer.image + panel_offset(a.x - area.x, a.y - area.y, 0), area, top, thread);
    });
    return_levels(index, area, top, thread);
  });
  return total(sums);
}

BiasCorrections Rasterizer::bias_corrections(const AdamArrays& adam, int64_t count, const StepSettings& settings) {
  if (settings.beta1 != beta1_ || settings.beta2 != beta2_) corrections_.clear();
  beta1_ = settings.beta1;
  beta2_ = settings.beta2;
  const int oldest = count > 0 ? std::min(*std::max_element(adam.age, adam.age + count), kMostAges) : 0;
  const auto correction = [](float beta, int age) {
    return static_cast<float>(1.0 / (1.0 - std::pow(static_cast<double>(beta), age)));
  };
  for (int age = static_cast<int>(corrections_.size()); age <= oldest + 1; ++age)
    corrections_.push_back({correction(beta1_, age), correction(beta2_, age)});
  return {corrections_.data(), static_cast<int32_t>(corrections_.size())};
}

StepResult Rasterizer::step(const GaussianArrays& g, const AdamArrays& adam, const uint8_t* target,
                            const ViewArea& view, const StepSettings& settings) {
  prepare(g, view, true);
  moments_.resize(list_.size());
  const double samples = static_cast<double>(view.width) * view.height * channels_;
  const LossWeights weights = {settings.l1, settings.l2, settings.ssim, static_cast<float>(1.0 / samples)};
  const LossSums sums = settings.ssim > 0 ? ssim_pass(target, weights) : pixelwise_pass(target, weights);
  const BiasCorrections corrections = bias_corrections(adam, g.count, settings);
  std::vector<double> sizes((g.count + kPiece - 1) / kPiece);
  for_each_piece(kUpdate, g.count, [&](int64_t begin, int64_t end) {
    sizes[begin / kPiece] = kernels_->update(g, gradient_sums(), begin, end, settings, adam, corrections);
  });
  const double size = std::accumulate(sizes.begin(), sizes.end(), 0.0);
  const double similarity = settings.ssim > 0 ? settings.ssim * (1.0 - sums.ssim / samples) : 0.0;
  const double pixelwise = (settings.l1 * sums.absolute + settings.l2 * sums.square) / samples;
  return {pixelwise + similarity + size, sums.square / samples};
}

void Rasterizer::residual(int top_row, int rows, const uint8_t* target, int cell, float* out) {
  const int64_t stride = static_cast<int64_t>(view_.width) * channels_;
  const int64_t row_floats = static_cast<int64_t>((view_.width + cell - 1) / cell) * (channels_ + 1);
  for_each_drawn_tile(top_row, rows, [&](Area a, int thread) {
    const int64_t row = a.y - top_row;
    kernels_->cell_errors(workspaces_[thread].tile, channels_, a, target + row * stride + a.x * channels_, stride, cell,
                          out + row / cell * row_floats + a.x / cell * (channels_ + 1), row_floats);
  });
}

double Rasterizer::multiply_add(int64_t rounds) {
  std::vector<double> operations(pool_.size());
  pool_.run(pool_.size(), [&](int64_t piece, int) { operations[piece] = kernels_->multiply_add(rounds); });
  return std::accumulate(operations.begin(), operations.end(), 0.0);
}

}  // namespace smartsplat
