/* Element-wise sum of two tensors with different scales, in the arithmetic of TensorFlow Lite's int8 reference. */
#include "nn.h"
#include "nn_arith.h"

static int32_t rescaled(int8_t x, int offset, int32_t mult, int shift) {
    return nn_requantize((x + offset) * ((int32_t)1 << NN_ADD_LEFT_SHIFT), mult, shift);
}

void nn_add(const nn_add_params *params, const nn_dims *dims, const int8_t *input1, const int8_t *input2,
            int8_t *output) {
    const int count = dims->h * dims->w * dims->c;
    for (int i = 0; i < count; i++) {
        const int32_t a = rescaled(input1[i], params->input1_offset, params->input1_mult, params->input1_shift);
        const int32_t b = rescaled(input2[i], params->input2_offset, params->input2_mult, params->input2_shift);
        const int32_t q = nn_requantize(a + b, params->output_mult, params->output_shift) + params->output_offset;
        output[i] = (int8_t)nn_clamp(q, params->activation.min, params->activation.max);
    }
}
