/* Element-wise sum by CMSIS-NN. */
#include "nn_arith.h"
#include "nn_cmsis.h"

void nn_add_cmsis(const nn_add_params *params, const nn_dims *dims, const int8_t *input1, const int8_t *input2,
                  int8_t *output) {
    nn_cmsis_done(arm_elementwise_add_s8(input1, input2, params->input1_offset, params->input1_mult,
                                         params->input1_shift, params->input2_offset, params->input2_mult,
                                         params->input2_shift, NN_ADD_LEFT_SHIFT, output, params->output_offset,
                                         params->output_mult, params->output_shift, params->activation.min,
                                         params->activation.max, dims->h * dims->w * dims->c));
}
