// The C interface of the decoder: arguments are checked, errors and exceptions become an sspl_error.
#include "library/sspl.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#if !defined(__wasm__)
#include <zlib.h>

#include <thread>
#endif

#include "decoder/decoder.h"

using namespace smartsplat;

struct sspl_image {
  sspl_image(std::vector<uint8_t> bytes, File file, const Limits& limits, int threads)
      : bytes(std::move(bytes)), decoder(std::move(file), limits), rendering(decoder, threads) {}

  // Of a request, once it has been checked.
  struct Output {
    Request request{};
    int channels = 0;
    bool wide = false;
    uint8_t background[3] = {0, 0, 0};
  };

  const std::vector<uint8_t> bytes;  // of a file that was read
  Decoder decoder;
  Rendering rendering;
  Output output;
  std::vector<uint8_t> metadata[kPackedKinds];
};

namespace {

static_assert(SSPL_ROWS_STEP == kMacrotile, "rows begin where macrotiles do");

constexpr double kMinPixel = 1.0 / 65536;  // of the output, pixels of the image: squares of more leave float's range
constexpr sspl_limits kLimits = {1u << 22, uint64_t{1} << 32, 1u << 26, 1u << 31, 1u << 24, 1024, 1u << 30};

Limits limits_of(const sspl_limits& limits) {
  const auto number = [](uint64_t value) { return static_cast<double>(value); };
  return {number(limits.side),           number(limits.pixels),  number(limits.gaussians),    number(limits.file_bytes),
          number(limits.metadata_bytes), number(limits.overlap), number(limits.output_pixels)};
}

sspl_status fail(sspl_error* error, sspl_status status, const std::string& why) {
  if (error != nullptr) {
    error->status = status;
    std::snprintf(error->message, sizeof error->message, "%s", why.c_str());
  }
  return status;
}

sspl_status check(sspl_error* error, const Refusal& refusal) {
  if (!refusal) return SSPL_OK;
  return fail(error, static_cast<sspl_status>(refusal.kind), refusal.why);
}

static_assert(static_cast<int>(SSPL_ERROR_FORMAT) == Refusal::kFormat &&
              static_cast<int>(SSPL_ERROR_UNSUPPORTED) == Refusal::kUnsupported &&
              static_cast<int>(SSPL_ERROR_LIMIT) == Refusal::kLimit);

// Calls work(), which returns a status; what it throws becomes one.
template <class Work>
sspl_status guarded(sspl_error* error, const Work& work) {
  if (error != nullptr) *error = {};
#if defined(__wasm__)  // where a lack of memory ends the instance
  return work();
#else
  try {
    return work();
  } catch (const std::exception&) {  // bad_alloc, or length_error
    return fail(error, SSPL_ERROR_MEMORY, "there is not enough memory");
  }
#endif
}

// Copies a struct of the caller's, which may be of another version, over one with the defaults.
template <class Struct>
void take(Struct& to, const Struct* from) {
  if (from != nullptr) std::memcpy(&to, from, std::min(from->struct_size, sizeof to));
}

template <class Struct>
void give(Struct* to, const Struct& from, size_t size) {
  std::memset(to, 0, size);
  std::memcpy(to, &from, std::min(size, sizeof from));
  to->struct_size = size;
}

sspl_options default_options() { return {sizeof(sspl_options), 0, 0, kLimits}; }

sspl_request default_request() {
  sspl_request request{};
  request.struct_size = sizeof request;
  return request;
}

// Of bytes that are the caller's, or `kept`.
sspl_status open(const uint8_t* bytes, size_t size, std::vector<uint8_t> kept, const sspl_options& options,
                 sspl_image** image, sspl_error* error) {
  const Limits limits = limits_of(options.limits);
  File file{};
  if (const Refusal refusal = read_container(bytes, static_cast<int64_t>(size), limits,
                                             options.partial ? Presence::kPartial : Presence::kWhole, file))
    return check(error, refusal);
#if defined(__wasm__)
  const uint32_t threads = 1;
#else
  const uint32_t threads = options.threads ? options.threads : std::max(std::thread::hardware_concurrency(), 1u);
#endif
  *image = new sspl_image(std::move(kept), std::move(file), limits, static_cast<int>(std::min(threads, 1024u)));
  return SSPL_OK;
}

// Reads all by read(buffer, size), which returns as sspl_read_function, and opens it.
template <class Read>
sspl_status open_read(const Read& read, const sspl_options* given, sspl_image** image, sspl_error* error) {
  constexpr size_t kPiece = 1 << 20;
  sspl_options options = default_options();
  take(options, given);
  std::vector<uint8_t> bytes;
  for (size_t size = 0;;) {
    bytes.resize(size + kPiece);
    const int64_t count = read(bytes.data() + size, kPiece);
    if (count < 0 || count > static_cast<int64_t>(kPiece))
      return fail(error, SSPL_ERROR_READ, "the file cannot be read");
    size += static_cast<size_t>(count);
    bytes.resize(size);
    if (size > options.limits.file_bytes)
      return fail(error, SSPL_ERROR_LIMIT,
                  "the file has more bytes than the limit of " + std::to_string(options.limits.file_bytes));
    if (count == 0) break;
  }
  const uint8_t* data = bytes.data();  // moving a vector leaves its elements where they are
  const size_t size = bytes.size();
  return open(data, size, std::move(bytes), options, image, error);
}

// Whether a region may be so wide or high: pixels of the image. That it lies inside is for its output pixels to say.
bool is_side(double side) { return side > 0 && side <= 2.0 * kMaxSide; }

// Fills image->output, which is empty if it fails.
sspl_status begin(sspl_image* image, const sspl_request* given, sspl_error* error) {
  image->output = {};
  sspl_request r = default_request();
  take(r, given);
  const QuantizerSettings& of = image->decoder.file().color;
  if (r.x == 0 && r.y == 0 && r.width == 0 && r.height == 0) {
    r.width = of.width;
    r.height = of.height;
  }
  if (!is_side(r.width) || !is_side(r.height) || !std::isfinite(r.x) || !std::isfinite(r.y))
    return fail(error, SSPL_ERROR_ARGUMENT, "the region does not lie in the image");
  if (!r.columns && !r.rows) {
    r.columns = static_cast<uint32_t>(r.width);
    r.rows = static_cast<uint32_t>(r.height);
    if (r.columns != r.width || r.rows != r.height)  // the caller might round otherwise, and lend too few bytes
      return fail(error, SSPL_ERROR_ARGUMENT, "a region of no whole number of pixels needs a size");
  }
  if (!r.columns || !r.rows) return fail(error, SSPL_ERROR_ARGUMENT, "the output is empty");
  if ((r.channels && r.channels != 3 && r.channels != 4) || (r.bits && r.bits != 8 && r.bits != 16))
    return fail(error, SSPL_ERROR_ARGUMENT, "channels are 0, 3 or 4, and bits 0, 8 or 16");
  const Limits& limits = image->decoder.limits();
  const double columns = r.columns, rows = r.rows;
  const double across = r.width / columns, down = r.height / rows;  // pixels of the image: of an output pixel
  if (r.x < -across || r.y < -down || r.x + r.width > of.width + across || r.y + r.height > of.height + down)
    return fail(error, SSPL_ERROR_ARGUMENT, "the region does not lie in the image");
  if (std::max(columns, rows) > std::min<double>(limits.side, kMaxSide) ||
      columns * rows > std::min(limits.pixels, limits.output_pixels))
    return fail(error, SSPL_ERROR_LIMIT, "the output has more pixels than the limits allow");
  if (std::min(across, down) < kMinPixel)
    return fail(error, SSPL_ERROR_ARGUMENT, "the image is enlarged more than 65536 times");
  sspl_image::Output output;
  output.request = {r.x, r.y, r.width, r.height, static_cast<int>(r.columns), static_cast<int>(r.rows), r.preview != 0};
  output.channels = r.channels ? static_cast<int>(r.channels) : image->decoder.channels();
  output.wide = r.bits ? r.bits == 16 : image->decoder.file().depth > 8;
  std::copy_n(r.background, 3, output.background);
  const Refusal refusal = image->rendering.begin(image->decoder, output.request, output.wide, r.no_grain == 0);
  if (!refusal) image->output = output;
  return check(error, refusal);
}

// Rows of `from` channels as RGB over the background, or as RGBA.
template <class Sample>
void convert(const Sample* samples, int from, int64_t pixels, const sspl_image::Output& output, Sample* out) {
  constexpr uint64_t kWhite = static_cast<Sample>(~Sample{0});
  const bool alpha = from % 2 == 0, grey = from < 3;
  for (int64_t i = 0; i < pixels; ++i, samples += from, out += output.channels) {
    const Sample color[3] = {samples[0], samples[grey ? 0 : 1], samples[grey ? 0 : 2]};
    const uint64_t weight = alpha ? samples[from - 1] : kWhite;
    for (int c = 0; c < 3; ++c) {
      const uint64_t ground = output.background[c] * (kWhite / 255);
      out[c] = output.channels == 4
                   ? color[c]
                   : static_cast<Sample>((color[c] * weight + ground * (kWhite - weight) + kWhite / 2) / kWhite);
    }
    if (output.channels == 4) out[3] = static_cast<Sample>(weight);
  }
}

sspl_status read_rows(sspl_image* image, int top, int rows, uint8_t* pixels, size_t stride, sspl_error* error) {
  const sspl_image::Output& output = image->output;
  const int own = image->decoder.channels(), columns = output.request.columns;
  const size_t sample = output.wide ? 2 : 1, row = static_cast<size_t>(columns) * output.channels * sample;
  if (stride == 0) stride = row;
  if (stride < row || stride % sample != 0)
    return fail(error, SSPL_ERROR_ARGUMENT, "the stride is less than a row, or no whole number of samples");
  if (own == output.channels)
    return check(error, image->rendering.render_rows(top, rows, pixels, static_cast<int64_t>(stride)));
  const size_t own_row = static_cast<size_t>(columns) * own * sample;
  std::vector<uint8_t> strip(own_row * std::min(rows, kMacrotile));
  for (int y = 0; y < rows; y += kMacrotile) {
    const int count = std::min(kMacrotile, rows - y);
    const Refusal refusal = image->rendering.render_rows(top + y, count, strip.data(), static_cast<int64_t>(own_row));
    if (refusal) return check(error, refusal);
    image->rendering.pool().run(count, [&](int64_t i, int) {
      uint8_t *from = strip.data() + i * own_row, *to = pixels + (y + i) * stride;
      if (output.wide)
        convert(reinterpret_cast<uint16_t*>(from), own, columns, output, reinterpret_cast<uint16_t*>(to));
      else
        convert(from, own, columns, output, to);
    });
  }
  return SSPL_OK;
}

const PackedChunk* packed_metadata(const sspl_image* image, sspl_metadata kind) {
  if (kind < SSPL_ICC || kind > SSPL_GEO) return nullptr;
  const PackedChunk& chunk = image->decoder.file().packed[kind];
  return chunk.bytes == nullptr ? nullptr : &chunk;
}

#if !defined(__wasm__)
sspl_status unpack(const PackedChunk& chunk, std::vector<uint8_t>& out, sspl_error* error) {
  out.resize(static_cast<size_t>(chunk.unpacked) + 1);  // one more shows a stream that goes on
  uLongf size = static_cast<uLongf>(out.size());
  const int result = uncompress(out.data(), &size, chunk.bytes, static_cast<uLong>(chunk.size));
  if (result != Z_OK || size != static_cast<uLongf>(chunk.unpacked)) {
    out.clear();
    return fail(error, SSPL_ERROR_FORMAT, "chunk " + std::to_string(chunk.index) + " is damaged");
  }
  out.resize(size);
  return SSPL_OK;
}
#endif

}  // namespace

