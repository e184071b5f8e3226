/* Convolution with weights of 8, 4 or 3 bits for cores with the DSP extension: lays out the windows that
 * nn_conv2d_s_dsp_core.S sums.
 *
 * The inputs that the windows of three neighbouring outputs read are laid out as numbers of 16 bits, two of each window
 * in turn; then all channels are summed, two at a time. Inputs with padding are first copied, row by row, into a ring
 * of as many rows as the kernel has.
 *
 * Inputs of a window: the whole groups of four of every kernel row, each in the order 0, 2, 1, 3; then the rest of each
 * row; then zeros up to a multiple of the width's unit.
 *
 * Filter: for every two channels, for every two inputs of a window, a pair of weights of the first channel and one of
 * the second. Pairs of 8 bits: two in a word, in bytes 0, 2 and bytes 1, 3; with lanes, as a half a + 2^8 b for each
 * input, of the weights a and b of both channels, which are at least -127. Of 4 bits, as codes w + 8: four in a word,
 * in bits 4 i and 4 i + 16. Of 3 bits, as codes w + 4: sixteen in three words, five in each, in bits 3 i and 3 i + 16;
 * bit j of the sixteenth in bits 15 and 31 of word j. */
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "nn_arith.h"
#include "nn_dsp.h"

enum { PIXELS = 3, WORD = 4 }; /* of a block; inputs in a word */

static_assert(offsetof(nn_dsp_pixels, end) == 20 && offsetof(nn_dsp_pixels, quant_end) == 36,
              "as in nn_conv2d_s_dsp_core.S");

/* State of a convolution. */
typedef struct {
    const nn_dsp_signed_conv_params *params;
    const nn_dims *filter_dims, *out;
    const uint32_t *filter;
    nn_dsp_window_rows rows;
    int8_t *last;     /* outputs of an incomplete block */
    int32_t words;    /* of four inputs in a kernel row */
    int32_t rest;     /* inputs after them */
    int32_t filled;   /* pixels of the block so far */
    int32_t channels; /* of the filter: an even number */
    int16_t *inputs;  /* of the windows, interleaved */
    int8_t *output;   /* of the block */
    nn_dsp_pixels block;
} convolution;

/* Lays out the inputs of a window after the whole words of its rows; returns their sum. */
static int32_t lay_rest(const convolution *c, int32_t offset, int16_t *to) {
    const int32_t behind = WORD * c->words, pair = 2 * PIXELS; /* distance of two inputs from the next two */
    int32_t sum = 0, half = 0;
    for (int32_t i = 0; i < c->filter_dims->h; i++) {
        const int8_t *from = c->rows.starts[i] + offset + behind;
        for (const int8_t *const end = from + c->rest; from < end; half ^= 1) {
            sum += to[half] = *from++;
            to += half * pair;
        }
    }
    return sum;
}

/* Computes all channels of the pixels that are laid out. */
static void compute_block(convolution *c) {
    const int32_t channels = c->out->c;
    const bool whole = c->filled == PIXELS && channels == c->channels;
    c->block.step = c->channels;
    c->params->width->blocks(&c->block, c->filter, whole ? c->output : c->last);
    if (!whole) {
        for (int32_t i = 0; i < c->filled; i++) {
            memcpy(c->output + i * channels, c->last + i * c->channels, (size_t)channels);
        }
    }
    c->output += c->filled * channels;
    c->filled = 0;
}

/* Lays out the window that starts `offset` inputs after the start of its rows; computes the block once it is full. */
static void lay_window(convolution *c, int32_t offset) {
    const nn_dsp_width *width = c->params->width;
    const int32_t height = c->filter_dims->h;
    int16_t *to = c->inputs + 2 * c->filled;
    int32_t sum = 0;
    if (c->words > 0) sum = width->interleave(c->rows.starts, offset, height, c->words, to);
    if (c->rest > 0) sum += lay_rest(c, offset, to + PIXELS * WORD * c->words * height);
    c->block.start[c->filled++] = -width->zero * sum;
    if (c->filled == PIXELS) compute_block(c);
}

