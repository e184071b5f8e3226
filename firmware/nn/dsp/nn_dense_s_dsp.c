/* Dense layer with weights of 8, 4 or 3 bits for cores with the DSP extension: what comes before and after the sums of
 * nn_dense_s_dsp_core.S.
 *
 * The input is expanded to 16 bits, every four in the order 0, 2, 1, 3, and padded with zeros to a multiple of STEP.
 *
 * Filter: for every four outputs (missing ones are 0), for every two inputs, a pair of weights of each output; pairs as
 * in nn_conv2d_s_dsp.c. */
#include <arm_acle.h>
#include <string.h>

#include "nn_arith.h"
#include "nn_dsp.h"

enum { STEP = 8, WORD = 4 };

/* Expands the input; returns its sum. */
static int32_t expand(const int8_t *x, int32_t features, uint32_t *to) {
    int32_t sum = 0;
    for (int32_t left = features; left > 0; left -= WORD, x += WORD, to += 2) {
        uint32_t word = 0;
        if (left >= WORD) {
            memcpy(&word, x, WORD);
        } else {
            memcpy(&word, x, (size_t)left);
        }
        uint32_t odd;
        __asm("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(word));
        to[0] = (uint32_t)__sxtb16((int8x4_t)word);
        to[1] = odd;
        sum = __smlad((int16x2_t)to[0], 0x00010001, __smlad((int16x2_t)odd, 0x00010001, sum));
    }
    return sum;
}

void nn_dense_s_dsp(const nn_context *ctx, const nn_dsp_signed_fc_params *params, const nn_dims *input_dims,
                    const int8_t *input, const nn_dims *filter_dims, const uint32_t *filter, const int32_t *quant,
                    const nn_dims *output_dims, int8_t *output) {
    (void)input_dims;
    const int32_t features = filter_dims->c, outputs = output_dims->c;
    int16_t *const x = ctx->buf, *const end = x + (features + STEP - 1) / STEP * STEP;
    memset(end - STEP, 0, STEP * sizeof(*x));
    const int32_t start = -params->zero * expand(input, features, ctx->buf);
    for (int32_t o = 0; o < outputs; o += NN_DSP_CHANNELS, quant += NN_DSP_QUANT_WORDS) {
        int32_t sums[NN_DSP_CHANNELS] = {start, start, start, start};
        nn_dsp_quant unpacked[NN_DSP_CHANNELS];
        filter = params->dot(x, end, filter, sums);
        nn_dsp_unpack_quant(quant, 1, params->fc.output_offset, unpacked);
        const int32_t count = nn_min(NN_DSP_CHANNELS, outputs - o);
        for (int32_t i = 0; i < count; i++) {
            output[o + i] = nn_dsp_any_output(unpacked[i].bias + 2 * sums[i], unpacked + i);
        }
    }
    nn_dsp_clamp(output, outputs, params->fc.activation);
}