uint32_t sspl_version(void) { return 256 * SSPL_VERSION_MAJOR + SSPL_VERSION_MINOR; }

void sspl_options_init(sspl_options* options, size_t struct_size) { give(options, default_options(), struct_size); }

void sspl_request_init(sspl_request* request, size_t struct_size) { give(request, default_request(), struct_size); }

sspl_image* sspl_open_memory(const void* bytes, size_t size, const sspl_options* given, sspl_error* error) {
  sspl_image* image = nullptr;
  guarded(error, [&] {
    sspl_options options = default_options();
    take(options, given);
    return open(static_cast<const uint8_t*>(bytes), size, {}, options, &image, error);
  });
  return image;
}

sspl_image* sspl_open_callback(sspl_read_function read, void* user, const sspl_options* options, sspl_error* error) {
  sspl_image* image = nullptr;
  guarded(error, [&] {
    return open_read([&](void* buffer, size_t size) { return read(user, buffer, size); }, options, &image, error);
  });
  return image;
}

#if !defined(__wasm__)
sspl_image* sspl_open_file(const char* path, const sspl_options* options, sspl_error* error) {
  sspl_image* image = nullptr;
  guarded(error, [&] {
    const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path, "rb"), std::fclose);
    if (!file) return fail(error, SSPL_ERROR_READ, std::string(path) + ": " + std::strerror(errno));
    const auto read = [&](void* buffer, size_t size) {
      const size_t count = std::fread(buffer, 1, size, file.get());
      return std::ferror(file.get()) ? int64_t{-1} : static_cast<int64_t>(count);
    };
    return open_read(read, options, &image, error);
  });
  return image;
}
#endif

