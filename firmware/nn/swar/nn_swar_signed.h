/* Sums of products with weights of 8, 4 or 3 bits, for cores without SIMD instructions: one loop, parametrized by how
 * weights are unpacked.
 *
 * Inputs and weights are unsigned codes, x + 128 and w + 2^(bits - 1): every core loads or extracts them in one or two
 * instructions. Sums start at minus 2^(bits - 1) times the sum of the inputs' codes, which leaves the sum of
 * (x + 128) w; the excess, 128 times the sum of w, is subtracted from the bias.
 *
 * Weights of 4 and 3 bits: those of two channels are the fields of 16 bits of one factor, so one multiplication gives
 * two products. The word, sum0 + 2^16 sum1 modulo 2^32, is exact whatever carries occur on the way, as long as both
 * sums fit 16 bits at the end. The packer derives from the weights for how many inputs, a chunk, they are certain to.
 *
 * Inputs: one of each of `pixels` windows in turn, padded with codes of 0 to a multiple of a step.
 *
 * Filter: for every block of channels (missing ones are 0), for every input, each channel's code of 8 bits, or the
 * codes of each pair of channels; pairs as in nn_conv2d_s_dsp.c. pipeline/codegen/kernels/_swar.py packs it. */
#ifndef NN_SWAR_SIGNED_H
#define NN_SWAR_SIGNED_H

#include "nn_swar.h"

/* sum + x * weights, in this order: the compiler would unpack all weights of a step before it adds anything, which
 * takes more registers than there are. Where only the lower eight registers can multiply, GCC keeps the sums in the
 * others; Clang 14 joins their stores to an STM without a register, which is no instruction. */
static inline uint32_t nn_swar_add_product(uint32_t sum, uint32_t x, uint32_t weights) {
#if defined(NN_NO_LONG_MULTIPLY) && !defined(__clang__)
    __asm("add %0, %1" : "+h"(sum) : "l"(x * weights));
#else
    sum += x * weights;
    __asm("" : "+r"(sum));
#endif
    return sum;
}

/* Adds the products of the weights in one slot of a step. groups: slots per input. */
static inline void nn_swar_add(const int pixels, const int groups, const int slot, const uint8_t *x, uint32_t weights,
                               uint32_t *sums) {
    const uint8_t *in = x + slot / groups * pixels;
    uint32_t *sum = sums + slot % groups * pixels;
#pragma GCC unroll 2
    for (int p = 0; p < pixels; p++) sum[p] = nn_swar_add_product(sum[p], in[p], weights);
}

/* The steps: NN_SWAR_SLOTS slots, unrolled. Each returns the filter that follows it. */

static inline const uint32_t *nn_swar_step8(const int pixels, const int groups, const uint8_t *x,
                                            const uint32_t *filter, uint32_t *sums) {
    const uint8_t *weights = (const uint8_t *)filter;
#pragma GCC unroll 8
    for (int slot = 0; slot < NN_SWAR_SLOTS(8); slot++) {
        nn_swar_add(pixels, groups, slot, x, weights[slot], sums);
    }
    return filter + NN_SWAR_SLOTS(8) / 4;
}

static inline const uint32_t *nn_swar_step4(const int pixels, const int groups, const uint8_t *x,
                                            const uint32_t *filter, uint32_t mask, uint32_t *sums) {
    uint32_t word = 0;
#pragma GCC unroll 8
    for (int slot = 0; slot < NN_SWAR_SLOTS(4); slot++) {
        if (slot % 4 == 0) word = *filter++;
        nn_swar_add(pixels, groups, slot, x, word >> 4 * (slot % 4) & mask, sums);
    }
    return filter;
}

static inline const uint32_t *nn_swar_step3(const int pixels, const int groups, const uint8_t *x,
                                            const uint32_t *filter, uint32_t mask, uint32_t *sums) {
    const uint32_t low = 0x00010001U;
    uint32_t word = 0, last = 0;
#pragma GCC unroll 16
    for (int slot = 0; slot < NN_SWAR_SLOTS(3) - 1; slot++) {
        if (slot % 5 == 0) {
            word = *filter++;
            last |= (word >> 15 & low) << slot / 5;
        }
        nn_swar_add(pixels, groups, slot, x, word >> 3 * (slot % 5) & mask, sums);
    }
    nn_swar_add(pixels, groups, NN_SWAR_SLOTS(3) - 1, x, last, sums);
    return filter;
}

/* Adds the sums of a chunk to the totals, channel by channel, `pixels` for each. */
static inline void nn_swar_flush(const int bits, const int pixels, const int groups, const uint32_t *sums,
                                 int32_t *totals) {
#pragma GCC unroll 4
    for (int i = 0; i < groups * pixels; i++) {
        if (bits == 8) {
            totals[i] += (int32_t)sums[i];
        } else {
            const int32_t low = (int16_t)(uint16_t)sums[i];
            int32_t *total = totals + 2 * (i / pixels) * pixels + i % pixels;
            total[0] += low;
            total[pixels] += ((int32_t)sums[i] - low) >> 16;
        }
    }
}

/* Totals of a block of channels, `groups` groups of weights; those of a channel start `apart` after those of the
 * channel before. Returns the filter that follows. */
static inline const uint32_t *nn_swar_multiply(const int bits, const int pixels, const int groups,
                                               const nn_swar_window *window, const uint32_t *filter, const int apart,
                                               int32_t *totals) {
    const int step = NN_SWAR_SLOTS(bits) / groups;
    const uint8_t *x = window->inputs, *const last = x + pixels * window->depth;
    const uint32_t *start = window->starts;
    int32_t result[4] = {0};
    uint32_t mask = bits == 4 ? 0x000F000FU : 0x00070007U;
    __asm("" : "+r"(mask)); /* hides the constant: in a register one instruction shifts and masks */
    while (x < last) {
        const uint8_t *const end = last - x > pixels * window->chunk ? x + pixels * window->chunk : last;
        uint32_t sums[4];
#pragma GCC unroll 4
        for (int i = 0; i < groups * pixels; i++) sums[i] = start[i % pixels];
        start += pixels;
        do {
            if (bits == 8) filter = nn_swar_step8(pixels, groups, x, filter, sums);
            if (bits == 4) filter = nn_swar_step4(pixels, groups, x, filter, mask, sums);
            if (bits == 3) filter = nn_swar_step3(pixels, groups, x, filter, mask, sums);
            x += pixels * step;
        } while (x < end);
        nn_swar_flush(bits, pixels, groups, sums, result);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) totals[i / pixels * apart + i % pixels] = result[i];
    return filter;
}

#endif
