// Chooses the widest compiled variant of the kernels that this processor can run.
#include <cstring>

#include "render/kernels.h"

namespace smartsplat {

#define SMARTSPLAT_DECLARE(variant) \
  namespace variant {               \
  extern const Kernels kernels;     \
  }
SMARTSPLAT_FOR_EACH_VARIANT(SMARTSPLAT_DECLARE)
#undef SMARTSPLAT_DECLARE

#define SMARTSPLAT_ADDRESS(variant) &variant::kernels,
constexpr const Kernels* kVariants[] = {SMARTSPLAT_FOR_EACH_VARIANT(SMARTSPLAT_ADDRESS)};
#undef SMARTSPLAT_ADDRESS

#if defined(__x86_64__)
static bool runs_here(const Kernels* variant) {
  __builtin_cpu_init();
  const char level = variant->name[1];
  if (level == '4')
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (level == '3')
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  return true;
}
#else
static bool runs_here(const Kernels*) { return true; }
#endif

const Kernels* find_kernels(const char* name) {
  for (const Kernels* variant : kVariants)
    if ((name == nullptr || std::strcmp(name, variant->name) == 0) && runs_here(variant)) return variant;
  return nullptr;
}

}  // namespace smartsplat