void sspl_close(sspl_image* image) { delete image; }

void sspl_get_info(const sspl_image* image, sspl_info* info, size_t struct_size) {
  const File& file = image->decoder.file();
  sspl_info found{};
  found.width = static_cast<uint32_t>(file.color.width);
  found.height = static_cast<uint32_t>(file.color.height);
  found.channels = static_cast<uint32_t>(image->decoder.channels());
  found.depth = static_cast<uint32_t>(file.depth);
  found.primaries = static_cast<uint32_t>(file.primaries);
  found.transfer = static_cast<uint32_t>(file.transfer);
  found.density_across = file.density[0];
  found.density_down = file.density[1];
  found.gaussians = static_cast<uint64_t>(file.gaussians());
  give(info, found, struct_size);
}

sspl_status sspl_read(sspl_image* image, const sspl_request* request, void* pixels, size_t stride, sspl_error* error) {
  return guarded(error, [&] {
    const sspl_status status = begin(image, request, error);
    if (status != SSPL_OK) return status;
    return read_rows(image, 0, image->output.request.rows, static_cast<uint8_t*>(pixels), stride, error);
  });
}

sspl_status sspl_begin(sspl_image* image, const sspl_request* request, sspl_error* error) {
  return guarded(error, [&] { return begin(image, request, error); });
}

