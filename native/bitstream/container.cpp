#include "bitstream/container.h"

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "bitstream/mask.h"

namespace smartsplat {
namespace {

using CrcTables = std::array<std::array<uint32_t, 256>, 8>;

constexpr CrcTables make_crc_tables() {
  CrcTables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0xEDB88320u : 0u);
    tables[0][byte] = value;
  }
  for (int table = 1; table < 8; ++table)
    for (int byte = 0; byte < 256; ++byte) {
      const uint32_t value = tables[table - 1][byte];
      tables[table][byte] = value >> 8 ^ tables[0][value & 255];
    }
  return tables;
}

constexpr CrcTables kCrc = make_crc_tables();

uint32_t u16(const uint8_t* at) { return at[0] | at[1] << 8; }
uint32_t u32(const uint8_t* at) { return u16(at) | u16(at + 2) << 16; }

// A refusal whose line printf makes.
Refusal refuse(Refusal::Kind kind, const char* form, ...) {
  char line[200];
  va_list arguments;
  va_start(arguments, form);
  std::vsnprintf(line, sizeof line, form, arguments);
  va_end(arguments);
  return {kind, line};
}

constexpr auto kFormat = Refusal::kFormat;

bool is(const uint8_t* type, const char* name) { return std::memcmp(type, name, 4) == 0; }

// A chunk's type as messages show it.
std::string quoted(const uint8_t* type) {
  std::string text = "'";
  for (int i = 0; i < 4; ++i) {
    char escaped[5];
    const bool plain = type[i] >= 32 && type[i] < 127 && type[i] != '\'' && type[i] != '\\';
    std::snprintf(escaped, sizeof escaped, plain ? "%c" : "\\x%02x", type[i]);
    text += escaped;
  }
  return text + "'";
}

struct Chunk {
  int index;
  const uint8_t *type, *body;
  int64_t size, unpacked;
};

// A file whose chunks are being read.
class Reading {
 public:
  Reading(const Limits& limits, Presence presence, File& file)
      : limits_(limits),
        on_demand_(presence == Presence::kOnDemand),
        file_(file),
        columns_((file.color.width - 1) / kExtentTile + 1),
        rows_((file.color.height - 1) / kExtentTile + 1) {}

  // One chunk; unknown ancillary ones are skipped.
  Refusal take(const Chunk& chunk) {
    constexpr const char* kTypes[kPackedKinds] = {"iccp", "exif", "xmp ", "iptc", "geot"};
    for (int kind = 0; kind < kPackedKinds; ++kind)
      if (is(chunk.type, kTypes[kind])) return take_packed(chunk, kind);
    const bool colors = is(chunk.type, "GAUS"), alpha = is(chunk.type, "ALPH"), mask = is(chunk.type, "MASK");
    const bool density = is(chunk.type, "dens"), grain = is(chunk.type, "grai"), index = is(chunk.type, "indx");
    if (!colors && !alpha && !mask && !density && !grain && !index) {
      if (chunk.type[0] & 0x20) return {};
      return refuse(Refusal::kUnsupported, "chunk %d has the unknown type %s, which is needed to decode the image",
                    chunk.index, quoted(chunk.type).c_str());
    }
    if (chunk.unpacked != chunk.size)
      return refuse(kFormat, "chunk %d of %" PRId64 " bytes claims %" PRId64 ", but is not packed", chunk.index,
                    chunk.size, chunk.unpacked);
    if (density) return take_density(chunk);
    if (grain) return take_grain(chunk);
    if (index) return take_index(chunk);
    if (!colors && !file_.has_alpha())
      return refuse(kFormat, "chunk %d is alpha of an image that has none", chunk.index);
    return take_group(chunk, mask, mask ? file_.mask : alpha ? file_.alpha_groups : file_.groups);
  }

  // Whether a chunk is one of those that may not be there yet.
  bool is_awaited(const Chunk& chunk) const {
    return on_demand_ && (is(chunk.type, "GAUS") || is(chunk.type, "ALPH") || is(chunk.type, "MASK"));
  }

  // When all chunks have been taken.
  Refusal finish() const {
    if (index_ != nullptr && groups_ != index_size_)
      return refuse(kFormat, "the index is of %" PRId64 " groups, the file has %" PRId64, index_size_, groups_);
    return {};
  }

