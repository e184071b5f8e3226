/* Kernels for the M-profile vector extension (Helium): weights of 8, 4 or 3 bits, and ternary ones.
 *
 * A filter is a sequence of rows of 16 weights in two's complement, in vectors of 16 bytes, padded with zeros. Weight k
 * of a row lies in byte k. 8 bits: a vector is a row. 4 bits: it is two rows, in bits 0-3 and 4-7. Ternary: four rows
 * of 2 bits. 3 bits: three vectors are eight rows, vector v holds rows 2v and 2v + 1 in bits 0-2 and 3-5; bits 6-7 of
 * the first two are the upper two bits of rows 6 and 7, bits 6 and 7 of the third their lowest bits.
 *
 * Biases are folded: kernels sum inputs as they are and pad with the zero point. */
#ifndef NN_MVE_H
#define NN_MVE_H

#include <arm_mve.h>
#include <stdbool.h>

#include "nn.h"

enum { NN_MVE_LANES = 16, NN_MVE_ROWS = 4 }; /* weights in a row; rows, or channels, at a time */

/* A unit of filter: the fewest whole vectors that hold a multiple of NN_MVE_ROWS rows. */
#define NN_MVE_UNIT_ROWS(bits) ((bits) == 3 ? 8 : 4)
#define NN_MVE_UNIT_VECTORS(bits) (NN_MVE_UNIT_ROWS(bits) * (bits) / 8)

/* Row i of a unit of filter; bits and i must be constants, since shifts are part of the instructions. */
static inline __attribute__((always_inline)) int8x16_t nn_mve_row(const int bits, const int8x16_t *unit, const int i) {
    switch (bits) {
    case 8: return unit[i];
    case 4: return i % 2 ? vshrq_n_s8(unit[i / 2], 4) : vshrq_n_s8(vshlq_n_s8(unit[i / 2], 4), 4);
    case 3:
        if (i == 6) return vsliq_n_s8(vshrq_n_s8(unit[2], 6), vshrq_n_s8(unit[0], 6), 1);
        if (i == 7) return vsliq_n_s8(vshrq_n_s8(unit[2], 7), vshrq_n_s8(unit[1], 6), 1);
        return vshrq_n_s8(i % 2 ? vshlq_n_s8(unit[i / 2], 2) : vshlq_n_s8(unit[i / 2], 5), 5);
    default:
        if (i == 0) return vshrq_n_s8(vshlq_n_s8(unit[0], 6), 6);
        if (i == 1) return vshrq_n_s8(vshlq_n_s8(unit[0], 4), 6);
        return i == 2 ? vshrq_n_s8(vshlq_n_s8(unit[0], 2), 6) : vshrq_n_s8(unit[0], 6);
    }
}

/* Loads a unit of filter. */
static inline __attribute__((always_inline)) void nn_mve_load_unit(const int bits, const int8_t *filter,
                                                                   int8x16_t *unit) {
#pragma GCC unroll 4
    for (int v = 0; v < NN_MVE_ROWS; v++) {
        if (v < NN_MVE_UNIT_VECTORS(bits)) unit[v] = vldrbq_s8(filter + v * NN_MVE_LANES);
    }
}

/* What it takes to turn accumulators of four output channels into outputs. */
typedef struct {
    int32x4_t bias, multiplier, shift;
} nn_mve_channels;

/* Those of channels oc..oc + 3. Tables are padded to a multiple of four channels. */
static inline nn_mve_channels nn_mve_channels_at(const nn_per_channel_quant_params *quant, const int32_t *bias,
                                                 int32_t oc) {
    return (nn_mve_channels){vldrwq_s32(bias + oc), vldrwq_s32(quant->multiplier + oc), vldrbq_s32(quant->shift + oc)};
}

/* nn_requantize of four accumulators. `relu`: all negative ones give the lowest output, however they are rounded, and
 * no shift is to the left. */
static inline __attribute__((always_inline)) int32x4_t nn_mve_requantized(int32x4_t acc, int32x4_t multiplier,
                                                                          int32x4_t shift, const bool relu) {
    if (relu) return vrshlq_s32(vqrdmulhq_s32(acc, multiplier), shift);
    const int32x4_t right = vminq_s32(shift, vdupq_n_s32(0));
    acc = vqrdmulhq_s32(vshlq_s32(acc, vmaxq_s32(shift, vdupq_n_s32(0))), multiplier);
    acc = vaddq_s32(acc, vshrq_n_s32(vandq_s32(acc, right), 31)); /* ties away from zero */
    return vrshlq_s32(acc, right);
}

/* Four outputs from their accumulators: bias, requantization, output offset and limits. */
static inline __attribute__((always_inline)) int32x4_t
nn_mve_outputs(int32x4_t acc, const nn_mve_channels *c, int32_t output_offset, nn_activation limits, const bool relu) {
    acc = nn_mve_requantized(vaddq_s32(acc, c->bias), c->multiplier, c->shift, relu);
    acc = vaddq_n_s32(acc, output_offset);
    return vminq_s32(vmaxq_s32(acc, vdupq_n_s32(limits.min)), vdupq_n_s32(limits.max));
}

/* Decodes `rows` rows of filter to int8, rounded up to whole units; returns the filter that follows. */
typedef const int8_t *nn_mve_decode_code(const int8_t *filter, int32_t rows, int8_t *weights);
nn_mve_decode_code nn_mve_decode_t2, nn_mve_decode_s3, nn_mve_decode_s4;

