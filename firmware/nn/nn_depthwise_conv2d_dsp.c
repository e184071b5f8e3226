/* Ternary depthwise convolution for cores with the DSP extension: two output pixels an instruction.
 *
 * Four channels at a time. A strip of input rows is expanded, channel by channel, to 16 bits, so that a word holds two
 * neighbouring columns. A lane of the expanded filter holds the weight of one column for an output pixel, and 2^14
 * times its weight for the next pixel, which lies `stride` columns further: SMLAD with two columns adds to the sums A +
 * 2^14 B of both pixels. |A| stays below 2^13, as there are at most 63 taps.
 *
 * Filter: per channel its taps in order height, width, 2 bits each from the low bits of a byte on, two's complement;
 * each channel starts on a byte. */
#include <arm_acle.h>
#include <string.h>

#include "nn_arith.h"
#include "nn_dsp.h"

enum { CHANNELS = 4 };
enum { LEAST = 5, MOST = 6 }; /* outputs that nn_dsp_pairs computes at a time */

/* A strip under way. */
typedef struct {
    int16_t *plane;      /* of the first channel */
    int32_t pitch;       /* columns of a row of a plane */
    int32_t plane_size;  /* columns of a plane */
    int32_t filter_size; /* words of an expanded filter */
    int32_t row_words;   /* of these, of one kernel row */
    int32_t *filters;    /* expanded, per channel */
    int32_t height;      /* of a filter */
    nn_tile stride;
    const nn_dims *out;
    int32_t filled; /* rows of the planes */
    int32_t next;   /* input row that is expanded next */
} strip;

/* Rows of the input that lie in the padding: the zero point, in all planes. */
static void fill_row(const strip *s, int16_t zero_point) {
    for (int32_t c = 0; c < CHANNELS; c++) {
        int16_t *to = s->plane + c * s->plane_size + s->filled * s->pitch;
        for (int32_t i = 0; i < s->pitch; i++) to[i] = zero_point;
    }
}

/* Columns of a row, four channels. */
static void expand_four(const int8_t *x, int32_t pixel, int32_t columns, int16_t *to, int32_t plane_size) {
    int16_t *second = to + plane_size, *third = second + plane_size, *fourth = third + plane_size;
    for (const int8_t *const end = x + columns * pixel; x < end; x += pixel) {
        uint32_t word;
        memcpy(&word, x, sizeof(word));
        const uint32_t even = (uint32_t)__sxtb16((int8x4_t)word), odd = (uint32_t)__sxtb16((int8x4_t)(word >> 8));
        *to++ = (int16_t)even;
        *second++ = (int16_t)odd;
        *third++ = (int16_t)(even >> 16);
        *fourth++ = (int16_t)(odd >> 16);
    }
}

/* Expands the next row; its columns in the padding hold the zero point already. */
static void expand_row(strip *s, const nn_dw_conv_params *params, const nn_dims *in, const int8_t *input,
                       int32_t channels) {
    if ((uint32_t)s->next >= (uint32_t)in->h) {
        fill_row(s, (int16_t)-params->input_offset);
    } else {
        const int8_t *x = input + s->next * in->w * in->c;
        int16_t *to = s->plane + s->filled * s->pitch + params->padding.w;
        const int32_t columns = nn_min(in->w, s->pitch - params->padding.w);
        if (channels == CHANNELS) {
            expand_four(x, in->c, columns, to, s->plane_size);
        } else {
            for (int32_t c = 0; c < channels; c++) {
                for (int32_t i = 0; i < columns; i++) to[c * s->plane_size + i] = x[i * in->c + c];
            }
        }
    }
    s->filled++;
    s->next++;
}

/* Forgets the first rows of the planes. */
static void keep_rows(strip *s, int32_t rows) {
    const int32_t kept = nn_max(0, s->filled - rows);
    s->next += nn_max(0, rows - s->filled);
    for (int32_t c = 0; c < CHANNELS; c++) {
        int16_t *plane = s->plane + c * s->plane_size;
        memmove(plane, plane + rows * s->pitch, (size_t)(kept * s->pitch) * sizeof(*plane));
    }
    s->filled = kept;
}

