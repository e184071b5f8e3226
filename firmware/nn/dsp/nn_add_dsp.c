/* Element-wise sum for cores with the DSP extension: two multiply-accumulates an output. The packer has compared what
 * the factors give with the specification, for all pairs of inputs. */
#include <arm_acle.h>
#include <string.h>

#include "nn_dsp.h"

/* An input times 2^8 in each half of a word. */
#define HALVES 0xFF00FF00U

/* An output; x and y: an input of each tensor, times 2^8, in the lower half, or in the upper one. */
static inline int8_t add(const nn_dsp_add_params *p, uint32_t x, uint32_t y, const bool upper) {
    int32_t sum = upper ? __smlawt(p->factor1, (int32_t)x, p->start) : __smlawb(p->factor1, (int32_t)x, p->start);
    sum = upper ? __smlawt(p->factor2, (int32_t)y, sum) : __smlawb(p->factor2, (int32_t)y, sum);
    __asm("ssat %0, #8, %0, asr %1" : "+r"(sum) : "i"(NN_DSP_ADD_FRACTION));
    return (int8_t)sum;
}

void nn_add_dsp(const nn_dsp_add_params *params, const nn_dims *dims, const int8_t *input1, const int8_t *input2,
                int8_t *output) {
    const nn_dsp_add_params p = *params;
    const int32_t count = dims->h * dims->w * dims->c;
    int8_t *to = output, *const end = output + count;
    for (; to < end - 3; to += 4, input1 += 4, input2 += 4) {
        uint32_t x, y;
        memcpy(&x, input1, sizeof(x));
        memcpy(&y, input2, sizeof(y));
        const uint32_t x_even = x << 8 & HALVES, x_odd = x & HALVES, y_even = y << 8 & HALVES, y_odd = y & HALVES;
        to[0] = add(&p, x_even, y_even, false);
        to[1] = add(&p, x_odd, y_odd, false);
        to[2] = add(&p, x_even, y_even, true);
        to[3] = add(&p, x_odd, y_odd, true);
    }
    while (to < end) *to++ = add(&p, (uint32_t)*input1++ << 8, (uint32_t)*input2++ << 8, false);
    nn_dsp_clamp(output, count, params->activation);
}
