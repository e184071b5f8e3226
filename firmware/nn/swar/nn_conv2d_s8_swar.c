/* Convolution with weights of 8 bits for cores without SIMD instructions: two pixels by two channels at a time, so that
 * an input and a weight are loaded for two products each.
 *
 * Inputs and weights are codes of eight bits without a sign, x + 128 and w + 128, which every core loads in one
 * instruction: sum x w = sum of the products of codes - 128 sum of the input's codes - 128 sum w, the last part of the
 * bias. The windows of two neighbouring outputs are gathered in turn, padding as the zero point, and filled up with
 * codes of 0.
 *
 * Filter: for every two channels, for every input of a window, up to a multiple of UNROLL, a code of each. */
#include "nn_arith.h"
#include "nn_swar.h"

enum { PIXELS = 2, CHANNELS = 2, UNROLL = 4, OFFSET = 128 };

/* A window under way: the places of one pixel, and the sum of what is in them. */
typedef struct {
    uint8_t *to;
    uint32_t sum;
} window;

static void put(window *w, const int8_t *x, int count) {
    uint8_t *to = w->to;
    uint32_t sum = w->sum;
    for (const int8_t *const end = x + count; x < end; to += PIXELS) sum += *to = (uint8_t)(*x++ + OFFSET);
    w->to = to;
    w->sum = sum;
}

static void fill(window *w, int8_t value, int count) {
    for (; count > 0; count--) put(w, &value, 1);
}

/* The window whose first place in the input is (y0, x0); returns the sum of its codes. */
static uint32_t gather(const nn_conv_params *params, const nn_dims *in, const int8_t *input, const nn_dims *filter,
                       int y0, int x0, uint8_t *to) {
    const int8_t zero = (int8_t)-params->input_offset;
    const int left = nn_clamp(-x0, 0, filter->w), right = nn_clamp(x0 + filter->w - in->w, 0, filter->w - left);
    window w = {to, 0};
    for (int y = y0; y < y0 + filter->h; y++) {
        if (y < 0 || y >= in->h) {
            fill(&w, zero, filter->w * in->c);
        } else {
            fill(&w, zero, left * in->c);
            put(&w, input + (y * in->w + x0 + left) * in->c, (filter->w - left - right) * in->c);
            fill(&w, zero, right * in->c);
        }
    }
    return w.sum;
}

/* Adds the products of two pixels and two channels to their sums, channel by channel. */
static void multiply(const uint8_t *x, const uint8_t *filter, int count, uint32_t sums[PIXELS * CHANNELS]) {
    uint32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    for (const uint8_t *const end = x + PIXELS * count; x < end; x += PIXELS * UNROLL, filter += CHANNELS * UNROLL) {
#pragma GCC unroll 4
        for (int i = 0; i < UNROLL; i++) {
            const uint32_t x0 = x[2 * i], x1 = x[2 * i + 1], w0 = filter[2 * i], w1 = filter[2 * i + 1];
            a += x0 * w0;
            b += x1 * w0;
            c += x0 * w1;
            d += x1 * w1;
        }
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}

/* Pixels that are gathered, and what their outputs need. */
typedef struct {
    const nn_conv_params *params;
    const nn_per_channel_quant_params *quant;
    const uint8_t *filter;
    const int32_t *bias;
    const uint8_t *windows;
    int depth, channels, pixels;
    uint32_t start[PIXELS];
} block;

/* All channels of a block. */
static void compute(const block *k, int8_t *output) {
    const uint8_t *filter = k->filter;
    for (int first = 0; first < k->channels; first += CHANNELS, filter += CHANNELS * k->depth) {
        uint32_t sums[] = {k->start[0], k->start[1], k->start[0], k->start[1]};
        multiply(k->windows, filter, k->depth, sums);
        for (int c = first; c < nn_min(first + CHANNELS, k->channels); c++) {
            const nn_swar_channel channel = {k->bias[c], k->quant->multiplier[c], k->quant->shift[c],
                                             k->params->output_offset, k->params->activation};
            const uint32_t *sum = sums + (c - first) * PIXELS;
            for (int p = 0; p < k->pixels; p++) {
                output[p * k->channels + c] = nn_swar_output(&channel, (int32_t)sum[p]);
            }
        }
    }
}

void nn_conv2d_s8_swar(const nn_context *ctx, const nn_conv_params *params, const nn_per_channel_quant_params *quant,
                       const nn_dims *input_dims, const int8_t *input, const nn_dims *filter_dims,
                       const NN_FLASH void *filter, const NN_FLASH int32_t *bias, const nn_dims *output_dims,
                       int8_t *output) {
    const int inputs = filter_dims->h * filter_dims->w * filter_dims->c;
    uint8_t *const windows = ctx->buf;
    block k = {params, quant, filter, bias, windows, (inputs + UNROLL - 1) / UNROLL * UNROLL, output_dims->c, 0, {0}};
    for (int i = PIXELS * inputs; i < PIXELS * k.depth; i++) windows[i] = 0;
    for (int y = 0; y < output_dims->h; y++) {
        for (int x = 0; x < output_dims->w; x++) {
            const int y0 = y * params->stride.h - params->padding.h, x0 = x * params->stride.w - params->padding.w;
            const uint32_t sum = gather(params, input_dims, input, filter_dims, y0, x0, windows + k.pixels);
            k.start[k.pixels++] = 0U - OFFSET * sum;
            if (k.pixels < PIXELS && (x + 1 < output_dims->w || y + 1 < output_dims->h)) continue;
            compute(&k, output);
            output += k.pixels * k.channels;
            k.pixels = 0;
        }
    }
}
