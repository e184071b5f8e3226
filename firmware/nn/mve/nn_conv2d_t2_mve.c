/* Ternary convolution with vectors of 16 inputs.
 *
 * The filters of a block of output channels are decoded; then, two pixels at a time, the inputs of their windows are
 * gathered and multiplied with four channels at a time: six loads for eight dot products of 16. Requantization takes
 * CHANNELS channels of both pixels at a time.
 *
 * Filter: for every four output channels (rows), every 16 inputs of a window, one vector of filter. */
#include <string.h>

#include "nn_arith.h"
#include "nn_mve.h"

enum { LANES = NN_MVE_LANES, ROWS = NN_MVE_ROWS, PIXELS = 2, CHANNELS = 16 };

/* `count` inputs; may write up to LANES bytes from `to` on beyond them. */
static inline void copy(int8_t *to, const int8_t *from, int32_t count) {
    for (; count >= LANES; count -= LANES, to += LANES, from += LANES) vstrbq_s8(to, vldrbq_s8(from));
    if (count > 0) vstrbq_s8(to, vldrbq_z_s8(from, vctp8q((uint32_t)count)));
}

static inline void fill(int8_t *to, int8_t value, int32_t count) {
    for (; count > 0; count -= LANES, to += LANES) vstrbq_s8(to, vdupq_n_s8(value));
}

/* Inputs of the window of output pixel (oy, ox); the zero point outside the input. */
static void gather(const nn_conv_params *params, const nn_dims *in, const int8_t *input, const nn_dims *filter,
                   int32_t oy, int32_t ox, int8_t *to) {
    const int32_t run = filter->w * in->c, x = ox * params->stride.w - params->padding.w;
    const int8_t zero_point = (int8_t)-params->input_offset;
    int32_t y = oy * params->stride.h - params->padding.h;
    for (const int32_t end = y + filter->h; y < end; y++, to += run) {
        const int8_t *from = input + (y * in->w + x) * in->c;
        if (y < 0 || y >= in->h) {
            fill(to, zero_point, run);
        } else if (x >= 0 && x + filter->w <= in->w) {
            copy(to, from, run);
        } else {
            const int32_t first = nn_max(0, -x) * in->c, last = nn_min(filter->w, in->w - x) * in->c;
            fill(to, zero_point, run);
            if (last <= first) continue;
            copy(to + first, from + first, last - first);
            fill(to + last, zero_point, run - last);
        }
    }
}

/* Dot products of two windows, `pitch` bytes apart, with `groups` times four filters: acc[0..] and acc[CHANNELS..]. An
 * accumulator is an even register, so all even ones are taken and the loop's constants wait in vector registers; GCC 12
 * spills inside the loop. 16 instructions for 128 multiply-accumulates, 18 for each group.
 * r1 x, r3 y, r5 weights, r7 steps left, r9 acc, r11 groups left; r0 r2 r4 r6: x, r8 r10 r12 r14: y. */
