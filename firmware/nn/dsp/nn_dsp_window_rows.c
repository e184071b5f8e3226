/* The rows that the windows of a convolution read, with padding where windows reach beyond the input. */
#include <stdbool.h>
#include <string.h>

#include "nn_dsp.h"

/* Copies the next row, of the input or of padding, into the ring; padding beside the input is there already. */
static void copy_row(nn_dsp_window_rows *rows) {
    const nn_conv_params *conv = rows->conv;
    const int32_t row = rows->next++, row_bytes = rows->in->w * rows->in->c, left = conv->padding.w * rows->in->c;
    int8_t *const ring = (int8_t *)(rows->starts + rows->height);
    int8_t *const to = ring + (row + conv->padding.h) % rows->height * rows->pitch;
    if ((uint32_t)row < (uint32_t)rows->in->h) {
        memcpy(to + left, rows->input + row * row_bytes, (size_t)nn_min(row_bytes, rows->pitch - left));
    } else {
        memset(to, -conv->input_offset, (size_t)rows->pitch);
    }
}

void nn_dsp_point_rows(nn_dsp_window_rows *rows, int32_t y) {
    const nn_conv_params *conv = rows->conv;
    const int32_t height = rows->height, top = y * conv->stride.h - conv->padding.h, pitch = rows->pitch;
    const int8_t **starts = rows->starts, **const starts_end = starts + height;
    if (pitch == 0) {
        const int32_t row_bytes = rows->in->w * rows->in->c;
        for (const int8_t *row = rows->input + top * row_bytes; starts < starts_end; row += row_bytes) *starts++ = row;
        return;
    }
    int8_t *const ring = (int8_t *)starts_end;
    if (y == 0) memset(ring, -conv->input_offset, (size_t)(height * pitch));
    rows->next = nn_max(rows->next, top);
    while (rows->next < top + height) copy_row(rows);
    const int8_t *const end = ring + height * pitch;
    const int8_t *place = ring + (top + conv->padding.h) % height * pitch;
    while (starts < starts_end) {
        *starts++ = place;
        place += pitch;
        if (place == end) place = ring;
    }
}
