/* From sums to outputs: nn_requantize in as few instructions as a channel's shift and the activation limits allow. */
#include "nn_swar.h"

#include <stdbool.h>

enum {
    FAST_SHIFT = 20
}; /* largest right shift for which product, rounding constant and output offset add up in 32 bits */

/* Accumulators of one word; wide: as in nn_swar_sums, those of this word. */
static inline void total(uint64_t word, const int32_t *wide, int32_t acc[NN_SWAR_FIELDS]) {
    nn_swar_unpack(word, acc);
    if (!wide) return;
#pragma GCC unroll 4
    for (int32_t f = 0; f < NN_SWAR_FIELDS; f++) acc[f] += wide[f];
}

/* High word of the doubled product, rounded half up: nn_doubling_high_multiply(twice / 2, multiplier). */
static inline int32_t scaled(int32_t twice, int32_t multiplier) {
#ifdef NN_NO_LONG_MULTIPLY
    return nn_rounded_high_multiply_by_halves(twice, multiplier);
#else
    const int64_t product = (int64_t)twice * multiplier;
    return (int32_t)(product >> 32) + (int32_t)((uint32_t)product >> 31);
#endif
}

static inline int8_t limited(int32_t q, nn_activation limits, const bool all) {
#ifdef __ARM_FEATURE_SAT
    if (all) {
        __asm("ssat %0, #8, %0" : "+r"(q));
        return (int8_t)q;
    }
#endif
    (void)all;
    return (int8_t)nn_clamp(q, limits.min, limits.max);
}

/* Outputs with a shift of -FAST_SHIFT or more. down: the shift is negative; its rounding and the output offset are then
 * one addition. all: the activation limits are those of int8. */
static inline void finish(const nn_swar_channel *c, const nn_swar_sums *sums, int8_t *output, const bool down,
                          const bool all) {
    const int32_t right = down ? -c->shift : 0, left = down ? 1 : 1 + c->shift;
    const int32_t half = down ? (int32_t)1 << (right - 1) : 0;
    const int32_t multiplier = c->multiplier, bias = c->bias * ((int32_t)1 << left);
    const int32_t rounding = half + c->output_offset * ((int32_t)1 << right);
    const nn_activation limits = c->activation; /* locals: to the compiler, the bytes written may alias anything */
    const int32_t step = sums->step, *wide = sums->wide;
    const int32_t place[NN_SWAR_FIELDS] = {sums->place[0], sums->place[1], sums->place[2], sums->place[3]};
    const uint64_t *word = sums->sums;
    for (const uint64_t *end = word + sums->words; word < end; word++, output += step) {
        int32_t acc[NN_SWAR_FIELDS];
        total(*word, wide, acc);
        if (wide) wide += NN_SWAR_FIELDS;
#pragma GCC unroll 4
        for (int32_t f = 0; f < NN_SWAR_FIELDS; f++) {
            const int32_t high = scaled(bias + acc[f] * ((int32_t)1 << left), multiplier);
            const int32_t q = down ? (high + rounding + (high >> 31)) >> right : high + rounding;
            output[place[f]] = limited(q, limits, all);
        }
    }
}

/* The output of one accumulator, with any shift. */
static int8_t any_output(const nn_swar_channel *channel, int32_t acc) {
    const int32_t q = nn_requantize(acc + channel->bias, channel->multiplier, channel->shift);
    return limited(q + channel->output_offset, channel->activation, false);
}

/* Whether usual_output() serves the channel's shift. */
static inline bool is_usual(const nn_swar_channel *channel) {
    return channel->shift <= -1 && channel->shift >= -FAST_SHIFT;
}

/* Half of the last place that is kept, plus the output offset, before the shift. */
static inline int32_t rounding_of(const nn_swar_channel *channel) {
    return ((int32_t)1 << (-channel->shift - 1)) + channel->output_offset * ((int32_t)1 << -channel->shift);
}

