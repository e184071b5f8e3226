/* Dense layer with vectors of 16 inputs, four outputs at a time: a unit of filter is decoded in registers.
 *
 * Filter: for every four outputs (rows), every 16 inputs, or 32 with 3 bits, these rows. */
#include "nn_arith.h"
#include "nn_mve.h"

enum { LANES = NN_MVE_LANES, ROWS = NN_MVE_ROWS };

/* Adds the products of 16 inputs and four rows of a unit of filter, from row `first` on. */
static inline __attribute__((always_inline)) void add_rows(const int bits, int8x16_t x, const int8x16_t *unit,
                                                           const int first, int32_t sums[ROWS]) {
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; r++) sums[r] = vmladavaq_s8(sums[r], x, nn_mve_row(bits, unit, first + r));
}

/* Adds the products with a unit of filter: of all its inputs if `whole`, otherwise of the first `count`. */
static inline __attribute__((always_inline)) void add_unit(const int bits, const int8_t *x, const bool whole,
                                                           int32_t count, const int8_t *filter, int32_t sums[ROWS]) {
    int8x16_t unit[NN_MVE_ROWS];
    nn_mve_load_unit(bits, filter, unit);
    add_rows(bits, whole ? vldrbq_s8(x) : vldrbq_z_s8(x, vctp8q((uint32_t)count)), unit, 0, sums);
    if (NN_MVE_UNIT_ROWS(bits) == ROWS) return;
    const mve_pred16_t lanes = vctp8q((uint32_t)nn_max(count - LANES, 0));
    add_rows(bits, whole ? vldrbq_s8(x + LANES) : vldrbq_z_s8(x + LANES, lanes), unit, ROWS, sums);
}

static inline __attribute__((always_inline)) const int8_t *dot(const int bits, const int8_t *x, int32_t count,
                                                               const int8_t *filter, int32_t sums[ROWS]) {
    const int32_t inputs = NN_MVE_UNIT_ROWS(bits) / ROWS * LANES, bytes = NN_MVE_UNIT_VECTORS(bits) * LANES;
    int32_t found[ROWS] = {0};
    for (; count >= inputs; count -= inputs, x += inputs, filter += bytes) {
        add_unit(bits, x, true, count, filter, found);
    }
    if (count > 0) {
        add_unit(bits, x, false, count, filter, found);
        filter += bytes;
    }
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; r++) sums[r] = found[r];
    return filter;
}

const int8_t *nn_mve_dot_t2(const int8_t *x, int32_t count, const int8_t *filter, int32_t sums[ROWS]) {
    return dot(2, x, count, filter, sums);
}

const int8_t *nn_mve_dot_s3(const int8_t *x, int32_t count, const int8_t *filter, int32_t sums[ROWS]) {
    return dot(3, x, count, filter, sums);
}

const int8_t *nn_mve_dot_s4(const int8_t *x, int32_t count, const int8_t *filter, int32_t sums[ROWS]) {
    return dot(4, x, count, filter, sums);
}

const int8_t *nn_mve_dot_s8(const int8_t *x, int32_t count, const int8_t *filter, int32_t sums[ROWS]) {
    return dot(8, x, count, filter, sums);
}

void nn_dense_s_mve(const nn_context *ctx, const nn_mve_fc_params *params, const nn_per_channel_quant_params *quant,
                    const nn_dims *input_dims, const int8_t *input, const nn_dims *filter_dims, const void *filter,
                    const int32_t *bias, const nn_dims *output_dims, int8_t *output) {
    (void)ctx;
    (void)input_dims;
    const nn_fc_params *fc = &params->fc;
    const int8_t *next = filter;
    for (int32_t o = 0; o < output_dims->c; o += ROWS) {
        int32_t sums[ROWS];
        next = params->dot(input, filter_dims->c, next, sums);
        const nn_mve_channels c = nn_mve_channels_at(quant, bias, o);
        vstrbq_p_s32(output + o, nn_mve_outputs(vldrwq_s32(sums), &c, fc->output_offset, fc->activation, false),
                     vctp32q((uint32_t)(output_dims->c - o)));
    }
}