 private:
  Refusal take_packed(const Chunk& chunk, int kind) {
    PackedChunk& packed = file_.packed[kind];
    if (packed.bytes) return refuse(kFormat, "chunk %d is a second %s", chunk.index, kPackedNames[kind]);
    if (static_cast<double>(chunk.unpacked) > limits_.metadata_bytes)
      return refuse(Refusal::kLimit, "chunk %d claims %" PRId64 " bytes of %s, the limit is %.0f", chunk.index,
                    chunk.unpacked, kPackedNames[kind], limits_.metadata_bytes);
    packed = {chunk.index, chunk.body, chunk.size, chunk.unpacked};
    return {};
  }

  Refusal take_density(const Chunk& chunk) {
    if (file_.density[0]) return refuse(kFormat, "chunk %d is a second density", chunk.index);
    if (chunk.size != 8 || !u32(chunk.body) || !u32(chunk.body + 4))
      return refuse(kFormat, "chunk %d is no density", chunk.index);
    file_.density[0] = u32(chunk.body);
    file_.density[1] = u32(chunk.body + 4);
    return {};
  }

  Refusal take_grain(const Chunk& chunk) {
    if (file_.grain.bands) return refuse(kFormat, "chunk %d is a second grain", chunk.index);
    const uint8_t* body = chunk.body;
    if (chunk.size < 2 || body[0] < kMinGrainCellLog2 || body[0] > kMaxGrainCellLog2 || body[1] < 1 ||
        body[1] > kMaxGrainBands)
      return refuse(kFormat, "chunk %d is no grain", chunk.index);
    file_.grain = {body[0], body[1], body + 2, chunk.size - 2};
    return {};
  }

  Refusal take_index(const Chunk& chunk) {
    if (index_) return refuse(kFormat, "chunk %d is a second index", chunk.index);
    if (chunk.size % kGroupHeaderBytes || groups_)
      return refuse(kFormat, "chunk %d is no index, or comes after groups", chunk.index);
    index_ = chunk.body;
    index_size_ = chunk.size / kGroupHeaderBytes;
    return {};
  }

  Refusal take_group(const Chunk& chunk, bool mask, std::vector<Group>& groups) {
    if (chunk.size < kGroupHeaderBytes) return refuse(kFormat, "chunk %d is too short for a group", chunk.index);
    if (index_ == nullptr && on_demand_) return refuse(kFormat, "there is no index of the groups");
    const int64_t number = groups_++;
    const uint8_t* header = chunk.body;
    if (index_ != nullptr) {
      if (number >= index_size_) return refuse(kFormat, "chunk %d is not in the index", chunk.index);
      header = index_ + number * kGroupHeaderBytes;
      if (!on_demand_ && std::memcmp(header, chunk.body, kGroupHeaderBytes) != 0)
        return refuse(kFormat, "chunk %d is another one in the index", chunk.index);
    }
    const auto tile = [&](int at) { return static_cast<int>(u16(header + at)); };
    const Group group = {chunk.body + kGroupHeaderBytes,
                         chunk.size - kGroupHeaderBytes,
                         u32(header),
                         tile(4),
                         tile(6),
                         tile(8),
                         tile(10),
                         chunk.index,
                         u32(chunk.type + 12),
                         on_demand_ ? header : nullptr};
    const bool too_many =
        mask ? group.count > group.size * kMaxBlocksPerByte
             : static_cast<double>(group.count) > limits_.gaussians || group.size < group.count * kMinGaussianBytes;
    if (too_many)
      return refuse(kFormat, "chunk %d claims %" PRId64 " %s in %" PRId64 " bytes", chunk.index, group.count,
                    mask ? "mixed blocks" : "Gaussians", group.size);
    if (group.x0 > group.x1 || group.y0 > group.y1)
      return refuse(kFormat, "chunk %d claims to reach from tile %d,%d back to %d,%d", chunk.index, group.x0, group.y0,
                    group.x1, group.y1);
    if (mask) {
      if (Refusal refusal = cover(chunk.index, group)) return refusal;
    }
    groups.push_back(group);
    return {};
  }

