/* Ternary dense layer for cores without SIMD instructions: each multiplication serves two outputs.
 *
 * Every input is multiplied by the codes w + 1 of two outputs at once, fields of 16 bits in a word. Both fields of a
 * sum start at minus the sum of the inputs, so that it ends up as the sum for the weights themselves.
 *
 * Filter: for every BLOCK outputs, every STEP inputs (the last step is padded): WORDS words of sixteen codes of 2 bits.
 * Slot s of a step lies in word s / 8, at bit 2 (s % 8) for the first output of a pair and 16 bits higher for the
 * second; it belongs to input s / PAIRS of the step and pair s % PAIRS of the block. Padding inputs have code 0. */
#include "nn_arith.h"
#include "nn_swar.h"

enum { PAIRS = 3, BLOCK = 2 * PAIRS, STEP = 8, SLOTS = 8, WORDS = STEP * PAIRS / SLOTS };
enum { CHUNK = NN_SWAR_TERMS / STEP * STEP }; /* inputs whose sums are certain to fit the fields */

/* Adds STEP inputs. mask: of the two codes of slot 0; in a register, so that one instruction shifts and masks. */
static inline void add_step(uint32_t acc[PAIRS], const int8_t *x, const NN_FLASH uint32_t *filter, uint32_t mask) {
    uint32_t word = 0;
#pragma GCC unroll 24
    for (int32_t slot = 0; slot < STEP * PAIRS; slot++) {
        if (slot % SLOTS == 0) word = filter[slot / SLOTS];
        const uint32_t codes = word >> 2 * (slot % SLOTS) & mask;
        acc[slot % PAIRS] += (uint32_t)x[slot / PAIRS] * codes;
    }
}

/* Adds to the totals the sums of BLOCK outputs over at most CHUNK inputs; returns the filter that follows. */
static const NN_FLASH uint32_t *add_chunk(int32_t totals[BLOCK], const int8_t *x, int32_t count, int32_t sum_of_x,
                                          const NN_FLASH uint32_t *filter) {
    const uint32_t start = 0U - (uint32_t)sum_of_x * 0x00010001U;
    uint32_t acc[PAIRS] = {start, start, start};
    uint32_t mask = 0x00030003U;
    __asm("" : "+r"(mask)); /* hides the constant from the compiler */
    for (const int8_t *end = x + count / STEP * STEP; x < end; x += STEP, filter += WORDS)
        add_step(acc, x, filter, mask);
    if (count % STEP) {
        int8_t rest[STEP] = {0};
        for (int32_t i = 0; i < count % STEP; i++) rest[i] = x[i];
        add_step(acc, rest, filter, mask);
        filter += WORDS;
    }
    for (int32_t i = 0; i < PAIRS; i++) {
        const int32_t low = (int16_t)(uint16_t)acc[i];
        totals[2 * i] += low;
        totals[2 * i + 1] += ((int32_t)acc[i] - low) >> 16;
    }
    return filter;
}

static int32_t sum(const int8_t *x, int32_t count) {
    int32_t total = 0;
#pragma GCC unroll 8
    for (int32_t i = 0; i < count; i++) total += x[i];
    return total;
}

void nn_dense_t2_swar(const nn_context *ctx, const nn_fc_params *params, const nn_per_channel_quant_params *quant,
                      const nn_dims *input_dims, const int8_t *input, const nn_dims *filter_dims,
                      const NN_FLASH void *filter, const NN_FLASH int32_t *bias, const nn_dims *output_dims,
                      int8_t *output) {
    (void)input_dims;
    const NN_FLASH uint32_t *words = filter;
    int32_t *sums = ctx->buf; /* per chunk */
    const int32_t features = filter_dims->c;
    nn_swar_channel channel = {.output_offset = params->output_offset, .activation = params->activation};
    for (int32_t k = 0; k < features; k += CHUNK) sums[k / CHUNK] = sum(input + k, nn_min(CHUNK, features - k));
    for (int32_t first = 0; first < output_dims->c; first += BLOCK) {
        int32_t totals[BLOCK] = {0};
        for (int32_t k = 0; k < features; k += CHUNK) {
            words = add_chunk(totals, input + k, nn_min(CHUNK, features - k), sums[k / CHUNK], words);
        }
        for (int32_t o = first; o < nn_min(first + BLOCK, output_dims->c); o++) {
            channel.bias = bias[o];
            channel.multiplier = quant->multiplier[o];
            channel.shift = quant->shift[o];
            output[o] = nn_swar_output(&channel, totals[o - first]);
        }
    }
}
