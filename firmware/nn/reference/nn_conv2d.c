/* Reference convolution: any filter, stride, padding and channel count.
 *
 * One output channel at a time, so that a packed filter is decoded once. In a filter row, the taps inside the input are
 * one contiguous run, which compilers vectorize. */
#include "nn.h"
#include "nn_arith.h"

/* Sum of (input + offset) * weight over a run. int16 operands let SIMD units multiply and add pairs; a product, at most
 * 255 * 128 in magnitude, fits int16 too. */
static int32_t dot(const int8_t *input, const int8_t *weights, int count, int offset) {
    int32_t acc = 0;
    for (int i = 0; i < count; i++) {
        const int16_t x = (int16_t)(input[i] + offset);
        const int16_t w = weights[i];
        acc += x * w;
    }
    return acc;
}

/* Accumulator of one output pixel. Taps outside the input are skipped, which is padding with a real zero. */
static int32_t window(const nn_conv_params *params, const nn_dims *in, const int8_t *input, const nn_dims *filter,
                      const int8_t *weights, int out_y, int out_x) {
    const int y0 = out_y * params->stride.h - params->padding.h;
    const int x0 = out_x * params->stride.w - params->padding.w;
    const int first = nn_max(0, -x0);
    const int run = (nn_min(filter->w, in->w - x0) - first) * in->c;
    int32_t acc = 0;
    for (int ky = nn_max(0, -y0); ky < nn_min(filter->h, in->h - y0); ky++) {
        acc += dot(input + ((y0 + ky) * in->w + x0 + first) * in->c, weights + (ky * filter->w + first) * in->c, run,
                   params->input_offset);
    }
    return acc;
}

/* Computes one output channel of the whole map from its decoded filter. */
static void channel(const nn_conv_params *params, const nn_per_channel_quant_params *quant, const nn_dims *in,
                    const int8_t *input, const nn_dims *filter, const int8_t *weights, int32_t bias, const nn_dims *out,
                    int oc, int8_t *output) {
    int8_t *o = output + oc;
    for (int y = 0; y < out->h; y++) {
        for (int x = 0; x < out->w; x++, o += out->c) {
            const int32_t acc = bias + window(params, in, input, filter, weights, y, x);
            const int32_t q = nn_requantize(acc, quant->multiplier[oc], quant->shift[oc]) + params->output_offset;
            *o = (int8_t)nn_clamp(q, params->activation.min, params->activation.max);
        }
    }
}

void nn_conv2d_s8(const nn_context *ctx, const nn_conv_params *params, const nn_per_channel_quant_params *quant,
                  const nn_dims *input_dims, const int8_t *input, const nn_dims *filter_dims,
                  const NN_FLASH void *filter, const NN_FLASH int32_t *bias, const nn_dims *output_dims,
                  int8_t *output) {
    const NN_FLASH int8_t *next = filter;
    const int taps = filter_dims->h * filter_dims->w * filter_dims->c;
    for (int oc = 0; oc < output_dims->c; oc++, next += taps) {
        const int8_t *weights = nn_loadable(next, taps, ctx->buf);
        channel(params, quant, input_dims, input, filter_dims, weights, bias[oc], output_dims, oc, output);
    }
}

/* Any packed bit width: decodes, then computes as for s8. */
static void packed(int bits, const nn_context *ctx, const nn_conv_params *params,
                   const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                   const nn_dims *filter_dims, const NN_FLASH uint8_t *filter, const NN_FLASH int32_t *bias,
                   const nn_dims *output_dims, int8_t *output) {
    int8_t *decoded = ctx->buf;
    const int taps = filter_dims->h * filter_dims->w * filter_dims->c;
    for (int oc = 0; oc < output_dims->c; oc++, filter += (taps * bits + 7) / 8) {
        nn_decode(filter, bits, taps, decoded);
        channel(params, quant, input_dims, input, filter_dims, decoded, bias[oc], output_dims, oc, output);
    }
}

void nn_conv2d_t2(const nn_context *ctx, const nn_conv_params *params, const nn_per_channel_quant_params *quant,
                  const nn_dims *input_dims, const int8_t *input, const nn_dims *filter_dims,
                  const NN_FLASH void *filter, const NN_FLASH int32_t *bias, const nn_dims *output_dims,
                  int8_t *output) {
    packed(2, ctx, params, quant, input_dims, input, filter_dims, filter, bias, output_dims, output);
}

void nn_conv2d_s3(const nn_context *ctx, const nn_conv_params *params, const nn_per_channel_quant_params *quant,
                  const nn_dims *input_dims, const int8_t *input, const nn_dims *filter_dims,
                  const NN_FLASH void *filter, const NN_FLASH int32_t *bias, const nn_dims *output_dims,
                  int8_t *output) {
    packed(3, ctx, params, quant, input_dims, input, filter_dims, filter, bias, output_dims, output);
}

void nn_conv2d_s4(const nn_context *ctx, const nn_conv_params *params, const nn_per_channel_quant_params *quant,
                  const nn_dims *input_dims, const int8_t *input, const nn_dims *filter_dims,
                  const NN_FLASH void *filter, const NN_FLASH int32_t *bias, const nn_dims *output_dims,
                  int8_t *output) {
    packed(4, ctx, params, quant, input_dims, input, filter_dims, filter, bias, output_dims, output);
}
