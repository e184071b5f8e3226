/* Maximum over a window; elements outside the input do not exist. */
#include "nn.h"
#include "nn_arith.h"

void nn_max_pool_s8(const nn_pool_params *params, const nn_dims *input_dims, const int8_t *input,
                    const nn_dims *filter_dims, const nn_dims *output_dims, int8_t *output) {
    const int32_t channels = input_dims->c;
    for (int32_t y = 0; y < output_dims->h; y++) {
        for (int32_t x = 0; x < output_dims->w; x++) {
            const int32_t y0 = y * params->stride.h - params->padding.h;
            const int32_t x0 = x * params->stride.w - params->padding.w;
            for (int32_t c = 0; c < channels; c++) {
                int32_t best = params->activation.min;
                for (int32_t iy = nn_max(0, y0); iy < nn_min(input_dims->h, y0 + filter_dims->h); iy++) {
                    for (int32_t ix = nn_max(0, x0); ix < nn_min(input_dims->w, x0 + filter_dims->w); ix++) {
                        best = nn_max(best, input[(iy * input_dims->w + ix) * channels + c]);
                    }
                }
                *output++ = (int8_t)nn_min(best, params->activation.max);
            }
        }
    }
}
