/* Ternary depthwise convolution for cores with the DSP extension: each instruction serves two output pixels.
 *
 * Four channels at a time. A strip of input rows is expanded, channel by channel, to 16 bits, so that a word holds two
 * neighbouring columns. A lane of the expanded filter holds the weight of one column for an output pixel, plus 2^14
 * times its weight for the next pixel, which lies `stride` columns further: SMLAD with two columns adds to the sum A +
 * 2^14 B of both pixels. |A| stays below 2^13, as there are at most 63 taps.
 *
 * Filter: for each channel its taps in the order height, width, 2 bits each from the low bits of a byte on, two's
 * complement; each channel starts at a byte boundary. */
#include <arm_acle.h>
#include <stddef.h>
#include <string.h>

#include "nn_arith.h"
#include "nn_dsp.h"

enum { CHANNELS = 4, FIT_WORDS = sizeof(nn_dsp_half_fit) / sizeof(int32_t) };

static_assert(offsetof(nn_dsp_pairs_of_rows, filter) == 44, "as in nn_depthwise_conv2d_t2_dsp_core.S");
static_assert(sizeof(nn_dsp_rows) == 44, "as in nn_depthwise_conv2d_t2_dsp_core.S");
static_assert(sizeof(nn_dsp_split) == 20, "as in nn_depthwise_conv2d_t2_dsp_core.S");

/* State of a convolution. */
typedef struct {
    const nn_dsp_dw_conv_params *params;
    nn_dsp_strip strip;
    int32_t *filters;    /* expanded, per channel */
    int32_t filter_size; /* words of an expanded filter */
    bool fitted;         /* computed by nn_dsp_rows... */
    bool fast;           /* by those or by nn_dsp_pairs... */
} convolution;

/* Expands the filters of the channels; returns those that follow. */
static const uint8_t *expand_filters(const convolution *v, const nn_dims *filter_dims, int32_t channels,
                                     const uint8_t *filter) {
    const int32_t stride = v->params->conv.stride.w;
    memset(v->filters, 0, (size_t)(channels * v->filter_size) * sizeof(*v->filters));
    for (int32_t c = 0; c < channels; c++) {
        int16_t *row = (int16_t *)(v->filters + c * v->filter_size);
        uint32_t codes = 0;
        int32_t left = 0;
        for (int32_t ky = 0; ky < filter_dims->h; ky++, row += 2 * v->params->row_words) {
            for (int32_t kx = 0; kx < filter_dims->w; kx++, codes >>= 2, left--) {
                if (left == 0) codes = *filter++, left = 4;
                const int32_t weight = (int32_t)(codes & 1U) - (int32_t)(codes & 2U);
                row[kx] = (int16_t)(row[kx] + weight);
                row[kx + stride] = (int16_t)(row[kx + stride] + weight * (1 << 14));
            }
        }
    }
    return filter;
}

/* Computes `rows` output rows of one channel. */
static void convolve_channel(const convolution *v, int32_t channel, const nn_dsp_quant *quant, int32_t rows,
                             int8_t *output) {
    const nn_dsp_strip *const s = &v->strip;
    const nn_tile stride = s->conv->stride;
    const int32_t *filter = v->filters + channel * v->filter_size;
    const int16_t *x = s->plane + channel * s->plane_size;
    const int32_t words = v->params->row_words, pitch = s->pitch, step = s->out->c;
    for (; rows > 0; rows--, x += stride.h * pitch, output += s->out->w * step) {
        for (int32_t column = 0; column < s->out->w; column += 2) {
            const int32_t *row = (const int32_t *)(x + column * stride.w), *taps = filter;
            int32_t acc = 0;
            for (int32_t r = 0; r < s->height; r++, row += pitch / 2, taps += words) {
                for (int32_t i = 0; i < words; i++) acc = __smlad((int16x2_t)row[i], (int16x2_t)taps[i], acc);
            }
            const int32_t a = (int32_t)((uint32_t)acc << 18) >> 18;
            output[column * step] = nn_dsp_any_output(quant->bias + 2 * a, quant);
            if (column + 1 == s->out->w) break;
            output[(column + 1) * step] = nn_dsp_any_output(quant->bias + ((acc - a) >> 13), quant);
        }
    }
}

