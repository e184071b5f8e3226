/* What kernels of this family share: how filters of 8, 4 and 3 bits differ, the windows of convolutions, and the strips
 * of depthwise ones. */
#include <string.h>

#include "nn_dsp.h"

const nn_dsp_width nn_dsp_lanes = {
    nn_dsp_blocks_lanes, nn_dsp_interleave, nn_dsp_interleave3, 0, 4, NN_DSP_LANES_BYTES, 8};
const nn_dsp_width nn_dsp_s8 = {nn_dsp_blocks_s8, nn_dsp_interleave, nn_dsp_interleave3, 0, 4, NN_DSP_UNIT_BYTES, 6};
const nn_dsp_width nn_dsp_s4 = {
    nn_dsp_blocks_s4, nn_dsp_interleave_sum, nn_dsp_interleave3_sum, 8, 4, NN_DSP_UNIT_BYTES, 6};
const nn_dsp_width nn_dsp_s3 = {
    nn_dsp_blocks_s3, nn_dsp_interleave_sum, nn_dsp_interleave3_sum, 4, 16, NN_DSP_UNIT3_BYTES, 2};

/* The rows that the windows of a convolution read, with padding where windows reach beyond the input. */

/* Copies a row, of the input or of padding, to `to`; padding beside the input is there already. */
static void copy_row(const nn_dsp_window_rows *rows, int32_t row, int8_t *to) {
    const nn_conv_params *conv = rows->conv;
    const int32_t row_bytes = rows->in->w * rows->in->c, left = conv->padding.w * rows->in->c;
    if ((uint32_t)row < (uint32_t)rows->in->h) {
        memcpy(to + left, rows->input + row * row_bytes, (size_t)nn_min(row_bytes, rows->pitch - left));
    } else {
        memset(to, -conv->input_offset, (size_t)rows->pitch);
    }
}

void nn_dsp_point_rows(nn_dsp_window_rows *rows, int32_t y) {
    const nn_conv_params *conv = rows->conv;
    const int32_t height = rows->height, pitch = rows->pitch;
    const int8_t **start = rows->starts;
    int8_t *const ring = (int8_t *)(start + height);
    if (y == 0) memset(ring, -conv->input_offset, (size_t)(height * pitch));
    int32_t row = y * conv->stride.h - conv->padding.h, place = y * conv->stride.h % height;
    for (const int32_t end = row + height; row < end; row++, start++) {
        int8_t *const to = ring + place * pitch;
        *start = pitch > 0 ? to : rows->input + row * rows->in->w * rows->in->c;
        if (pitch > 0 && row >= rows->next) {
            copy_row(rows, row, to);
            rows->next = row + 1;
        }
        place = place + 1 == height ? 0 : place + 1;
    }
}

/* Gathers windows, one row of outputs after the other: nn_dsp_gather_core.S lays out those of one row. */
void nn_dsp_gather_windows(const nn_dsp_conv_params *params, nn_dsp_windows *windows, int32_t count, int16_t *to) {
    nn_dsp_window_rows *const rows = &windows->rows;
    const int32_t step = rows->conv->stride.w * rows->in->c;
    uint16_t *totals = (uint16_t *)(to + count * params->granule);
    *totals = 0;
    while (count > 0) {
        if (windows->x == 0) nn_dsp_point_rows(rows, windows->y++);
        const int32_t some = nn_min(count, params->across - windows->x);
        const int8_t **const end = rows->starts + rows->height;
        totals = params->gather_code(rows->starts, end, windows->x * step, step, some, to, totals);
        to += some * params->granule;
        count -= some;
        windows->x += some;
        if (windows->x == params->across) windows->x = 0;
    }
}

/* Fills rows of all planes with padding, the zero point. */
static void fill_rows(const nn_dsp_strip *s, int32_t first, int32_t rows) {
    const int16_t zero_point = (int16_t)-s->conv->input_offset;
    const int32_t count = rows * s->pitch;
    for (int32_t c = 0; c < NN_DSP_CHANNELS; c++) {
        int16_t *to = s->plane + c * s->plane_size + first * s->pitch;
        for (int32_t i = 0; i < count; i++) to[i] = zero_point;
    }
}

/* Expands rows of the input, up to four channels; their columns of padding hold the zero point already. */
static void expand_rows(const nn_dsp_strip *s, const int8_t *input, int32_t channels, int32_t rows) {
    const int32_t pitch = s->pitch, pixel = s->in->c;
    const int8_t *x = input + s->next * s->in->w * pixel;
    int16_t *to = s->plane + s->filled * pitch + s->conv->padding.w;
    if (channels == NN_DSP_CHANNELS) {
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
static void fill_planes(nn_dsp_strip *s, const int8_t *input, int32_t channels, int32_t last) {
    const int32_t end = nn_min(last, s->next + s->rows - s->filled);
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
static void drop_rows(nn_dsp_strip *s, int32_t rows) {
    const int32_t kept = nn_max(0, s->filled - rows), pitch = s->pitch;
    s->next += nn_max(0, rows - s->filled);
    for (int32_t c = 0; c < NN_DSP_CHANNELS; c++) {
        int16_t *plane = s->plane + c * s->plane_size;
        memmove(plane, plane + rows * pitch, (size_t)(kept * pitch) * sizeof(*plane));
    }
    s->filled = kept;
}

nn_dsp_strip nn_dsp_new_strip(const nn_context *ctx, const nn_dw_conv_params *conv, int32_t rows, int32_t pitch,
                              const nn_dims *in, const nn_dims *filter, const nn_dims *out) {
    nn_dsp_strip s = {.conv = conv, .in = in, .out = out, .height = filter->h, .rows = rows, .pitch = pitch};
    const int32_t size = sizeof(*s.plane), columns = nn_min(in->w, pitch - conv->padding.w);
    s.plane = ctx->buf;
    s.plane_size = rows * pitch;
    s.whole = rows == (out->h - 1) * conv->stride.h + filter->h;
    s.split = (nn_dsp_split){in->c, s.plane_size * size, columns, (in->w - columns) * in->c, (pitch - columns) * size};
    fill_rows(&s, 0, rows);
    return s;
}

int32_t nn_dsp_advance(nn_dsp_strip *s, const int8_t *input, int32_t channels, int32_t rows) {
    const int32_t stride = s->conv->stride.h, first = -s->conv->padding.h;
    if (rows > 0) {
        drop_rows(s, rows * stride);
    } else {
        s->next = first;
        s->filled = 0;
    }
    fill_planes(s, input, channels, first + (s->out->h - 1) * stride + s->height);
    return (s->filled - s->height) / stride + 1;
}

void nn_dsp_compute_rows(const nn_dsp_strip *s, nn_dsp_rows_code *six, nn_dsp_rows_code *last, const void *filter,
                         const int32_t *fit, int32_t channels, int32_t rows, int8_t *output) {
    const int32_t step = s->out->c, row = s->out->w * step, size = sizeof(*s->plane);
    nn_dsp_rows r = {.output = output, .step = step, .next = row - step, .size = rows * row, .fit = fit};
    r.filter = filter;
    r.inputs = s->plane;
    r.plane = s->plane_size * size;
    r.channels = channels;
    r.pitch = s->pitch * size;
    r.back = (s->conv->stride.h - 2) * r.pitch;
    for (int32_t left = s->out->w; left > 0; left -= NN_DSP_PAIRS) {
        (left >= NN_DSP_PAIRS ? six : last)(&r);
        r.inputs += NN_DSP_PAIRS * s->conv->stride.w;
        r.output += NN_DSP_PAIRS * step;
    }
}
