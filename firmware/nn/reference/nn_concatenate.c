/* Channels of two tensors side by side, each rescaled to the output's quantization. */
#include "nn.h"
#include "nn_arith.h"

typedef struct {
    int offset;
    int32_t mult;
    int shift;
} rescale;

/* Converts `count` elements to the output's quantization; returns the place after the last one written. */
static int8_t *put(const nn_concat_params *params, rescale r, const int8_t *input, int count, int8_t *output) {
    for (int i = 0; i < count; i++) {
        const int32_t wide = (input[i] + r.offset) * ((int32_t)1 << NN_ADD_LEFT_SHIFT);
        const int32_t q = nn_requantize(wide, r.mult, r.shift) + params->output_offset;
        *output++ = (int8_t)nn_clamp(q, params->activation.min, params->activation.max);
    }
    return output;
}

void nn_concatenate(const nn_concat_params *params, const nn_dims *input1_dims, const int8_t *input1,
                    const nn_dims *input2_dims, const int8_t *input2, int8_t *output) {
    const rescale r1 = {params->input1_offset, params->input1_mult, params->input1_shift};
    const rescale r2 = {params->input2_offset, params->input2_mult, params->input2_shift};
    for (int pixel = 0; pixel < input1_dims->h * input1_dims->w; pixel++) {
        output = put(params, r1, input1 + pixel * input1_dims->c, input1_dims->c, output);
        output = put(params, r2, input2 + pixel * input2_dims->c, input2_dims->c, output);
    }
}
