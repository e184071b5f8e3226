/* Packed ternary weights to int8 with vector instructions. */
#include "nn_mve.h"

void nn_mve_decode(const uint8_t *filter, int32_t vectors, int8_t *weights) {
    for (; vectors > 0; vectors--, filter += NN_MVE_LANES, weights += NN_MVE_ROWS * NN_MVE_LANES) {
        const int8x16_t packed = vldrbq_s8((const int8_t *)filter);
        vstrbq_s8(weights, nn_mve_row(packed, 0));
        vstrbq_s8(weights + NN_MVE_LANES, nn_mve_row(packed, 1));
        vstrbq_s8(weights + 2 * NN_MVE_LANES, nn_mve_row(packed, 2));
        vstrbq_s8(weights + 3 * NN_MVE_LANES, nn_mve_row(packed, 3));
    }
}
