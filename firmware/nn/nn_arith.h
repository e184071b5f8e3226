/* Integer semantics, once for C. pipeline/network/arith.py has the same in Python; docs/ARITHMETIC.md specifies both.
 * No other file of the reference kernels rounds or saturates. Right shifts of negative values are
 * arithmetic, as asserted below. */
#ifndef NN_ARITH_H
#define NN_ARITH_H

#include <assert.h>
#include <stdint.h>

static_assert((-1 >> 1) == -1, "right shift of a negative int must be arithmetic");

#if defined(__arm__) && !defined(__thumb2__)
#define NN_NO_LONG_MULTIPLY /* Armv6-M: no instruction gives the upper half of a 64-bit product */
#endif

#define NN_ADD_LEFT_SHIFT 20 /* headroom of both inputs of an addition, as in TensorFlow Lite's int8 reference */

static inline int nn_max(int a, int b) {
    return a > b ? a : b;
}
static inline int nn_min(int a, int b) {
    return a < b ? a : b;
}

/* x limited to [low, high]. */
static inline int nn_clamp(int32_t x, int low, int high) {
    if (x < low) return low;
    return x > high ? high : (int)x;
}

/* Never inlined: inlined, GCC would use the slower 32-bit multiplication. */
__attribute__((noinline, unused)) static uint32_t nn_multiply_u16(uint16_t a, uint16_t b) {
    return (uint32_t)a * b;
}

/* nn_doubling_high_multiply from four products of 16-bit halves, for cores whose 64-bit arithmetic is slow. The halves
 * are treated as unsigned; for a negative factor this adds the other factor to the high word, which is subtracted
 * again. */
static inline int32_t nn_doubling_high_multiply_by_halves(int32_t a, int32_t b) {
    const uint16_t a_high = (uint16_t)((uint32_t)a >> 16), b_high = (uint16_t)((uint32_t)b >> 16);
    const uint16_t a_low = (uint16_t)a, b_low = (uint16_t)b;
    const uint32_t middle1 = nn_multiply_u16(a_high, b_low), middle2 = nn_multiply_u16(a_low, b_high);
    const uint32_t carry = (nn_multiply_u16(a_low, b_low) >> 16) + (uint16_t)middle1 + (uint16_t)middle2 + 0x4000U;
    uint32_t high = nn_multiply_u16(a_high, b_high) + (middle1 >> 16) + (middle2 >> 16) + (carry >> 16);
    if (a < 0) high -= (uint32_t)b;
    if (b < 0) high -= (uint32_t)a;
    return (int32_t)(high << 1 | ((carry >> 15) & 1U));
}

/* floor((a * b + 2^30) / 2^31); b != INT32_MIN. */
static inline int32_t nn_doubling_high_multiply(int32_t a, int32_t b) {
#ifdef __AVR__
    return nn_doubling_high_multiply_by_halves(a, b);
#else
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
#endif
}

/* floor((a * b + 2^31) / 2^32) for b >= 0 from four products of 16-bit halves, for cores whose products have 32 bits.
 */
static inline int32_t nn_rounded_high_multiply_by_halves(int32_t a, int32_t b) {
    const int32_t a_high = a >> 16, b_high = b >> 16;
    const uint32_t a_low = (uint16_t)a, b_low = (uint16_t)b;
    int32_t half = 0x8000;
    __asm("" : "+r"(half)); /* kept in a register: Armv6-M takes two instructions to load it */
    const int32_t middle = a_high * (int32_t)b_low + (int32_t)(a_low * b_low >> 16) + half; /* below 2^31 */
    const uint32_t rest = (uint16_t)middle + a_low * (uint32_t)b_high;
    return a_high * b_high + (middle >> 16) + (int32_t)(rest >> 16);
}

/* nn_rounding_right_shift, by whole bytes first, for cores that shift one bit at a time. */
static inline int32_t nn_rounding_right_shift_by_bytes(int32_t x, int exponent) {
    if (exponent == 0) return x;
    uint32_t magnitude = x < 0 ? 0U - (uint32_t)x : (uint32_t)x;
    int rest = exponent - 1;
    for (; rest >= 8; rest -= 8) magnitude >>= 8;
    magnitude = ((magnitude >> rest) + 1U) >> 1;
    return x < 0 ? -(int32_t)magnitude : (int32_t)magnitude;
}

/* x / 2^exponent, rounded to nearest, ties away from zero; exponent in [0, 31]. */
static inline int32_t nn_rounding_right_shift(int32_t x, int exponent) {
#ifdef __AVR__
    return nn_rounding_right_shift_by_bytes(x, exponent);
#else
    const int32_t mask = (int32_t)(((uint32_t)1 << exponent) - 1U);
    const int32_t remainder = x & mask;
    const int32_t threshold = (int32_t)((uint32_t)mask >> 1) + (x < 0);
    return (x >> exponent) + (remainder > threshold);
#endif
}

/* acc * multiplier * 2^(shift - 31), the only variant in this project. The generator guarantees multiplier in [0,
 * 2^31), shift in [-31, 30], and that acc * 2^max(shift, 0), and the result plus a zero point, fit. */
static inline int32_t nn_requantize(int32_t acc, int32_t multiplier, int shift) {
    const int left = nn_max(shift, 0);
    const int right = nn_max(-shift, 0);
    return nn_rounding_right_shift(nn_doubling_high_multiply((int32_t)((uint32_t)acc << left), multiplier), right);
}

/* total / count, rounded to nearest, ties away from zero; count > 0. */
static inline int32_t nn_rounded_mean(int32_t total, int32_t count) {
    const int32_t half = count / 2;
    return total >= 0 ? (total + half) / count : (total - half) / count;
}

#endif
