/* Decodes packed weights to int8 with vector instructions. */
#include "nn_mve.h"

static inline __attribute__((always_inline)) const int8_t *decode(const int bits, const int8_t *filter, int32_t rows,
                                                                  int8_t *weights) {
    for (; rows > 0; rows -= NN_MVE_UNIT_ROWS(bits), filter += NN_MVE_UNIT_VECTORS(bits) * NN_MVE_LANES) {
        int8x16_t unit[NN_MVE_ROWS];
        nn_mve_load_unit(bits, filter, unit);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            if (i < NN_MVE_UNIT_ROWS(bits)) vstrbq_s8(weights + i * NN_MVE_LANES, nn_mve_row(bits, unit, i));
        }
        weights += NN_MVE_UNIT_ROWS(bits) * NN_MVE_LANES;
    }
    return filter;
}

const int8_t *nn_mve_decode_t2(const int8_t *filter, int32_t rows, int8_t *weights) {
    return decode(2, filter, rows, weights);
}

const int8_t *nn_mve_decode_s3(const int8_t *filter, int32_t rows, int8_t *weights) {
    return decode(3, filter, rows, weights);
}

const int8_t *nn_mve_decode_s4(const int8_t *filter, int32_t rows, int8_t *weights) {
    return decode(4, filter, rows, weights);
}