  // Notes the tiles of a part of the mask, each of which may have one.
  Refusal cover(int index, const Group& part) {
    if (!(part.x0 < part.x1 && part.x1 <= columns_ && part.y0 < part.y1 && part.y1 <= rows_))
      return refuse(kFormat, "chunk %d is a mask outside the image, or of nothing", index);
    masked_.resize(static_cast<size_t>(columns_) * rows_);
    for (int y = part.y0; y < part.y1; ++y) {
      const auto row = masked_.begin() + static_cast<int64_t>(y) * columns_;
      if (std::find(row + part.x0, row + part.x1, true) != row + part.x1)
        return refuse(kFormat, "chunk %d is a second mask of the same place", index);
      std::fill(row + part.x0, row + part.x1, true);
    }
    return {};
  }

  const Limits& limits_;
  const bool on_demand_;
  File& file_;
  const uint8_t* index_ = nullptr;  // a copy of each group's header
  int64_t index_size_ = 0, groups_ = 0;
  int columns_, rows_;        // tiles of the image
  std::vector<bool> masked_;  // [rows, columns] tiles that have their part of the mask
};

Refusal check_size(int64_t width, int64_t height, int channels, int64_t count, const Limits& limits) {
  if (!width || !height || (channels != 1 && channels != 3))
    return refuse(kFormat, "impossible image: %" PRId64 " x %" PRId64 " pixels, %d channels", width, height, channels);
  const double columns = static_cast<double>(width), rows = static_cast<double>(height);
  if (std::max(columns, rows) > std::min<double>(limits.side, kMaxSide) || columns * rows > limits.pixels)
    return refuse(Refusal::kLimit,
                  "the image has %" PRId64 " x %" PRId64 " pixels, the limits are %.0f a side and %.0f in all", width,
                  height, limits.side, limits.pixels);
  if (static_cast<double>(count) > limits.gaussians)
    return refuse(Refusal::kLimit, "the file claims %" PRId64 " Gaussians, the limit is %.0f", count, limits.gaussians);
  return {};
}

// The header's fields, checked.
Refusal read_header(const uint8_t* header, const Limits& limits, File& file) {
  const int channels = header[10], primaries = header[20], transfer = header[21], alpha = header[24];
  const int quality = header[22], cell = header[23], alpha_quality = header[25], alpha_cell = header[26];
  const uint32_t width = u32(header + 12), height = u32(header + 16);
  if (header[27]) return refuse(kFormat, "the header has reserved bits set");
  if (Refusal refusal = check_size(width, height, channels, u32(header + 28), limits)) return refusal;
  file.depth = header[11];
  if (file.depth < 1 || file.depth > kMaxDepth)
    return refuse(kFormat, "a depth of %d bits is out of range", file.depth);
  if (!primaries || !transfer)
    return refuse(kFormat, "code points %d and %d of the colour space are out of range", primaries, transfer);
  if (std::max(quality, alpha_quality) > kMaxQuality || std::max(cell, alpha_cell) > kMaxPositionCellLog2)
    return refuse(kFormat, "quality %d or cell size 2^%d is out of range, of colours or alpha", quality, cell);
  if (alpha > 1 || (alpha == 0 && (alpha_quality || alpha_cell)))
    return refuse(kFormat, "alpha of an unknown kind, %d", alpha);
  const int64_t longer = std::max(width, height);
  for (const int log2 : {cell, alpha ? alpha_cell : kMaxPositionCellLog2})
    if ((longer - 1) >> log2 >= kMaxCells)
      return refuse(kFormat, "cells of 2^%d pixels are more than %d a side", log2, kMaxCells);
  file.minor_version = header[9];
  file.primaries = primaries;
  file.transfer = transfer;
  const int columns = static_cast<int>(width), rows = static_cast<int>(height);
  file.color = {quality, cell, columns, rows, channels};
  file.alpha = {alpha_quality, alpha_cell, columns, rows, alpha};
  return {};
}

