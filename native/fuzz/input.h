// What libFuzzer gives a target, taken apart from its beginning.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace smartsplat {

class Input {
 public:
  Input(const uint8_t* bytes, size_t size) : bytes_(bytes), size_(size) {}

  // 0 where there is nothing left.
  template <class T>
  T take() {
    T value{};
    const size_t size = sizeof value < size_ ? sizeof value : size_;
    std::memcpy(&value, bytes_, size);
    bytes_ += size;
    size_ -= size;
    return value;
  }
  // Of [low, high].
  int take(int low, int high) {
    return low + static_cast<int>(take<uint32_t>() % static_cast<uint32_t>(high - low + 1));
  }

  const uint8_t* bytes() const { return bytes_; }
  int64_t size() const { return static_cast<int64_t>(size_); }

 private:
  const uint8_t* bytes_;
  size_t size_;
};

inline void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace smartsplat
