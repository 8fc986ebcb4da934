// A vector whose new elements are left as they are: the threads that fill them are the first to touch their pages.
#pragma once

#include <memory>
#include <new>
#include <vector>

namespace smartsplat {

template <class T>
struct Unfilled : std::allocator<T> {
  template <class U>
  struct rebind {
    using other = Unfilled<U>;
  };
  template <class U>
  void construct(U* at) noexcept {
    ::new (static_cast<void*>(at)) U;
  }
};
template <class T>
using UnfilledVector = std::vector<T, Unfilled<T>>;

}  // namespace smartsplat
