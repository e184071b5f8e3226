/* Average pooling with vectors of 16 channels: sums in 16 bits, divided by multiplication.
 *
 * A window has at most 255 elements: no sum exceeds 32767 = 255 * 128 + 127 in magnitude, even with half the count
 * added. For such a magnitude n, a count c with 2^(k - 1) < c <= 2^k, and m = 2^(15 + k) / c rounded up,
 * n m / 2^(15 + k) rounded down equals n / c rounded down: its excess, n (m c - 2^(15 + k)) / (c 2^(15 + k)), is less
 * than 1 / c, because n < 2^15 and m c - 2^(15 + k) < c <= 2^k. */
#include "nn_mve.h"
#include "nn_pool.h"

enum { LANES = NN_MVE_LANES };

/* How sums are divided by a count: half of it, the multiplier and the shift. */
typedef struct {
    int16_t half;
    uint16_t multiplier;
    int32_t shift; /* not positive */
} divisor;

static divisor divisor_of(uint32_t count) {
    int32_t k = 0;
    while (1U << k < count) k++;
    return (divisor){(int16_t)(count / 2), (uint16_t)(((1U << (15 + k)) + count - 1) / count), -k};
}

/* nn_rounded_mean of eight sums. */
static inline int16x8_t means(int16x8_t sums, const divisor *d) {
    const uint16x8_t twice = vshlq_n_u16(vreinterpretq_u16_s16(vaddq_n_s16(vabsq_s16(sums), d->half)), 1);
    const uint16x8_t high = vmulhq_u16(twice, vdupq_n_u16(d->multiplier));
    const int16x8_t magnitudes = vreinterpretq_s16_u16(vshlq_r_u16(high, d->shift));
    return vnegq_m_s16(magnitudes, magnitudes, vcmpltq_n_s16(sums, 0));
}

static void pool(const nn_pool_window *w, nn_activation limits, int8_t *output) {
    const divisor d = divisor_of((uint32_t)(w->height * w->width));
    for (int32_t c = 0; c < w->pixel; c += LANES) {
        const mve_pred16_t lanes = vctp8q((uint32_t)(w->pixel - c));
        int16x8_t even = vdupq_n_s16(0), odd = even;
        const int8_t *row = w->first + c;
        for (int32_t y = w->height; y > 0; y--, row += w->row) {
            const int8_t *x = row;
            for (int32_t left = w->width; left > 0; left--, x += w->pixel) {
                const int8x16_t v = vldrbq_z_s8(x, lanes);
                even = vaddq_s16(even, vmovlbq_s8(v));
                odd = vaddq_s16(odd, vmovltq_s8(v));
            }
        }
        int8x16_t all = vmovntq_s16(vmovnbq_s16(vuninitializedq_s8(), means(even, &d)), means(odd, &d));
        all = vminq_s8(vmaxq_s8(all, vdupq_n_s8((int8_t)limits.min)), vdupq_n_s8((int8_t)limits.max));
        vstrbq_p_s8(output + c, all, lanes);
    }
}

void nn_average_pool2d_mve(const nn_pool_params *params, const nn_dims *input_dims, const int8_t *input,
                           const nn_dims *filter_dims, const nn_dims *output_dims, int8_t *output) {
    nn_pool_windows(params, input_dims, input, filter_dims, output_dims, output, pool);
}
