/* Element-wise sum for cores with the DSP extension: what each input contributes is looked up. */
#include "nn_arith.h"
#include "nn_dsp.h"

enum { VALUES = 256 };

/* Twice each possible input on the common scale; the index is the input's bits as an unsigned number. */
static void tabulate(int32_t *table, int offset, int32_t mult, int shift) {
    for (int x = INT8_MIN; x <= INT8_MAX; x++) {
        table[(uint8_t)x] = 2 * nn_requantize((x + offset) * ((int32_t)1 << NN_ADD_LEFT_SHIFT), mult, shift);
    }
}

/* Outputs of `count` pairs of inputs, from the tables; ties: see nn_dsp_output. */
static inline void add(const int32_t *table1, const int32_t *table2, const uint8_t *x, const uint8_t *y, int32_t count,
                       nn_dsp_quant q, const bool ties, int8_t *to) {
    int8_t *const end = to + count;
    for (; to < end - 3; to += 4, x += 4, y += 4) {
#pragma GCC unroll 4
        for (int32_t i = 0; i < 4; i++) to[i] = nn_dsp_output(table1[x[i]] + table2[y[i]], &q, ties);
    }
    while (to < end) *to++ = nn_dsp_output(table1[*x++] + table2[*y++], &q, true);
}

void nn_add_dsp(const nn_context *ctx, const nn_add_params *params, const nn_dims *dims, const int8_t *input1,
                const int8_t *input2, int8_t *output) {
    int32_t *const table1 = ctx->buf, *const table2 = table1 + VALUES;
    tabulate(table1, params->input1_offset, params->input1_mult, params->input1_shift);
    tabulate(table2, params->input2_offset, params->input2_mult, params->input2_shift);
    const int32_t count = dims->h * dims->w * dims->c;
    nn_dsp_quant q = {.multiplier = params->output_mult, .right_shift = -params->output_shift};
    q.rounding = nn_dsp_rounding(params->output_offset, q.right_shift);
    const uint8_t *x = (const uint8_t *)input1, *y = (const uint8_t *)input2;
    if (params->output_offset == INT8_MIN) {
        add(table1, table2, x, y, count, q, false, output);
    } else {
        add(table1, table2, x, y, count, q, true, output);
    }
    nn_dsp_clamp(output, count, params->activation);
}
