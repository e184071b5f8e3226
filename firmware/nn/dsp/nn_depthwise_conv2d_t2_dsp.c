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

/* State of a strip. */
typedef struct {
    const nn_dsp_dw_conv_params *params;
    const nn_dims *in, *out;
    int16_t *plane;      /* of the first channel */
    int32_t plane_size;  /* columns of a plane */
    int32_t *filters;    /* expanded, per channel */
    int32_t filter_size; /* words of an expanded filter */
    int32_t height;      /* of a filter */
    nn_tile stride;
    nn_dsp_split split;
    bool fitted;    /* computed by nn_dsp_rows... */
    bool fast;      /* by those or by nn_dsp_pairs... */
    bool whole;     /* it holds all rows: those of the padding are never overwritten */
    int32_t filled; /* rows in the planes */
    int32_t next;   /* input row that is expanded next */
} strip;

/* Fills rows of all planes with padding, the zero point. */
static void fill_rows(const strip *s, int32_t first, int32_t rows) {
    const int16_t zero_point = (int16_t)-s->params->conv.input_offset;
    const int32_t count = rows * s->params->pitch;
    for (int32_t c = 0; c < CHANNELS; c++) {
        int16_t *to = s->plane + c * s->plane_size + first * s->params->pitch;
        for (int32_t i = 0; i < count; i++) to[i] = zero_point;
    }
}

/* Expands rows of the input, up to four channels; their columns of padding hold the zero point already. */
static void expand_rows(const strip *s, const int8_t *input, int32_t channels, int32_t rows) {
    const int32_t pitch = s->params->pitch, pixel = s->in->c;
    const int8_t *x = input + s->next * s->in->w * pixel;
    int16_t *to = s->plane + s->filled * pitch + s->params->conv.padding.w;
    if (channels == CHANNELS) {
        nn_dsp_planes(x, to, rows, &s->split);
        return;
    }
    for (; rows > 0; rows--, x += s->in->w * pixel, to += pitch) {
        for (int32_t c = 0; c < channels; c++) {
            for (int32_t i = 0; i < s->split.columns; i++) to[c * s->plane_size + i] = x[i * pixel + c];
        }
    }
}

/* Fills the planes, as far as there is room, with the rows up to, but not including, `last`. */
static void fill_planes(strip *s, const int8_t *input, int32_t channels, int32_t last) {
    const int32_t end = nn_min(last, s->next + s->params->rows - s->filled);
    for (int32_t rows; s->next < end; s->next += rows, s->filled += rows) {
        if ((uint32_t)s->next < (uint32_t)s->in->h) {
            rows = nn_min(end, s->in->h) - s->next;
            expand_rows(s, input, channels, rows);
        } else {
            rows = (s->next < 0 ? nn_min(end, 0) : end) - s->next;
            if (!s->whole) fill_rows(s, s->filled, rows);
        }
    }
}

/* Drops the first rows of the planes. */
static void keep_rows(strip *s, int32_t rows) {
    const int32_t kept = nn_max(0, s->filled - rows), pitch = s->params->pitch;
    s->next += nn_max(0, rows - s->filled);
    for (int32_t c = 0; c < CHANNELS; c++) {
        int16_t *plane = s->plane + c * s->plane_size;
        memmove(plane, plane + rows * pitch, (size_t)(kept * pitch) * sizeof(*plane));
    }
    s->filled = kept;
}

