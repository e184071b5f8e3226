/* Integer semantics, once for C. pipeline/arith.py is the same thing in Python; docs/ARITHMETIC.md is the law.
 * No other C file of the portable kernels rounds, shifts or saturates. Right shifts of negative values are arithmetic:
 * asserted below. */
#ifndef NN_ARITH_H
#define NN_ARITH_H

#include <assert.h>
#include <stdint.h>

static_assert((-1 >> 1) == -1, "right shift of a negative int must be arithmetic");

#define NN_ADD_LEFT_SHIFT 20 /* head room of both inputs of an add, as TensorFlow Lite's int8 reference */

static inline int32_t nn_max(int32_t a, int32_t b) {
    return a > b ? a : b;
}
static inline int32_t nn_min(int32_t a, int32_t b) {
    return a < b ? a : b;
}

/* x limited to [low, high]. */
static inline int32_t nn_clamp(int32_t x, int32_t low, int32_t high) {
    return nn_min(nn_max(x, low), high);
}

/* floor((a * b + 2^30) / 2^31); b != INT32_MIN. */
static inline int32_t nn_doubling_high_multiply(int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
}

/* x / 2^exponent, nearest, ties away from zero; exponent in [0, 31]. */
static inline int32_t nn_rounding_right_shift(int32_t x, int32_t exponent) {
    const int32_t mask = (int32_t)(((uint32_t)1 << exponent) - 1U);
    const int32_t remainder = x & mask;
    const int32_t threshold = (int32_t)((uint32_t)mask >> 1) + (x < 0);
    return (x >> exponent) + (remainder > threshold);
}

/* acc * multiplier * 2^(shift - 31), the project's one variant. The generator guarantees multiplier in [0, 2^31),
 * shift in [-31, 30] and that acc * 2^max(shift, 0) fits. */
static inline int32_t nn_requantize(int32_t acc, int32_t multiplier, int32_t shift) {
    const int32_t left = nn_max(shift, 0);
    const int32_t right = nn_max(-shift, 0);
    return nn_rounding_right_shift(nn_doubling_high_multiply((int32_t)((uint32_t)acc << left), multiplier), right);
}

/* total / count, nearest, ties away from zero; count > 0. */
static inline int32_t nn_rounded_mean(int32_t total, int32_t count) {
    const int32_t half = count / 2;
    return total >= 0 ? (total + half) / count : (total - half) / count;
}

#endif
