// The interpreter's lock, which long work does without.
#pragma once

namespace smartsplat {

// Releases the lock as long as it lives. Python ends threads that ask for the lock once it exits, by unwinding their
// stacks, and C++ ends the process where a destructor is unwound. So from then on a thread stays where it is.
class ReleasedGil {
 public:
  ReleasedGil();
  ~ReleasedGil();
  ReleasedGil(const ReleasedGil&) = delete;
  ReleasedGil& operator=(const ReleasedGil&) = delete;

 private:
  void* state_;
};

// For atexit, with the lock: no ReleasedGil asks for it any more, and none is waiting for it.
void keep_threads_out();

}  // namespace smartsplat
