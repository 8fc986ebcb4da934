// smartsplat._native. The files of this folder are all that knows Python: arrays in, plain functions, errors out.
#include <nanobind/nanobind.h>

namespace smartsplat {

void bind_bitstream(nanobind::module_& m);
void bind_encoder(nanobind::module_& m);
void bind_render(nanobind::module_& m);

}  // namespace smartsplat

NB_MODULE(_native, m) {
  smartsplat::bind_bitstream(m);
  smartsplat::bind_encoder(m);
  smartsplat::bind_render(m);
}
