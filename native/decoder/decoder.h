// A file, decoded and rendered in whole or in part: docs/format.md, "Decoding".
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "bitstream/container.h"
#include "core/threads.h"
#include "decoder/box_filter.h"
#include "render/rasterizer.h"

namespace smartsplat {

// Gaussians in memory of their own.
class GaussianVector {
 public:
  GaussianVector() = default;
  GaussianVector(int64_t count, int channels) : floats_(count * (5 + channels)), count_(count), channels_(channels) {}
  // Those of an index on, to the end.
  GaussianArrays from(int64_t index = 0);
  int64_t count() const { return count_; }

 private:
  UnfilledVector<float> floats_;  // mean, scale, rotation, colour: one after the other
  int64_t count_ = 0;
  int channels_ = 0;
};

// What is wanted of an image: a region, in pixels of the image, at a size, in output pixels.
struct Request {
  double x, y, width, height;
  int columns, rows;
  bool preview = false;  // without Gaussians that hardly show at this size

  View view() const { return {x, y, columns / width, rows / height, columns, rows}; }
};

// Groups of Gaussians with one quantiser. Each is decoded once, when something of it is asked for.
class GaussianPlane {
 public:
  GaussianPlane(const std::vector<Group>& groups, QuantizerSettings quantizer)
      : groups_(groups), quantizer_(quantizer), decoded_(groups.size()), is_decoded_(groups.size()) {}

  // Those of the groups that may touch a request, or of all, in the order of the file.
  Refusal gather(const Request* request, ThreadPool& pool, GaussianVector& out);
  int64_t decoded_groups() const { return std::count(is_decoded_.begin(), is_decoded_.end(), true); }
  // Those that `gather` would decode.
  std::vector<const Group*> missing(const Request* request) const;

 private:
  // Those that a request needs, by their numbers; or all.
  std::vector<size_t> wanted(const Request* request) const;

  const std::vector<Group>& groups_;
  const QuantizerSettings quantizer_;
  std::vector<GaussianVector> decoded_;  // by group
  std::vector<bool> is_decoded_;
};

// A file's Gaussians, which several renderings may share. For one thread at a time; the bytes of the file must outlive
// it.
class Decoder {
 public:
  // `limits` are of what is rendered.
  Decoder(File file, const Limits& limits)
      : file_(std::move(file)),
        limits_(limits),
        colors_(file_.groups, file_.color),
        alpha_(file_.alpha_groups, file_.alpha) {}
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  const File& file() const { return file_; }
  const Limits& limits() const { return limits_; }
  // Of what is rendered: those of colours, and one of opacity.
  int channels() const { return file_.color.channels + file_.has_alpha(); }
  GaussianPlane& colors() { return colors_; }
  GaussianPlane& alpha() { return alpha_; }
  // Groups and parts of the mask that a request needs, or all, as far as they are read on demand and not decoded yet.
  std::vector<const Group*> awaited(const Request* request) const;
  // Standard deviations of grain [bands, rows, columns], in the decoder's memory, decoded once; no bands: none.
  Refusal find_grain(GrainStrengths& out);

 private:
  const File file_;
  const Limits limits_;
  GaussianPlane colors_, alpha_;
  std::vector<float> strengths_;  // of grain, once it is decoded
};

// What is in the middle of being rendered of a file, on threads and in buffers of its own.
class Rendering {
 public:
  Rendering(const Decoder& decoder, int threads)
      : file_(decoder.file()),
        limits_(decoder.limits()),
        channels_(decoder.channels()),
        pool_(std::make_shared<ThreadPool>(threads)) {}

  ThreadPool& pool() { return *pool_; }

  // Prepares a request, with grain if there is any: decodes what touches it, and changes the decoder no more. Samples
  // have 16 bits if they are `wide`.
  Refusal begin(Decoder& decoder, const Request& request, bool wide, bool with_grain);
  // Then renders the rows [top, top + rows), `top` a multiple of kMacrotile and `rows` too unless they are the last,
  // interleaved: samples [rows, columns, channels], uint16_t or uint8_t, rows `stride` bytes apart.
  Refusal render_rows(int top, int rows, void* samples, int64_t stride);
  // The mask's part of opacity: samples [rows, columns] of any rows of a request, whatever has been prepared.
  Refusal render_mask(const Request& request, int top, int rows, bool wide, void* samples);

 private:
  struct MaskBand {  // rows of the mask that are decoded
    int left = 0, right = 0, top = 0, bottom = 0;
    std::vector<uint8_t> levels;  // [bottom - top, right - left]
  };

  // Hands Gaussians to a rasterizer, which it makes if there is none yet.
  Refusal prepare(const GaussianArrays& gaussians, std::unique_ptr<Rasterizer>& rasterizer);
  template <class Sample>
  Refusal render_with_alpha(int top, int rows, uint8_t* samples, int64_t stride);
  template <class Sample>
  Refusal render_mask_rows(const BoxFilter& along_y, const BoxFilter& along_x, Sample* samples);
  Refusal decode_mask_band(int left, int right, int top, int bottom);
  const GrainStrengths* grain() const { return grain_.bands == 0 ? nullptr : &grain_; }

  const File& file_;
  const Limits limits_;
  const int channels_;
  const std::shared_ptr<ThreadPool> pool_;
  std::unique_ptr<Rasterizer> colors_, alpha_;
  Request request_{};
  bool wide_ = false;
  GrainStrengths grain_{};  // no bands: without
  MaskBand band_;
};

}  // namespace smartsplat
