/* Portable integer neural-network kernels. Pure: no heap, no stdio, no globals, no failure at run time; every size and
 * value below was decided by the generator and locked by static_assert in the generated model.c.
 *
 * Conventions are CMSIS-NN's: argument order ctx, params, quant, then (dims, data) pairs; tensors int8, NHWC, batch 1;
 * filters OHWI (depthwise 1HWC, dense OI); bias int32 per output channel, never NULL.
 * Extents, positions, counters and everything of a tensor's range are int: with 16 bits, as on AVR, they hold all that
 * fits such a memory. Accumulators, biases and multipliers are int32.
 * Params, dims, quantization, filters and biases are constants: they lie in flash (nn_flash.h).
 *
 * A kernel is named after its operation, its weights (s8 = int8, s4, s3 = packed signed 4 and 3 bits, s = signed of
 * several widths, t2 = ternary at 2 bits; none where there are no weights) and its family: nn_conv2d_t2 is the
 * reference, nn_conv2d_t2_dsp the same for cores with DSP instructions. The family is the folder that holds its file:
 * reference/ (portable), swar/ (32-bit cores without SIMD instructions), dsp/ (Armv7E-M DSP extension), mve/ (Armv8.1-M
 * vector extension).
 */
#ifndef NN_H
#define NN_H

#include <stdint.h>

#include "nn_flash.h"

/* Scratch memory of one call; size in bytes, 4-byte aligned; buf may be NULL when size is 0. */
typedef struct {
    void *buf;
    int size;
} nn_context;

typedef struct {
    int n; /* batch: always 1 for activations; output channels for filters */
    int h, w, c;
} NN_FLASH nn_dims;

typedef struct {
    int w, h;
} nn_tile;

/* Inclusive clamp applied to every output. */
typedef struct {
    int min, max;
} nn_activation;

/* Requantization per output channel: see nn_requantize. */
typedef struct {
    const NN_FLASH int32_t *multiplier;
    const NN_FLASH int8_t *shift;
} NN_FLASH nn_per_channel_quant_params;

/* offsets as in CMSIS-NN: input_offset = -input zero point, output_offset = +output zero point.
 * padding: rows / columns added before the first; what follows the last is implied by the output dims. */
typedef struct {
    int input_offset, output_offset;
    nn_tile stride, padding;
    nn_activation activation;
} NN_FLASH nn_conv_params;

/* Depthwise: output channels = input channels * ch_mult, channel o reads input channel o / ch_mult. */
typedef struct {
    int input_offset, output_offset;
    int ch_mult;
    nn_tile stride, padding;
    nn_activation activation;
} NN_FLASH nn_dw_conv_params;

typedef struct {
    int input_offset, output_offset;
    nn_activation activation;
} NN_FLASH nn_fc_params;

/* Both inputs are widened by NN_ADD_LEFT_SHIFT, rescaled to a common scale, added, rescaled to the output's. */
typedef struct {
    int input1_offset;
    int32_t input1_mult;
    int input1_shift;
    int input2_offset;
    int32_t input2_mult;
    int input2_shift;
    int output_offset;
    int32_t output_mult;
    int output_shift;
    nn_activation activation;
} NN_FLASH nn_add_params;

typedef struct {
    int input1_offset;
    int32_t input1_mult;
    int input1_shift;
    int input2_offset;
    int32_t input2_mult;
    int input2_shift;
    int output_offset;
    nn_activation activation;
} NN_FLASH nn_concat_params;

typedef struct {
    nn_tile stride, padding;
    nn_activation activation;
} NN_FLASH nn_pool_params;

/* The sum over a map, each element widened by input_offset, is requantized with a multiplier that divides by the count
 * as well. */
typedef struct {
    int input_offset, output_offset;
    int32_t multiplier;
    int shift;
    nn_activation activation;
} NN_FLASH nn_mean_params;

/* value: of every element around the input. before: rows above and columns left of it; what follows it is implied by
 * the output dims. */
typedef struct {
    int value;
    nn_tile before;
} NN_FLASH nn_pad_params;

