/* Average pooling for cores with the DSP extension: sums of four channels in two words. */
#include <arm_acle.h>
#include <string.h>

#include "nn_dsp.h"
#include "nn_pool.h"

enum { CHANNELS = 4, TERMS = 255 }; /* inputs whose sum is certain to fit 16 bits */

/* Sums of CHANNELS channels from channel c on. */
static void sum_four(const nn_pool_window *w, int32_t c, int32_t sums[CHANNELS]) {
    const int8_t *row = w->first + c;
    int16x2_t even = 0, odd = 0;
    int32_t terms = 0;
    memset(sums, 0, CHANNELS * sizeof(*sums));
    for (int32_t y = 0; y < w->height; y++, row += w->row) {
        const int8_t *x = row;
        for (int32_t left = w->width; left > 0;) {
            const int32_t more = nn_min(left, TERMS - terms);
            for (const int8_t *const end = x + more * w->pixel; x < end; x += w->pixel) {
                uint32_t word;
                memcpy(&word, x, sizeof(word));
                int16x2_t second;
                __asm("sxtb16 %0, %1, ror #8"
                      : "=r"(second)
                      : "r"(word)); /* GCC would spend an instruction on the rotation */
                even = __sadd16(even, __sxtb16((int8x4_t)word));
                odd = __sadd16(odd, second);
            }
            left -= more;
            terms += more;
            if (terms < TERMS && (left > 0 || y + 1 < w->height)) continue;
            sums[0] += (int16_t)even, sums[1] += (int16_t)odd;
            sums[2] += (int32_t)even >> 16, sums[3] += (int32_t)odd >> 16;
            even = odd = 0, terms = 0;
        }
    }
}

/* Sum of channel c. */
static int32_t sum_one(const nn_pool_window *w, int32_t c) {
    int32_t sum = 0;
    for (int32_t y = 0; y < w->height; y++) {
        for (int32_t x = 0; x < w->width; x++) sum += w->first[y * w->row + x * w->pixel + c];
    }
    return sum;
}

static void pool(const nn_pool_window *w, nn_activation limits, int8_t *output) {
    const int32_t count = w->height * w->width;
    int32_t c = 0;
    for (; c + CHANNELS <= w->pixel; c += CHANNELS) {
        int32_t sums[CHANNELS];
        sum_four(w, c, sums);
        for (int32_t i = 0; i < CHANNELS; i++) {
            output[c + i] = (int8_t)nn_clamp(nn_rounded_mean(sums[i], count), limits.min, limits.max);
        }
    }
    for (; c < w->pixel; c++) {
        output[c] = (int8_t)nn_clamp(nn_rounded_mean(sum_one(w, c), count), limits.min, limits.max);
    }
}

void nn_average_pool2d_dsp(const nn_pool_params *params, const nn_dims *input_dims, const int8_t *input,
                           const nn_dims *filter_dims, const nn_dims *output_dims, int8_t *output) {
    nn_pool_windows(params, input_dims, input, filter_dims, output_dims, output, pool);
}
