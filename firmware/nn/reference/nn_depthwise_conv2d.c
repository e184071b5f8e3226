/* Reference depthwise convolution: any filter, stride, padding and channel multiplier. */
#include "nn.h"
#include "nn_arith.h"

/* Accumulator of output channel oc at one pixel; taps outside the input are skipped. */
static int32_t window(const nn_dw_conv_params *params, const nn_dims *in, const int8_t *input, const nn_dims *filter,
                      const int8_t *weights, int y0, int x0, int oc) {
    const int ic = oc / params->ch_mult;
    int32_t acc = 0;
    for (int ky = nn_max(0, -y0); ky < nn_min(filter->h, in->h - y0); ky++) {
        for (int kx = nn_max(0, -x0); kx < nn_min(filter->w, in->w - x0); kx++) {
            const int x = input[((y0 + ky) * in->w + x0 + kx) * in->c + ic] + params->input_offset;
            acc += x * weights[(ky * filter->w + kx) * filter->c + oc];
        }
    }
    return acc;
}

/* Computes the whole map from weights that loads reach. */
static void map(const nn_dw_conv_params *params, const nn_per_channel_quant_params *quant, const nn_dims *in,
                const int8_t *input, const nn_dims *filter, const int8_t *weights, const NN_FLASH int32_t *bias,
                const nn_dims *out, int8_t *output) {
    for (int y = 0; y < out->h; y++) {
        for (int x = 0; x < out->w; x++) {
            const int y0 = y * params->stride.h - params->padding.h;
            const int x0 = x * params->stride.w - params->padding.w;
            for (int oc = 0; oc < out->c; oc++) {
                const int32_t acc = bias[oc] + window(params, in, input, filter, weights, y0, x0, oc);
                const int32_t q = nn_requantize(acc, quant->multiplier[oc], quant->shift[oc]) + params->output_offset;
                *output++ = (int8_t)nn_clamp(q, params->activation.min, params->activation.max);
            }
        }
    }
}

static int weights_of(const nn_dims *filter) {
    return filter->h * filter->w * filter->c;
}

void nn_depthwise_conv2d_s8(const nn_context *ctx, const nn_dw_conv_params *params,
                            const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                            const nn_dims *filter_dims, const NN_FLASH void *filter, const NN_FLASH int32_t *bias,
                            const nn_dims *output_dims, int8_t *output) {
    const int8_t *weights = nn_loadable(filter, weights_of(filter_dims), ctx->buf);
    map(params, quant, input_dims, input, filter_dims, weights, bias, output_dims, output);
}

/* Any packed bit width: decodes, then computes as for s8. */
static void packed(int bits, const nn_context *ctx, const nn_dw_conv_params *params,
                   const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                   const nn_dims *filter_dims, const NN_FLASH uint8_t *filter, const NN_FLASH int32_t *bias,
                   const nn_dims *output_dims, int8_t *output) {
    nn_decode(filter, bits, weights_of(filter_dims), ctx->buf);
    map(params, quant, input_dims, input, filter_dims, ctx->buf, bias, output_dims, output);
}

void nn_depthwise_conv2d_t2(const nn_context *ctx, const nn_dw_conv_params *params,
                            const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                            const nn_dims *filter_dims, const NN_FLASH void *filter, const NN_FLASH int32_t *bias,
                            const nn_dims *output_dims, int8_t *output) {
    packed(2, ctx, params, quant, input_dims, input, filter_dims, filter, bias, output_dims, output);
}

void nn_depthwise_conv2d_s3(const nn_context *ctx, const nn_dw_conv_params *params,
                            const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                            const nn_dims *filter_dims, const NN_FLASH void *filter, const NN_FLASH int32_t *bias,
                            const nn_dims *output_dims, int8_t *output) {
    packed(3, ctx, params, quant, input_dims, input, filter_dims, filter, bias, output_dims, output);
}

void nn_depthwise_conv2d_s4(const nn_context *ctx, const nn_dw_conv_params *params,
                            const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                            const nn_dims *filter_dims, const NN_FLASH void *filter, const NN_FLASH int32_t *bias,
                            const nn_dims *output_dims, int8_t *output) {
    packed(4, ctx, params, quant, input_dims, input, filter_dims, filter, bias, output_dims, output);
}
