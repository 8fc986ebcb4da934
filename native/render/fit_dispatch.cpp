// The kernels that fit, beside those that dispatch.cpp chooses to render.
#include "render/kernels.h"

namespace smartsplat {

#define SMARTSPLAT_DECLARE(variant)    \
  namespace variant {                  \
  extern const Kernels kernels;        \
  extern const FitKernels fit_kernels; \
  }
SMARTSPLAT_FOR_EACH_VARIANT(SMARTSPLAT_DECLARE)
#undef SMARTSPLAT_DECLARE

const FitKernels* fit_kernels_of(const Kernels* kernels) {
#define SMARTSPLAT_CHOOSE(variant) \
  if (kernels == &variant::kernels) return &variant::fit_kernels;
  SMARTSPLAT_FOR_EACH_VARIANT(SMARTSPLAT_CHOOSE)
#undef SMARTSPLAT_CHOOSE
  return nullptr;
}

}  // namespace smartsplat
