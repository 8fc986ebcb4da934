#include "bindings/gil.h"

#include <nanobind/nanobind.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace smartsplat {
namespace {

std::atomic<bool> exiting{false};
std::atomic<int> waiting{0};  // for the lock

}  // namespace

ReleasedGil::ReleasedGil() : state_(PyEval_SaveThread()) {}

ReleasedGil::~ReleasedGil() {
  ++waiting;
  if (exiting) {
    --waiting;
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
  PyEval_RestoreThread(static_cast<PyThreadState*>(state_));
  --waiting;
}

void keep_threads_out() {
  exiting = true;
  PyThreadState* state = PyEval_SaveThread();
  while (waiting > 0) std::this_thread::yield();
  PyEval_RestoreThread(state);
}

}  // namespace smartsplat
