#include "decoder/decoder.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <utility>

#include "bitstream/entropy.h"
#include "bitstream/grain.h"
#include "bitstream/mask.h"

namespace smartsplat {
namespace {

// Of the Gaussians of a file, which begins with those of most energy, a preview at a scale s takes at least s^this.
// Measured: 44 dB from the exact view or closer.
constexpr double kPreviewPower = 0.45;
constexpr int kPartSide = 32 * kExtentTile;     // pixels: parts of a mask are at most such a square
constexpr int64_t kPiecePixels = 1 << 22;       // of a mask, averaged at once: bounds the floats of a small view
constexpr int64_t kPieceColumns = 256;          // of them, that a thread takes at a time
constexpr int64_t kAlphaStripPixels = 1 << 20;  // rendered before opacity comes beside the colours
constexpr double kCoveredBeside = 64.0;         // output pixels of each Gaussian that do not count as work
constexpr double kIntersectionsBeside = 4.0;    // tiles: every small one may lie on the corner of four

// Pixels beyond a region in which a Gaussian's extent may lie and still touch it: the pixel filter widens them.
double margin(double scale) { return kCutoff * std::sqrt(filter_variance(scale)); }

// Whether a group reaches into a request, which is widened by so many pixels of the image.
bool overlaps(const Group& group, const Request& request, double across, double down) {
  const auto pixels = [](int tile) { return static_cast<double>(tile) * kExtentTile; };
  return pixels(group.x0) < request.x + request.width + across && pixels(group.x1) > request.x - across &&
         pixels(group.y0) < request.y + request.height + down && pixels(group.y1) > request.y - down;
}

// Whether Gaussians of a group may show in a request.
bool touches(const Group& group, const Request& request) {
  const View view = request.view();
  return overlaps(group, request, margin(view.scale_x), margin(view.scale_y));
}

// How many of the groups a request may take something from. A preview ends with a layer, as the image would otherwise
// be sharper in one part than in another: all groups of a layer are full but its last.
size_t end_of_wanted(const std::vector<Group>& groups, const Request* request) {
  if (request == nullptr || !request->preview) return groups.size();
  const View view = request->view();
  double wanted = 0, passed = 0;
  int64_t full = 0;
  for (const Group& group : groups) {
    wanted += static_cast<double>(group.count);
    full = std::max(full, group.count);
  }
  wanted *= std::pow(std::min(std::max(view.scale_x, view.scale_y), 1.0), kPreviewPower);
  for (size_t i = 0; i < groups.size(); ++i) {
    passed += static_cast<double>(groups[i].count);
    if (passed >= wanted && groups[i].count < full) return i + 1;
  }
  return groups.size();
}

// Whether a part of the mask may show in a request.
bool covers(const Group& part, const Request& request) {
  const View view = request.view();
  return overlaps(part, request, std::max(1.0, 1 / view.scale_x), std::max(1.0, 1 / view.scale_y));
}

Refusal damaged(const char* what, const char* why) {
  return {Refusal::kFormat, std::string("damaged ") + what + ": " + why};
}

}  // namespace

GaussianArrays GaussianVector::from(int64_t index) {
  float* mean = floats_.data();
  float *scale = mean + 2 * count_, *rotation = scale + 2 * count_, *color = rotation + count_;
  return {count_ - index, channels_, mean + 2 * index, scale + 2 * index, rotation + index, color + channels_ * index};
}

std::vector<size_t> GaussianPlane::wanted(const Request* request) const {
  std::vector<size_t> found;
  const size_t last = end_of_wanted(groups_, request);
  for (size_t i = 0; i < last; ++i)
    if (request == nullptr || touches(groups_[i], *request)) found.push_back(i);
  return found;
}

std::vector<const Group*> GaussianPlane::missing(const Request* request) const {
  std::vector<const Group*> found;
  for (size_t i : wanted(request))
    if (!is_decoded_[i]) found.push_back(&groups_[i]);
  return found;
}

Refusal GaussianPlane::gather(const Request* request, ThreadPool& pool, GaussianVector& out) {
  const std::vector<size_t> wanted = this->wanted(request);
  std::vector<size_t> missing;
  std::vector<int64_t> offsets;
  int64_t total = 0;
  for (size_t i : wanted) {
    offsets.push_back(total);
    total += groups_[i].count;
    if (!is_decoded_[i]) missing.push_back(i);
  }
  std::vector<Refusal> refusals(missing.size());
  pool.run(static_cast<int64_t>(missing.size()), [&](int64_t index, int) {
    const Group& group = groups_[missing[index]];
    if (group.is_awaited()) refusals[index] = check_group(group);
    if (refusals[index]) return;
    GaussianVector found(group.count, quantizer_.channels);
    const char* problem = decode_gaussians(quantizer_, group.bytes, group.size, group.count, found.from());
    if (problem) refusals[index] = damaged("Gaussians", problem);
    decoded_[missing[index]] = std::move(found);
  });
  for (const Refusal& refusal : refusals)
    if (refusal) return refusal;
  for (size_t i : missing) is_decoded_[i] = true;
  out = GaussianVector(total, quantizer_.channels);
  pool.run(static_cast<int64_t>(wanted.size()), [&](int64_t index, int) {
    const GaussianArrays from = decoded_[wanted[index]].from(), to = out.from(offsets[index]);
    std::copy_n(from.mean, 2 * from.count, to.mean);
    std::copy_n(from.scale, 2 * from.count, to.scale);
    std::copy_n(from.rotation, from.count, to.rotation);
    std::copy_n(from.color, from.channels * from.count, to.color);
  });
  return {};
}

Refusal Rendering::prepare(const GaussianArrays& gaussians, std::unique_ptr<Rasterizer>& rasterizer) {
  if (!rasterizer) rasterizer = std::make_unique<Rasterizer>(pool_, find_kernels(nullptr), kPyramidLevels - 1);
  const double pixels = static_cast<double>(request_.columns) * request_.rows;
  const double tiles = std::ceil(request_.columns / double{kTile}) * std::ceil(request_.rows / double{kTile});
  const double count = static_cast<double>(gaussians.count);
  const WorkLimits limits = {limits_.overlap * pixels + kCoveredBeside * count,
                             limits_.overlap * tiles + kIntersectionsBeside * count};
  if (rasterizer->prepare_strips(gaussians, request_.view(), limits)) return {};
  char line[120];
  std::snprintf(line, sizeof line, "more than %.0f Gaussians lie over each of %d x %d pixels", limits_.overlap,
                request_.columns, request_.rows);
  return {Refusal::kLimit, line};
}

Refusal Rendering::begin(Decoder& decoder, const Request& request, bool wide, bool with_grain) {
  request_ = request;
  wide_ = wide;
  grain_ = {};
  if (with_grain) {
    if (Refusal refusal = decoder.find_grain(grain_)) return refusal;
  }
  GaussianVector gaussians;
  if (Refusal refusal = decoder.colors().gather(&request, *pool_, gaussians)) return refusal;
  if (Refusal refusal = prepare(gaussians.from(), colors_)) return refusal;
  if (file_.alpha_groups.empty()) return {};
  if (Refusal refusal = decoder.alpha().gather(&request, *pool_, gaussians)) return refusal;
  return prepare(gaussians.from(), alpha_);
}

Refusal Rendering::render_rows(int top, int rows, void* samples, int64_t stride) {
  auto* bytes = static_cast<uint8_t*>(samples);
  if (file_.has_alpha()) {
    return wide_ ? render_with_alpha<uint16_t>(top, rows, bytes, stride)
                 : render_with_alpha<uint8_t>(top, rows, bytes, stride);
  }
  const int64_t row_bytes = static_cast<int64_t>(request_.columns) * channels_ * (wide_ ? 2 : 1);
  if (stride == row_bytes) {
    colors_->render_rows(top, rows, samples, wide_, grain());
    return {};
  }
  std::vector<uint8_t> strip(static_cast<size_t>(row_bytes) * std::min(rows, kMacrotile));
  for (int row = 0; row < rows; row += kMacrotile) {
    const int count = std::min(kMacrotile, rows - row);
    colors_->render_rows(top + row, count, strip.data(), wide_, grain());
    for (int y = 0; y < count; ++y) std::memcpy(bytes + (row + y) * stride, strip.data() + y * row_bytes, row_bytes);
  }
  return {};
}

// Opacity is the sum of its Gaussians and its mask, at most 1.
template <class Sample>
Refusal Rendering::render_with_alpha(int top, int rows, uint8_t* samples, int64_t stride) {
  constexpr Sample kWhite = static_cast<Sample>(~Sample{0});
  const int columns = request_.columns, channels = file_.color.channels;
  const int strip = static_cast<int>(std::max<int64_t>(kAlphaStripPixels / columns / kMacrotile, 1)) * kMacrotile;
  const size_t pixels = static_cast<size_t>(columns) * std::min(rows, strip);
  std::vector<Sample> color(pixels * channels), alpha(file_.alpha_groups.empty() ? 0 : pixels), mask(pixels);
  for (int row = 0; row < rows; row += strip) {
    const int count = std::min(strip, rows - row);
    colors_->render_rows(top + row, count, color.data(), wide_, grain());
    if (!alpha.empty()) alpha_->render_rows(top + row, count, alpha.data(), wide_);
    if (Refusal refusal = render_mask(request_, top + row, count, wide_, mask.data())) return refusal;
    pool_->run(count, [&](int64_t y, int) {
      auto* out = reinterpret_cast<Sample*>(samples + (row + y) * stride);
      for (int64_t at = y * columns; at < (y + 1) * columns; ++at) {
        for (int c = 0; c < channels; ++c) *out++ = color[at * channels + c];
        const Sample most = kWhite - mask[at];
        *out++ = mask[at] + (alpha.empty() ? Sample{0} : std::min(alpha[at], most));
      }
    });
  }
  return {};
}

Refusal Rendering::render_mask(const Request& request, int top, int rows, bool wide, void* samples) {
  if (file_.mask.empty()) {
    std::memset(samples, 0, static_cast<size_t>(request.columns) * rows * (wide ? 2 : 1));
    return {};
  }
  const BoxFilter along_y(request.y, request.height, request.rows, file_.color.height);
  const BoxFilter along_x(request.x, request.width, request.columns, file_.color.width);
  const double source_rows = std::max(1.0, request.height / request.rows);
  const int piece =
      static_cast<int>(std::clamp<double>(kPiecePixels / (source_rows * (along_x.end() - along_x.begin())), 1, rows));
  for (int row = 0; row < rows; row += piece) {
    const int count = std::min(piece, rows - row);
    const BoxFilter part = along_y.slice(top + row, top + row + count);
    const int64_t sample = static_cast<int64_t>(row) * request.columns;
    const Refusal refusal = wide ? render_mask_rows(part, along_x, static_cast<uint16_t*>(samples) + sample)
                                 : render_mask_rows(part, along_x, static_cast<uint8_t*>(samples) + sample);
    if (refusal) return refusal;
  }
  return {};
}

template <class Sample>
Refusal Rendering::render_mask_rows(const BoxFilter& along_y, const BoxFilter& along_x, Sample* samples) {
  const int left = along_x.begin(), right = along_x.end(), top = along_y.begin(), bottom = along_y.end();
  const int64_t rows = along_y.count(), columns = along_x.count(), width = right - left;
  const bool masked = std::any_of(file_.mask.begin(), file_.mask.end(), [&](const Group& part) {
    return part.x0 * kExtentTile < right && part.x1 * kExtentTile > left && part.y0 * kExtentTile < bottom &&
           part.y1 * kExtentTile > top;
  });
  if (!masked) {
    std::fill_n(samples, rows * columns, Sample{0});
    return {};
  }
  // Whole parts are kept for the rows that follow.
  const int first = top / kPartSide * kPartSide;
  const int last = std::min((bottom + kPartSide - 1) / kPartSide * kPartSide, file_.color.height);
  if (Refusal refusal = decode_mask_band(left, right, first, last)) return refusal;
  const uint8_t* levels = band_.levels.data() + (top - first) * width;
  std::vector<float> between(static_cast<size_t>(rows * width)), means(static_cast<size_t>(rows * columns));
  pool_->run_in_pieces(width, kPieceColumns, [&](int64_t begin, int64_t end, int) {
    along_y.means(levels + begin, width, static_cast<int>(end - begin), between.data() + begin, width);
  });
  constexpr float kWhite = static_cast<Sample>(~Sample{0}), kPerLevel = 1.0f / kMaxLevel;
  pool_->run(rows, [&](int64_t y, int) {
    float* row = means.data() + y * columns;
    along_x.means(between.data() + y * width, 1, 1, row, 1);
    for (int64_t x = 0; x < columns; ++x)
      samples[y * columns + x] = static_cast<Sample>(row[x] * kPerLevel * kWhite + 0.5f);
  });
  return {};
}

Refusal Rendering::decode_mask_band(int left, int right, int top, int bottom) {
  if (band_.left == left && band_.right == right && band_.top == top && band_.bottom == bottom) return {};
  band_ = {};
  std::vector<uint8_t> levels(static_cast<size_t>(right - left) * (bottom - top));
  std::vector<Refusal> refusals(file_.mask.size());
  pool_->run(static_cast<int64_t>(file_.mask.size()), [&](int64_t index, int) {
    const Group& part = file_.mask[index];
    const int x0 = part.x0 * kExtentTile, x1 = std::min(part.x1 * kExtentTile, file_.color.width);
    const int y0 = part.y0 * kExtentTile, y1 = std::min(part.y1 * kExtentTile, file_.color.height);
    const int begin_x = std::max(x0, left), end_x = std::min(x1, right);
    const int begin_y = std::max(y0, top), end_y = std::min(y1, bottom);
    if (begin_x >= end_x || begin_y >= end_y) return;
    const int64_t width = x1 - x0;
    std::vector<uint8_t> own(static_cast<size_t>(width * (y1 - y0)));
    if (part.is_awaited()) refusals[index] = check_group(part);
    if (refusals[index]) return;
    const char* problem = decode_mask(part.bytes, part.size, part.count, y1 - y0, width, own.data());
    if (problem) refusals[index] = damaged("mask", problem);
    for (int y = begin_y; y < end_y; ++y)
      std::copy_n(own.data() + (y - y0) * width + begin_x - x0, end_x - begin_x,
                  levels.data() + static_cast<int64_t>(y - top) * (right - left) + begin_x - left);
  });
  for (const Refusal& refusal : refusals)
    if (refusal) return refusal;
  band_ = {left, right, top, bottom, std::move(levels)};
  return {};
}

std::vector<const Group*> Decoder::awaited(const Request* request) const {
  std::vector<const Group*> found = colors_.missing(request);
  for (const Group* group : alpha_.missing(request)) found.push_back(group);
  for (const Group& part : file_.mask)
    if (request == nullptr || covers(part, *request)) found.push_back(&part);
  found.erase(std::remove_if(found.begin(), found.end(), [](const Group* group) { return !group->is_awaited(); }),
              found.end());
  return found;
}

Refusal Decoder::find_grain(GrainStrengths& out) {
  const CodedGrain& coded = file_.grain;
  out = {};
  if (coded.bands == 0) return {};
  const int rows = ((file_.color.height - 1) >> coded.cell_log2) + 1;
  const int columns = ((file_.color.width - 1) >> coded.cell_log2) + 1;
  if (strengths_.empty()) {
    std::vector<uint8_t> levels(static_cast<size_t>(coded.bands) * rows * columns);
    const char* problem = decode_grain(coded.bytes, coded.size, coded.bands, rows, columns, levels.data());
    if (problem) return damaged("grain", problem);
    std::vector<float> strengths;
    // Steps of 3 dB: level 1 has a deviation of half a code value of 8 bits; 0 none.
    for (uint8_t level : levels)
      strengths.push_back(level == 0 ? 0.0f : static_cast<float>(std::pow(2.0, (level - 1) / 2.0) / 510));
    strengths_ = std::move(strengths);
  }
  out = {strengths_.data(), coded.bands, rows, columns, 1 << coded.cell_log2};
  return {};
}

}  // namespace smartsplat
