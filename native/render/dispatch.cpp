// Chooses the widest compiled variant of the kernels that this processor can run.
#if defined(__x86_64__)
#include <cpuid.h>
#endif

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
// Of CPUID and XGETBV: __builtin_cpu_supports knows nothing where the compiler's runtime library is not GCC's.
static bool runs_here(const Kernels* variant) {
  enum { kFma = 1 << 12, kOsSavesState = 1 << 27, kAvx = 1 << 28 };                    // leaf 1, ECX
  enum { kAvx2 = 1 << 5, kBmi2 = 1 << 8 };                                             // leaf 7, EBX
  enum : unsigned { kAvx512 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31 };  // F, DQ, CD, BW, VL
  enum { kYmm = 0x6, kZmm = 0xe6 };                                                    // what the system saves
  const char level = variant->name[1];
  if (level < '3') return true;
  unsigned eax, ebx, ecx, edx;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return false;
  const unsigned needed = kFma | kOsSavesState | kAvx;
  if ((ecx & needed) != needed || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
  unsigned saved, high;
  __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
  if ((saved & kYmm) != kYmm || !(ebx & kAvx2) || !(ebx & kBmi2)) return false;
  return level < '4' || ((saved & kZmm) == kZmm && (ebx & kAvx512) == kAvx512);
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
