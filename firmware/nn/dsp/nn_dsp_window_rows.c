/* The rows that the windows of a convolution read, with padding where windows reach beyond the input. */
#include <string.h>

#include "nn_dsp.h"

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