/* Lays out three windows, `step` inputs apart, of an empty block; computes it. */
static void lay_block(convolution *c, int32_t offset, int32_t step) {
    const nn_dsp_width *width = c->params->width;
    const int32_t height = c->filter_dims->h;
    int16_t *const rest = c->inputs + PIXELS * WORD * c->words * height;
    int32_t sums[PIXELS] = {0};
    if (c->words > 0) width->interleave3(c->rows.starts, offset, height, c->words, c->inputs, step, sums);
    for (int32_t i = 0; i < PIXELS; i++) {
        if (c->rest > 0) sums[i] += lay_rest(c, offset + i * step, rest + 2 * i);
        c->block.start[i] = -width->zero * sums[i];
    }
    c->filled = PIXELS;
    compute_block(c);
}

/* Lays out the windows of a row of outputs, `step` inputs apart. */
static void lay_row(convolution *c, int32_t step) {
    const int32_t end = c->out->w * step;
    for (int32_t offset = 0; offset < end;) {
        if (c->filled == 0 && offset + PIXELS * step <= end) {
            lay_block(c, offset, step);
            offset += PIXELS * step;
        } else {
            lay_window(c, offset);
            offset += step;
        }
    }
}

/* Points the block to the requantization of its channels. */
static void begin_quant(convolution *c, nn_dsp_quant *unpacked, const int32_t *quant) {
    const int32_t fours = (c->out->c + NN_DSP_CHANNELS - 1) / NN_DSP_CHANNELS;
    int32_t words = c->channels / 2 * (int32_t)(sizeof(nn_dsp_pair_fit) / sizeof(*quant));
    if (!c->params->is_fitted) {
        nn_dsp_unpack_quant(quant, fours, c->params->conv.output_offset, unpacked);
        quant = (const int32_t *)unpacked;
        words = c->channels * (int32_t)(sizeof(*unpacked) / sizeof(*quant));
    }
    c->block.quant = quant;
    c->block.quant_end = quant + words;
}

/* Divides the scratch memory. */
static void begin(convolution *c, const nn_context *ctx, const int32_t *quant) {
    const nn_dsp_signed_conv_params *params = c->params;
    const nn_dsp_width *width = params->width;
    const int32_t run = c->filter_dims->w * c->filter_dims->c, size = PIXELS * params->depth;
    const int32_t fours = (c->out->c + NN_DSP_CHANNELS - 1) / NN_DSP_CHANNELS, units = params->depth / width->unit;
    nn_dsp_quant *unpacked = ctx->buf;
    c->inputs = (int16_t *)(unpacked + (params->is_fitted ? 0 : fours * NN_DSP_CHANNELS));
    c->rows.starts = (const int8_t **)(c->inputs + size);
    c->last = (int8_t *)(c->rows.starts + c->filter_dims->h) + c->filter_dims->h * params->pitch;
    c->rows.pitch = params->pitch;
    c->rows.next = -params->conv.padding.h;
    c->words = run / WORD;
    c->rest = run % WORD;
    begin_quant(c, unpacked, quant);
    memset(c->inputs, 0, (size_t)size * sizeof(*c->inputs));
    c->block.skip = (width->turn - 1 - (units - 1) % width->turn) * width->unit_bytes;
    c->block.inputs = c->inputs;
    c->block.end = c->inputs + size;
    c->block.write = params->write;
}

void nn_conv2d_s_dsp(const nn_context *ctx, const nn_dsp_signed_conv_params *params, const nn_dims *input_dims,
                     const int8_t *input, const nn_dims *filter_dims, const uint32_t *filter, const int32_t *quant,
                     const nn_dims *output_dims, int8_t *output) {
    convolution c = {.params = params, .filter_dims = filter_dims, .out = output_dims};
    c.rows = (nn_dsp_window_rows){.conv = &params->conv, .in = input_dims, .input = input, .height = filter_dims->h};
    c.filter = filter;
    c.output = output;
    c.channels = output_dims->c + output_dims->c % 2;
    begin(&c, ctx, quant);
    for (int32_t y = 0; y < output_dims->h; y++) {
        nn_dsp_point_rows(&c.rows, y);
        lay_row(&c, params->conv.stride.w * input_dims->c);
    }
    if (c.filled > 0) compute_block(&c);
    nn_dsp_clamp(output, output_dims->h * output_dims->w * output_dims->c, params->conv.activation);
}
