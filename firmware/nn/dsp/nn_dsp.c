/* What kernels of this family share: how filters of 8, 4 and 3 bits differ, and the windows of convolutions. */
#include <string.h>

#include "nn_dsp.h"

const nn_dsp_width nn_dsp_lanes = {
    nn_dsp_blocks_lanes, nn_dsp_interleave, nn_dsp_interleave3, 0, 4, NN_DSP_LANES_BYTES, 6};
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
