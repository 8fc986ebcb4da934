// Whole files through libsspl, checksums mended by the mutator: refused in one line, or rendered, in whole and in part.
#include <algorithm>
#include <vector>

#include "bitstream/container.h"
#include "fuzz/input.h"
#include "library/sspl.h"

using namespace smartsplat;

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

uint32_t u32(const uint8_t* at) {
  return static_cast<uint32_t>(at[0] | at[1] << 8 | at[2] << 16) | static_cast<uint32_t>(at[3]) << 24;
}

void put(uint8_t* at, uint32_t value) {
  for (int i = 0; i < 4; ++i) at[i] = static_cast<uint8_t>(value >> 8 * i);
}

// Makes every checksum right, as far as the table of contents allows.
void mend(uint8_t* data, size_t size) {
  if (size < kHeaderBytes + kChecksumBytes) return;
  const uint64_t table_end = kHeaderBytes + uint64_t{u32(data + 32)} * kEntryBytes;
  if (table_end + kChecksumBytes > size) return;
  uint64_t start = table_end + kChecksumBytes;
  for (uint64_t entry = kHeaderBytes; entry < table_end; entry += kEntryBytes) {
    const uint64_t stored = u32(data + entry + 4), left = size - std::min<uint64_t>(start, size);
    if (stored > left) break;
    put(data + entry + 12, crc32(data + start, static_cast<int64_t>(stored)));
    start += stored;
  }
  put(data + table_end, crc32(data, static_cast<int64_t>(table_end)));
}

void require_line(const sspl_error& error) {
  const size_t length = std::strlen(error.message);
  require(error.status != SSPL_OK && length > 0 && std::strchr(error.message, '\n') == nullptr);
}

// Returns whether it is rendered.
bool read(sspl_image* image, const sspl_request& request, std::vector<uint8_t>& pixels) {
  sspl_error error;
  const sspl_status status = sspl_read(image, &request, pixels.data(), 0, &error);
  require(status == error.status);
  if (status != SSPL_OK) require_line(error);
  return status == SSPL_OK;
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  if (seed % 8 != 0) mend(data, size);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sspl_options options;
  SSPL_OPTIONS_INIT(&options);
  options.threads = 1;
  options.limits.pixels = 1 << 22;
  options.limits.gaussians = 1 << 16;
  options.limits.overlap = 64;
  const uint32_t choice = crc32(data, static_cast<int64_t>(size));
  options.partial = choice & 1;
  sspl_error error;
  sspl_image* image = sspl_open_memory(data, size, &options, &error);
  if (image == nullptr) {
    require_line(error);
    return 0;
  }
  sspl_info info;
  SSPL_GET_INFO(image, &info);
  require(info.width > 0 && info.height > 0 && info.channels >= 1 && info.channels <= 4);
  for (int kind = SSPL_ICC; kind <= SSPL_IPTC; ++kind) {
    size_t length;
    if (sspl_get_metadata(image, static_cast<sspl_metadata>(kind), &length, &error) == nullptr)
      require(length == 0);
    else
      require(length > 0 && length <= options.limits.metadata_bytes);
  }
  sspl_request request;
  SSPL_REQUEST_INIT(&request);
  request.columns = 16;
  request.rows = 16;
  request.bits = choice & 2 ? 8 : 16;
  request.channels = choice & 4 ? 0 : choice & 8 ? 3 : 4;
  std::vector<uint8_t> whole(16 * 16 * 4 * 2), again(whole.size());
  if (read(image, request, whole)) {
    require(read(image, request, again) && whole == again);
    request.x = (choice >> 4) % info.width;
    request.y = (choice >> 12) % info.height;
    request.width = std::min(info.width - request.x, 64.0) - (choice & 1 ? 0.3 : 0);
    request.height = std::min(info.height - request.y, 64.0);
    read(image, request, again);
  }
  sspl_close(image);
  return 0;
}