/* The same for all channels of the planes, with 3x3 filters and stride 1. */
static void convolve_pairs(const convolution *v, const uint8_t *filter, const nn_dsp_quant *quant, int32_t channels,
                           int32_t rows, int8_t *output) {
    const nn_dsp_dw_conv_params *const params = v->params;
    const nn_dsp_strip *const s = &v->strip;
    const int32_t pitch = s->pitch * (int32_t)sizeof(*s->plane), step = s->out->c, width = s->out->w;
    nn_dsp_pairs_of_rows p = {.rows = rows, .step = step, .row = width * step, .pitch = pitch, .next = -pitch};
    for (int32_t c = 0; c < channels; c++, quant++, filter += 3, output++) {
        nn_dsp_pairs_code *code = quant->right_shift == 0 ? params->zero : params->right;
        p.quant = *quant;
        p.quant.bias -= 2 * NN_DSP_PAIRS_START;
        if (quant->right_shift < 0) {
            p.quant.right_shift = -quant->right_shift;
            code = params->left;
        }
        p.filter = filter[0] | (uint32_t)filter[1] << 8 | (uint32_t)filter[2] << 16;
        p.inputs = s->plane + c * s->plane_size;
        p.output = output;
        for (int32_t left = width; left > 0; left -= NN_DSP_PAIRS) {
            p.left_out = nn_max(0, NN_DSP_PAIRS - left);
            code(&p);
            p.inputs += NN_DSP_PAIRS;
            p.output += NN_DSP_PAIRS * step;
        }
    }
}

/* Computes four channels, or as many as are left. */
static void convolve(convolution *v, const int8_t *input, const uint8_t *filter, const int32_t *quant, int32_t channels,
                     int8_t *output) {
    nn_dsp_strip *const s = &v->strip;
    nn_dsp_quant unpacked[CHANNELS];
    if (!v->fitted) nn_dsp_unpack_quant(quant, 1, s->conv->output_offset, unpacked);
    for (int32_t y = 0, rows = 0; y < s->out->h; y += rows, output += rows * s->out->w * s->out->c) {
        rows = nn_dsp_advance(s, input, channels, rows);
        if (v->fitted) {
            nn_dsp_compute_rows(s, v->params->six, v->params->last, filter, quant, channels, rows, output);
        } else if (v->fast) {
            convolve_pairs(v, filter, unpacked, channels, rows, output);
        } else {
            for (int32_t c = 0; c < channels; c++) convolve_channel(v, c, unpacked + c, rows, output + c);
        }
    }
}

void nn_depthwise_conv2d_t2_dsp(const nn_context *ctx, const nn_dsp_dw_conv_params *params, const nn_dims *input_dims,
                                const int8_t *input, const nn_dims *filter_dims, const uint8_t *filter,
                                const int32_t *quant, const nn_dims *output_dims, int8_t *output) {
    convolution v = {.params = params, .fitted = params->six || params->last};
    v.strip = nn_dsp_new_strip(ctx, &params->conv, params->rows, params->pitch, input_dims, filter_dims, output_dims);
    v.fast = v.fitted || params->left || params->zero || params->right;
    v.filter_size = filter_dims->h * params->row_words;
    v.filters = (int32_t *)(v.strip.plane + CHANNELS * v.strip.plane_size);
    const int32_t filter_bytes = (filter_dims->h * filter_dims->w + 3) / 4;
    const int32_t quant_words = v.fitted ? CHANNELS * FIT_WORDS : NN_DSP_QUANT_WORDS;
    for (int32_t c = 0; c < output_dims->c; c += CHANNELS, quant += quant_words) {
        const int32_t channels = nn_min(CHANNELS, output_dims->c - c);
        if (!v.fast) expand_filters(&v, filter_dims, channels, filter);
        convolve(&v, input + c, filter, quant, channels, output + c);
        filter += channels * filter_bytes;
    }
    nn_dsp_clamp(output, output_dims->h * output_dims->w * output_dims->c, params->conv.activation);
}
