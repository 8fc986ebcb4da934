// Vectors as wide as the instruction set, and functions on them. For the files that are compiled once for each
// instruction set: everything lies in the namespace that SMARTSPLAT_VARIANT names.
#pragma once

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include <cstdint>

#define SMARTSPLAT_STRING(x) #x
#define SMARTSPLAT_EXPANDED_STRING(x) SMARTSPLAT_STRING(x)
#define SMARTSPLAT_VARIANT_NAME SMARTSPLAT_EXPANDED_STRING(SMARTSPLAT_VARIANT)

namespace smartsplat {
namespace SMARTSPLAT_VARIANT {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Floats __attribute__((vector_size(kLanes * 4)));
typedef float UnalignedFloats __attribute__((vector_size(kLanes * 4), aligned(4)));
typedef int32_t Ints __attribute__((vector_size(kLanes * 4)));
typedef int32_t UnalignedInts __attribute__((vector_size(kLanes * 4), aligned(4)));

inline Floats all(float value) { return value - Floats{}; }
inline Floats load(const float* from) { return *reinterpret_cast<const UnalignedFloats*>(from); }
inline void store(float* to, Floats value) { *reinterpret_cast<UnalignedFloats*>(to) = value; }
inline void store(int32_t* to, Ints value) { *reinterpret_cast<UnalignedInts*>(to) = value; }
inline Floats select(Ints mask, Floats yes, Floats no) { return mask ? yes : no; }
// a b + c, rounded once where the instruction set can. Compilers make none of their own of a product and a sum
// (-ffp-contract=off), or each would give other bits.
#if defined(__AVX512F__)
inline Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
#elif defined(__AVX2__)
inline Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
#elif defined(__aarch64__)
inline Floats fma(Floats a, Floats b, Floats c) { return vfmaq_f32(c, a, b); }
#else
inline Floats fma(Floats a, Floats b, Floats c) { return a * b + c; }
#endif
inline Floats fma(float a, Floats b, Floats c) { return fma(all(a), b, c); }
// b where either is NaN.
#if defined(__AVX512F__)  // GCC would compare and blend
inline Floats minimum(Floats a, Floats b) { return _mm512_maskz_min_ps(0xffff, a, b); }
inline Floats maximum(Floats a, Floats b) { return _mm512_maskz_max_ps(0xffff, a, b); }
#elif defined(__AVX2__)
inline Floats minimum(Floats a, Floats b) { return _mm256_min_ps(a, b); }
inline Floats maximum(Floats a, Floats b) { return _mm256_max_ps(a, b); }
#else
inline Floats minimum(Floats a, Floats b) { return select(a < b, a, b); }
inline Floats maximum(Floats a, Floats b) { return select(a > b, a, b); }
#endif

// The lower and the upper half of a0 b0 a1 b1 ..., the lanes of two vectors taken in turn; the inverse: every other
// lane of a followed by b; kLanes lanes of a followed by b, from number kFirst on; and in each lane the sum of the four
// that it is one of.
#if defined(__AVX512F__)
inline Floats zip_low(Floats a, Floats b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
inline Floats zip_high(Floats a, Floats b) {
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
inline Floats unzip_even(Floats a, Floats b) {
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
}
inline Floats unzip_odd(Floats a, Floats b) {
  return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}
inline Floats sum_of_fours(Floats a) {
  a += __builtin_shufflevector(a, a, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
  return a + __builtin_shufflevector(a, a, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
}
template <int kFirst>
inline Floats lanes_from(Floats a, Floats b) {  // GCC would look up a table of lanes for the shuffle
  return reinterpret_cast<Floats>(
      _mm512_maskz_alignr_epi32(0xffff, reinterpret_cast<__m512i>(b), reinterpret_cast<__m512i>(a), kFirst));
}
#elif defined(__AVX2__)
inline Floats zip_low(Floats a, Floats b) { return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
inline Floats zip_high(Floats a, Floats b) { return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
inline Floats unzip_even(Floats a, Floats b) { return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14); }
inline Floats unzip_odd(Floats a, Floats b) { return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15); }
inline Floats sum_of_fours(Floats a) {
  a += __builtin_shufflevector(a, a, 1, 0, 3, 2, 5, 4, 7, 6);
  return a + __builtin_shufflevector(a, a, 2, 3, 0, 1, 6, 7, 4, 5);
}
template <int kFirst>
inline Floats lanes_from(Floats a, Floats b) {
  return __builtin_shufflevector(a, b, kFirst, kFirst + 1, kFirst + 2, kFirst + 3, kFirst + 4, kFirst + 5, kFirst + 6,
                                 kFirst + 7);
}
#else
inline Floats zip_low(Floats a, Floats b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
inline Floats zip_high(Floats a, Floats b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
inline Floats unzip_even(Floats a, Floats b) { return __builtin_shufflevector(a, b, 0, 2, 4, 6); }
inline Floats unzip_odd(Floats a, Floats b) { return __builtin_shufflevector(a, b, 1, 3, 5, 7); }
inline Floats sum_of_fours(Floats a) {
  a += __builtin_shufflevector(a, a, 1, 0, 3, 2);
  return a + __builtin_shufflevector(a, a, 2, 3, 0, 1);
}
template <int kFirst>
inline Floats lanes_from(Floats a, Floats b) {
  return __builtin_shufflevector(a, b, kFirst, kFirst + 1, kFirst + 2, kFirst + 3);
}
#endif

inline Floats absolute(Floats value) { return reinterpret_cast<Floats>(reinterpret_cast<Ints>(value) & 0x7fffffff); }

// Of a comparison, whose lanes are 0 or -1.
inline bool any(Ints mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask(reinterpret_cast<__m512i>(mask), reinterpret_cast<__m512i>(mask)) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps(reinterpret_cast<__m256>(mask)) != 0;
#else
  return (mask[0] | mask[1] | mask[2] | mask[3]) != 0;
#endif
}

inline float sum(Floats value) {
  // A fixed tree, so that the result does not depend on how the compiler would order it.
  float lane[kLanes];
  store(lane, value);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  return lane[0];
}

// out[i] = the sum of the lanes of values[i], again by fixed trees: each round halves what is left of a pair of
// vectors and puts it into one, the first in the even lanes.
inline void sum_each(const Floats (&values)[8], float* out) {
  constexpr int kGroup = kLanes < 8 ? kLanes : 8;  // sums that end up in one vector
  for (int first = 0; first < 8; first += kGroup) {
    Floats pairs[kGroup];
    for (int i = 0; i < kGroup; ++i) pairs[i] = values[first + i];
    for (int half = kGroup / 2; half > 0; half /= 2)
      for (int i = 0; i < half; ++i)
        pairs[i] = zip_low(pairs[i], pairs[i + half]) + zip_high(pairs[i], pairs[i + half]);
    float lane[kLanes];
    store(lane, pairs[0]);
    for (int i = 0; i < kGroup; ++i) out[first + i] = kLanes > kGroup ? lane[i] + lane[i + kLanes - kGroup] : lane[i];
  }
}

inline Floats square_root(Floats value) {
  float lane[kLanes];
  store(lane, value);
  for (int i = 0; i < kLanes; ++i) lane[i] = __builtin_sqrtf(lane[i]);
  return load(lane);
}

constexpr float kLog2E = 1.44269504f;
constexpr float kMaxPower = 80.0f * kLog2E;

// 2^x for -kMaxPower <= x <= kMaxPower: 2^n times a polynomial on [-1/2, 1/2], fitted; relative error 2e-7.
inline Floats power_of_two(Floats x) {
  const Floats shifter = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Floats shifted = x + shifter;
  const Floats f = x - (shifted - shifter);
  Floats p = all(0.00132647273f);
  p = fma(p, f, all(0.00967151299f));
  p = fma(p, f, all(0.0555073358f));
  p = fma(p, f, all(0.240222424f));
  p = fma(p, f, all(0.693147004f));
  p = fma(p, f, all(1.0f));
  return reinterpret_cast<Floats>(reinterpret_cast<Ints>(p) + (reinterpret_cast<Ints>(shifted) << 23));
}

inline Floats lane_index() {
  Floats index;
  for (int i = 0; i < kLanes; ++i) index[i] = static_cast<float>(i);
  return index;
}

}  // namespace
}  // namespace SMARTSPLAT_VARIANT
}  // namespace smartsplat
