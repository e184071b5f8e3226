/* Gathers windows, one row of outputs after the other: nn_dsp_gather_core.S lays out those of one row. */
#include "nn_dsp.h"

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
