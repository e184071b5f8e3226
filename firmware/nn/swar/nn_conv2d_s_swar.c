/* Convolution with weights of 8, 4 or 3 bits for cores without SIMD instructions: two pixels by two channels at a time,
 * so that each input and each weight that is loaded serves two products. The windows of neighbouring outputs are
 * gathered in pairs, with the zero point as padding, and computed in blocks; the sums are those of nn_swar_signed.h. */
#include "nn_swar_signed.h"

enum { PIXELS = 2, PAIRS = 2, BLOCK = PAIRS * PIXELS, CHANNELS = 2, UNROLL = 4 };

/* Writes inputs to the places of one pixel, from `to` on; returns the place after the last one. */
static uint8_t *put(const int8_t *x, int count, uint8_t *to) {
    for (; count >= UNROLL; count -= UNROLL, x += UNROLL, to += UNROLL * PIXELS) {
#pragma GCC unroll 4
        for (int i = 0; i < UNROLL; i++) to[i * PIXELS] = nn_swar_code(x[i]);
    }
    for (; count > 0; count--, to += PIXELS) *to = nn_swar_code(*x++);
    return to;
}

static uint8_t *fill(int8_t value, int count, uint8_t *to) {
    for (; count > 0; count--, to += PIXELS) *to = nn_swar_code(value);
    return to;
}

/* Gathers the window that starts at (y0, x0) in the input. */
static void gather(const nn_conv_params *params, const nn_dims *in, const int8_t *input, const nn_dims *filter, int y0,
                   int x0, uint8_t *to) {
    const int8_t zero = (int8_t)-params->input_offset;
    const int columns = filter->w, row = in->w * in->c;
    const int left = nn_clamp(-x0, 0, columns), right = nn_clamp(x0 + columns - in->w, 0, columns - left);
    const int before = left * in->c, after = right * in->c, inside = columns * in->c - before - after;
    int at = y0 * row + x0 * in->c + before;
    for (int y = y0; y < y0 + filter->h; y++, at += row) {
        if (y < 0 || y >= in->h) {
            to = fill(zero, columns * in->c, to);
            continue;
        }
        if (before > 0) to = fill(zero, before, to);
        to = put(input + at, inside, to);
        if (after > 0) to = fill(zero, after, to);
    }
}

/* Totals of the next two channels for all pixels of a block. Not inlined, so that its loops have all registers. */
__attribute__((noinline)) static const uint32_t *multiply(int bits, const nn_swar_window *pair, const uint32_t *filter,
                                                          int32_t *totals) {
    const uint32_t *next = filter;
    for (const nn_swar_window *const end = pair + PAIRS; pair < end; pair++, totals += PIXELS) {
        if (bits == 8) {
            next = nn_swar_multiply(8, PIXELS, CHANNELS, pair, filter, BLOCK, totals);
        } else if (bits == 4) {
            next = nn_swar_multiply(4, PIXELS, CHANNELS / 2, pair, filter, BLOCK, totals);
        } else {
            next = nn_swar_multiply(3, PIXELS, CHANNELS / 2, pair, filter, BLOCK, totals);
        }
    }
    return next;
}

/* The gathered pixels, and what their outputs need. */
typedef struct {
    const nn_swar_signed_conv_params *params;
    const nn_per_channel_quant_params *quant;
    const void *filter;
    const int32_t *bias;
    nn_swar_window pairs[PAIRS];
    int channels, pixels;
} block;

/* Computes all channels of a block. */
static void compute(const block *k, int8_t *output) {
    const nn_conv_params *conv = &k->params->conv;
    const uint32_t *filter = k->filter;
    nn_swar_channel channel = {.output_offset = conv->output_offset, .activation = conv->activation};
    for (int i = 0; i < PAIRS; i++) nn_swar_start(k->pairs + i, PIXELS, k->params->bits);
    for (int first = 0; first < k->channels; first += CHANNELS) {
        int32_t totals[CHANNELS * BLOCK], *total = totals;
        filter = multiply(k->params->bits, k->pairs, filter, totals);
        for (int c = first; c < nn_min(first + CHANNELS, k->channels); c++, total += BLOCK) {
            channel.bias = k->bias[c];
            channel.multiplier = k->quant->multiplier[c];
            channel.shift = k->quant->shift[c];
            nn_swar_outputs(&channel, total, k->pixels, k->channels, output + c);
        }
    }
}

/* Divides the scratch memory, initially filled with codes of 0: the places after the inputs keep them. */
static void begin(block *k, const nn_context *ctx) {
    const int depth = k->params->depth, chunk = k->params->chunk;
    const int bytes = PIXELS * depth, chunks = (depth + chunk - 1) / chunk;
    uint8_t *next = ctx->buf;
    for (int i = 0; i < PAIRS * bytes; i++) next[i] = 0;
    for (int i = 0; i < PAIRS; i++, next += bytes) {
        k->pairs[i] =
            (nn_swar_window){next, (uint32_t *)ctx->buf + PAIRS * bytes / 4 + i * PIXELS * chunks, depth, chunk};
    }
}

void nn_conv2d_s_swar(const nn_context *ctx, const nn_swar_signed_conv_params *params,
                      const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                      const nn_dims *filter_dims, const NN_FLASH void *filter, const NN_FLASH int32_t *bias,
                      const nn_dims *output_dims, int8_t *output) {
    const nn_tile stride = params->conv.stride, padding = params->conv.padding;
    block k = {.params = params, .quant = quant, .filter = filter, .bias = bias, .channels = output_dims->c};
    begin(&k, ctx);
    for (int y = 0; y < output_dims->h; y++) {
        for (int x = 0; x < output_dims->w; x++) {
            const int y0 = y * stride.h - padding.h, x0 = x * stride.w - padding.w, pixel = k.pixels++;
            gather(&params->conv, input_dims, input, filter_dims, y0, x0,
                   k.pairs[pixel / PIXELS].inputs + pixel % PIXELS);
            if (k.pixels < BLOCK && (x + 1 < output_dims->w || y + 1 < output_dims->h)) continue;
            compute(&k, output);
            output += k.pixels * k.channels;
            k.pixels = 0;
        }
    }
}
