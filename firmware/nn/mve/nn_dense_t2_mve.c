/* Ternary dense layer with vectors of 16 inputs, four outputs at a time: a vector of filter is decoded in registers.
 *
 * Filter: for every four outputs (rows), every 16 inputs, one vector of filter. */
#include "nn_mve.h"

enum { LANES = NN_MVE_LANES, ROWS = NN_MVE_ROWS };

/* Dot products of the inputs with four filters. */
static inline int32x4_t dot(const int8_t *x, int32_t count, const uint8_t *filter) {
    int32_t a = 0, b = 0, c = 0, d = 0;
    for (; count > 0; count -= LANES, x += LANES, filter += LANES) {
        const int8x16_t packed = vldrbq_s8((const int8_t *)filter);
        const int8x16_t v = count >= LANES ? vldrbq_s8(x) : vldrbq_z_s8(x, vctp8q((uint32_t)count));
        a = vmladavaq_s8(a, v, nn_mve_row(packed, 0));
        b = vmladavaq_s8(b, v, nn_mve_row(packed, 1));
        c = vmladavaq_s8(c, v, nn_mve_row(packed, 2));
        d = vmladavaq_s8(d, v, nn_mve_row(packed, 3));
    }
    return (int32x4_t){a, b, c, d};
}

void nn_dense_t2_mve(const nn_context *ctx, const nn_fc_params *params, const nn_per_channel_quant_params *quant,
                     const nn_dims *input_dims, const int8_t *input, const nn_dims *filter_dims, const void *filter,
                     const int32_t *bias, const nn_dims *output_dims, int8_t *output) {
    (void)ctx;
    (void)input_dims;
    const int32_t features = filter_dims->c, row_bytes = (features + LANES - 1) / LANES * LANES;
    const uint8_t *vectors = filter;
    for (int32_t o = 0; o < output_dims->c; o += ROWS, vectors += row_bytes) {
        const nn_mve_channels c = nn_mve_channels_at(quant, bias, o);
        const int32x4_t acc = dot(input, features, vectors);
        vstrbq_p_s32(output + o, nn_mve_outputs(acc, &c, params->output_offset, params->activation),
                     vctp32q((uint32_t)(output_dims->c - o)));
    }
}
