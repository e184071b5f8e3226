/* Depthwise convolution with weights of 8, 4 or 3 bits for cores without SIMD instructions, channel by channel.
 *
 * The inputs of a channel are laid out as a plane of codes x + 128, surrounded by the padding that its windows read,
 * the code of the zero point. The nonzero weights of an output channel are listed with their places in the plane.
 * Several outputs, not necessarily of one row, are summed at a time, so that a weight is loaded once for all of them.
 * 128 times the sum of the weights is subtracted from the bias.
 *
 * Filter: for each output channel its taps in the order height, width, in fields of nn_decode; each channel starts at a
 * byte boundary. */
#include <string.h>

#include "nn_swar.h"

/* Outputs computed at a time: as many as the core has registers for. */
#ifdef NN_NO_LONG_MULTIPLY
enum { PIXELS = 2 };
#else
enum { PIXELS = 4 };
#endif

typedef struct {
    int32_t place, weight;
} tap;

/* State of a convolution; pipeline/codegen/kernels/depthwise_conv2d_s_swar.py reserves its memory. */
typedef struct {
    const nn_dw_conv_params *params;
    const nn_dims *in, *filter, *out;
    tap *taps;
    int8_t *weights;
    uint8_t *plane;
    int pitch, rows; /* of the plane */
} convolution;

/* Lays out the inputs of a channel in the plane, which already holds the padding. */
static void lay_plane(const convolution *k, const int8_t *channel) {
    const int left = k->params->padding.w, top = k->params->padding.h, step = k->in->c;
    const int inside = nn_min(k->in->w, k->pitch - left) * step, row = k->in->w * step;
    const int8_t *from = channel, *const end = channel + nn_min(k->in->h, k->rows - top) * row;
    for (uint8_t *to = k->plane + top * k->pitch + left; from < end; from += row, to += k->pitch) {
        uint8_t *place = to;
        for (const int8_t *x = from; x < from + inside; x += step) *place++ = nn_swar_code(*x);
    }
}

/* Lists the taps of an output channel; returns the end of the list. */
static const tap *list_taps(const convolution *k, int bits, const NN_FLASH uint8_t *filter) {
    const int columns = k->filter->w;
    const int8_t *weight = k->weights;
    tap *to = k->taps;
    nn_decode(filter, bits, k->filter->h * columns, k->weights);
    for (int row = 0; row < k->filter->h * k->pitch; row += k->pitch) {
        for (int place = row; place < row + columns; place++, weight++) {
            if (*weight) *to++ = (tap){place, *weight};
        }
    }
    return to;
}

/* Sums of the windows that start at the places `at`. */
__attribute__((noinline)) static void sum(const tap *t, const tap *end, const uint8_t *const at[PIXELS],
                                          int32_t sums[PIXELS]) {
    const uint8_t *x[PIXELS];
    int32_t acc[PIXELS];
#pragma GCC unroll 4
    for (int i = 0; i < PIXELS; i++) x[i] = at[i], acc[i] = 0;
    for (; t < end; t++) {
        const int32_t place = t->place, weight = t->weight;
#pragma GCC unroll 4
        for (int i = 0; i < PIXELS; i++) acc[i] += x[i][place] * weight;
    }
#pragma GCC unroll 4
    for (int i = 0; i < PIXELS; i++) sums[i] = acc[i];
}

/* Computes one output channel, whose inputs and taps are laid out. */
static void convolve(const convolution *k, const tap *end, const nn_swar_channel *channel, int8_t *output) {
    const int stride = k->params->stride.w, columns = k->out->w, step = k->out->c;
    const int next_row = k->params->stride.h * k->pitch - columns * stride;
    const uint8_t *at[PIXELS], *x = k->plane;
    int32_t sums[PIXELS];
    int column = 0;
    for (int left = columns * k->out->h; left > 0; left -= PIXELS, output += PIXELS * step) {
        const int count = nn_min(left, PIXELS);
        for (int i = 0; i < PIXELS; i++) {
            at[i] = x;
            if (i + 1 > count) continue; /* the last place is repeated */
            x += stride;
            if (++column == columns) x += next_row, column = 0;
        }
        sum(k->taps, end, at, sums);
        nn_swar_outputs(channel, sums, count, step, output);
    }
}

void nn_depthwise_conv2d_s_swar(const nn_context *ctx, const nn_swar_signed_dw_conv_params *params,
                                const nn_per_channel_quant_params *quant, const nn_dims *input_dims,
                                const int8_t *input, const nn_dims *filter_dims, const NN_FLASH void *filter,
                                const NN_FLASH int32_t *bias, const nn_dims *output_dims, int8_t *output) {
    const nn_dw_conv_params *conv = &params->conv;
    const int taps = filter_dims->h * filter_dims->w;
    convolution k = {.params = conv, .in = input_dims, .filter = filter_dims, .out = output_dims, .taps = ctx->buf};
    k.weights = (int8_t *)(k.taps + taps);
    k.plane = (uint8_t *)k.weights + taps;
    k.pitch = (output_dims->w - 1) * conv->stride.w + filter_dims->w;
    k.rows = (output_dims->h - 1) * conv->stride.h + filter_dims->h;
    memset(k.plane, nn_swar_code((int8_t)-conv->input_offset), (size_t)(k.pitch * k.rows));
    const NN_FLASH uint8_t *next = filter;
    for (int c = 0; c < output_dims->c; c++, next += (taps * params->bits + 7) / 8) {
        const nn_swar_channel channel = {bias[c], quant->multiplier[c], quant->shift[c], conv->output_offset,
                                         conv->activation};
        if (c % conv->ch_mult == 0) lay_plane(&k, input + c / conv->ch_mult);
        convolve(&k, list_taps(&k, params->bits, next), &channel, output + c);
    }
}
