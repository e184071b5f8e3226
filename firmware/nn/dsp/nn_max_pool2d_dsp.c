/* Maximum over a window for cores with the DSP extension: four channels at a time. */
#include <arm_acle.h>
#include <string.h>

#include "nn_dsp.h"
#include "nn_pool.h"

enum { CHANNELS = 4 };

static inline int8x4_t four(const int8_t *x) {
    int8x4_t word;
    memcpy(&word, x, sizeof(word));
    return word;
}

/* The larger element of each of four pairs. */
static inline int8x4_t larger(int8x4_t a, int8x4_t b) {
    (void)__ssub8(a, b); /* for its flags */
    return (int8x4_t)__sel((uint8x4_t)a, (uint8x4_t)b);
}

/* Maxima of one or two words of channels from channel c on. */
static inline __attribute__((always_inline)) void max_words(const nn_pool_window *w, int32_t c, const int words,
                                                            int8_t *output) {
    const int32_t pixel = w->pixel, run = w->width * pixel, row = w->row;
    const int8_t *start = w->first + c;
    int8x4_t first = four(start), second = words > 1 ? four(start + CHANNELS) : 0;
    for (const int8_t *const last = start + w->height * row; start < last; start += row) {
        for (const int8_t *x = start, *const end = start + run; x < end; x += pixel) {
            first = larger(first, four(x));
            if (words > 1) second = larger(second, four(x + CHANNELS));
        }
    }
    memcpy(output + c, &first, sizeof(first));
    if (words > 1) memcpy(output + c + CHANNELS, &second, sizeof(second));
}

static void pool(const nn_pool_window *w, nn_activation limits, int8_t *output) {
    (void)limits; /* of all outputs at the end */
    int32_t c = 0;
    for (; c + 2 * CHANNELS <= w->pixel; c += 2 * CHANNELS) max_words(w, c, 2, output);
    for (; c + CHANNELS <= w->pixel; c += CHANNELS) max_words(w, c, 1, output);
    for (; c < w->pixel; c++) {
        int best = w->first[c];
        for (int32_t y = 0; y < w->height; y++) {
            for (int32_t x = 0; x < w->width; x++) best = nn_max(best, w->first[y * w->row + x * w->pixel + c]);
        }
        output[c] = (int8_t)best;
    }
}

void nn_max_pool2d_dsp(const nn_pool_params *params, const nn_dims *input_dims, const int8_t *input,
                       const nn_dims *filter_dims, const nn_dims *output_dims, int8_t *output) {
    nn_pool_windows(params, input_dims, input, filter_dims, output_dims, output, pool);
    nn_dsp_clamp(output, output_dims->h * output_dims->w * output_dims->c, params->activation);
}
