/* Depthwise convolution with weights of 8, 4, 3 or 2 bits for cores with the DSP extension: lays out the planes that
 * nn_depthwise_conv2d_s_dsp_core.S sums.
 *
 * Four channels at a time. In general a strip of input rows, with its padding, is expanded to a plane of numbers of 16
 * bits, the channels of each pixel in the order 0, 2, 1, 3. So are the filters. For filters of 3x3 with a fit each
 * channel has a plane, and a kernel row of weights w0, w1, w2 becomes two words of 16 bits: 2^8 w0 and w1, w1 and w2.
 *
 * Filter: for every four channels (missing ones are 0) the four weights of every tap, in the order height, width; with
 * a fit the nine weights of every channel. Weights of 8 bits, or fields of nn_decode, where every four channels start
 * at a byte boundary. */
#include <arm_acle.h>
#include <stddef.h>
#include <string.h>

#include "nn_arith.h"
#include "nn_dsp.h"

enum { CHANNELS = 4, TAPS = 9, ROW_WORDS = 6, FIT_WORDS = sizeof(nn_dsp_wide_fit) / sizeof(int32_t) };

static_assert(sizeof(nn_dsp_taps) == 48 && offsetof(nn_dsp_taps, inputs) == 28,
              "as in nn_depthwise_conv2d_s_dsp_core.S");
static_assert(sizeof(nn_dsp_rows) == 44 && FIT_WORDS == 3 && ROW_WORDS == 6, "as in nn_depthwise_conv2d_s_dsp_core.S");

/* State of a convolution. */
typedef struct {
    const nn_dsp_signed_dw_conv_params *params;
    const nn_dims *in, *filter_dims, *out;
    uint32_t *plane, *filter;
    int8_t *bytes; /* of decoded filters */
    int8_t *row;   /* outputs of a row of fewer than four channels */
    nn_dsp_taps taps;
} convolution;

