// The table of an instruction set's kernels that render. Compiled once for each instruction set with SMARTSPLAT_VARIANT
// naming its namespace.
#include "render/kernel_functions.h"
#include "render/simd.h"

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {

extern const Kernels kernels;
const Kernels kernels = {SMARTSPLAT_VARIANT_NAME, project, forward_tile, enlarge, find_grain, store_samples};

}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
