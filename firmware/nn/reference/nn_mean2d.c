/* Mean over a whole map, requantized. */
#include "nn.h"
#include "nn_arith.h"

void nn_mean2d(const nn_mean_params *params, const nn_dims *input_dims, const int8_t *input, int8_t *output) {
    const int pixels = input_dims->h * input_dims->w;
    for (int c = 0; c < input_dims->c; c++) {
        const int8_t *x = input + c;
        int32_t acc = (int32_t)params->input_offset * pixels;
        for (int i = 0; i < pixels; i++, x += input_dims->c) acc += *x;
        const int32_t q = nn_requantize(acc, params->multiplier, params->shift) + params->output_offset;
        output[c] = (int8_t)nn_clamp(q, params->activation.min, params->activation.max);
    }
}
