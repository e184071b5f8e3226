/* Mean over the part of a window that lies inside the input. */
#include "nn.h"
#include "nn_arith.h"

void nn_average_pool2d(const nn_pool_params *params, const nn_dims *input_dims, const int8_t *input,
                       const nn_dims *filter_dims, const nn_dims *output_dims, int8_t *output) {
    const int channels = input_dims->c;
    for (int y = 0; y < output_dims->h; y++) {
        for (int x = 0; x < output_dims->w; x++) {
            const int y0 = nn_max(0, y * params->stride.h - params->padding.h);
            const int x0 = nn_max(0, x * params->stride.w - params->padding.w);
            const int y1 = nn_min(input_dims->h, y * params->stride.h - params->padding.h + filter_dims->h);
            const int x1 = nn_min(input_dims->w, x * params->stride.w - params->padding.w + filter_dims->w);
            for (int c = 0; c < channels; c++) {
                int32_t total = 0;
                for (int iy = y0; iy < y1; iy++) {
                    for (int ix = x0; ix < x1; ix++) total += input[(iy * input_dims->w + ix) * channels + c];
                }
                const int32_t mean = nn_rounded_mean(total, (y1 - y0) * (x1 - x0));
                *output++ = (int8_t)nn_clamp(mean, params->activation.min, params->activation.max);
            }
        }
    }
}