/* The kernels. One function type for each operation, so that a kernel is one word here. What `filter` points to is the
 * kernel's own layout: int8 weights (s8), fields of nn_decode (t2, s3, s4), or what the file of an optimised kernel
 * says. Where weights are packed or not loadable (nn_loadable), reference kernels decode them into their scratch, one
 * filter at a time: h * w * c bytes of the filter's dims. */
typedef void nn_conv2d_kernel(const nn_context *ctx, const nn_conv_params *params,
                              const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                              const nn_dims *filter_dims, const NN_FLASH void *filter, const NN_FLASH int32_t *bias,
                              const nn_dims *output_dims, int8_t *output);
nn_conv2d_kernel nn_conv2d_t2, nn_conv2d_s3, nn_conv2d_s4, nn_conv2d_s8;

typedef void nn_depthwise_conv2d_kernel(const nn_context *ctx, const nn_dw_conv_params *params,
                                        const nn_per_channel_quant_params *quant, const nn_dims *input_dims,
                                        const int8_t *input, const nn_dims *filter_dims, const NN_FLASH void *filter,
                                        const NN_FLASH int32_t *bias, const nn_dims *output_dims, int8_t *output);
nn_depthwise_conv2d_kernel nn_depthwise_conv2d_t2, nn_depthwise_conv2d_s3, nn_depthwise_conv2d_s4,
    nn_depthwise_conv2d_s8;

/* Requantization per output feature, unlike CMSIS-NN's per-tensor dense layer; filter_dims->c is the number of input
 * features. */
typedef void nn_dense_kernel(const nn_context *ctx, const nn_fc_params *params,
                             const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                             const nn_dims *filter_dims, const NN_FLASH void *filter, const NN_FLASH int32_t *bias,
                             const nn_dims *output_dims, int8_t *output);
nn_dense_kernel nn_dense_t2, nn_dense_s3, nn_dense_s4, nn_dense_s8;

/* Padding never counts: an average divides by the elements inside the input, a maximum ignores the rest. */
typedef void nn_pool2d_kernel(const nn_pool_params *params, const nn_dims *input_dims, const int8_t *input,
                              const nn_dims *filter_dims, const nn_dims *output_dims, int8_t *output);
nn_pool2d_kernel nn_max_pool2d, nn_average_pool2d;

/* output may be input1 or input2. */
void nn_add(const nn_add_params *params, const nn_dims *dims, const int8_t *input1, const int8_t *input2,
            int8_t *output);

/* Mean over height and width, to another quantization: as TensorFlow Lite's reference. */
void nn_mean2d(const nn_mean_params *params, const nn_dims *input_dims, const int8_t *input, int8_t *output);

/* The input inside a larger map. */
void nn_pad2d(const nn_pad_params *params, const nn_dims *input_dims, const int8_t *input, const nn_dims *output_dims,
              int8_t *output);

/* Two tensors of equal height and width, channels of input1 first. Both inputs are widened by NN_ADD_LEFT_SHIFT and
 * rescaled to the output's quantization. */
void nn_concatenate(const nn_concat_params *params, const nn_dims *input1_dims, const int8_t *input1,
                    const nn_dims *input2_dims, const int8_t *input2, int8_t *output);

/* Layout of packed weights: fields of `bits` bits (2 to 8), two's complement, one after another from the low bits of
 * the first byte on; each output channel (dense, convolution) or the whole filter (depthwise) starts on a byte. A
 * ternary weight is a 2-bit field that is never -2. Decodes `count` fields to int8. */
void nn_decode(const NN_FLASH uint8_t *packed, int bits, int count, int8_t *decoded);

/* Layout of trits, 1.6 bits each: a byte is five base-3 digits, the first one the lowest; 16 bytes are the 80 fields of
 * 2 bits of five little-endian words, from the low bits of the first word on. A digit is its field, but in the fields
 * whose low bit is set in `threes` 2 stands for 3. Expands `groups` times 16 bytes to 20, 4-byte aligned. */
void nn_expand_trits(const NN_FLASH uint8_t *trits, int groups, uint32_t threes, void *words);

#endif
