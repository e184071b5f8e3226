/* Reference dense layer. The input is one vector of h * w * c features; filter_dims->c is its length. */
#include "nn.h"
#include "nn_arith.h"

static int8_t output_of(const nn_fc_params *params, const nn_per_channel_quant_params *quant, int32_t acc, int o) {
    const int32_t q = nn_requantize(acc, quant->multiplier[o], quant->shift[o]) + params->output_offset;
    return (int8_t)nn_clamp(q, params->activation.min, params->activation.max);
}

static int32_t dot(const int8_t *input, const int8_t *weights, int count, int offset) {
    int32_t acc = 0;
    for (int i = 0; i < count; i++) acc += (input[i] + offset) * weights[i];
    return acc;
}

void nn_dense_s8(const nn_context *ctx, const nn_fc_params *params, const nn_per_channel_quant_params *quant,
                 const nn_dims *input_dims, const int8_t *input, const nn_dims *filter_dims,
                 const NN_FLASH void *filter, const NN_FLASH int32_t *bias, const nn_dims *output_dims,
                 int8_t *output) {
    (void)input_dims;
    const NN_FLASH int8_t *next = filter;
    const int features = filter_dims->c;
    for (int o = 0; o < output_dims->c; o++, next += features) {
        const int8_t *weights = nn_loadable(next, features, ctx->buf);
        const int32_t acc = bias[o] + dot(input, weights, features, params->input_offset);
        output[o] = output_of(params, quant, acc, o);
    }
}

/* Any packed bit width: decodes, then computes as for s8. */
static void packed(int bits, const nn_context *ctx, const nn_fc_params *params,
                   const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                   const nn_dims *filter_dims, const NN_FLASH uint8_t *filter, const NN_FLASH int32_t *bias,
                   const nn_dims *output_dims, int8_t *output) {
    (void)input_dims;
    int8_t *decoded = ctx->buf;
    const int features = filter_dims->c;
    for (int o = 0; o < output_dims->c; o++, filter += (features * bits + 7) / 8) {
        nn_decode(filter, bits, features, decoded);
        output[o] = output_of(params, quant, bias[o] + dot(input, decoded, features, params->input_offset), o);
    }
}

void nn_dense_t2(const nn_context *ctx, const nn_fc_params *params, const nn_per_channel_quant_params *quant,
                 const nn_dims *input_dims, const int8_t *input, const nn_dims *filter_dims,
                 const NN_FLASH void *filter, const NN_FLASH int32_t *bias, const nn_dims *output_dims,
                 int8_t *output) {
    packed(2, ctx, params, quant, input_dims, input, filter_dims, filter, bias, output_dims, output);
}

void nn_dense_s3(const nn_context *ctx, const nn_fc_params *params, const nn_per_channel_quant_params *quant,
                 const nn_dims *input_dims, const int8_t *input, const nn_dims *filter_dims,
                 const NN_FLASH void *filter, const NN_FLASH int32_t *bias, const nn_dims *output_dims,
                 int8_t *output) {
    packed(3, ctx, params, quant, input_dims, input, filter_dims, filter, bias, output_dims, output);
}

void nn_dense_s4(const nn_context *ctx, const nn_fc_params *params, const nn_per_channel_quant_params *quant,
                 const nn_dims *input_dims, const int8_t *input, const nn_dims *filter_dims,
                 const NN_FLASH void *filter, const NN_FLASH int32_t *bias, const nn_dims *output_dims,
                 int8_t *output) {
    packed(4, ctx, params, quant, input_dims, input, filter_dims, filter, bias, output_dims, output);
}