sspl_status sspl_read_rows(sspl_image* image, uint32_t top, uint32_t rows, void* pixels, size_t stride,
                           sspl_error* error) {
  return guarded(error, [&] {
    const uint64_t all = static_cast<uint64_t>(image->output.request.rows), bottom = uint64_t{top} + rows;
    if (!rows || top % SSPL_ROWS_STEP || bottom > all || (rows % SSPL_ROWS_STEP && bottom != all))
      return fail(error, SSPL_ERROR_ARGUMENT, "these are not rows of what has begun");
    return read_rows(image, static_cast<int>(top), static_cast<int>(rows), static_cast<uint8_t*>(pixels), stride,
                     error);
  });
}

const void* sspl_get_packed_metadata(const sspl_image* image, sspl_metadata kind, size_t* size, size_t* unpacked_size) {
  const PackedChunk* chunk = packed_metadata(image, kind);
  *size = chunk == nullptr ? 0 : static_cast<size_t>(chunk->size);
  *unpacked_size = chunk == nullptr ? 0 : static_cast<size_t>(chunk->unpacked);
  return chunk == nullptr ? nullptr : chunk->bytes;
}

#if !defined(__wasm__)
const void* sspl_get_metadata(sspl_image* image, sspl_metadata kind, size_t* size, sspl_error* error) {
  *size = 0;
  const void* found = nullptr;
  guarded(error, [&] {
    if (kind < SSPL_ICC || kind > SSPL_GEO) return fail(error, SSPL_ERROR_ARGUMENT, "there is no such metadata");
    const PackedChunk* chunk = packed_metadata(image, kind);
    if (chunk == nullptr) return SSPL_OK;
    std::vector<uint8_t>& unpacked = image->metadata[kind];
    if (unpacked.empty()) {
      const sspl_status status = unpack(*chunk, unpacked, error);
      if (status != SSPL_OK) return status;
    }
    *size = unpacked.size();
    found = unpacked.empty() ? nullptr : unpacked.data();
    return SSPL_OK;
  });
  return found;
}
#endif