static void dot(const int8_t *x, int32_t pitch, const int8_t *weights, int32_t steps, int32_t groups, int32_t *acc) {
    register const int8_t *xp __asm("r1") = x, *yp __asm("r3") = x + pitch, *wp __asm("r5") = weights;
    register int32_t n __asm("r7") = steps, *ap __asm("r9") = acc, left __asm("r11") = groups;
    __asm volatile("vmov s16, %[n]\n\t"
                   "vmov s17, %[x]\n\t"
                   "vmov s18, %[y]\n"
                   "2:\n\t"
                   "vmov %[n], s16\n\t"
                   "vmov %[x], s17\n\t"
                   "vmov %[y], s18\n\t"
                   "mov r0, #0\n\t"
                   "mov r2, #0\n\t"
                   "mov r4, #0\n\t"
                   "mov r6, #0\n\t"
                   "mov r8, #0\n\t"
                   "mov r10, #0\n\t"
                   "mov r12, #0\n\t"
                   "mov r14, #0\n"
                   "1:\n\t"
                   "vldrb.8 q0, [%[x]], #16\n\t"
                   "vldrb.8 q2, [%[w]], #16\n\t"
                   "vmladava.s8 r0, q0, q2\n\t"
                   "vldrb.8 q1, [%[y]], #16\n\t"
                   "vmladava.s8 r8, q1, q2\n\t"
                   "vldrb.8 q3, [%[w]], #16\n\t"
                   "vmladava.s8 r2, q0, q3\n\t"
                   "vmladava.s8 r10, q1, q3\n\t"
                   "vldrb.8 q2, [%[w]], #16\n\t"
                   "vmladava.s8 r4, q0, q2\n\t"
                   "vmladava.s8 r12, q1, q2\n\t"
                   "vldrb.8 q3, [%[w]], #16\n\t"
                   "subs %[n], #1\n\t"
                   "vmladava.s8 r6, q0, q3\n\t"
                   "vmladava.s8 r14, q1, q3\n\t"
                   "bne 1b\n\t"
                   "strd r0, r2, [%[acc]], #8\n\t"
                   "strd r4, r6, [%[acc]], #8\n\t"
                   "strd r8, r10, [%[acc], #%c[second] - 16]\n\t"
                   "strd r12, r14, [%[acc], #%c[second] - 8]\n\t"
                   "subs %[left], #1\n\t"
                   "bne 2b"
                   : [x] "+r"(xp), [y] "+r"(yp), [w] "+r"(wp), [n] "+r"(n), [acc] "+r"(ap), [left] "+r"(left)
                   : [second] "i"(CHANNELS * sizeof *acc)
                   : "r0", "r2", "r4", "r6", "r8", "r10", "r12", "r14", "s16", "s17", "s18", "q0", "q1", "q2", "q3",
                     "cc", "memory");
}

/* Outputs of two pixels in channels first.. (at most CHANNELS) from their sums. */
static void finish(const nn_conv_params *params, const nn_per_channel_quant_params *quant, const int32_t *bias,
                   int32_t first, int32_t channels, const int32_t *acc, int8_t *output, int32_t to_second) {
    const nn_per_channel_quant_params tables = *quant; /* locals: bytes written may be anything to the compiler */
    const nn_activation limits = params->activation;
    const int32_t offset = params->output_offset;
    for (int32_t oc = 0; oc < channels; oc += ROWS, acc += ROWS, output += ROWS) {
        const nn_mve_channels c = nn_mve_channels_at(&tables, bias, first + oc);
        const mve_pred16_t lanes = vctp32q((uint32_t)(channels - oc));
        vstrbq_p_s32(output, nn_mve_outputs(vldrwq_s32(acc), &c, offset, limits), lanes);
        vstrbq_p_s32(output + to_second, nn_mve_outputs(vldrwq_s32(acc + CHANNELS), &c, offset, limits), lanes);
    }
}

void nn_conv2d_t2_mve(const nn_context *ctx, const nn_mve_conv_params *params, const nn_per_channel_quant_params *quant,
                      const nn_dims *input_dims, const int8_t *input, const nn_dims *filter_dims, const uint8_t *filter,
                      const int32_t *bias, const nn_dims *output_dims, int8_t *output) {
    const int32_t steps = (filter_dims->h * filter_dims->w * input_dims->c + LANES - 1) / LANES;
    const int32_t pixels = output_dims->h * output_dims->w, all = output_dims->c, pitch = (steps + 1) * LANES;
    int8_t *inputs = ctx->buf, *weights = inputs + PIXELS * pitch;
    for (int32_t block = 0; block < all; block += params->block) {
        const int32_t channels = nn_min(params->block, all - block), vectors = (channels + ROWS - 1) / ROWS * steps;
        nn_mve_decode(filter, vectors, weights);
        filter += vectors * LANES;
        for (int32_t p = 0; p < pixels; p += PIXELS) {
            const int32_t q = nn_min(p + 1, pixels - 1); /* an odd last pixel is computed twice */
            gather(&params->conv, input_dims, input, filter_dims, p / output_dims->w, p % output_dims->w, inputs);
            gather(&params->conv, input_dims, input, filter_dims, q / output_dims->w, q % output_dims->w,
                   inputs + pitch);
            for (int32_t oc = 0; oc < channels; oc += CHANNELS) {
                int32_t acc[PIXELS * CHANNELS];
                const int32_t count = nn_min(CHANNELS, channels - oc);
                dot(inputs, pitch, weights + oc * steps * LANES, steps, (count + ROWS - 1) / ROWS, acc);
                finish(&params->conv, quant, bias, block + oc, count, acc, output + p * all + block + oc,
                       (q - p) * all);
            }
        }
    }
}
