// The table of an instruction set's kernels that fit, and the ceiling that all are measured against. Compiled once for
// each instruction set with SMARTSPLAT_VARIANT naming its namespace.
#include "render/kernel_functions.h"
#include "render/simd.h"

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

// Independent chains: more than the latency of a multiply-add times the pipes that take one each cycle, and still
// all in registers.
constexpr int kChains = 14;

double multiply_add(int64_t rounds) {
  Floats chain[kChains];
  for (int i = 0; i < kChains; ++i) chain[i] = all(static_cast<float>(-i));  // none where it would stay, at 2
  const Floats factor = all(0.5f), term = all(1.0f);
  for (int64_t round = 0; round < rounds; ++round)
    for (int i = 0; i < kChains; ++i) chain[i] = fma(chain[i], factor, term);
  Floats total{};
  for (int i = 0; i < kChains; ++i) total += chain[i];
  volatile float used = sum(total);  // or the compiler would leave all of it out
  static_cast<void>(used);
  return 2.0 * kLanes * kChains * static_cast<double>(rounds);
}

}  // namespace

extern const FitKernels fit_kernels;
const FitKernels fit_kernels = {backward_tile, reduce,        differentiate,  update,      pixel_loss,
                                cell_errors,   macrotile_put, macrotile_loss, multiply_add};

}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
