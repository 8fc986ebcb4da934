// smartsplat._native. The files of this folder are all that knows Python: arrays in, plain functions, errors out.
#include <nanobind/nanobind.h>

#include "bindings/gil.h"

namespace smartsplat {

void bind_bitstream(nanobind::module_& m);
void bind_decoder(nanobind::module_& m);
void bind_encoder(nanobind::module_& m);
void bind_render(nanobind::module_& m);

}  // namespace smartsplat

NB_MODULE(_native, m) {
  // A thread of another one that asks for an object of ours would wait for ever.
  if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0)
    throw nanobind::import_error("smartsplat cannot be used in a sub-interpreter");
  nanobind::set_leak_warnings(false);  // threads that are at work when Python exits keep what they have
  nanobind::module_::import_("atexit").attr("register")(nanobind::cpp_function(&smartsplat::keep_threads_out));
  smartsplat::bind_bitstream(m);
  smartsplat::bind_decoder(m);
  smartsplat::bind_encoder(m);
  smartsplat::bind_render(m);
}
