// Quantisation and entropy coding for Python: bitstream/quantize.py and bitstream/entropy.py.
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/gil.h"
#include "bitstream/container.h"
#include "bitstream/entropy.h"
#include "bitstream/grain.h"
#include "bitstream/mask.h"
#include "bitstream/priors.h"
#include "core/threads.h"

namespace smartsplat {
namespace {

using SymbolTable = Array<int32_t, nb::shape<-1, kSymbolFields>>;

// smartsplat.bitstream.quantize.Quantizer.
QuantizerSettings quantizer_of(nb::handle object) {
  const QuantizerSettings q{integer(object, "quality"), integer(object, "cell_log2"), integer(object, "width"),
                            integer(object, "height"), integer(object, "channels")};
  if (!q.valid()) throw std::invalid_argument("quantiser settings out of range");
  return q;
}

void check_channels(const GaussianArrays& g, const QuantizerSettings& q) {
  if (g.channels != q.channels) throw std::invalid_argument("the quantiser expects other channels");
}

// Symbols in the order of the file: along the Morton curve, Gaussians of one cell as they came.
auto quantize_all(nb::handle gaussians, nb::handle quantizer) {
  const PyGaussians g(gaussians);
  const QuantizerSettings q = quantizer_of(quantizer);
  check_channels(g, q);
  int32_t* out;
  auto result = make_array<int32_t, 2>({size_t(g.count), size_t(kSymbolFields)}, out);
  const ReleasedGil released;
  std::vector<Symbols> symbols(g.count);
  std::vector<std::pair<uint64_t, int64_t>> order(g.count);
  for (int64_t i = 0; i < g.count; ++i) {
    symbols[i] = quantize(q, g, i);
    order[i] = {morton(symbols[i].cell_x, symbols[i].cell_y), i};
  }
  std::sort(order.begin(), order.end());
  for (int64_t i = 0; i < g.count; ++i) reinterpret_cast<Symbols*>(out)[i] = symbols[order[i].second];
  return result;
}

void check_symbols(const Symbols* symbols, int64_t count, const QuantizerSettings& q) {
  for (int64_t i = 0; i < count; ++i)
    if (!in_range(q, symbols[i])) throw std::invalid_argument("a symbol is out of range");
}

void dequantize_all(const SymbolTable& table, nb::handle quantizer, nb::handle out) {
  const PyGaussians g(out);
  const QuantizerSettings q = quantizer_of(quantizer);
  check_channels(g, q);
  if (table.shape(0) != size_t(g.count)) throw std::invalid_argument("symbols and Gaussians differ in length");
  const Symbols* symbols = reinterpret_cast<const Symbols*>(table.data());
  const ReleasedGil released;
  check_symbols(symbols, g.count, q);
  for (int64_t i = 0; i < g.count; ++i) dequantize(q, symbols[i], g, i);
}

void fake_quantize_all(nb::handle gaussians, nb::handle quantizer, nb::handle out, int threads) {
  const PyGaussians g(gaussians), to(out);
  const QuantizerSettings q = quantizer_of(quantizer);
  check_channels(g, q);
  if (to.count != g.count || to.channels != g.channels) throw std::invalid_argument("the arrays differ in shape");
  const ReleasedGil released;
  constexpr int64_t kPieceGaussians = 1024;
  ThreadPool(std::max(threads, 1)).run_in_pieces(g.count, kPieceGaussians, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) fake_quantize(q, g, to, i);
  });
}

void check_order(const Symbols* symbols, int64_t count) {
  uint64_t before = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t cell = morton(symbols[i].cell_x, symbols[i].cell_y);
    if (cell < before) throw std::invalid_argument("the symbols are not in the order of the Morton curve");
    before = cell;
  }
}

nb::bytes encode_symbols(const SymbolTable& table, nb::handle quantizer) {
  const QuantizerSettings q = quantizer_of(quantizer);
  const Symbols* symbols = reinterpret_cast<const Symbols*>(table.data());
  const int64_t count = table.shape(0);
  std::string bytes;
  {
    const ReleasedGil released;
    check_symbols(symbols, count, q);
    check_order(symbols, count);
    bytes = encode_group(q, symbols, count);
  }
  return nb::bytes(bytes.data(), bytes.size());
}

// Raises ValueError for damaged bytes. Returns the symbols and, if asked, the bits of each attribute.
auto decode_symbols(const Array<const uint8_t>& bytes, int64_t count, nb::handle quantizer, bool count_bits) {
  const QuantizerSettings q = quantizer_of(quantizer);
  if (count < 0) throw std::invalid_argument("a negative count");
  int32_t* out;
  double* bits;
  auto symbols = make_array<int32_t, 2>({size_t(count), size_t(kSymbolFields)}, out);
  auto spent = make_array<double, 1>({size_t(kAttributes)}, bits);
  std::fill(bits, bits + kAttributes, 0.0);
  const char* problem;
  {
    const ReleasedGil released;
    problem = decode_group(q, bytes.data(), static_cast<int64_t>(bytes.size()), count, reinterpret_cast<Symbols*>(out),
                           count_bits ? bits : nullptr);
  }
  if (problem) throw std::invalid_argument(problem);
  return std::make_tuple(symbols, spent);
}

