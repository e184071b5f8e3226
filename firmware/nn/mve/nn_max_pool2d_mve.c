/* Maximum over a window with vectors of 16 channels. */
#include "nn_mve.h"
#include "nn_pool.h"

static void pool(const nn_pool_window *w, nn_activation limits, int8_t *output) {
    for (int32_t c = 0; c < w->pixel; c += NN_MVE_LANES) {
        const mve_pred16_t lanes = vctp8q((uint32_t)(w->pixel - c));
        const int8_t *row = w->first + c;
        int8x16_t best = vdupq_n_s8((int8_t)limits.min);
        for (int32_t y = w->height; y > 0; y--, row += w->row) {
            const int8_t *x = row;
            for (int32_t left = w->width; left > 0; left--, x += w->pixel) {
                best = vmaxq_s8(best, vldrbq_z_s8(x, lanes));
            }
        }
        vstrbq_p_s8(output + c, vminq_s8(best, vdupq_n_s8((int8_t)limits.max)), lanes);
    }
}

void nn_max_pool2d_mve(const nn_pool_params *params, const nn_dims *input_dims, const int8_t *input,
                       const nn_dims *filter_dims, const nn_dims *output_dims, int8_t *output) {
    nn_pool_windows(params, input_dims, input, filter_dims, output_dims, output, pool);
}
