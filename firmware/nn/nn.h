/* Integer neural-network kernels. Pure: no heap, no stdio, no globals, nothing that fails at run time; every size and
 * value below was decided by the generator and is checked by static_assert in the generated model.c.
 *
 * The conventions are CMSIS-NN's: argument order ctx, params, quant, then (dims, data) pairs; tensors int8, NHWC, batch
 * 1; filters OHWI (depthwise 1HWC, dense OI); bias int32 per output channel, never NULL.
 * Extents, positions, counters and values of a tensor are int: 16 bits, as on AVR, are enough for all that fits into
 * such a memory. Accumulators, biases and multipliers are int32.
 * Params, dims, quantization, filters and biases are constants in flash (nn_flash.h).
 *
 * A kernel is named after its operation, its weights (s8 = int8, s4, s3 = packed signed 4 and 3 bits, s = signed of
 * several widths, t2 = ternary at 2 bits; nothing where there are no weights) and its family: nn_conv2d_t2 is the
 * reference, nn_conv2d_t2_dsp the same for cores with DSP instructions. The family is the folder of its file:
 * reference/ (portable), swar/ (32-bit cores without SIMD instructions), dsp/ (Armv7E-M DSP extension), mve/ (Armv8.1-M
 * vector extension), cmsis/ (calls of a CMSIS-NN that is linked).
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

/* Offsets as in CMSIS-NN: input_offset = -input zero point, output_offset = +output zero point.
 * padding: rows and columns before the first; how many follow the last is implied by the output dims. */
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

/* Both inputs are shifted left by NN_ADD_LEFT_SHIFT, rescaled to a common scale, added and rescaled to the output's. */
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

/* The sum over a map, input_offset added to each element, is requantized with a multiplier that also divides by the
 * number of elements. */
typedef struct {
    int input_offset, output_offset;
    int32_t multiplier;
    int shift;
    nn_activation activation;
} NN_FLASH nn_mean_params;

/* value: of every padding element. before: rows above the input and columns to its left; those below and to its right
 * are implied by the output dims. */
typedef struct {
    int value;
    nn_tile before;
} NN_FLASH nn_pad_params;

/* The kernels, with one function type for each operation. The layout that `filter` points to is the kernel's own: int8
 * weights (s8), fields of nn_decode (t2, s3, s4), or what the file of an optimized kernel describes. Weights that are
 * packed, or not loadable (nn_loadable), are decoded into the scratch memory by reference kernels, one filter at a
 * time: h * w * c bytes of the filter's dims. */
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

/* Padding does not count: an average divides by the number of elements inside the input, a maximum ignores the others.
 */
typedef void nn_pool2d_kernel(const nn_pool_params *params, const nn_dims *input_dims, const int8_t *input,
                              const nn_dims *filter_dims, const nn_dims *output_dims, int8_t *output);
nn_pool2d_kernel nn_max_pool2d, nn_average_pool2d;

/* output may be input1 or input2. */
void nn_add(const nn_add_params *params, const nn_dims *dims, const int8_t *input1, const int8_t *input2,
            int8_t *output);

/* Mean over height and width, requantized as by TensorFlow Lite's reference kernel. */
void nn_mean2d(const nn_mean_params *params, const nn_dims *input_dims, const int8_t *input, int8_t *output);

/* Copies the input into a larger map. */
void nn_pad2d(const nn_pad_params *params, const nn_dims *input_dims, const int8_t *input, const nn_dims *output_dims,
              int8_t *output);

/* Concatenates the channels of two tensors of equal height and width, those of input1 first. Both inputs are shifted
 * left by NN_ADD_LEFT_SHIFT and rescaled to the output's quantization. */
void nn_concatenate(const nn_concat_params *params, const nn_dims *input1_dims, const int8_t *input1,
                    const nn_dims *input2_dims, const int8_t *input2, int8_t *output);

/* Decodes `count` packed weights to int8. Layout: fields of `bits` bits (2 to 8), two's complement, one after another
 * from the low bits of the first byte on; each output channel (dense, convolution) or the whole filter (depthwise)
 * starts at a byte boundary. A ternary weight is a 2-bit field that is never -2. */
void nn_decode(const NN_FLASH uint8_t *packed, int bits, int count, int8_t *decoded);

/* Expands `groups` groups of 16 bytes of trits, 1.6 bits each, to 20 bytes, 4-byte aligned. Layout: a byte is five
 * base-3 digits, the first one the lowest; 16 bytes are the 80 fields of 2 bits of five little-endian words, from the
 * low bits of the first word on. A digit is the value of its field, except that 2 stands for 3 in the fields whose low
 * bit is set in `threes`. */
void nn_expand_trits(const NN_FLASH uint8_t *trits, int groups, uint32_t threes, void *words);

#endif