/* Expands four channels of 8 bits to 16, in the order 0, 2, 1, 3; returns the place after them. */
static inline uint32_t *expand(uint32_t channels, uint32_t *to) {
    uint32_t odd;
    __asm("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(channels));
    to[0] = (uint32_t)__sxtb16((int8x4_t)channels);
    to[1] = odd;
    return to + 2;
}

/* Expands `count` pixels of `channels` channels, at most four; returns the place after them. */
static uint32_t *expand_pixels(const int8_t *x, int32_t channels, int32_t pixel, int32_t count, uint32_t *to) {
    uint32_t word = 0;
    if (channels == CHANNELS) {
        for (; count > 0; count--, x += pixel) {
            memcpy(&word, x, CHANNELS);
            to = expand(word, to);
        }
        return to;
    }
    for (; count > 0; count--, x += pixel) {
        memcpy(&word, x, (size_t)channels);
        to = expand(word, to);
    }
    return to;
}

static uint32_t *fill(uint32_t value, int32_t pixels, uint32_t *to) {
    for (uint32_t *const end = to + 2 * pixels; to < end;) *to++ = value;
    return to;
}

/* Lays out the plane of the input rows from `top` on. */
static void expand_plane(const convolution *c, const int8_t *input, int32_t channels, int32_t top, int32_t rows) {
    const nn_dw_conv_params *conv = &c->params->conv;
    const int32_t pitch = c->params->pitch, left = conv->padding.w, pixel = c->in->c;
    const int32_t inside = nn_min(c->in->w, pitch - left);
    const uint32_t zero = ((uint32_t)-conv->input_offset & 0xFFFFU) * 0x10001U;
    uint32_t *to = c->plane;
    for (int32_t y = top; y < top + rows; y++) {
        if ((uint32_t)y >= (uint32_t)c->in->h) {
            to = fill(zero, pitch, to);
        } else {
            to = fill(zero, left, to);
            to = expand_pixels(input + y * c->in->w * pixel, channels, pixel, inside, to);
            to = fill(zero, pitch - left - inside, to);
        }
    }
}

/* Computes `rows` rows of outputs; with fewer than four channels row by row, by way of c->row. */
static void compute_rows(convolution *c, int32_t channels, int32_t rows, int8_t *output) {
    nn_dsp_taps taps = c->taps;
    taps.inputs = c->plane;
    if (channels == CHANNELS) {
        taps.rows = rows;
        taps.output = output;
        c->params->code(&taps);
        return;
    }
    taps.rows = 1;
    taps.step = CHANNELS;
    taps.output = c->row;
    for (; rows > 0; rows--, taps.inputs += taps.row_step / (int32_t)sizeof(*taps.inputs)) {
        c->params->code(&taps);
        for (int32_t x = 0; x < c->out->w; x++, output += c->out->c) {
            memcpy(output, c->row + CHANNELS * x, (size_t)channels);
        }
    }
}

/* Computes up to four channels, the first of which input and output point to. */
static void convolve(convolution *c, const int8_t *input, int32_t channels, int8_t *output) {
    const int32_t stride = c->params->conv.stride.h, row = c->out->w * c->out->c;
    for (int32_t y = 0; y < c->out->h; y += c->params->rows) {
        const int32_t rows = nn_min(c->params->rows, c->out->h - y);
        const int32_t top = y * stride - c->params->conv.padding.h;
        expand_plane(c, input, channels, top, (rows - 1) * stride + c->filter_dims->h);
        compute_rows(c, channels, rows, output + y * row);
    }
}

/* The `count` weights of four channels from `filter` on, those of less than 8 bits decoded to `bytes`. */
static const int8_t *weights_of(const uint8_t *filter, int32_t bits, int32_t count, int8_t *bytes) {
    if (bits == 8) return (const int8_t *)filter;
    nn_decode(filter, (int)bits, (int)count, bytes);
    return bytes;
}

/* Expands the filters of four channels; returns those that follow in flash. */
static const uint8_t *expand_filters(const convolution *c, const uint8_t *filter) {
    const int32_t taps = c->filter_dims->h * c->filter_dims->w, bits = c->params->bits;
    expand_pixels(weights_of(filter, bits, CHANNELS * taps, c->bytes), CHANNELS, CHANNELS, taps, c->filter);
    return filter + (CHANNELS * taps * bits + 7) / 8;
}

void nn_depthwise_conv2d_s_dsp(const nn_context *ctx, const nn_dsp_signed_dw_conv_params *params,
                               const nn_dims *input_dims, const int8_t *input, const nn_dims *filter_dims,
                               const uint8_t *filter, const int32_t *quant, const nn_dims *output_dims,
                               int8_t *output) {
    const int32_t taps = filter_dims->h * filter_dims->w, pixel = 2 * sizeof(uint32_t);
    const int32_t rows = (params->rows - 1) * params->conv.stride.h + filter_dims->h;
    nn_dsp_quant unpacked[CHANNELS];
    convolution c = {.params = params, .in = input_dims, .filter_dims = filter_dims, .out = output_dims};
    c.filter = ctx->buf;
    c.plane = c.filter + 2 * taps;
    c.bytes = (int8_t *)(c.plane + 2 * rows * params->pitch);
    c.row = c.bytes;
    c.taps = (nn_dsp_taps){.filter = c.filter, .filter_end = c.plane, .step = output_dims->c, .quant = unpacked};
    c.taps.skip = (NN_DSP_TAPS - filter_dims->w) * NN_DSP_TAP_BYTES;
    c.taps.next_row = (params->pitch - filter_dims->w) * pixel;
    c.taps.columns = output_dims->w;
    c.taps.row_step = params->pitch * params->conv.stride.h * pixel;
    c.taps.output_row = output_dims->w * output_dims->c;
    for (int32_t channel = 0; channel < output_dims->c; channel += CHANNELS, quant += NN_DSP_QUANT_WORDS) {
        nn_dsp_unpack_quant(quant, 1, params->conv.output_offset, unpacked);
        filter = expand_filters(&c, filter);
        convolve(&c, input + channel, nn_min(CHANNELS, output_dims->c - channel), output + channel);
    }
    nn_dsp_clamp(output, output_dims->h * output_dims->w * output_dims->c, params->conv.activation);
}

/* Two weights, times 2^8, as halves of a word. */
static inline uint32_t two(const int8_t *weights) {
    return (uint32_t)(uint8_t)weights[0] << 8 | (uint32_t)weights[1] << 24;
}

/* Expands the filters of `channels` channels. */
static void expand_rows(const int8_t *weights, int32_t channels, uint32_t *to) {
    for (const int8_t *const end = weights + TAPS * channels; weights < end; weights += 3, to += 2) {
        to[0] = two(weights);
        to[1] = two(weights + 1);
    }
}

void nn_depthwise_conv2d_s_rows_dsp(const nn_context *ctx, const nn_dsp_wide_rows_params *params,
                                    const nn_dims *input_dims, const int8_t *input, const nn_dims *filter_dims,
                                    const uint8_t *filter, const int32_t *fit, const nn_dims *output_dims,
                                    int8_t *output) {
    uint32_t filters[CHANNELS * ROW_WORDS];
    int8_t bytes[CHANNELS * TAPS];
    const int32_t bits = params->bits, row = output_dims->w * output_dims->c;
    nn_dsp_strip s =
        nn_dsp_new_strip(ctx, &params->conv, params->rows, params->pitch, input_dims, filter_dims, output_dims);
    for (int32_t c = 0; c < output_dims->c; c += CHANNELS, fit += CHANNELS * FIT_WORDS) {
        const int32_t channels = nn_min(CHANNELS, output_dims->c - c);
        expand_rows(weights_of(filter, bits, CHANNELS * TAPS, bytes), channels, filters);
        filter += (CHANNELS * TAPS * bits + 7) / 8;
        for (int32_t y = 0, rows = 0; y < output_dims->h; y += rows) {
            rows = nn_dsp_advance(&s, input + c, channels, rows);
            nn_dsp_compute_rows(&s, params->six, params->last, filters, fit, channels, rows, output + y * row + c);
        }
    }
    nn_dsp_clamp(output, output_dims->h * output_dims->w * output_dims->c, params->conv.activation);
}