// Every chunk; sets whether all are there.
Refusal read_chunks(const uint8_t* bytes, int64_t size, int chunks, int64_t start, bool partial, Reading& reading,
                    const File& file, bool& whole) {
  whole = false;
  bool awaited = false;
  for (int index = 0; index < chunks; ++index) {
    const uint8_t* entry = bytes + kHeaderBytes + static_cast<int64_t>(index) * kEntryBytes;
    const Chunk chunk = {index, entry, bytes + start, u32(entry + 4), u32(entry + 8)};
    if (size - start < chunk.size) {
      if (partial && !file.groups.empty()) return {};
      return refuse(kFormat, "truncated: chunk %d claims %" PRId64 " bytes, the file has %" PRId64 " left%s", index,
                    chunk.size, size - start, partial ? ", and no colors before it" : "");
    }
    start += chunk.size;
    if (reading.is_awaited(chunk))
      awaited = true;
    else if (awaited)
      return refuse(kFormat, "chunk %d comes after groups", index);
    else if (crc32(chunk.body, chunk.size) != u32(entry + 12))
      return refuse(kFormat, "chunk %d is damaged: its checksum does not match", index);
    if (Refusal refusal = reading.take(chunk)) return refusal;
  }
  if (start != size) return refuse(kFormat, "%" PRId64 " bytes follow the last chunk", size - start);
  whole = true;
  return reading.finish();
}

}  // namespace

uint32_t crc32(const uint8_t* bytes, int64_t size) {
  uint32_t crc = ~0u;
  for (; size >= 8; bytes += 8, size -= 8) {
    const uint32_t low = crc ^ u32(bytes), high = u32(bytes + 4);
    crc = kCrc[7][low & 255] ^ kCrc[6][low >> 8 & 255] ^ kCrc[5][low >> 16 & 255] ^ kCrc[4][low >> 24] ^
          kCrc[3][high & 255] ^ kCrc[2][high >> 8 & 255] ^ kCrc[1][high >> 16 & 255] ^ kCrc[0][high >> 24];
  }
  for (; size > 0; ++bytes, --size) crc = crc >> 8 ^ kCrc[0][(crc ^ *bytes) & 255];
  return ~crc;
}

int64_t File::gaussians() const {
  int64_t total = 0;
  for (const std::vector<Group>* of : {&groups, &alpha_groups})
    for (const Group& group : *of) total += group.count;
  return total;
}

Refusal check_group(const Group& group) {
  if (crc32(group.header(), group.chunk_size()) != group.checksum)
    return refuse(kFormat, "chunk %d is damaged: its checksum does not match", group.chunk);
  if (std::memcmp(group.listed, group.header(), kGroupHeaderBytes) != 0)
    return refuse(kFormat, "chunk %d is another one in the index", group.chunk);
  return {};
}

Refusal read_container(const uint8_t* bytes, int64_t size, const Limits& limits, Presence presence, File& file) {
  constexpr int64_t kSignatureBytes = sizeof kSignature;
  if (static_cast<double>(size) > limits.file_bytes)
    return refuse(Refusal::kLimit, "the file has %" PRId64 " bytes, the limit is %.0f", size, limits.file_bytes);
  if (size == 0 || std::memcmp(bytes, kSignature, static_cast<size_t>(std::min(size, kSignatureBytes))) != 0)
    return refuse(kFormat, "not a SmartSplat file: the signature is missing");
  if (size > kSignatureBytes && bytes[kSignatureBytes] != kMajorVersion)
    return refuse(Refusal::kUnsupported, "the file has format version %d, this reader knows version %d",
                  bytes[kSignatureBytes], kMajorVersion);
  if (size < kHeaderBytes + kChecksumBytes)
    return refuse(kFormat, "truncated: the file ends after %" PRId64 " bytes, inside its header", size);
  const uint32_t chunks = u32(bytes + 32);
  if (chunks > kMaxChunks) return refuse(kFormat, "the header claims %u chunks, the most is %d", chunks, kMaxChunks);
  const int64_t table_end = kHeaderBytes + static_cast<int64_t>(chunks) * kEntryBytes;
  if (size - kChecksumBytes < table_end)
    return refuse(kFormat, "truncated: the file ends after %" PRId64 " bytes, inside its table of contents", size);
  if (crc32(bytes, table_end) != u32(bytes + table_end))
    return refuse(kFormat, "the header is damaged: its checksum does not match");
  file = File{};
  if (Refusal refusal = read_header(bytes, limits, file)) return refusal;
  Reading reading(limits, presence, file);
  const bool partial = presence == Presence::kPartial;
  bool whole;
  const int64_t start = table_end + kChecksumBytes;
  if (Refusal refusal = read_chunks(bytes, size, static_cast<int>(chunks), start, partial, reading, file, whole))
    return refusal;
  if (whole && file.gaussians() != u32(bytes + 28))
    return refuse(kFormat, "the header claims %u Gaussians, the chunks hold another number", u32(bytes + 28));
  return {};
}

}  // namespace smartsplat
