/* Convolution with vectors of 16 inputs.
 *
 * The filters of a block of output channels are decoded; then, two pixels at a time, the inputs of their windows are
 * gathered and multiplied by four channels at a time: six loads for eight dot products of 16. Windows that are one
 * pixel of whole vectors are read in place. Requantization takes CHANNELS channels of both pixels at a time.
 *
 * Filter: for every four output channels, every 16 inputs of a window, a row of each of these channels. */
#include <stddef.h>

#include "nn_arith.h"
#include "nn_mve.h"

/* dot() uses every register, r7 too, which may hold the frame: GCC is told to do without, Clang gets its value back. */
#if defined(__clang__)
#define STEPS "r0"
#define SAVE_R7 "vmov s19, r7\n"
#define RESTORE_R7 "\n\tvmov r7, s19"
#define ALSO_USED "s19"
#else
#define STEPS "r7"
#define SAVE_R7
#define RESTORE_R7
#define ALSO_USED "r0"
#if !defined(__OPTIMIZE__)
#pragma GCC optimize("omit-frame-pointer")
#endif
#endif

enum { LANES = NN_MVE_LANES, ROWS = NN_MVE_ROWS, PIXELS = 2, CHANNELS = 16 };

/* Copies `count` inputs, if any. */
static inline void copy(int8_t *to, const int8_t *from, int32_t count) {
    __asm volatile("wlstp.8 lr, %[n], 2f\n"
                   "1:\n\t"
                   "vldrb.8 q0, [%[from]], #16\n\t"
                   "vstrb.8 q0, [%[to]], #16\n\t"
                   "letp lr, 1b\n"
                   "2:"
                   : [to] "+r"(to), [from] "+r"(from)
                   : [n] "r"(count)
                   : "lr", "q0", "memory");
}

static inline void fill(int8_t *to, int8_t value, int32_t count) {
    __asm volatile("wlstp.8 lr, %[n], 2f\n"
                   "1:\n\t"
                   "vstrb.8 %q[value], [%[to]], #16\n\t"
                   "letp lr, 1b\n"
                   "2:"
                   : [to] "+r"(to)
                   : [n] "r"(count), [value] "w"(vdupq_n_s8(value))
                   : "lr", "memory");
}

/* Gathers the inputs of the window that starts at pixel (y, x), with the zero point outside the input. */
static void gather(const nn_dims *in, const int8_t *input, const nn_dims *filter, int32_t y, int32_t x,
                   int8_t zero_point, int8_t *to) {
    const int32_t height = in->h, channels = in->c, run = filter->w * channels, pitch = in->w * channels;
    const int32_t before = nn_max(0, -x) * channels, after = nn_max(0, x + filter->w - in->w) * channels;
    const int32_t inside = run - before - after;
    const int8_t *from = input + y * pitch + nn_max(0, x) * channels;
    for (const int32_t end = y + filter->h; y < end; y++, to += run, from += pitch) {
        if ((uint32_t)y >= (uint32_t)height || inside <= 0) {
            fill(to, zero_point, run);
        } else if (inside == run) {
            copy(to, from, run);
        } else {
            fill(to, zero_point, before);
            copy(to + before, from, inside);
            fill(to + before + inside, zero_point, after);
        }
    }
}

/* Dot products of two windows with `groups` times four filters: acc[0..] and acc[CHANNELS..]. Accumulators must be even
 * registers, so all even ones are used and the loop's constants wait in floating-point registers; GCC 12 spills inside
 * the loop. 16 instructions for 128 multiply-accumulates, 18 for each group. r1 x, r3 y, r5 weights, r7 steps left, r9
 * acc, r11 groups left; r0 r2 r4 r6: x, r8 r10 r12 r14: y. */
static void dot(const int8_t *x, const int8_t *y, const int8_t *weights, int32_t steps, int32_t groups, int32_t *acc) {
    register const int8_t *xp __asm("r1") = x, *yp __asm("r3") = y, *wp __asm("r5") = weights;
    register int32_t n __asm(STEPS) = steps, *ap __asm("r9") = acc, left __asm("r11") = groups;
    __asm volatile("vmov s16, %[n]\n\t"
                   "vmov s17, %[x]\n\t"
                   "vmov s18, %[y]\n\t" SAVE_R7 "2:\n\t"
                   "vmov r7, s16\n\t"
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
                   "subs r7, #1\n\t"
                   "vmladava.s8 r6, q0, q3\n\t"
                   "vmladava.s8 r14, q1, q3\n\t"
                   "bne 1b\n\t"
                   "strd r0, r2, [%[acc]], #8\n\t"
                   "strd r4, r6, [%[acc]], #8\n\t"
                   "strd r8, r10, [%[acc], #%c[second] - 16]\n\t"
                   "strd r12, r14, [%[acc], #%c[second] - 8]\n\t"
                   "subs %[left], #1\n\t"
                   "bne 2b" RESTORE_R7
                   : [x] "+r"(xp), [y] "+r"(yp), [w] "+r"(wp), [n] "+r"(n), [acc] "+r"(ap), [left] "+r"(left)
                   : [second] "i"(CHANNELS * sizeof *acc)
                   : ALSO_USED, "r2", "r4", "r6", "r8", "r10", "r12", "r14", "s16", "s17", "s18", "q0", "q1", "q2",
                     "q3", "cc", "memory");
}

