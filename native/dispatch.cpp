// Chooses the widest compiled variant of the kernels that this processor can run.
#include <cstring>

#include "kernels.h"

namespace smartsplat {

#if defined(__x86_64__)
namespace v2 {
extern const Kernels kernels;
}  // namespace v2
namespace v3 {
extern const Kernels kernels;
}  // namespace v3
namespace v4 {
extern const Kernels kernels;
}  // namespace v4
constexpr const Kernels* kVariants[] = {&v4::kernels, &v3::kernels, &v2::kernels};

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
namespace base {
extern const Kernels kernels;
}  // namespace base
constexpr const Kernels* kVariants[] = {&base::kernels};
static bool runs_here(const Kernels*) { return true; }
#endif

const Kernels* find_kernels(const char* name) {
  for (const Kernels* variant : kVariants)
    if ((name == nullptr || std::strcmp(name, variant->name) == 0) && runs_here(variant)) return variant;
  return nullptr;
}

}  // namespace smartsplat
