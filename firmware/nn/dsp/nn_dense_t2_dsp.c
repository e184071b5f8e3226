/* Ternary dense layer for cores with the DSP extension: two outputs and two inputs per instruction.
 *
 * The input is expanded to 16 bits and padded with zeros to a multiple of STEP. It is cut into intervals; after each,
 * the sums are moved to totals, before a packed field can overflow.
 *
 * Filter: for every eight outputs (at the end four, where no more are left), for every four inputs, a word for the
 * first four outputs and one for the others, see nn_conv2d_t2_dsp.c; the four inputs are in the order 0, 2, 1, 3,
 * except those of a last, incomplete four. Padding inputs have code 0. */
#include <stddef.h>

#include "nn_arith.h"
#include "nn_dsp.h"

enum { STEP = 8 };

static_assert(sizeof(nn_dsp_features) == 24 && offsetof(nn_dsp_features, x) == 8, "as in nn_dense_t2_dsp_core.S");

/* Expands the input; returns the number of inputs with padding. totals: running, one after every interval. */
static int32_t expand(const int8_t *x, int32_t features, int32_t interval, int16_t *to, uint16_t *totals) {
    int32_t done = 0;
    *totals = 0;
    for (; features - done >= interval; done += interval) {
        totals = nn_dsp_expand(x + done, to + done, totals, 1, interval / 4);
    }
    if (done == features) return done;
    const int32_t words = (features - done) / 4;
    int32_t total = *totals;
    if (words > 0) {
        total = *nn_dsp_expand(x + done, to + done, totals, 1, words);
        done += 4 * words;
    }
    for (; done < features; done++) total += to[done] = x[done];
    for (; done % STEP; done++) to[done] = 0;
    totals[1] = (uint16_t)total;
    return done;
}

void nn_dense_t2_dsp(const nn_context *ctx, const nn_dsp_fc_params *params, const nn_dims *input_dims,
                     const int8_t *input, const nn_dims *filter_dims, const uint32_t *filter, const int32_t *quant,
                     const nn_dims *output_dims, int8_t *output) {
    (void)input_dims;
    nn_dsp_features x = {.write = params->write, .x = ctx->buf, .offset = 2 * params->fc.output_offset + 1};
    const int32_t features = filter_dims->c;
    uint16_t *totals = (uint16_t *)(x.x + (features + STEP - 1) / STEP * STEP);
    x.totals = totals;
    x.interval = 2 * params->interval;
    x.end = x.x + expand(input, features, params->interval, ctx->buf, totals);
    nn_dsp_dense(&x, filter, quant, output, output_dims->c);
    nn_dsp_clamp(output, output_dims->c, params->fc.activation);
}