static inline __attribute__((always_inline)) void write(const nn_mve_block *b, int32_t first, int32_t channels,
                                                        const int32_t *sums, int8_t *output, int32_t to_second,
                                                        const bool relu) {
    const nn_per_channel_quant_params tables =
        *b->quant; /* locals: to the compiler, the bytes written may alias anything */
    const nn_activation limits = b->conv->activation;
    const int32_t offset = b->conv->output_offset, *const bias = b->bias;
    for (int32_t oc = 0; oc < channels; oc += ROWS, sums += ROWS, output += ROWS) {
        const nn_mve_channels c = nn_mve_channels_at(&tables, bias, first + oc);
        const mve_pred16_t lanes = vctp32q((uint32_t)(channels - oc));
        vstrbq_p_s32(output, nn_mve_outputs(vldrwq_s32(sums), &c, offset, limits, relu), lanes);
        vstrbq_p_s32(output + to_second, nn_mve_outputs(vldrwq_s32(sums + CHANNELS), &c, offset, limits, relu), lanes);
    }
}

void nn_mve_write(const nn_mve_block *b, int32_t first, int32_t channels, const int32_t *sums, int8_t *output,
                  int32_t to_second) {
    write(b, first, channels, sums, output, to_second, false);
}

void nn_mve_write_relu(const nn_mve_block *b, int32_t first, int32_t channels, const int32_t *sums, int8_t *output,
                       int32_t to_second) {
    write(b, first, channels, sums, output, to_second, true);
}

/* Computes all channels of the block for two pixels, whose windows are at x and y. */
static void compute(const nn_mve_block *b, nn_mve_write_code *write_sums, const int8_t *x, const int8_t *y,
                    int8_t *output, int32_t to_second) {
    for (int32_t oc = 0; oc < b->channels; oc += CHANNELS, output += CHANNELS) {
        int32_t sums[PIXELS * CHANNELS];
        const int32_t count = nn_min(CHANNELS, b->channels - oc);
        dot(x, y, b->weights + oc * b->steps * LANES, b->steps, (count + ROWS - 1) / ROWS, sums);
        write_sums(b, b->first + oc, count, sums, output, to_second);
    }
}

/* Computes all pixels; `windows`: room for two. */
static void compute_block(const nn_mve_block *b, nn_mve_write_code *write_sums, const nn_dims *in, const int8_t *input,
                          const nn_dims *filter, const nn_dims *out, int8_t *windows, int8_t *output) {
    const nn_tile stride = b->conv->stride, padding = b->conv->padding;
    const bool in_place = filter->h * filter->w == 1 && in->c % LANES == 0 && padding.h == 0 && padding.w == 0;
    const int8_t zero_point = (int8_t)-b->conv->input_offset, *x = NULL;
    int8_t *const second = windows + b->steps * LANES, *to = windows;
    for (int32_t oy = 0; oy < out->h; oy++) {
        const int32_t top = oy * stride.h - padding.h;
        for (int32_t left = -padding.w, end = left + out->w * stride.w; left < end; left += stride.w) {
            const int8_t *window = in_place ? input + (top * in->w + left) * in->c : to;
            if (!in_place) gather(in, input, filter, top, left, zero_point, to);
            if (x == NULL) {
                x = window;
                to = second;
                continue;
            }
            compute(b, write_sums, x, window, output, out->c);
            output += PIXELS * out->c;
            x = NULL;
            to = windows;
        }
    }
    if (x != NULL) compute(b, write_sums, x, x, output, 0); /* an odd last pixel is computed twice */
}

void nn_conv2d_s_mve(const nn_context *ctx, const nn_mve_conv_params *params, const nn_per_channel_quant_params *quant,
                     const nn_dims *input_dims, const int8_t *input, const nn_dims *filter_dims, const void *filter,
                     const int32_t *bias, const nn_dims *output_dims, int8_t *output) {
    const int32_t all = output_dims->c;
    nn_mve_block b = {.conv = &params->conv, .quant = quant, .bias = bias, .weights = filter};
    b.steps = (filter_dims->h * filter_dims->w * input_dims->c + LANES - 1) / LANES;
    int8_t *const windows = ctx->buf, *const weights = windows + PIXELS * b.steps * LANES;
    for (; b.first < all; b.first += params->block) {
        b.channels = nn_min(params->block, all - b.first);
        if (params->decode) {
            filter = params->decode(filter, (b.channels + ROWS - 1) / ROWS * ROWS * b.steps, weights);
            b.weights = weights;
        }
        compute_block(&b, params->write, input_dims, input, filter_dims, output_dims, windows, output + b.first);
    }
}
