/* The windows of a pooling layer, for optimized kernels. */
#ifndef NN_POOL_H
#define NN_POOL_H

#include "nn.h"
#include "nn_arith.h"

/* The part of a window that lies inside the input: at least one pixel. */
typedef struct {
    const int8_t *first; /* its first pixel */
    int height, width;
    int pixel, row; /* distances to the next one; `pixel` is the number of channels */
} nn_pool_window;

/* Computes all channels of a window's output. */
typedef void nn_pool_code(const nn_pool_window *window, nn_activation limits, int8_t *output);

static inline __attribute__((always_inline)) void nn_pool_windows(const nn_pool_params *params, const nn_dims *in,
                                                                  const int8_t *input, const nn_dims *filter,
                                                                  const nn_dims *out, int8_t *output,
                                                                  nn_pool_code *pool) {
    const nn_activation limits = params->activation;
    nn_pool_window w = {.pixel = in->c, .row = in->w * in->c};
    for (int y = 0; y < out->h; y++) {
        const int top = y * params->stride.h - params->padding.h, y0 = nn_max(0, top);
        w.height = nn_min(in->h, top + filter->h) - y0;
        for (int x = 0; x < out->w; x++, output += w.pixel) {
            const int left = x * params->stride.w - params->padding.w, x0 = nn_max(0, left);
            w.width = nn_min(in->w, left + filter->w) - x0;
            w.first = input + y0 * w.row + x0 * w.pixel;
            nn_pool_window inside = w;
            if (w.width == in->w) { /* complete rows are contiguous */
                inside.width *= w.height;
                inside.height = 1;
            }
            pool(&inside, limits, output);
        }
    }
}

#endif
