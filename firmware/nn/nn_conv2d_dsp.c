/* Ternary convolution for cores with the DSP extension: the rows of the input around the sums of nn_block_dsp.S.
 *
 * Input rows are expanded once to 16 bits, into a ring of as many rows as the kernel has; that is why the output may
 * overwrite the input. Behind every row lie the running totals of its granules, modulo 2^16: the difference of two is
 * the sum of a piece, of at most 255 inputs.
 *
 * Filter: for every four output channels, every piece of the plan: words of four inputs. Slot s of a word, 2 bits from
 * bit 2 s on: slots 2 t and 2 t + 8 (t = 0..3) hold w + 1 of the first channel of a pair at one input and the next,
 * slots 2 t + 7 and 2 t + 15, modulo 16, w of the second channel; t / 2 is the pair of inputs, t % 2 that of channels.
 * Behind the inputs of a piece all slots are 0. */
#include <arm_acle.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "nn_arith.h"
#include "nn_dsp.h"

static_assert(offsetof(nn_dsp_block, pieces) == 12 && sizeof(nn_dsp_piece) == 28, "as in nn_block_dsp.S");

enum { ONES = 0x00010001, FULL = 128 };

/* The ring of expanded rows. */
typedef struct {
    int16_t *rows;
    int32_t size;   /* inputs of a row, with the totals behind them */
    int32_t first;  /* column of the ring that holds the input's column 0 */
    int32_t inside; /* columns of the input that the ring holds */
    int32_t after;  /* padding behind them */
    int32_t next;   /* input row that is expanded next */
    int32_t slot;   /* its place */
} ring;

static inline uint32_t load_word(const int8_t *x) {
    uint32_t word;
    memcpy(&word, x, sizeof(word));
    return word;
}

/* Expands `count` inputs, a multiple of 4; returns `total` plus their sum. */
static inline int32_t expand_words(const int8_t *x, int32_t count, int16_t *to, int32_t total) {
    for (const int8_t *end = x + count; x < end; x += 4, to += 4) {
        const uint32_t word = load_word(x);
        const uint32_t even = (uint32_t)__sxtb16((int8x4_t)word), odd = (uint32_t)__sxtb16((int8x4_t)(word >> 8));
        const uint32_t pairs[2] = {(even & 0xFFFFU) | odd << 16, (odd & 0xFFFF0000U) | even >> 16};
        memcpy(to, pairs, sizeof(pairs));
        total = __smlad((int16x2_t)even, ONES, total);
        total = __smlad((int16x2_t)odd, ONES, total);
    }
    return total;
}

/* The same for any `count`; fills up to `size` with 0. */
static int32_t expand_bytes(const int8_t *x, int32_t count, int16_t *to, int32_t size, int32_t total) {
    for (int32_t i = 0; i < count; i++) total += to[i] = x[i];
    for (int32_t i = count; i < size; i++) to[i] = 0;
    return total;
}

/* Columns that hold nothing but the zero point; returns where their totals end. */
static uint16_t *expand_padding(const nn_dsp_conv_params *params, int32_t channels, int32_t columns, int16_t *to,
                                uint16_t *totals) {
    const int16_t zero = (int16_t)-params->conv.input_offset;
    int32_t total = *totals;
    for (int32_t column = 0; column < columns; column++) {
        int32_t left = channels;
        for (int32_t g = 0; g < params->granules; g++, left -= params->granule) {
            for (int32_t i = 0; i < params->granule; i++) {
                *to = i < left ? zero : 0;
                total += *to++;
            }
            *++totals = (uint16_t)total;
        }
    }
    return totals;
}

/* Columns of the input; returns where their totals end. */
static uint16_t *expand_inside(const nn_dsp_conv_params *params, int32_t channels, int32_t columns, const int8_t *x,
                               int16_t *to, uint16_t *totals) {
    const int32_t granule = params->granule, step = params->column_step * channels;
    const bool words = params->granules * granule == channels && granule % 4 == 0;
    int32_t total = *totals;
    for (int32_t column = 0; column < columns; column++, x += step) {
        const int8_t *from = x, *end = x + channels;
        for (; from < end; from += granule, to += granule) {
            total = words ? expand_words(from, granule, to, total)
                          : expand_bytes(from, nn_min(granule, (int32_t)(end - from)), to, granule, total);
            *++totals = (uint16_t)total;
        }
    }
    return totals;
}

/* Expands the next row of the input, or of padding above or below it. */
static void expand_row(const nn_dsp_conv_params *params, const nn_dims *in, const int8_t *input, int32_t rows,
                       ring *r) {
    const int32_t pixel = params->granules * params->granule;
    int16_t *row = r->rows + r->slot * r->size;
    uint16_t *totals = (uint16_t *)(row + (r->first + r->inside + r->after) * pixel);
    const bool inside = (uint32_t)r->next < (uint32_t)in->h;
    *totals = 0;
    totals = expand_padding(params, in->c, inside ? r->first : r->first + r->inside + r->after, row, totals);
    if (inside) {
        row += r->first * pixel;
        totals = expand_inside(params, in->c, r->inside, input + r->next * in->w * in->c, row, totals);
        expand_padding(params, in->c, r->after, row + r->inside * pixel, totals);
    }
    r->next++;
    r->slot = r->slot + 1 == rows ? 0 : r->slot + 1;
}

