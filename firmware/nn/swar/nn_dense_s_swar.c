/* Dense layer with weights of 8, 4 or 3 bits for cores without SIMD instructions: four outputs at a time, so that each
 * input that is loaded serves four products.
 *
 * Weights of 8 bits are rows of int8, multiplied by the inputs as they are: converting these to codes would not pay off
 * for few outputs. An input and its weights are addressed by one register and constant distances from it, so that
 * Armv6-M, too, loads each signed byte in one instruction. The sums of the other widths are those of nn_swar_signed.h.
 */
#include "nn_swar_signed.h"

enum { CHANNELS = 4, UNROLL = 4 };

/* Adds the products of an input and one weight of each row; returns the address of the next weight. */
static inline const int8_t *add_input(const int rows, const int8_t *at, intptr_t to_input, const int *apart,
                                      uint32_t *sums) {
    const int32_t x = *(const int8_t *)((intptr_t)at + to_input);
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) sums[i] = nn_swar_add_product(sums[i], (uint32_t)x, (uint32_t)at[apart[i]]);
    at++;
    __asm("" : "+r"(at)); /* otherwise the compiler would keep an address for every row or every input */
    return at;
}

/* Totals of rows that start at the distances `apart`. */
static inline void dot(const int rows, const int8_t *x, const int8_t *row, int features, const int *apart,
                       int32_t *totals) {
    const intptr_t to_input = (intptr_t)x - (intptr_t)row;
    const int8_t *const end = row + features, *const whole = row + features / UNROLL * UNROLL;
    int distances[CHANNELS];
    uint32_t sums[CHANNELS] = {0};
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) {
        distances[i] = apart[i];
        __asm("" : "+r"(distances[i]));
    }
    while (row < whole) {
        row = add_input(rows, row, to_input, distances, sums);
        row = add_input(rows, row, to_input, distances, sums);
        row = add_input(rows, row, to_input, distances, sums);
        row = add_input(rows, row, to_input, distances, sums);
    }
    while (row < end) row = add_input(rows, row, to_input, distances, sums);
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) totals[i] = (int32_t)sums[i];
}

/* Totals of up to four rows, computed as two or four: a missing row is the first one again. */
__attribute__((noinline)) static void multiply8(const int8_t *x, const int8_t *row, int features, int rows,
                                                int32_t *totals) {
    const int apart[CHANNELS] = {0, rows > 1 ? features : 0, 2 * features, rows > 3 ? 3 * features : 0};
    if (rows > 2) {
        dot(CHANNELS, x, row, features, apart, totals);
    } else {
        dot(CHANNELS / 2, x, row, features, apart, totals);
    }
}

__attribute__((noinline)) static const uint32_t *multiply(int bits, const nn_swar_window *window,
                                                          const uint32_t *filter, int32_t *totals) {
    if (bits == 4) return nn_swar_multiply(4, 1, CHANNELS / 2, window, filter, 1, totals);
    return nn_swar_multiply(3, 1, CHANNELS / 2, window, filter, 1, totals);
}

/* Lays out the input as a window in scratch memory, followed by codes of 0. */
static nn_swar_window lay_input(const nn_context *ctx, const nn_swar_signed_fc_params *params, const int8_t *input,
                                int features) {
    const nn_swar_window window = {ctx->buf, (uint32_t *)ctx->buf + params->depth / 4, params->depth, params->chunk};
    for (int i = 0; i < features; i++) window.inputs[i] = nn_swar_code(input[i]);
    for (int i = features; i < params->depth; i++) window.inputs[i] = 0;
    nn_swar_start(&window, 1, params->bits);
    return window;
}

void nn_dense_s_swar(const nn_context *ctx, const nn_swar_signed_fc_params *params,
                     const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                     const nn_dims *filter_dims, const NN_FLASH void *filter, const NN_FLASH int32_t *bias,
                     const nn_dims *output_dims, int8_t *output) {
    (void)input_dims;
    const uint32_t *next = filter;
    const int8_t *row = filter;
    const int features = filter_dims->c, bits = params->bits;
    const nn_swar_window window = bits < 8 ? lay_input(ctx, params, input, features) : (nn_swar_window){0};
    for (int first = 0; first < output_dims->c; first += CHANNELS, row += CHANNELS * features) {
        const int count = nn_min(CHANNELS, output_dims->c - first);
        int32_t totals[CHANNELS];
        if (bits == 8) {
            multiply8(input, row, features, count, totals);
        } else {
            next = multiply(bits, &window, next, totals);
        }
        for (int i = 0; i < count; i++) {
            const nn_swar_channel channel = {bias[first + i], quant->multiplier[first + i], quant->shift[first + i],
                                             params->fc.output_offset, params->fc.activation};
            output[first + i] = nn_swar_output(&channel, totals[i]);
        }
    }
}