static inline int8_t usual_output(int32_t acc, int32_t multiplier, int32_t rounding, int32_t right,
                                  nn_activation limits) {
    const int32_t high = scaled(2 * acc, multiplier);
    return limited((high + rounding + (high >> 31)) >> right, limits, false);
}

void nn_swar_outputs(const nn_swar_channel *channel, const int32_t *acc, int32_t count, int32_t step, int8_t *output) {
    const int32_t *const end = acc + count;
    if (!is_usual(channel)) {
        for (; acc < end; output += step) *output = any_output(channel, *acc++);
        return;
    }
    const int32_t right = -channel->shift, bias = channel->bias, multiplier = channel->multiplier;
    const int32_t rounding = rounding_of(channel);
    const nn_activation limits =
        channel->activation; /* locals: to the compiler, the bytes written may alias anything */
    for (; acc < end; output += step) *output = usual_output(*acc++ + bias, multiplier, rounding, right, limits);
}

int8_t nn_swar_output(const nn_swar_channel *channel, int32_t acc) {
    if (!is_usual(channel)) return any_output(channel, acc);
    return usual_output(acc + channel->bias, channel->multiplier, rounding_of(channel), -channel->shift,
                        channel->activation);
}

/* Outputs with any shift. */
static void finish_any(const nn_swar_channel *c, const nn_swar_sums *sums, int8_t *output) {
    for (int32_t word = 0; word < sums->words; word++, output += sums->step) {
        int32_t acc[NN_SWAR_FIELDS];
        total(sums->sums[word], sums->wide ? sums->wide + NN_SWAR_FIELDS * word : 0, acc);
        for (int32_t f = 0; f < NN_SWAR_FIELDS; f++) output[sums->place[f]] = any_output(c, acc[f]);
    }
}

void nn_swar_finish(const nn_swar_channel *channel, const nn_swar_sums *sums, int8_t *output) {
    const bool all = channel->activation.min == INT8_MIN && channel->activation.max == INT8_MAX;
    if (channel->shift < -FAST_SHIFT) {
        finish_any(channel, sums, output);
    } else if (channel->shift < 0) {
        if (all) {
            finish(channel, sums, output, true, true);
        } else {
            finish(channel, sums, output, true, false);
        }
    } else if (all) {
        finish(channel, sums, output, false, true);
    } else {
        finish(channel, sums, output, false, false);
    }
}

enum { MOST_WORDS = 257 }; /* words whose bytes a field of 16 bits can sum: 257 * 255 < 2^16 */

/* Adds the bytes of words to two sums, those at even and those at odd places; returns `end`. */
static const uint32_t *add_bytes(const uint32_t *word, const uint32_t *end, uint32_t sums[2]) {
    while (word < end) {
        const uint32_t *const stop = end - word > MOST_WORDS ? word + MOST_WORDS : end;
        uint32_t even = 0, odd = 0;
        for (; word < stop; word++) {
            even += *word & 0x00FF00FFU;
            odd += *word >> 8 & 0x00FF00FFU;
        }
        sums[0] += (even & 0xFFFFU) + (even >> 16);
        sums[1] += (odd & 0xFFFFU) + (odd >> 16);
    }
    return end;
}

void nn_swar_start(const nn_swar_window *window, int pixels, int bits) {
    const uint32_t offset = (1U << (bits - 1)) * (bits == 8 ? 1U : 0x00010001U);
    uint32_t *start = window->starts;
    const uint32_t *words = (const uint32_t *)(const void *)window->inputs;
    for (int left = window->depth; left > 0; left -= window->chunk, start += pixels) {
        uint32_t sums[2] = {0};
        words = add_bytes(words, words + pixels * nn_min(left, window->chunk) / 4, sums);
        start[0] = 0U - offset * (pixels == 1 ? sums[0] + sums[1] : sums[0]);
        if (pixels == 2) start[1] = 0U - offset * sums[1];
    }
}
