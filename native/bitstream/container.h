// Bytes -> header, table of contents and chunks: docs/format.md, "Container".
//
// The bytes are hostile: nothing else turns a length or a count of a file into an allocation, and here each is checked
// first. Nothing is copied: what is found points into the bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bitstream/quantize.h"

namespace smartsplat {

constexpr int kMajorVersion = 4;
constexpr int kHeaderBytes = 36, kEntryBytes = 16, kChecksumBytes = 4;
constexpr int kGroupHeaderBytes = 12;  // of a group, before its coded Gaussians
constexpr int kExtentTile = 64;        // pixels a side of the tiles that extents are given in
constexpr int kMaxChunks = 1 << 16;
constexpr int kMinGaussianBytes = 1;  // coded: bounds what a short file can make a reader allocate
constexpr int kMaxSide = 1 << 30;     // pixels, whatever the limits are
constexpr int kMaxDepth = 16;         // bits per sample
constexpr int kMinGrainCellLog2 = 6, kMaxGrainCellLog2 = 12;
constexpr int kMaxGrainBands = 3;
constexpr uint8_t kSignature[8] = {0x89, 'S', 'S', 'P', '\r', '\n', 0x1a, '\n'};

// Why something is not done. `why` is a line without an end.
struct Refusal {
  enum Kind { kNone, kFormat, kUnsupported, kLimit };
  Kind kind = kNone;
  std::string why;
  explicit operator bool() const { return kind != kNone; }
};

// Upper bounds of what a file may claim, and of what is rendered of it: smartsplat/limits.py. They are compared with
// integers below 2^53.
struct Limits {
  double side, pixels, gaussians, file_bytes, metadata_bytes, overlap, output_pixels;
};

// Gaussians that are coded together, or a part of a mask, whose `count` is of its mixed blocks.
struct Group {
  const uint8_t* bytes;  // coded, behind the group's header
  int64_t size, count;
  int x0, y0, x1, y1;     // tiles that it reaches over
  int chunk;              // its number, for messages
  uint32_t checksum;      // of header and coded bytes
  const uint8_t* listed;  // its header in the index, if it is read on demand; null: it is there, and checked

  bool is_awaited() const { return listed != nullptr; }
  const uint8_t* header() const { return bytes - kGroupHeaderBytes; }
  int64_t chunk_size() const { return size + kGroupHeaderBytes; }
};

// A stream of zlib, which is not unpacked here.
struct PackedChunk {
  int index;  // of the chunk, for messages
  const uint8_t* bytes = nullptr;
  int64_t size = 0, unpacked = 0;
};

struct CodedGrain {
  int cell_log2, bands = 0;  // no bands: no grain
  const uint8_t* bytes;
  int64_t size;
};

enum PackedKind { kIcc, kExif, kXmp, kIptc, kGeo, kPackedKinds };

// What messages call them.
constexpr const char* kPackedNames[kPackedKinds] = {"ICC profile", "EXIF block", "XMP packet", "IPTC block",
                                                    "set of GeoTIFF tags"};

struct File {
  int minor_version;
  QuantizerSettings color, alpha;  // of the colours; of the Gaussians of opacity, whose channels are 0 without any
  int depth;                       // bits per sample of the image that was encoded
  int primaries, transfer;         // code points of ITU-T H.273
  std::vector<Group> groups, alpha_groups, mask;
  PackedChunk packed[kPackedKinds];
  uint32_t density[2] = {0, 0};  // pixels per metre, across and down; 0: the file does not say
  CodedGrain grain{};

  bool has_alpha() const { return alpha.channels != 0; }
  int64_t gaussians() const;  // those of alpha included
};

// What of a file's bytes is there: all; or those before some end; or at first those before the first group, which an
// index describes, and of each group when it is decoded.
enum class Presence { kWhole, kPartial, kOnDemand };

// Reads a file, which points into `bytes` from then on; of one that is there in part, the groups before the end.
Refusal read_container(const uint8_t* bytes, int64_t size, const Limits& limits, Presence presence, File& file);

// Compares a group that is read on demand with its checksum and with the index.
Refusal check_group(const Group& group);

// CRC-32 as in zlib and PNG.
uint32_t crc32(const uint8_t* bytes, int64_t size);

}  // namespace smartsplat
