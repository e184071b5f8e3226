/* Depthwise convolution with vectors of 16 channels: products of 16 bits, of even and of odd channels.
 *
 * Filter: for every 16 channels (missing ones are 0) a row for each tap, in the order height, width. */
#include "nn_arith.h"
#include "nn_mve.h"

enum { LANES = NN_MVE_LANES, ROWS = NN_MVE_ROWS };

/* The parts of the scratch memory. */
typedef struct {
    const int8_t **taps;   /* the input pixel of each tap of a window */
    const int8_t *padding; /* a pixel of zero points */
} workspace;

/* Products, or sums of products, of even and of odd channels. */
typedef struct {
    int16x8_t even, odd;
} products;

static inline products added(products a, products b) {
    return (products){vaddq_s16(a.even, b.even), vaddq_s16(a.odd, b.odd)};
}

/* Adds to the sums of channels 0, 4, 8, 12, then of 1, 5 and so on. */
static inline void add_wide(int32x4_t sums[ROWS], products p) {
    sums[0] = vaddq_s32(sums[0], vmovlbq_s16(p.even));
    sums[1] = vaddq_s32(sums[1], vmovlbq_s16(p.odd));
    sums[2] = vaddq_s32(sums[2], vmovltq_s16(p.even));
    sums[3] = vaddq_s32(sums[3], vmovltq_s16(p.odd));
}

/* Products of a pixel's 16 channels from `oc` on, of which `lanes` exist. */
static inline products multiplied(const int8_t *pixel, int32_t oc, mve_pred16_t lanes, const int8_t *weights) {
    const int8x16_t x = vldrbq_z_s8(pixel + oc, lanes), w = vldrbq_s8(weights);
    return (products){vmullbq_int_s8(x, w), vmulltq_int_s8(x, w)};
}

/* Adds all taps of a filter to the sums; returns the next filter. */
static inline const int8_t *sum16(const nn_mve_pixel *p, int32_t oc, mve_pred16_t lanes, const int8_t *weights,
                                  int32x4_t sums[ROWS]) {
    const int8_t *const *tap = p->taps;
    products total = {vdupq_n_s16(0), vdupq_n_s16(0)};
    for (int32_t left = p->count; left > 0; left--, weights += LANES) {
        total = added(total, multiplied(*tap++, oc, lanes, weights));
    }
    add_wide(sums, total);
    return weights;
}

/* The same for any weights: 16 bits hold two products, as no weight is -128. */
static inline const int8_t *sum32(const nn_mve_pixel *p, int32_t oc, mve_pred16_t lanes, const int8_t *weights,
                                  int32x4_t sums[ROWS]) {
    const int8_t *const *tap = p->taps;
    for (int32_t left = p->count / 2; left > 0; left--, tap += 2, weights += 2 * LANES) {
        const products first = multiplied(tap[0], oc, lanes, weights);
        add_wide(sums, added(first, multiplied(tap[1], oc, lanes, weights + LANES)));
    }
    if (p->count % 2 == 0) return weights;
    add_wide(sums, multiplied(*tap, oc, lanes, weights));
    return weights + LANES;
}

/* Tables of the next 16 channels. */
typedef struct {
    const int32_t *bias, *multiplier;
    const int8_t *shift;
} tables;

/* Outputs of four channels, without the output offset, from sums that include the bias. */
static inline __attribute__((always_inline)) int32x4_t scaled(const tables *t, const int32x4_t *sums, const int i,
                                                              const bool relu) {
    const int32x4_t multiplier = vldrwq_s32(t->multiplier + i * ROWS), shift = vldrbq_s32(t->shift + i * ROWS);
    const int32x4_t result = nn_mve_requantized(sums[i], multiplier, shift, relu);
    __asm volatile("" ::: "memory"); /* otherwise GCC loads the tables of all 16 first, and spills */
    return result;
}

/* Outputs of 16 channels. */
static inline __attribute__((always_inline)) int8x16_t finish(const tables *t, const int32x4_t *sums, int16_t offset,
                                                              nn_activation limits, const bool relu) {
    int16x8_t even = vqmovnbq_s32(vuninitializedq_s16(), scaled(t, sums, 0, relu));
    int16x8_t odd = vqmovnbq_s32(vuninitializedq_s16(), scaled(t, sums, 1, relu));
    even = vqaddq_n_s16(vqmovntq_s32(even, scaled(t, sums, 2, relu)), offset);
    odd = vqaddq_n_s16(vqmovntq_s32(odd, scaled(t, sums, 3, relu)), offset);
    const int8x16_t all = vqmovntq_s16(vqmovnbq_s16(vuninitializedq_s8(), even), odd);
    return vminq_s8(vmaxq_s8(all, vdupq_n_s8((int8_t)limits.min)), vdupq_n_s8((int8_t)limits.max));
}

