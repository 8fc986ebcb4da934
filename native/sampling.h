// Where a picture needs Gaussians: gradient and variance (E9), the sampling weight (E10) and pixels drawn by it
// (E11-E12), a tile at a time.
//
// The features go row by row. A row of bytes becomes one plane of 16 bits a channel; sums down the columns of the
// window follow it with one addition and one subtraction; everything else is loops along a row that compilers turn
// into vector code. A tile needs two planes of floats, and some rows that stay in the second-level cache. The draw
// looks at each weight once. Measured on 177 megapixels, one thread of a Zen 4 processor: 9 ns a pixel.
//
// Sums are integers, and the floats come from single correctly rounded operations: the results are the same on every
// machine, and a pixel's features do not depend on the tile that it is computed in. Threads take tiles.
#pragma once

#include <cstdint>
#include <vector>

namespace smartsplat {

struct Picture {
  const uint8_t* pixels;  // [height, width, channels] levels, channels 1 or 3
  int64_t height, width;  // at least 1
  int channels;
};

// Columns x to x + width - 1 and rows y to y + height - 1, all inside the picture.
struct SeedTile {
  int64_t x, y, width, height;
};

struct SamplingSettings {
  int window;            // of the variance: odd, from 1 to kLargestWindow
  float gradient_share;  // of the weight, in [0, 1]; the variance has the rest
};

constexpr int kLargestWindow = 13;  // (255 window^2)^2 fits 31 bits

class TileFeatures {
 public:
  TileFeatures(const Picture& picture, const SamplingSettings& settings);

  // E9 for the pixels of a tile, [height, width] each, means over the channels: the gradient's magnitude in levels per
  // pixel, and the variance in the window in levels squared.
  void compute(const SeedTile& tile);
  const float* gradient() const { return gradient_.data(); }
  const float* variance() const { return variance_.data(); }

  // E10 for a row of the last tile: `out` [width] in [0, 1], all 0 if the tile is flat.
  void weight(int64_t row, float* out) const;

 private:
  void start(const SeedTile& tile);
  void take(int64_t row);
  void finish(int64_t row);
  uint16_t* line(int64_t row, int channel);

  const Picture picture_;
  const int window_, halo_;
  const float gradient_share_;
  SeedTile tile_{};
  int64_t columns_ = 0;                     // of the tile and its halo
  std::vector<uint16_t> lines_;             // [rows around the current one, channels, columns] levels
  std::vector<uint16_t> sums_;              // [channels, columns] of the levels, down the window
  std::vector<uint32_t> squares_;           // [columns] of the squared levels of all channels, down the window
  std::vector<uint16_t> total_;             // [width] of the levels over the window
  std::vector<uint32_t> spread_;            // [width] window^4 times the variance, all channels
  std::vector<float> gradient_, variance_;  // [height, width]
  std::vector<float> gradient_peak_, variance_peak_;  // [width] largest of each column
  float largest_gradient_ = 0, largest_variance_ = 0;
};

// Who takes part in an exponential race: its time is exponential with its weight as the rate.
struct Runner {
  double time;
  int64_t place;
  float weight;
};

// The first `count` of a race among weights, of those before `bound`, in the order of their places: the same draw as
// one after the other, each time from those that are left.
std::vector<Runner> race(const float* weights, int64_t size, int64_t count, uint64_t key, double bound);

// A tile's part of a draw.
struct TileDraw {
  SeedTile tile;
  int64_t count;  // of pixels, at most those of the tile
  uint64_t key;   // of the tile's random numbers
};

// E12: for each tile in turn `count` of its pixels, drawn by weight and without replacement, row by row:
// `mean` [sum of the counts, 2] their centres and `weight` [sum of the counts] theirs.
void draw_weighted(const Picture& picture, const std::vector<TileDraw>& draws, const SamplingSettings& settings,
                   float* mean, float* weight, int threads);

}  // namespace smartsplat