/* Expands the filters of the channels; returns those that follow. */
static const uint8_t *expand_filters(const strip *s, const nn_dims *filter_dims, int32_t channels,
                                     const uint8_t *filter) {
    const int32_t stride = s->stride.w;
    memset(s->filters, 0, (size_t)(channels * s->filter_size) * sizeof(*s->filters));
    for (int32_t c = 0; c < channels; c++) {
        int16_t *row = (int16_t *)(s->filters + c * s->filter_size);
        uint32_t codes = 0;
        int32_t left = 0;
        for (int32_t ky = 0; ky < filter_dims->h; ky++, row += 2 * s->params->row_words) {
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
static void convolve_channel(const strip *s, int32_t channel, const nn_dsp_quant *quant, int32_t rows, int8_t *output) {
    const int32_t *filter = s->filters + channel * s->filter_size;
    const int16_t *x = s->plane + channel * s->plane_size;
    const int32_t words = s->params->row_words, pitch = s->params->pitch, step = s->out->c;
    for (; rows > 0; rows--, x += s->stride.h * pitch, output += s->out->w * step) {
        for (int32_t column = 0; column < s->out->w; column += 2) {
            const int32_t *row = (const int32_t *)(x + column * s->stride.w), *taps = filter;
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
static void convolve_pairs(const strip *s, const uint8_t *filter, const nn_dsp_quant *quant, int32_t channels,
                           int32_t rows, int8_t *output) {
    const nn_dsp_dw_conv_params *const params = s->params;
    const int32_t pitch = params->pitch * (int32_t)sizeof(*s->plane), step = s->out->c, width = s->out->w;
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

/* The same by what the packer has fitted. */
static void convolve_rows(const strip *s, const uint8_t *filter, const int32_t *fit, int32_t channels, int32_t rows,
                          int8_t *output) {
    const int32_t step = s->out->c, row = s->out->w * step, size = sizeof(*s->plane);
    nn_dsp_rows r = {.output = output, .step = step, .next = row - step, .size = rows * row, .filter = filter};
    r.fit = (const nn_dsp_half_fit *)fit;
    r.inputs = s->plane;
    r.plane = s->plane_size * size;
    r.channels = channels;
    r.pitch = s->params->pitch * size;
    r.back = -r.pitch;
    for (int32_t left = s->out->w; left > 0; left -= NN_DSP_PAIRS) {
        (left >= NN_DSP_PAIRS ? s->params->six : s->params->last)(&r);
        r.inputs += NN_DSP_PAIRS;
        r.output += NN_DSP_PAIRS * step;
    }
}

/* Computes four channels, or as many as are left. */
static void convolve(strip *s, const int8_t *input, const uint8_t *filter, const int32_t *quant, int32_t channels,
                     int8_t *output) {
    nn_dsp_quant unpacked[CHANNELS];
    if (!s->fitted) nn_dsp_unpack_quant(quant, 1, s->params->conv.output_offset, unpacked);
    const int32_t last = (s->out->h - 1) * s->stride.h - s->params->conv.padding.h + s->height;
    s->next = -s->params->conv.padding.h;
    s->filled = 0;
    for (int32_t y = 0, rows; y < s->out->h; y += rows, output += rows * s->out->w * s->out->c) {
        if (y > 0) keep_rows(s, rows * s->stride.h);
        fill_planes(s, input, channels, last);
        rows = (s->filled - s->height) / s->stride.h + 1;
        if (s->fitted) {
            convolve_rows(s, filter, quant, channels, rows, output);
        } else if (s->fast) {
            convolve_pairs(s, filter, unpacked, channels, rows, output);
        } else {
            for (int32_t c = 0; c < channels; c++) convolve_channel(s, c, unpacked + c, rows, output + c);
        }
    }
}

void nn_depthwise_conv2d_t2_dsp(const nn_context *ctx, const nn_dsp_dw_conv_params *params, const nn_dims *input_dims,
                                const int8_t *input, const nn_dims *filter_dims, const uint8_t *filter,
                                const int32_t *quant, const nn_dims *output_dims, int8_t *output) {
    strip s = {.params = params, .in = input_dims, .out = output_dims, .plane = ctx->buf};
    s.plane_size = params->rows * params->pitch;
    s.height = filter_dims->h;
    s.stride = params->conv.stride;
    s.fitted = params->six || params->last;
    s.fast = s.fitted || params->left || params->zero || params->right;
    s.whole = params->rows == (output_dims->h - 1) * s.stride.h + s.height;
    s.filter_size = s.height * params->row_words;
    s.filters = (int32_t *)(s.plane + CHANNELS * s.plane_size);
    const int32_t columns = nn_min(input_dims->w, params->pitch - params->conv.padding.w), size = sizeof(*s.plane);
    s.split = (nn_dsp_split){input_dims->c, s.plane_size * size, columns, (input_dims->w - columns) * input_dims->c,
                             (params->pitch - columns) * size};
    fill_rows(&s, 0, params->rows);
    const int32_t filter_bytes = (filter_dims->h * filter_dims->w + 3) / 4;
    const int32_t quant_words = s.fitted ? CHANNELS * FIT_WORDS : NN_DSP_QUANT_WORDS;
    for (int32_t c = 0; c < output_dims->c; c += CHANNELS, quant += quant_words) {
        const int32_t channels = nn_min(CHANNELS, output_dims->c - c);
        if (!s.fast) expand_filters(&s, filter_dims, channels, filter);
        convolve(&s, input + c, filter, quant, channels, output + c);
        filter += channels * filter_bytes;
    }
    nn_dsp_clamp(output, output_dims->h * output_dims->w * output_dims->c, params->conv.activation);
}
