/* Depthwise convolution with weights of 8 or 4 bits by CMSIS-NN. */
#include "nn_cmsis.h"

void nn_depthwise_conv2d_s_cmsis(const nn_context *ctx, const nn_cmsis_dw_conv_params *params, const int8_t *input,
                                 const int8_t *filter, const int32_t *bias, const int32_t *multiplier,
                                 const int32_t *shift, int8_t *output) {
    const cmsis_nn_per_channel_quant_params quant = {(int32_t *)multiplier, (int32_t *)shift};
    const int32_t needed = params->scratch(&params->conv, &params->input, &params->filter, &params->output);
    const cmsis_nn_context scratch = nn_cmsis_scratch(ctx, needed);
    nn_cmsis_done(params->run(&scratch, &params->conv, &quant, &params->input, input, &params->filter, filter,
                              &params->bias, bias, &params->output, output));
}
