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

/* Where 16 output channels, of which `lanes` exist, find their inputs in a pixel. */
typedef struct {
    int32_t first;       /* the input channel of the first one */
    uint8x16_t repeated; /* those of all, from the first one's on */
    mve_pred16_t lanes;
} place;

static inline place place_of(const nn_mve_pixel *p, int32_t oc, const bool repeated) {
    const mve_pred16_t lanes = vctp8q((uint32_t)(p->channels - oc));
    if (!repeated) return (place){.first = oc, .lanes = lanes};
    return (place){oc / p->repeats, vldrbq_u8(p->repeated + oc), lanes};
}

/* Products of a pixel's inputs. */
static inline __attribute__((always_inline)) products multiplied(const int8_t *pixel, place at, const int8_t *weights,
                                                                 const bool repeated) {
    const int8_t *first = pixel + at.first;
    const int8x16_t x =
        repeated ? vldrbq_gather_offset_z_s8(first, at.repeated, at.lanes) : vldrbq_z_s8(first, at.lanes);
    const int8x16_t w = vldrbq_s8(weights);
    return (products){vmullbq_int_s8(x, w), vmulltq_int_s8(x, w)};
}

/* Adds all taps of a filter to the sums; returns the next filter. */
static inline __attribute__((always_inline)) const int8_t *sum16(const nn_mve_pixel *p, place at, const int8_t *weights,
                                                                 int32x4_t sums[ROWS], const bool repeated) {
    const int8_t *const *tap = p->taps;
    products total = {vdupq_n_s16(0), vdupq_n_s16(0)};
    for (int32_t left = p->count; left > 0; left--, weights += LANES) {
        total = added(total, multiplied(*tap++, at, weights, repeated));
    }
    add_wide(sums, total);
    return weights;
}

/* The same for any weights: 16 bits hold two products, as no weight is -128. */
static inline __attribute__((always_inline)) const int8_t *sum32(const nn_mve_pixel *p, place at, const int8_t *weights,
                                                                 int32x4_t sums[ROWS], const bool repeated) {
    const int8_t *const *tap = p->taps;
    for (int32_t left = p->count / 2; left > 0; left--, tap += 2, weights += 2 * LANES) {
        const products first = multiplied(tap[0], at, weights, repeated);
        add_wide(sums, added(first, multiplied(tap[1], at, weights + LANES, repeated)));
    }
    if (p->count % 2 == 0) return weights;
    add_wide(sums, multiplied(*tap, at, weights, repeated));
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
    const int32x4_t sum = vaddq_s32(sums[i], vldrwq_s32(t->bias + i * ROWS));
    const int32x4_t result = nn_mve_requantized(sum, multiplier, shift, relu);
    __asm volatile("" ::: "memory"); /* otherwise GCC loads the tables of all 16 first, and spills */
    return result;
}

/* Outputs of 16 channels. */
static inline __attribute__((always_inline)) int8x16_t finish(const tables *t, const int32x4_t *sums, int16_t offset,
                                                              nn_activation limits, const bool relu) {
    int16x8_t even = vqmovnbq_s32(vreinterpretq_s16_s32(sums[0]), scaled(t, sums, 0, relu));
    int16x8_t odd = vqmovnbq_s32(vreinterpretq_s16_s32(sums[1]), scaled(t, sums, 1, relu));
    even = vqaddq_n_s16(vqmovntq_s32(even, scaled(t, sums, 2, relu)), offset);
    odd = vqaddq_n_s16(vqmovntq_s32(odd, scaled(t, sums, 3, relu)), offset);
    const int8x16_t all = vqmovntq_s16(vqmovnbq_s16(vreinterpretq_s8_s32(sums[2]), even), odd);
    return vminq_s8(vmaxq_s8(all, vdupq_n_s8((int8_t)limits.min)), vdupq_n_s8((int8_t)limits.max));
}

static inline __attribute__((always_inline)) void pixel(const nn_mve_pixel *p, int8_t *output, const bool repeated,
                                                        const bool wide, const bool relu) {
    const int8_t *weights = p->weights;
    const int16_t offset = (int16_t)p->output_offset;
    const nn_activation limits = p->activation;
    const int32_t channels = p->channels;
    tables t = {p->bias, p->quant.multiplier, p->quant.shift};
    for (int32_t oc = 0; oc < channels; oc += LANES) {
        const place at = place_of(p, oc, repeated);
        int32x4_t sums[ROWS];
#pragma GCC unroll 4
        for (int i = 0; i < ROWS; i++) sums[i] = vdupq_n_s32(0);
        weights = wide ? sum32(p, at, weights, sums, repeated) : sum16(p, at, weights, sums, repeated);
        vstrbq_p_s8(output + oc, finish(&t, sums, offset, limits, relu), at.lanes);
        t = (tables){t.bias + LANES, t.multiplier + LANES, t.shift + LANES};
    }
}

void nn_mve_pixel16(const nn_mve_pixel *p, int8_t *output) {
    pixel(p, output, false, false, false);
}

void nn_mve_pixel16_relu(const nn_mve_pixel *p, int8_t *output) {
    pixel(p, output, false, false, true);
}

void nn_mve_pixel32(const nn_mve_pixel *p, int8_t *output) {
    pixel(p, output, false, true, false);
}

void nn_mve_pixel32_relu(const nn_mve_pixel *p, int8_t *output) {
    pixel(p, output, false, true, true);
}

void nn_mve_repeated16(const nn_mve_pixel *p, int8_t *output) {
    pixel(p, output, true, false, false);
}

void nn_mve_repeated16_relu(const nn_mve_pixel *p, int8_t *output) {
    pixel(p, output, true, false, true);
}

void nn_mve_repeated32(const nn_mve_pixel *p, int8_t *output) {
    pixel(p, output, true, true, false);
}

void nn_mve_repeated32_relu(const nn_mve_pixel *p, int8_t *output) {
    pixel(p, output, true, true, true);
}

/* Writes nn_mve_pixel's table of the channels' inputs. */
static const uint8_t *repeated_in(uint8_t *table, int32_t channels, int32_t repeats) {
    for (int32_t oc = 0; oc < channels; oc++) table[oc] = (uint8_t)(oc / repeats - (oc & -LANES) / repeats);
    return table;
}

/* pipeline/codegen/kernels/depthwise_conv2d_s_mve.py reserves the parts in the same order. */
static workspace workspace_in(const nn_context *ctx, const nn_mve_dw_conv_params *params, const int8_t *filter,
                              nn_mve_pixel *p) {
    const int32_t channels = (p->channels + LANES - 1) & -LANES;
    workspace work = {.taps = ctx->buf};
    int8_t *rest = (int8_t *)(work.taps + p->count);
    work.padding = rest;
    for (int8_t *const end = rest + channels; rest < end; rest += LANES) {
        vstrbq_s8(rest, vdupq_n_s8((int8_t)-params->conv.input_offset));
    }
    p->taps = work.taps;
    p->weights = filter;
    p->repeats = params->conv.ch_mult;
    if (p->repeats > 1) {
        p->repeated = repeated_in((uint8_t *)rest, channels, p->repeats);
        rest += channels;
    }
    if (params->decode) {
        params->decode(filter, channels / LANES * p->count, rest);
        p->weights = rest;
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
