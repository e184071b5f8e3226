/* Average and maximum pooling by CMSIS-NN. */
#include "nn_cmsis.h"

void nn_pool2d_cmsis(const nn_context *ctx, const nn_cmsis_pool_params *params, const int8_t *input, int8_t *output) {
    const int32_t needed = params->scratch ? params->scratch(params->output.w, params->input.c) : 0;
    const cmsis_nn_context scratch = nn_cmsis_scratch(ctx, needed);
    nn_cmsis_done(
        params->run(&scratch, &params->pool, &params->input, input, &params->filter, &params->output, output));
}
