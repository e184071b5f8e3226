/* Kernels for cores with 32-bit registers and no SIMD instructions: SIMD within a register (SWAR), four signed fields
 * of 16 bits in a word of 64. Words are added without masks: a word is the sum of field i * 2^(16 i) modulo 2^64, so it
 * is exact whatever carries occur on the way, as long as the final value of each field fits 16 bits. The sum of
 * NN_SWAR_TERMS inputs always does.
 *
 * Biases are folded: bias - input zero point * sum of the channel's weights; the kernels sum inputs as they are and pad
 * with the zero point. Accumulators stay within 30 bits, also after a shift to the left. Both are ensured by
 * pipeline/codegen/kernels/_ternary.py. */
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

/* The fields of a word, NN_SWAR_FIELDS of them. */
static inline void nn_swar_unpack(uint64_t word, int32_t *fields) {
    const int32_t low = (int32_t)(uint32_t)word;
    const int32_t high = (int32_t)((uint32_t)(word >> 32) + (low < 0));
    fields[0] = (int16_t)low;
    fields[1] = (low - (int16_t)low) >> 16;
    fields[2] = (int16_t)high;
    fields[3] = (high - (int16_t)high) >> 16;
}

/* What it takes to turn accumulators of one output channel into outputs. */
typedef struct {
    int32_t bias, multiplier, shift, output_offset;
    nn_activation activation;
} nn_swar_channel;

/* `words` words of sums and where their outputs go: field f of word w to output[w * step + place[f]]. wide: further
 * sums, one for every field, or NULL. */
typedef struct {
    const uint64_t *sums;
    const int32_t *wide;
    int32_t words, step;
    int32_t place[NN_SWAR_FIELDS];
} nn_swar_sums;

/* The output of one accumulator. */
int8_t nn_swar_output(const nn_swar_channel *channel, int32_t acc);

/* The outputs of `count` accumulators, `step` bytes apart. */
void nn_swar_outputs(const nn_swar_channel *channel, const int32_t *acc, int32_t count, int32_t step, int8_t *output);

/* The outputs of words of sums. */
void nn_swar_finish(const nn_swar_channel *channel, const nn_swar_sums *sums, int8_t *output);

/* `rows`: kernel rows whose inputs are packed together, filter_dims->h or 1. Filter: words of 18 weights, see
 * nn_conv2d_t2_swar.c. */
typedef struct {
    nn_conv_params conv;
    int32_t rows;
} NN_FLASH nn_swar_conv_params;

void nn_conv2d_t2_swar(const nn_context *ctx, const nn_swar_conv_params *params,
                       const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                       const nn_dims *filter_dims, const NN_FLASH uint32_t *filter, const NN_FLASH int32_t *bias,
                       const nn_dims *output_dims, int8_t *output);

/* Filter: 2 bits a weight, see nn_depthwise_conv2d_t2_swar.c. output may be input where both have the same shape
 * and params->ch_mult is 1. */
nn_depthwise_conv2d_kernel nn_depthwise_conv2d_t2_swar;

/* Filter: codes of pairs of outputs, see nn_dense_t2_swar.c. Scratch: 4 bytes for every NN_SWAR_TERMS / 8 * 8 features.
 */
nn_dense_kernel nn_dense_t2_swar;

/* Weights of 8, 4 or 3 bits: products, summed by nn_swar_signed.h. */
#define NN_SWAR_SLOTS(bits) ((bits) == 3 ? 16 : 8) /* in a step: weights of 8 bits, else pairs */

/* x + 128, without a sign. */
static inline uint8_t nn_swar_code(int8_t x) {
    return (uint8_t)((uint8_t)x ^ 0x80U);
}

/* inputs: the codes of one window, or of two in turn, padded to a multiple of a step, 4-byte aligned. starts: for every
 * `chunk` of the `depth` inputs, what the sums of each window start at. */
typedef struct {
    uint8_t *inputs;
    uint32_t *starts;
    int depth, chunk;
} nn_swar_window;

/* Computes `starts` from the inputs. */
void nn_swar_start(const nn_swar_window *window, int pixels, int bits);

/* bits: of a weight. depth: inputs of a window. chunk: inputs whose sums are certain to fit their fields. */
typedef struct {
    nn_conv_params conv;
    int bits, depth, chunk;
} NN_FLASH nn_swar_signed_conv_params;

typedef struct {
    nn_fc_params fc;
    int bits, depth, chunk;
} NN_FLASH nn_swar_signed_fc_params;

typedef struct {
    nn_dw_conv_params conv;
    int bits;
} NN_FLASH nn_swar_signed_dw_conv_params;

/* Filter: see nn_swar_signed.h. Scratch: four windows. */
void nn_conv2d_s_swar(const nn_context *ctx, const nn_swar_signed_conv_params *params,
                      const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                      const nn_dims *filter_dims, const NN_FLASH void *filter, const NN_FLASH int32_t *bias,
                      const nn_dims *output_dims, int8_t *output);

/* Filter: with 8 bits rows of int8, otherwise see nn_swar_signed.h. Scratch: with fewer than 8 bits a window. */
void nn_dense_s_swar(const nn_context *ctx, const nn_swar_signed_fc_params *params,
                     const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                     const nn_dims *filter_dims, const NN_FLASH void *filter, const NN_FLASH int32_t *bias,
                     const nn_dims *output_dims, int8_t *output);

/* Filter: see nn_depthwise_conv2d_s_swar.c. Scratch: a plane and the weights of a channel. output may be input where
 * both have the same shape and params->conv.ch_mult is 1. */
void nn_depthwise_conv2d_s_swar(const nn_context *ctx, const nn_swar_signed_dw_conv_params *params,
                                const nn_per_channel_quant_params *quant, const nn_dims *input_dims,
                                const int8_t *input, const nn_dims *filter_dims, const NN_FLASH void *filter,
                                const NN_FLASH int32_t *bias, const nn_dims *output_dims, int8_t *output);

/* Scratch: 512 bytes. */
void nn_concatenate_swar(const nn_context *ctx, const nn_concat_params *params, const nn_dims *input1_dims,
                         const int8_t *input1, const nn_dims *input2_dims, const int8_t *input2, int8_t *output);

#endif