/* A block of output channels. */
typedef struct {
    const nn_conv_params *conv;
    const nn_per_channel_quant_params *quant;
    const int32_t *bias;
    const int8_t *weights; /* of the block, decoded */
    int32_t first;         /* its first channel */
    int32_t channels;      /* of the block */
    int32_t steps;         /* vectors in a window */
} nn_mve_block;

/* Writes the outputs of two pixels, `to_second` apart, in at most 16 channels from `first` on, from their sums. */
typedef void nn_mve_write_code(const nn_mve_block *block, int32_t first, int32_t channels, const int32_t *sums,
                               int8_t *output, int32_t to_second);
nn_mve_write_code nn_mve_write, nn_mve_write_relu;

/* block: output channels whose filters are decoded at a time, a multiple of 16. decode: NULL for weights of 8 bits,
 * which are read in place, all channels in one block. */
typedef struct {
    nn_conv_params conv;
    int32_t block;
    nn_mve_decode_code *decode;
    nn_mve_write_code *write;
} nn_mve_conv_params;

/* Scratch: see pipeline/codegen/kernels/conv2d_s_mve.py. */
void nn_conv2d_s_mve(const nn_context *ctx, const nn_mve_conv_params *params, const nn_per_channel_quant_params *quant,
                     const nn_dims *input_dims, const int8_t *input, const nn_dims *filter_dims, const void *filter,
                     const int32_t *bias, const nn_dims *output_dims, int8_t *output);

/* One pixel of a depthwise convolution. quant and bias: every 16 channels in the order 0, 4, 8, 12, 1, 5 and so on. */
typedef struct {
    const int8_t *const *taps; /* the input pixel of each tap of its window */
    int32_t count;             /* of taps */
    const int8_t *weights;     /* for every 16 channels those of each tap */
    int32_t channels;          /* of the output */
    int32_t repeats;           /* output channels that read the same input channel */
    const uint8_t *repeated;   /* the input channel of each output channel, from that of the first of 16 on */
    nn_per_channel_quant_params quant;
    const int32_t *bias;
    int32_t output_offset;
    nn_activation activation;
} nn_mve_pixel;

/* Writes its outputs: with sums in 16 bits, for filters whose sums cannot exceed that; in 32 bits, for any. Input
 * channels are read once, or repeated. */
typedef void nn_mve_pixel_code(const nn_mve_pixel *pixel, int8_t *output);
nn_mve_pixel_code nn_mve_pixel16, nn_mve_pixel16_relu, nn_mve_pixel32, nn_mve_pixel32_relu;
nn_mve_pixel_code nn_mve_repeated16, nn_mve_repeated16_relu, nn_mve_repeated32, nn_mve_repeated32_relu;

typedef struct {
    nn_dw_conv_params conv;
    nn_mve_decode_code *decode; /* NULL: as above */
    nn_mve_pixel_code *pixel;   /* nn_mve_repeated... where ch_mult is not 1 */
} nn_mve_dw_conv_params;

/* quant and bias: as in nn_mve_pixel, padded to a multiple of 16 channels. */
void nn_depthwise_conv2d_s_mve(const nn_context *ctx, const nn_mve_dw_conv_params *params,
                               const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                               const nn_dims *filter_dims, const void *filter, const int32_t *bias,
                               const nn_dims *output_dims, int8_t *output);

/* Dot products of `count` inputs with the next four filters; returns the filter that follows. */
typedef const int8_t *nn_mve_dot_code(const int8_t *x, int32_t count, const int8_t *filter, int32_t sums[NN_MVE_ROWS]);
nn_mve_dot_code nn_mve_dot_t2, nn_mve_dot_s3, nn_mve_dot_s4, nn_mve_dot_s8;

typedef struct {
    nn_fc_params fc;
    nn_mve_dot_code *dot;
} nn_mve_fc_params;

void nn_dense_s_mve(const nn_context *ctx, const nn_mve_fc_params *params, const nn_per_channel_quant_params *quant,
                    const nn_dims *input_dims, const int8_t *input, const nn_dims *filter_dims, const void *filter,
                    const int32_t *bias, const nn_dims *output_dims, int8_t *output);

typedef struct nn_mve_add_params nn_mve_add_params;
typedef void nn_mve_add_code(const nn_mve_add_params *p, int32_t count, const int8_t *input1, const int8_t *input2,
                             int8_t *output);
/* Sums in 16 bits: (start + factor1 * input1 + factor2 * input2) / 2^NN_MVE_ADD16_FRACTION, rounded to nearest. In 32
 * bits: (start + 2^9 + factor1 * input1 / 2^8 + factor2 * input2 / 2^8) / 2^NN_MVE_ADD32_FRACTION, every quotient
 * rounded down. Any others: as nn_add. */
nn_mve_add_code nn_mve_add16, nn_mve_add32, nn_mve_add_any;
#define NN_MVE_ADD16_FRACTION 6
#define NN_MVE_ADD32_FRACTION 18

struct nn_mve_add_params {
    nn_add_params add;
    int32_t factor1, factor2, start; /* unused by nn_mve_add_any */
    nn_mve_add_code *code;
};

/* output may be input1 or input2. */
void nn_add_mve(const nn_mve_add_params *params, const nn_dims *dims, const int8_t *input1, const int8_t *input2,
                int8_t *output);

/* Averages are of at most 255 elements. */
nn_pool2d_kernel nn_max_pool2d_mve, nn_average_pool2d_mve;

#endif
