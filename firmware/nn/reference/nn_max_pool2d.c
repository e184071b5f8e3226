/* Maximum over the part of a window that lies inside the input. */
#include "nn.h"
#include "nn_arith.h"

void nn_max_pool2d(const nn_pool_params *params, const nn_dims *input_dims, const int8_t *input,
                   const nn_dims *filter_dims, const nn_dims *output_dims, int8_t *output) {
    const int channels = input_dims->c;
    for (int y = 0; y < output_dims->h; y++) {
        for (int x = 0; x < output_dims->w; x++) {
            const int y0 = y * params->stride.h - params->padding.h;
            const int x0 = x * params->stride.w - params->padding.w;
            for (int c = 0; c < channels; c++) {
                int best = params->activation.min;
                for (int iy = nn_max(0, y0); iy < nn_min(input_dims->h, y0 + filter_dims->h); iy++) {
                    for (int ix = nn_max(0, x0); ix < nn_min(input_dims->w, x0 + filter_dims->w); ix++) {
                        best = nn_max(best, input[(iy * input_dims->w + ix) * channels + c]);
                    }
                }
                *output++ = (int8_t)nn_min(best, params->activation.max);
            }
        }
    }
}
