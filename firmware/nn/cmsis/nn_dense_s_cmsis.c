/* Dense layer with weights of 8 or 4 bits by CMSIS-NN. Its context holds sums that the generator has precomputed. */
#include "nn_cmsis.h"

void nn_dense_s_cmsis(const nn_cmsis_fc_params *params, const int8_t *input, const int8_t *filter, const int32_t *bias,
                      const int32_t *sums, const int32_t *multiplier, const int32_t *shift, int8_t *output) {
    const cmsis_nn_context known = {(int32_t *)sums, params->output.c * (int32_t)sizeof(*sums)};
    if (params->run_per_channel) {
        const cmsis_nn_per_channel_quant_params quant = {(int32_t *)multiplier, (int32_t *)shift};
        nn_cmsis_done(params->run_per_channel(&known, &params->fc, &quant, &params->input, input, &params->filter,
                                              filter, &params->bias, bias, &params->output, output));
    } else {
        const cmsis_nn_per_tensor_quant_params quant = {multiplier[0], shift[0]};
        nn_cmsis_done(params->run(&known, &params->fc, &quant, &params->input, input, &params->filter, filter,
                                  &params->bias, bias, &params->output, output));
    }
}
