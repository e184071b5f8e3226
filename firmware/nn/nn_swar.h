/* Ternary kernels for cores with 32-bit registers and no SIMD instructions: SIMD within a register (SWAR), four signed
 * fields of 16 bits in a word of 64. Words are added without masks: a word is the sum of field i * 2^(16 i) modulo
 * 2^64, so it is exact whatever carries on the way, as long as the final value of each field fits 16 bits.
 * NN_SWAR_TERMS inputs always do.
 *
 * Biases are folded: bias - input zero point * sum of the channel's weights; the kernels sum inputs as they are and pad
 * with the zero point. Accumulators stay within +-2^30. Both by pipeline/kernels/_ternary.py. */
#ifndef NN_SWAR_H
#define NN_SWAR_H

#include "nn.h"
#include "nn_arith.h"

#define NN_SWAR_FIELDS 4
#define NN_SWAR_TERMS 255 /* 255 * 128 < 2^15 */

/* a + b * 2^16 + c * 2^32 + d * 2^48. */
static inline uint64_t nn_swar_quad(int8_t a, int8_t b, int8_t c, int8_t d) {
    const int32_t low = a + b * 65536, high = c + d * 65536;
    return (uint64_t)(uint32_t)(high + (low >> 31)) << 32 | (uint32_t)low;
}

/* Fields of a word. */
static inline void nn_swar_unpack(uint64_t word, int32_t *fields) {
    const int32_t low = (int32_t)(uint32_t)word;
    const int32_t high = (int32_t)((uint32_t)(word >> 32) + (low < 0));
    fields[0] = (int16_t)low;
    fields[1] = (low - (int16_t)low) >> 16;
    fields[2] = (int16_t)high;
    fields[3] = (high - (int16_t)high) >> 16;
}

/* What turns accumulators of one output channel into outputs. */
typedef struct {
    int32_t bias, multiplier, shift, output_offset;
    nn_activation activation;
} nn_swar_channel;

#define NN_SWAR_FAST_SHIFT 20 /* largest right shift whose rounding and output offset fit beside the product */

/* nn_requantize + output offset for 1 <= right <= NN_SWAR_FAST_SHIFT and |acc| < 2^30. The product is doubled through
 * its factor, so that its high word is the doubled high product; both roundings and the offset are additions. */
static inline int32_t nn_swar_requantize(int32_t twice_acc, int32_t multiplier, int32_t right, int32_t rounding) {
    const int64_t product = (int64_t)twice_acc * multiplier;
    const int32_t high = (int32_t)(product >> 32) + (int32_t)((uint32_t)product >> 31);
    return (high + rounding + (high >> 31)) >> right;
}

/* q as int8, inside the limits; `all`: they are those of int8. */
static inline int8_t nn_swar_limit(int32_t q, nn_activation limits, int all) {
#ifdef __ARM_FEATURE_SAT
    if (all) {
        __asm("ssat %0, #8, %0" : "+r"(q));
        return (int8_t)q;
    }
#endif
    (void)all;
    return (int8_t)nn_clamp(q, limits.min, limits.max);
}

/* nn_swar_finish for shifts from -NN_SWAR_FAST_SHIFT to -1. */
static inline void nn_swar_finish_fast(const nn_swar_channel *c, const int32_t *acc, int32_t count, int8_t *output,
                                       int32_t step, int all) {
    const int32_t right = -c->shift, multiplier = c->multiplier, twice_bias = 2 * c->bias;
    const int32_t rounding = ((int32_t)1 << (right - 1)) + c->output_offset * ((int32_t)1 << right);
    for (const int32_t *end = acc + count; acc < end; acc++, output += step) {
        const int32_t q = nn_swar_requantize(twice_bias + 2 * *acc, multiplier, right, rounding);
        *output = nn_swar_limit(q, c->activation, all);
    }
}

/* output[i * step] = requantized acc[i], i < count. */
static inline void nn_swar_finish(const nn_swar_channel *c, const int32_t *acc, int32_t count, int8_t *output,
                                  int32_t step) {
    if (c->shift > -1 || c->shift < -NN_SWAR_FAST_SHIFT) {
        for (int32_t i = 0; i < count; i++, output += step) {
            const int32_t q = nn_requantize(acc[i] + c->bias, c->multiplier, c->shift) + c->output_offset;
            *output = nn_swar_limit(q, c->activation, 0);
        }
    } else if (c->activation.min == INT8_MIN && c->activation.max == INT8_MAX) {
        nn_swar_finish_fast(c, acc, count, output, step, 1);
    } else {
        nn_swar_finish_fast(c, acc, count, output, step, 0);
    }
}

/* `rows`: kernel rows whose inputs are packed together, filter_dims->h or 1. Filter: words of NN_SWAR_CONV_TERMS
 * weights, see nn_conv2d_swar.c. */
typedef struct {
    nn_conv_params conv;
    int32_t rows;
} NN_FLASH nn_swar_conv_params;

void nn_convolve_t2_swar(const nn_context *ctx, const nn_swar_conv_params *params,
                         const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                         const nn_dims *filter_dims, const NN_FLASH uint32_t *filter, const NN_FLASH int32_t *bias,
                         const nn_dims *output_dims, int8_t *output);

#endif
