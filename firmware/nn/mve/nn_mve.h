/* Ternary kernels for the M-profile vector extension (Helium). Filters are 2 bits a weight, two's complement, in
 * vectors of 16 bytes: 64 weights, four rows of 16; bits 2i and 2i + 1 of byte k are weight k of row i. What fills them
 * up is 0.
 *
 * Biases are folded where a kernel sums inputs as they are and pads with the zero point: see each. */
#ifndef NN_MVE_H
#define NN_MVE_H

#include <arm_mve.h>

#include "nn.h"

enum { NN_MVE_LANES = 16, NN_MVE_ROWS = 4 };

/* Row i of a vector of filter. */
static inline int8x16_t nn_mve_row(int8x16_t packed, const int i) {
    switch (i) { /* shifts are constants of the instruction */
    case 0: return vshrq_n_s8(vshlq_n_s8(packed, 6), 6);
    case 1: return vshrq_n_s8(vshlq_n_s8(packed, 4), 6);
    case 2: return vshrq_n_s8(vshlq_n_s8(packed, 2), 6);
    default: return vshrq_n_s8(packed, 6);
    }
}

/* What turns accumulators of four output channels into outputs. */
typedef struct {
    int32x4_t bias, multiplier, left, right; /* right <= 0 */
} nn_mve_channels;

/* Those of channels oc..oc + 3. Tables are filled up to a multiple of four channels. */
static inline nn_mve_channels nn_mve_channels_at(const nn_per_channel_quant_params *quant, const int32_t *bias,
                                                 int32_t oc) {
    const int32x4_t shift = vldrbq_s32(quant->shift + oc);
    return (nn_mve_channels){vldrwq_s32(bias + oc), vldrwq_s32(quant->multiplier + oc),
                             vmaxq_s32(shift, vdupq_n_s32(0)), vminq_s32(shift, vdupq_n_s32(0))};
}

/* Four outputs from their accumulators: bias, nn_requantize, output offset and limits. */
static inline int32x4_t nn_mve_outputs(int32x4_t acc, const nn_mve_channels *c, int32_t output_offset,
                                       nn_activation limits) {
    acc = vqrdmulhq_s32(vshlq_s32(vaddq_s32(acc, c->bias), c->left), c->multiplier);
    acc = vaddq_s32(acc, vshrq_n_s32(vandq_s32(acc, c->right), 31)); /* ties away from zero */
    acc = vaddq_n_s32(vrshlq_s32(acc, c->right), output_offset);
    return vminq_s32(vmaxq_s32(acc, vdupq_n_s32(limits.min)), vdupq_n_s32(limits.max));
}

/* Decodes `vectors` vectors of filter: 64 weights each, row after row. */
void nn_mve_decode(const uint8_t *filter, int32_t vectors, int8_t *weights);

/* `block`: output channels whose filters are decoded at a time, a multiple of 16. */
typedef struct {
    nn_conv_params conv;
    int32_t block;
} nn_mve_conv_params;

/* Bias: of inputs as they are, folded. Scratch: see pipeline/kernels/conv2d_t2_mve.py. */
void nn_conv2d_t2_mve(const nn_context *ctx, const nn_mve_conv_params *params, const nn_per_channel_quant_params *quant,
                      const nn_dims *input_dims, const int8_t *input, const nn_dims *filter_dims, const uint8_t *filter,
                      const int32_t *bias, const nn_dims *output_dims, int8_t *output);

/* Bias: of inputs as they are, folded. params->ch_mult is 1; at most NN_MVE_TAPS taps. */
#define NN_MVE_TAPS 255 /* 255 * 128 < 2^15 */
nn_depthwise_conv2d_kernel nn_depthwise_conv2d_t2_mve;

/* Bias: of inputs as they are, folded. */
nn_dense_kernel nn_dense_t2_mve;

#endif