static inline __attribute__((always_inline)) void pixel(const nn_mve_pixel *p, int8_t *output, const bool wide,
                                                        const bool relu) {
    const int8_t *weights = p->weights;
    const int16_t offset = (int16_t)p->output_offset;
    const nn_activation limits = p->activation;
    const int32_t channels = p->channels;
    tables t = {p->bias, p->quant.multiplier, p->quant.shift};
    for (int32_t oc = 0; oc < channels; oc += LANES) {
        const mve_pred16_t lanes = vctp8q((uint32_t)(channels - oc));
        int32x4_t sums[ROWS];
#pragma GCC unroll 4
        for (int i = 0; i < ROWS; i++) sums[i] = vldrwq_s32(t.bias + i * ROWS);
        weights = wide ? sum32(p, oc, lanes, weights, sums) : sum16(p, oc, lanes, weights, sums);
        vstrbq_p_s8(output + oc, finish(&t, sums, offset, limits, relu), lanes);
        t = (tables){t.bias + LANES, t.multiplier + LANES, t.shift + LANES};
    }
}

void nn_mve_pixel16(const nn_mve_pixel *p, int8_t *output) {
    pixel(p, output, false, false);
}

void nn_mve_pixel16_relu(const nn_mve_pixel *p, int8_t *output) {
    pixel(p, output, false, true);
}

void nn_mve_pixel32(const nn_mve_pixel *p, int8_t *output) {
    pixel(p, output, true, false);
}

void nn_mve_pixel32_relu(const nn_mve_pixel *p, int8_t *output) {
    pixel(p, output, true, true);
}

/* pipeline/codegen/kernels/depthwise_conv2d_s_mve.py reserves the parts in the same order. */
static workspace workspace_in(const nn_context *ctx, const nn_mve_dw_conv_params *params, const int8_t *filter,
                              nn_mve_pixel *p) {
    const int32_t groups = (p->channels + LANES - 1) / LANES;
    workspace work = {.taps = ctx->buf};
    int8_t *padding = (int8_t *)(work.taps + p->count);
    work.padding = padding;
    for (int32_t i = 0; i < groups; i++, padding += LANES) {
        vstrbq_s8(padding, vdupq_n_s8((int8_t)-params->conv.input_offset));
    }
    p->taps = work.taps;
    p->weights = filter;
    if (params->decode) {
        params->decode(filter, groups * p->count, padding);
        p->weights = padding;
    }
    return work;
}

/* Finds the input pixels of the window whose first tap is at (y, x). */
static void find_taps(const nn_dims *in, const int8_t *input, const nn_dims *filter, int32_t y, int32_t x,
                      const workspace *work) {
    const int8_t **tap = work->taps;
    const int8_t *row = input + (y * in->w + x) * in->c;
    const bool all = x >= 0 && x + filter->w <= in->w;
    for (const int32_t end = y + filter->h; y < end; y++, row += in->w * in->c) {
        const bool inside = (uint32_t)y < (uint32_t)in->h;
        const int8_t *pixel = row;
        if (inside && all) {
            for (const int8_t **const last = tap + filter->w; tap < last; pixel += in->c) *tap++ = pixel;
            continue;
        }
        for (int32_t kx = x; kx < x + filter->w; kx++, pixel += in->c) {
            *tap++ = inside && (uint32_t)kx < (uint32_t)in->w ? pixel : work->padding;
        }
    }
}

void nn_depthwise_conv2d_s_mve(const nn_context *ctx, const nn_mve_dw_conv_params *params,
                               const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                               const nn_dims *filter_dims, const void *filter, const int32_t *bias,
                               const nn_dims *output_dims, int8_t *output) {
    const nn_dw_conv_params *conv = &params->conv;
    nn_mve_pixel p = {.quant = *quant, .bias = bias, .output_offset = conv->output_offset};
    p.activation = conv->activation;
    p.channels = output_dims->c;
    p.count = filter_dims->h * filter_dims->w;
    const workspace work = workspace_in(ctx, params, filter, &p);
    for (int32_t y = 0; y < output_dims->h; y++) {
        for (int32_t x = 0; x < output_dims->w; x++, output += p.channels) {
            find_taps(input_dims, input, filter_dims, y * conv->stride.h - conv->padding.h,
                      x * conv->stride.w - conv->padding.w, &work);
            params->pixel(&p, output);
        }
    }
}
