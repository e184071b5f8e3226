/* Reference depthwise convolution: any filter, stride, padding and channel multiplier. */
#include "nn.h"
#include "nn_arith.h"

/* Accumulator of output channel oc at one pixel; taps outside the input are skipped. */
static int32_t window(const nn_dw_conv_params *params, const nn_dims *in, const int8_t *input, const nn_dims *filter,
                      const int8_t *weights, int32_t y0, int32_t x0, int32_t oc) {
    const int32_t ic = oc / params->ch_mult;
    int32_t acc = 0;
    for (int32_t ky = nn_max(0, -y0); ky < nn_min(filter->h, in->h - y0); ky++) {
        for (int32_t kx = nn_max(0, -x0); kx < nn_min(filter->w, in->w - x0); kx++) {
            const int32_t x = input[((y0 + ky) * in->w + x0 + kx) * in->c + ic] + params->input_offset;
            acc += x * weights[(ky * filter->w + kx) * filter->c + oc];
        }
    }
    return acc;
}

void nn_depthwise_conv_s8(const nn_context *ctx, const nn_dw_conv_params *params,
                          const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                          const nn_dims *filter_dims, const int8_t *filter, const int32_t *bias,
                          const nn_dims *output_dims, int8_t *output) {
    (void)ctx;
    for (int32_t y = 0; y < output_dims->h; y++) {
        for (int32_t x = 0; x < output_dims->w; x++) {
            const int32_t y0 = y * params->stride.h - params->padding.h;
            const int32_t x0 = x * params->stride.w - params->padding.w;
            for (int32_t oc = 0; oc < output_dims->c; oc++) {
                const int32_t acc = bias[oc] + window(params, input_dims, input, filter_dims, filter, y0, x0, oc);
                const int32_t q = nn_requantize(acc, quant->multiplier[oc], quant->shift[oc]) + params->output_offset;
                *output++ = (int8_t)nn_clamp(q, params->activation.min, params->activation.max);
            }
        }
    }
}

/* Any packed bit width: decode, then as s8. */
static void packed(int32_t bits, const nn_context *ctx, const nn_dw_conv_params *params,
                   const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                   const nn_dims *filter_dims, const uint8_t *filter, const int32_t *bias, const nn_dims *output_dims,
                   int8_t *output) {
    nn_decode(filter, bits, filter_dims->h * filter_dims->w * filter_dims->c, ctx->buf);
    nn_depthwise_conv_s8(ctx, params, quant, input_dims, input, filter_dims, ctx->buf, bias, output_dims, output);
}

void nn_depthwise_conv_t2(const nn_context *ctx, const nn_dw_conv_params *params,
                          const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                          const nn_dims *filter_dims, const uint8_t *filter, const int32_t *bias,
                          const nn_dims *output_dims, int8_t *output) {
    packed(2, ctx, params, quant, input_dims, input, filter_dims, filter, bias, output_dims, output);
}

void nn_depthwise_conv_s3(const nn_context *ctx, const nn_dw_conv_params *params,
                          const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                          const nn_dims *filter_dims, const uint8_t *filter, const int32_t *bias,
                          const nn_dims *output_dims, int8_t *output) {
    packed(3, ctx, params, quant, input_dims, input, filter_dims, filter, bias, output_dims, output);
}

void nn_depthwise_conv_s4(const nn_context *ctx, const nn_dw_conv_params *params,
                          const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                          const nn_dims *filter_dims, const uint8_t *filter, const int32_t *bias,
                          const nn_dims *output_dims, int8_t *output) {
    packed(4, ctx, params, quant, input_dims, input, filter_dims, filter, bias, output_dims, output);
}