/* The pieces of `pixels` neighbouring windows, the first one at column x of the output. slot: of the top row. */
static void lay_pieces(const nn_dsp_conv_params *params, const ring *r, int32_t rows, const uint8_t *plan, int32_t slot,
                       int32_t x, int32_t stride, int32_t pixels, nn_dsp_piece *pieces) {
    const int32_t granules = params->granules, granule = params->granule;
    const int32_t columns = r->first + r->inside + r->after, next = stride * granules;
    const int32_t word_bytes = pixels == 3 ? NN_DSP_WORD_BYTES(3) : NN_DSP_WORD_BYTES(2);
    for (nn_dsp_piece *p = pieces, *end = pieces + params->pieces; p < end; p++, plan += NN_DSP_PLAN_BYTES) {
        const int32_t place = slot + plan[0] < rows ? slot + plan[0] : slot + plan[0] - rows;
        const int16_t *row = r->rows + place * r->size;
        const uint16_t *totals = (const uint16_t *)(row + columns * granules * granule) + x * next;
        const int32_t words = plan[3];
        p->inputs = row + (x * next + plan[1]) * granule;
        for (int32_t i = 0; i < 3; i++, totals += next) {
            if (i < pixels) p->sums[i] = (int16_t)(totals[plan[2]] - totals[plan[1]]);
        }
        p->end = p->inputs + words * NN_DSP_WORD_INPUTS;
        p->skip = (NN_DSP_UNROLL - 1 - (words - 1) % NN_DSP_UNROLL) * word_bytes;
        p->then = plan[4];
    }
}

/* All channels of a block of pixels; count: pixels that it really has. */
static void compute(const nn_dsp_conv_params *params, nn_dsp_block *block, int32_t pixels, const uint32_t *filter,
                    const int32_t *quant, int32_t channels, int8_t *output) {
    nn_dsp_block_function *const function = pixels == 3 ? params->block3 : nn_dsp_block2;
    int32_t channel = 0;
    block->step = pixels == 1 ? 0 : channels;
    for (; channel + NN_DSP_CHANNELS <= channels; channel += NN_DSP_CHANNELS) {
        function(block, filter, quant, output + channel);
        filter += params->words;
        quant += NN_DSP_QUANT_WORDS;
    }
    if (channel == channels) return;
    int8_t rest[3][NN_DSP_CHANNELS];
    block->step = pixels == 1 ? 0 : NN_DSP_CHANNELS;
    function(block, filter, quant, rest[0]);
    for (int32_t i = 0; i < pixels; i++) {
        memcpy(output + i * channels + channel, rest[i], (size_t)(channels - channel));
    }
}

static void clamp(int8_t *x, int32_t count, nn_activation limits) {
    if (limits.min == INT8_MIN && limits.max == INT8_MAX) return;
    for (int32_t i = 0; i < count; i++) x[i] = (int8_t)nn_clamp(x[i], limits.min, limits.max);
}

/* Pixels of the next block when so many of a row remain: a block of one pixel costs as much as one of two. */
static inline int32_t pixels_of(int32_t remaining, bool three) {
    if (three && remaining >= 3 && remaining != 4) return 3;
    return nn_min(remaining, 2);
}

void nn_convolve_t2_dsp(const nn_context *ctx, const nn_dsp_conv_params *params, const nn_dims *input_dims,
                        const int8_t *input, const nn_dims *filter_dims, const uint32_t *filter, const uint8_t *plan,
                        const int32_t *quant, const nn_dims *output_dims, int8_t *output) {
    const nn_conv_params *conv = &params->conv;
    const int32_t stride = conv->stride.w / params->column_step, rows = filter_dims->h;
    const int32_t columns = (output_dims->w - 1) * stride + filter_dims->w;
    ring r = {.rows = ctx->buf, .size = params->row_size, .first = conv->padding.w, .next = -conv->padding.h};
    r.inside = nn_min((input_dims->w + params->column_step - 1) / params->column_step, columns - r.first);
    r.after = columns - r.first - r.inside;
    nn_dsp_block *block = (nn_dsp_block *)(r.rows + rows * r.size);
    block->rounding = 2 * conv->output_offset + 1;
    const int32_t row_bytes = output_dims->w * output_dims->c;
    for (int32_t y = 0; y < output_dims->h; y++, output += row_bytes) {
        const int32_t top = y * conv->stride.h - conv->padding.h;
        r.next = nn_max(r.next, top);
        while (r.next < top + rows) expand_row(params, input_dims, input, rows, &r);
        /* the ring is full: the place of the next row is that of the top one */
        for (int32_t x = 0, pixels; x < output_dims->w; x += pixels) {
            pixels = pixels_of(output_dims->w - x, params->block3 != NULL);
            block->distance = pixels == 1 ? 0 : 2 * stride * params->granules * params->granule;
            lay_pieces(params, &r, rows, plan, r.slot, x, stride, pixels, block->pieces);
            compute(params, block, pixels, filter, quant, output_dims->c, output + x * output_dims->c);
        }
        clamp(output, row_bytes, conv->activation);
    }
}
