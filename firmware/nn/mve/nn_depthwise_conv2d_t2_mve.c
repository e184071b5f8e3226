/* Ternary depthwise convolution with vectors of 16 channels: products of 8 bits, sums of 16.
 *
 * Filter: the taps in order height, width, channel, channels filled up to a multiple of 16, as one run of vectors. */
#include "nn_arith.h"
#include "nn_mve.h"

enum { LANES = NN_MVE_LANES, ROWS = NN_MVE_ROWS };

/* The parts of the scratch memory. */
typedef struct {
    const int8_t **taps; /* the input pixel of each tap of a window */
    int8_t *weights;     /* the filter, decoded */
    int8_t *padding;     /* a pixel of zero points */
} workspace;

/* pipeline/kernels/depthwise_conv2d_t2_mve.py reserves the parts in the same order. */
static workspace workspace_in(const nn_context *ctx, const nn_dw_conv_params *params, int32_t taps, int32_t step,
                              const uint8_t *filter) {
    const int32_t vectors = (taps * step / LANES + ROWS - 1) / ROWS;
    workspace work = {.taps = ctx->buf, .weights = (int8_t *)ctx->buf + taps * (int32_t)sizeof *work.taps};
    work.padding = work.weights + vectors * ROWS * LANES;
    nn_mve_decode(filter, vectors, work.weights);
    for (int32_t c = 0; c < step; c += LANES) vstrbq_s8(work.padding + c, vdupq_n_s8((int8_t)-params->input_offset));
    return work;
}

/* Finds the input pixels of the window whose first tap is at (y, x). */
static void find_taps(const nn_dims *in, const int8_t *input, const nn_dims *filter, int32_t y, int32_t x,
                      const workspace *work) {
    const int8_t **tap = work->taps;
    const int8_t *row = input + (y * in->w + x) * in->c;
    for (int32_t ky = 0; ky < filter->h; ky++, y++, row += in->w * in->c) {
        const int8_t *pixel = row;
        for (int32_t kx = x; kx < x + filter->w; kx++, pixel += in->c) {
            const int inside = (uint32_t)y < (uint32_t)in->h && (uint32_t)kx < (uint32_t)in->w;
            *tap++ = inside ? pixel : work->padding;
        }
    }
}

/* Sums of channels oc..oc + 15 over all taps; `lanes` of them exist. */
static inline void sum_taps(const workspace *work, int32_t taps, int32_t step, int32_t oc, mve_pred16_t lanes,
                            int16_t acc[LANES]) {
    int16x8x2_t sums = {{vdupq_n_s16(0), vdupq_n_s16(0)}}; /* even and odd channels */
    const int8_t *weights = work->weights + oc;
    for (int32_t t = 0; t < taps; t++, weights += step) {
        const int8x16_t x = vldrbq_z_s8(work->taps[t] + oc, lanes), w = vldrbq_s8(weights);
        sums.val[0] = vaddq_s16(sums.val[0], vmullbq_int_s8(x, w));
        sums.val[1] = vaddq_s16(sums.val[1], vmulltq_int_s8(x, w));
    }
    vst2q_s16(acc, sums);
}

/* Outputs of channels oc..oc + channels - 1 (at most LANES) from their sums. */
static void finish(const nn_dw_conv_params *params, const nn_per_channel_quant_params *quant, const int32_t *bias,
                   int32_t oc, int32_t channels, const int16_t acc[LANES], int8_t *output) {
    const nn_per_channel_quant_params tables = *quant; /* locals: bytes written may be anything to the compiler */
    const nn_activation limits = params->activation;
    const int32_t offset = params->output_offset;
    for (int32_t c = 0; c < channels; c += ROWS) {
        const nn_mve_channels four = nn_mve_channels_at(&tables, bias, oc + c);
        const int32x4_t outputs = nn_mve_outputs(vldrhq_s32(acc + c), &four, offset, limits);
        vstrbq_p_s32(output + c, outputs, vctp32q((uint32_t)(channels - c)));
    }
}

void nn_depthwise_conv2d_t2_mve(const nn_context *ctx, const nn_dw_conv_params *params,
                                const nn_per_channel_quant_params *quant, const nn_dims *input_dims,
                                const int8_t *input, const nn_dims *filter_dims, const void *filter,
                                const int32_t *bias, const nn_dims *output_dims, int8_t *output) {
    const int32_t channels = output_dims->c, step = (channels + LANES - 1) / LANES * LANES;
    const int32_t taps = filter_dims->h * filter_dims->w;
    const workspace work = workspace_in(ctx, params, taps, step, filter);
    for (int32_t y = 0; y < output_dims->h; y++) {
        for (int32_t x = 0; x < output_dims->w; x++, output += channels) {
            find_taps(input_dims, input, filter_dims, y * params->stride.h - params->padding.h,
                      x * params->stride.w - params->padding.w, &work);
            for (int32_t oc = 0; oc < channels; oc += LANES) {
                int16_t acc[LANES];
                sum_taps(&work, taps, step, oc, vctp8q((uint32_t)(channels - oc)), acc);
                finish(params, quant, bias, oc, nn_min(LANES, channels - oc), acc, output + oc);
            }
        }
    }
}