/* Expanded filters of the channels; returns what follows them. */
static const uint8_t *expand_filters(const strip *s, const nn_dims *filter_dims, int32_t stride, int32_t channels,
                                     const uint8_t *filter) {
    memset(s->filters, 0, (size_t)(channels * s->filter_size) * sizeof(*s->filters));
    for (int32_t c = 0; c < channels; c++) {
        int16_t *row = (int16_t *)(s->filters + c * s->filter_size);
        uint32_t codes = 0;
        int32_t left = 0;
        for (int32_t ky = 0; ky < filter_dims->h; ky++, row += 2 * s->row_words) {
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

/* Outputs from column `first` on of `rows` rows of one channel. */
static void convolve_columns(const strip *s, const int16_t *x, const int32_t *filter, const nn_dsp_quant *quant,
                             int32_t first, int32_t rows, int8_t *output) {
    const int32_t words = s->row_words, step = s->out->c;
    for (; rows > 0; rows--, x += s->stride.h * s->pitch, output += s->out->w * step) {
        for (int32_t column = first; column < s->out->w; column += 2) {
            const int32_t *row = (const int32_t *)(x + column * s->stride.w), *taps = filter;
            int32_t acc = 0;
            for (int32_t r = 0; r < s->height; r++, row += s->pitch / 2, taps += words) {
                for (int32_t i = 0; i < words; i++) acc = __smlad((int16x2_t)row[i], (int16x2_t)taps[i], acc);
            }
            const int32_t a = (int32_t)((uint32_t)acc << 18) >> 18;
            output[column * step] = nn_dsp_any_output(quant->bias + 2 * a, quant);
            if (column + 1 == s->out->w) break;
            output[(column + 1) * step] = nn_dsp_any_output(quant->bias + ((acc - a) >> 13), quant);
        }
    }
}

/* `rows` output rows of one channel. */
static void convolve_channel(const strip *s, int32_t channel, const nn_dsp_quant *quant, int32_t rows, int8_t *output) {
    const int16_t *x = s->plane + channel * s->plane_size;
    const int32_t *filter = s->filters + channel * s->filter_size;
    int32_t column = 0;
    if (s->height == 3 && s->row_words == 2 && s->stride.w == 1 && quant->right_shift >= 0) {
        const int32_t pitch = s->pitch * (int32_t)sizeof(*x);
        for (; s->out->w - column >= LEAST; column += MOST) {
            nn_dsp_pairs_of_rows pairs = {
                .inputs = x + column,
                .pitch = pitch,
                .next = (s->stride.h - 2) * pitch,
                .filter = filter,
                .quant = quant,
                .output = output + column * s->out->c,
                .step = s->out->c,
                .row = s->out->w * s->out->c,
                .rows = rows,
                .count = nn_min(MOST, s->out->w - column),
            };
            if (quant->right_shift == 0) {
                nn_dsp_pairs_zero(&pairs);
            } else {
                nn_dsp_pairs(&pairs);
            }
        }
    }
    if (column < s->out->w) convolve_columns(s, x, filter, quant, column, rows, output);
}

/* Four channels, or as many as are left. */
static void convolve(strip *s, const nn_dsp_dw_conv_params *params, const nn_dims *in, const int8_t *input,
                     const nn_dsp_quant *quant, int32_t channels, int8_t *output) {
    const int32_t last = (s->out->h - 1) * s->stride.h - params->conv.padding.h + s->height;
    for (int32_t y = 0, rows; y < s->out->h; y += rows, output += rows * s->out->w * s->out->c) {
        if (y > 0) keep_rows(s, rows * s->stride.h);
        while (s->filled < params->rows && s->next < last) expand_row(s, &params->conv, in, input, channels);
        rows = (s->filled - s->height) / s->stride.h + 1;
        for (int32_t c = 0; c < channels; c++) convolve_channel(s, c, quant + c, rows, output + c);
    }
}

void nn_depthwise_conv_t2_dsp(const nn_context *ctx, const nn_dsp_dw_conv_params *params, const nn_dims *input_dims,
                              const int8_t *input, const nn_dims *filter_dims, const uint8_t *filter,
                              const int32_t *quant, const nn_dims *output_dims, int8_t *output) {
    strip s = {.plane = ctx->buf, .pitch = params->pitch, .row_words = params->row_words};
    s.plane_size = params->rows * s.pitch;
    s.height = filter_dims->h;
    s.stride = params->conv.stride;
    s.out = output_dims;
    s.filter_size = s.height * s.row_words;
    s.filters = (int32_t *)(s.plane + CHANNELS * s.plane_size);
    for (; s.filled < params->rows; s.filled++) fill_row(&s, (int16_t)-params->conv.input_offset);
    for (int32_t c = 0; c < output_dims->c; c += CHANNELS, quant += NN_DSP_QUANT_WORDS) {
        const int32_t channels = nn_min(CHANNELS, output_dims->c - c);
        nn_dsp_quant unpacked[CHANNELS];
        nn_dsp_unpack_quant(quant, 1, params->conv.output_offset, unpacked);
        filter = expand_filters(&s, filter_dims, s.stride.w, channels, filter);
        s.next = -params->conv.padding.h;
        s.filled = 0;
        convolve(&s, params, input_dims, input + c, unpacked, channels, output + c);
    }
    nn_dsp_clamp(output, output_dims->h * output_dims->w * output_dims->c, params->conv.activation);
}
