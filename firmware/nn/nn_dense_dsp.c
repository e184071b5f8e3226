/* Ternary dense layer for cores with the DSP extension: two outputs and two inputs an instruction.
 *
 * The input is expanded to 16 bits and filled up with zeros to a multiple of STEP. It is cut into intervals; behind
 * each the sums go into totals, before a packed field can overflow.
 *
 * Filter: for every eight outputs (at the end four, where no more are left): per four inputs a word of the first four
 * and one of the others, see nn_conv2d_dsp.c; filled-up inputs have code 0. */
#include "nn_arith.h"
#include "nn_dsp.h"

enum { STEP = 8, MOST = 8, LEAST = 4 };

/* Expands the input; returns its inputs, filled up. totals: running, behind every interval. */
static int32_t expand(const int8_t *x, int32_t features, int32_t interval, int16_t *to, uint16_t *totals) {
    const int32_t whole = features / interval, words = features % interval / 4;
    *totals = 0;
    if (whole > 0) totals = nn_dsp_expand(x, to, totals, whole, interval / 4);
    int32_t done = whole * interval, total = *totals;
    if (words > 0) {
        total = *nn_dsp_expand(x + done, to + done, totals, 1, words);
        done += 4 * words;
    }
    for (; done < features; done++) total += to[done] = x[done];
    for (; done % STEP; done++) to[done] = 0;
    if (done > whole * interval) totals[1] = (uint16_t)total;
    return done;
}

/* Outputs of the totals of a block. */
static void write(const int32_t *packed, int32_t output_offset, const int32_t *totals, int32_t count, int8_t *output) {
    const int8_t *shifts = (const int8_t *)(packed + 2 * NN_DSP_CHANNELS);
    for (int32_t i = 0; i < count; i++) {
        nn_dsp_quant q = {.multiplier = packed[NN_DSP_CHANNELS + i], .right_shift = shifts[i]};
        q.rounding = nn_dsp_rounding(output_offset, q.right_shift);
        output[i] = nn_dsp_any_output(packed[i] + 2 * totals[i], &q);
    }
}

void nn_fully_connected_t2_dsp(const nn_context *ctx, const nn_dsp_fc_params *params, const nn_dims *input_dims,
                               const int8_t *input, const nn_dims *filter_dims, const uint32_t *filter,
                               const int32_t *quant, const nn_dims *output_dims, int8_t *output) {
    (void)input_dims;
    int16_t *x = ctx->buf;
    uint16_t *totals = (uint16_t *)(x + (filter_dims->c + STEP - 1) / STEP * STEP);
    const int32_t interval = params->interval, outputs = output_dims->c, offset = params->fc.output_offset;
    const int16_t *const end = x + expand(input, filter_dims->c, interval, x, totals);
    for (int32_t o = 0; o < outputs; o += MOST, quant += 2 * NN_DSP_QUANT_WORDS) {
        int32_t sums[MOST] = {0};
        const int32_t left = outputs - o;
        const uint16_t *total = totals;
        for (const int16_t *from = x, *to; from < end; from = to, total++) {
            to = end - from > interval ? from + interval : end;
            const int32_t sum = (int16_t)(total[1] - total[0]);
            filter = left > LEAST ? nn_dsp_products8(from, filter, sums, sum, to)
                                  : nn_dsp_products4(from, filter, sums, sum, to);
        }
        write(quant, offset, sums, nn_min(LEAST, left), output + o);
        if (left > LEAST) {
            write(quant + NN_DSP_QUANT_WORDS, offset, sums + LEAST, nn_min(LEAST, left - LEAST), output + o + LEAST);
        }
    }
    nn_dsp_clamp(output, outputs, params->fc.activation);
}