// The bytes of a part of a mask, and its number of mixed blocks.
auto encode_mask_of(const BytePlane& levels) {
  if (levels.size() == 0) throw std::invalid_argument("an empty mask");
  const auto rows = static_cast<int64_t>(levels.shape(0)), columns = static_cast<int64_t>(levels.shape(1));
  int64_t mixed_blocks = 0;
  std::string bytes;
  {
    const ReleasedGil released;
    if (std::any_of(levels.data(), levels.data() + levels.size(), [](uint8_t level) { return level > kMaxLevel; }))
      throw std::invalid_argument("a level is out of range");
    bytes = encode_mask(levels.data(), rows, columns, mixed_blocks);
  }
  return std::make_tuple(nb::bytes(bytes.data(), bytes.size()), mixed_blocks);
}

// Raises ValueError for damaged bytes.
void decode_mask_into(const nb::bytes& bytes, int64_t mixed_blocks, const Array<uint8_t, nb::shape<-1, -1>>& levels) {
  if (levels.size() == 0 || mixed_blocks < 0) throw std::invalid_argument("an empty mask");
  const char* problem;
  {
    const ReleasedGil released;
    problem = decode_mask(static_cast<const uint8_t*>(bytes.data()), static_cast<int64_t>(bytes.size()), mixed_blocks,
                          static_cast<int64_t>(levels.shape(0)), static_cast<int64_t>(levels.shape(1)), levels.data());
  }
  if (problem) throw std::invalid_argument(problem);
}

nb::bytes encode_grain_of(const Array<const uint8_t, nb::shape<-1, -1, -1>>& levels) {
  const auto above = [](uint8_t level) { return level >= kTokens; };
  if (std::any_of(levels.data(), levels.data() + levels.size(), above))
    throw std::invalid_argument("a level is out of range");
  const std::string bytes = encode_grain(levels.data(), static_cast<int64_t>(levels.shape(0)),
                                         static_cast<int64_t>(levels.shape(1)), static_cast<int64_t>(levels.shape(2)));
  return nb::bytes(bytes.data(), bytes.size());
}

// Raises ValueError for damaged bytes.
void decode_grain_into(const nb::bytes& bytes, const Array<uint8_t, nb::shape<-1, -1, -1>>& levels) {
  const char* problem = decode_grain(static_cast<const uint8_t*>(bytes.data()), static_cast<int64_t>(bytes.size()),
                                     static_cast<int64_t>(levels.shape(0)), static_cast<int64_t>(levels.shape(1)),
                                     static_cast<int64_t>(levels.shape(2)), levels.data());
  if (problem) throw std::invalid_argument(problem);
}

// The constants that docs/format.md states, by their names there.
nb::dict format_constants() {
  nb::dict constants;
  constants["QUALITY_ZERO"] = kQualityZero;
  constants["MAX_QUALITY"] = kMaxQuality;
  constants["MIN_ENERGY"] = kMinEnergy;
  constants["MAX_ENERGY"] = kMaxEnergy;
  constants["OCTAVE"] = kOctave;
  constants["MIN_MEAN_SCALE"] = kMinMeanScale;
  constants["MAX_MEAN_SCALE"] = kMaxMeanScale;
  constants["MAX_RATIO"] = kMaxRatio;
  constants["MAX_COLOR"] = kMaxColor;
  constants["MAX_ANGLE_BITS"] = kMaxAngleBits;
  constants["MAX_POSITION_BITS"] = kMaxPositionBits;
  constants["FIRST_SHIFT"] = kFirstShift;
  constants["SECOND_SHIFT_FROM"] = kSecondShiftFrom;
  constants["THIRD_SHIFT_FROM"] = kThirdShiftFrom;
  constants["WHOLE"] = kWhole;
  constants["MIN_STATE"] = kMinState;
  constants["GAP_CLASSES"] = kGapClasses;
  constants["STEP_CLASSES"] = kStepClasses;
  constants["SIZE_CLASSES"] = kSizeClasses;
  constants["LEAD_BITS"] = kLeadBits;
  constants["FIRST_COLOR_CLASSES"] = kFirstColorClasses;
  constants["COLOR_CLASSES"] = kColorClasses;
  constants["SHORTFALL_CLASSES"] = kShortfallClasses;
  constants["MAX_CHUNKS"] = kMaxChunks;
  constants["MAX_DEPTH"] = kMaxDepth;
  constants["MIN_GAUSSIAN_BYTES"] = kMinGaussianBytes;
  constants["MAX_BLOCKS_PER_BYTE"] = kMaxBlocksPerByte;
  constants["MAX_GRAIN_BANDS"] = kMaxGrainBands;
  return constants;
}

}  // namespace

void bind_bitstream(nb::module_& m) {
  m.attr("MAX_QUALITY") = kMaxQuality;
  m.attr("QUALITY_ZERO") = kQualityZero;
  m.attr("MAX_POSITION_CELL_LOG2") = kMaxPositionCellLog2;
  m.attr("MAX_CELLS") = kMaxCells;
  m.def("format_constants", &format_constants);
  m.def("quantize", &quantize_all);
  m.def("dequantize", &dequantize_all);
  m.def("fake_quantize", &fake_quantize_all);
  m.def("encode_symbols", &encode_symbols);
  m.def("decode_symbols", &decode_symbols, "data"_a, "count"_a, "quantizer"_a, "count_bits"_a = false);
  m.attr("MAX_MASK_LEVEL") = kMaxLevel;
  m.attr("EXTENT_TILE") = kExtentTile;
  m.attr("MAJOR_VERSION") = kMajorVersion;
  m.attr("GRAIN_CELL_LOG2") = nb::make_tuple(kMinGrainCellLog2, kMaxGrainCellLog2);
  m.def("encode_mask", &encode_mask_of);
  m.def("decode_mask", &decode_mask_into);
  m.def("encode_grain", &encode_grain_of);
  m.def("decode_grain", &decode_grain_into);
}

}  // namespace smartsplat
