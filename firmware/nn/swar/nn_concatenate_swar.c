/* Channels of two tensors side by side: the requantized value of each input is looked up. */
#include "nn_arith.h"
#include "nn_swar.h"

enum { VALUES = 256 };

/* Requantizes every possible input; the index is the input's bits as an unsigned number. */
static void tabulate(int8_t *table, const nn_concat_params *params, int offset, int32_t mult, int shift) {
    for (int x = INT8_MIN; x <= INT8_MAX; x++) {
        const int32_t wide = (x + offset) * ((int32_t)1 << NN_ADD_LEFT_SHIFT);
        const int32_t q = nn_requantize(wide, mult, shift) + params->output_offset;
        table[(uint8_t)x] = (int8_t)nn_clamp(q, params->activation.min, params->activation.max);
    }
}

/* Converts `count` elements; returns the place after the last one written. */
static inline int8_t *put(const int8_t *table, const uint8_t *x, int count, int8_t *to) {
    int8_t *const end = to + count;
    for (; to < end - 3; to += 4, x += 4) {
        to[0] = table[x[0]];
        to[1] = table[x[1]];
        to[2] = table[x[2]];
        to[3] = table[x[3]];
    }
    while (to < end) *to++ = table[*x++];
    return to;
}

void nn_concatenate_swar(const nn_context *ctx, const nn_concat_params *params, const nn_dims *input1_dims,
                         const int8_t *input1, const nn_dims *input2_dims, const int8_t *input2, int8_t *output) {
    int8_t *const table1 = ctx->buf, *const table2 = table1 + VALUES;
    tabulate(table1, params, params->input1_offset, params->input1_mult, params->input1_shift);
    tabulate(table2, params, params->input2_offset, params->input2_mult, params->input2_shift);
    for (int pixel = 0; pixel < input1_dims->h * input1_dims->w; pixel++) {
        output = put(table1, (const uint8_t *)input1 + pixel * input1_dims->c, input1_dims->c, output);
        output = put(table2, (const uint8_t *)input2 + pixel * input2_dims->c, input2_dims->c, output);
    }
}
