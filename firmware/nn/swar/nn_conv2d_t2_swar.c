/* Ternary convolution without multiplications, for cores without SIMD instructions.
 *
 * Eight output pixels at a time, four in a word of 64 bits. Their inputs are gathered; for every three inputs of a
 * window, the 27 sums that ternary weights can make of them are tabulated, for all eight pixels. Three weights are then
 * one index, five bits of the filter, and 24 multiply-accumulates are two loads and two additions. At any time there
 * are tables for 18 inputs, which take one word of filter; they serve every output channel of a block.
 *
 * Filter: for every block of BLOCK output channels, every `rows` kernel rows, every 18 inputs of these rows: one word
 * per channel of the block; index i, (w0 + 1) + 3 (w1 + 1) + 9 (w2 + 1), in bits 5i to 5i + 4. After the last input of
 * the rows, weights are 0. */
#include <string.h>

#include "nn_arith.h"
#include "nn_swar.h"

enum { PIXELS = 8, QUADS = PIXELS / NN_SWAR_FIELDS };
enum { GROUP = 3, SUMS = 27, GROUPS = 6, CHUNK = GROUP * GROUPS, BLOCK = 64 };
enum { NEAR = GROUPS / 2 };             /* tables within the offset range of one base register */
enum { FLUSH = NN_SWAR_TERMS / CHUNK }; /* chunks that the fields are certain to hold */

/* One value for each of PIXELS pixels. */
typedef struct {
    uint64_t quad[QUADS];
} sums;

/* The parts of the scratch memory. */
typedef struct {
    sums *table;    /* SUMS for every group of a chunk */
    sums *acc;      /* per channel of a block */
    int32_t *wide;  /* per channel and pixel; NULL when the fields can hold the sum of a whole window */
    int8_t *inputs; /* per pixel */
    int32_t pitch;  /* inputs per pixel, a multiple of GROUP */
} workspace;

/* The two inner steps. GCC 12 takes 1.5 times as many instructions: it splits loads and stores of two words and moves
 * them until it runs out of registers. */
#ifdef __thumb2__

#define PUT(i) "strd %Q[s], %R[s], [%[entry], #16 * (" #i ")]\n\t"
#define ADD(x) "adds %Q[s], %Q[s], %Q[" #x "]\n\tadc %R[s], %R[s], %R[" #x "]\n\t"
#define SUB(x) "subs %Q[s], %Q[s], %Q[" #x "]\n\tsbc %R[s], %R[s], %R[" #x "]\n\t"
#define UP(i) PUT(i) ADD(a) PUT(i + 1) ADD(a) PUT(i + 2)
#define DOWN(i) PUT(i + 2) SUB(a) PUT(i + 1) SUB(a) PUT(i)

/* Writes one quad of a table, in an order in which successive sums differ by one input. 79 instructions. */
static inline void put_sums(uint64_t *entry, uint64_t a, uint64_t b, uint64_t c) {
    static_assert(sizeof(sums) == 16, "distance of table entries");
    uint64_t s = 0U - a - b - c;
    __asm volatile(UP(0) ADD(b) DOWN(3) ADD(b) UP(6) ADD(c)     /* c counts -1 */
                   DOWN(15) SUB(b) UP(12) SUB(b) DOWN(9) ADD(c) /* 0 */
                   UP(18) ADD(b) DOWN(21) ADD(b) UP(24)         /* 1 */
                   : [s] "+&r"(s)
                   : [a] "r"(a), [b] "r"(b), [c] "r"(c), [entry] "r"(entry)
                   : "cc", "memory");
}

/* Adds to `total` the entry that index g of a filter word selects in table g % NEAR of `tables`. 8 instructions. A
 * macro: without optimization, an argument of a function is no constant for the assembler. */
#define ADD_SUMS(total, tables, word, g)                                                                               \
    do {                                                                                                               \
        const sums *entry_;                                                                                            \
        uint64_t quad_;                                                                                                \
        __asm("ubfx %[entry], %[fields], %[bit], #5\n\t"                                                               \
              "add %[entry], %[from], %[entry], lsl #4\n\t"                                                            \
              "ldrd %Q[quad], %R[quad], [%[entry], %[at]]\n\t"                                                         \
              "adds %Q[first], %Q[first], %Q[quad]\n\t"                                                                \
              "adc %R[first], %R[first], %R[quad]\n\t"                                                                 \
              "ldrd %Q[quad], %R[quad], [%[entry], #%c[at] + 8]\n\t"                                                   \
              "adds %Q[second], %Q[second], %Q[quad]\n\t"                                                              \
              "adc %R[second], %R[second], %R[quad]"                                                                   \
              : [first] "+r"((total)->quad[0]), [second] "+r"((total)->quad[1]), [entry] "=&r"(entry_),                \
                [quad] "=&r"(quad_)                                                                                    \
              : [fields] "r"(word), [from] "r"(tables), [bit] "i"(5 * (g)),                                            \
                [at] "i"((g) % NEAR * SUMS * (int)sizeof(sums)), "m"(*(const sums(*)[NEAR * SUMS])(tables))            \
              : "cc");                                                                                                 \
    } while (0)

/* Adds the entries that all indices of a filter word select. */
static inline void add_word(sums *total, const sums *tables, const sums *far, uint32_t word) {
    static_assert(GROUPS == 6 && NEAR == 3, "the indices below");
    ADD_SUMS(total, tables, word, 0);
    ADD_SUMS(total, tables, word, 1);
    ADD_SUMS(total, tables, word, 2);
    ADD_SUMS(total, far, word, 3);
    ADD_SUMS(total, far, word, 4);
    ADD_SUMS(total, far, word, 5);
}

#else

static inline void put_sums(uint64_t *entry, uint64_t a, uint64_t b, uint64_t c) {
    uint64_t of_c = 0U - a - b - c;
    for (int32_t k = 0; k < 3; k++, of_c += c) {
        uint64_t of_b = of_c;
        for (int32_t j = 0; j < 3; j++, of_b += b, entry += 3 * QUADS) {
            entry[0] = of_b;
            entry[QUADS] = of_b + a;
            entry[2 * QUADS] = of_b + 2 * a;
        }
    }
}

static inline void add_sums(sums *total, const sums *tables, uint32_t word, const int g) {
    const sums *entry = tables + g % NEAR * SUMS + (word >> 5 * g & 31U);
    total->quad[0] += entry->quad[0];
    total->quad[1] += entry->quad[1];
}
#define ADD_SUMS add_sums

static inline void add_word(sums *total, const sums *tables, const sums *far, uint32_t word) {
#pragma GCC unroll 6
    for (int g = 0; g < GROUPS; g++) add_sums(total, g < NEAR ? tables : far, word, g);
}

#endif

/* A block of PIXELS output pixels: quad q holds those from first + q * step on. Where the output has fewer than PIXELS
 * pixels, quads overlap and the last pixel is repeated. */
typedef struct {
    int32_t first, step, count; /* count: pixels of the output */
} block;

static inline int32_t pixel(const block *b, int32_t i) {
    return b->first + nn_min(i / NN_SWAR_FIELDS * b->step + i % NN_SWAR_FIELDS, b->count - 1);
}

/* Gathers one kernel row of a window at the border of the input: taps first..last - 1 lie inside. */
static void gather_border(const int8_t *input, int32_t first, int32_t last, int32_t taps, int32_t channels,
                          int zero_point, int8_t *to) {
    memset(to, zero_point, (size_t)(taps * channels));
    if (last > first) memcpy(to + first * channels, input + first * channels, (size_t)((last - first) * channels));
}

/* Gathers the inputs of a block's windows in the params->rows kernel rows from ky on. */
static void gather(const nn_swar_conv_params *params, const nn_dims *in, const int8_t *input, const nn_dims *filter,
                   int32_t out_w, const block *b, int32_t ky, const workspace *work) {
    const nn_conv_params *conv = &params->conv;
    const int32_t taps = filter->w, run = taps * in->c;
    int8_t *to = work->inputs;
    for (int32_t i = 0; i < PIXELS; i++, to += work->pitch) {
        const int32_t oy = pixel(b, i) / out_w, ox = pixel(b, i) - oy * out_w;
        const int32_t x = ox * conv->stride.w - conv->padding.w;
        int32_t y = oy * conv->stride.h - conv->padding.h + ky;
        const int8_t *from = input + (y * in->w + x) * in->c;
        int8_t *row = to;
        for (const int32_t end = y + params->rows; y < end; y++, row += run, from += in->w * in->c) {
            if ((uint32_t)y >= (uint32_t)in->h) {
                memset(row, -conv->input_offset, (size_t)run);
            } else if (x >= 0 && x + taps <= in->w) {
                memcpy(row, from, (size_t)run);
            } else {
                gather_border(from, nn_max(0, -x), nn_min(taps, in->w - x), taps, in->c, -conv->input_offset, row);
            }
        }
    }
}

/* One input of four pixels. */
static inline uint64_t quad_of(const int8_t *x, int32_t pitch) {
    return nn_swar_quad(x[0], x[pitch], x[2 * pitch], x[3 * pitch]);
}

/* Fills the tables of `groups` groups of inputs; entry i is (i % 3 - 1) a + (i / 3 % 3 - 1) b + (i / 9 - 1) c. */
static void tabulate(const workspace *work, const int8_t *inputs, int32_t groups) {
    const int32_t pitch = work->pitch;
    for (int32_t i = 0; i < QUADS; i++, inputs += NN_SWAR_FIELDS * pitch) {
        uint64_t *entry = &work->table->quad[i];
        const int8_t *x = inputs;
        for (int32_t g = 0; g < groups; g++, x += GROUP, entry += SUMS * QUADS) {
            put_sums(entry, quad_of(x, pitch), quad_of(x + 1, pitch), quad_of(x + 2, pitch));
        }
    }
}

/* Adds the sums that one word of every channel's filter selects. */
static void accumulate_word(const sums *table, sums *acc, const NN_FLASH uint32_t *filter, int32_t channels) {
    const sums *far = table + NEAR * SUMS;
    for (; channels > 0; channels--, acc++) {
        const uint32_t word = *filter++;
        sums total = *acc;
        add_word(&total, table, far, word);
        *acc = total;
    }
}

/* The same for the first `groups` indices of every word. */
static void accumulate_part(const sums *table, sums *acc, const NN_FLASH uint32_t *filter, int32_t groups,
                            int32_t channels) {
    for (; channels > 0; channels--, acc++) {
        uint32_t word = *filter++;
        sums total = *acc;
        for (int32_t g = 0; g < groups; g++, word >>= 5) ADD_SUMS(&total, table + g * SUMS, word, 0);
        *acc = total;
    }
}

/* Moves the fields into the wide sums before they can overflow. */
static void flush(const workspace *work, int32_t channels) {
    int32_t *wide = work->wide;
    for (int32_t i = 0; i < QUADS * channels; i++, wide += NN_SWAR_FIELDS) {
        int32_t fields[NN_SWAR_FIELDS];
        nn_swar_unpack(work->acc->quad[i], fields);
        for (int32_t f = 0; f < NN_SWAR_FIELDS; f++) wide[f] += fields[f];
    }
    memset(work->acc, 0, (size_t)channels * sizeof *work->acc);
}

/* Sums all inputs of the windows of one block for `channels` channels; returns the filter of the next channels. */
static const NN_FLASH uint32_t *sum_windows(const nn_swar_conv_params *params, const nn_dims *in, const int8_t *input,
                                            const nn_dims *filter_dims, const NN_FLASH uint32_t *filter, int32_t out_w,
                                            const block *b, int32_t channels, const workspace *work) {
    const int32_t terms = params->rows * filter_dims->w * in->c;
    int32_t chunks = 0;
    memset(work->acc, 0, (size_t)channels * sizeof *work->acc);
    if (work->wide) memset(work->wide, 0, (size_t)channels * PIXELS * sizeof *work->wide);
    for (int32_t ky = 0; ky < filter_dims->h; ky += params->rows) {
        gather(params, in, input, filter_dims, out_w, b, ky, work);
        for (int32_t k = 0; k < terms; k += CHUNK, filter += channels) {
            const int32_t groups = nn_min(GROUPS, (terms - k + GROUP - 1) / GROUP);
            tabulate(work, work->inputs + k, groups);
            if (groups == GROUPS) {
                accumulate_word(work->table, work->acc, filter, channels);
            } else {
                accumulate_part(work->table, work->acc, filter, groups, channels);
            }
            if (work->wide && ++chunks % FLUSH == 0) flush(work, channels);
        }
    }
    return filter;
}

/* Writes the outputs of one block: `channels` output channels from first_channel on. */
static void finish(const nn_swar_conv_params *params, const nn_per_channel_quant_params *quant,
                   const NN_FLASH int32_t *bias, const block *b, int32_t out_c, int32_t first_channel, int32_t channels,
                   const workspace *work, int8_t *output) {
    nn_swar_channel channel = {.output_offset = params->conv.output_offset, .activation = params->conv.activation};
    nn_swar_sums sums_of = {.words = QUADS, .step = b->step * out_c};
    for (int32_t f = 0; f < NN_SWAR_FIELDS; f++) sums_of.place[f] = nn_min(f, b->count - 1) * out_c;
    output += b->first * out_c;
    for (int32_t oc = first_channel; oc < first_channel + channels; oc++) {
        channel.bias = bias[oc];
        channel.multiplier = quant->multiplier[oc];
        channel.shift = quant->shift[oc];
        sums_of.sums = work->acc[oc - first_channel].quad;
        sums_of.wide = work->wide ? work->wide + PIXELS * (oc - first_channel) : NULL;
        nn_swar_finish(&channel, &sums_of, output + oc);
    }
}

/* pipeline/codegen/kernels/conv2d_t2_swar.py reserves the parts in the same order. */
static workspace workspace_in(const nn_context *ctx, const nn_swar_conv_params *params, const nn_dims *in,
                              const nn_dims *filter, int32_t channels) {
    const int32_t terms = params->rows * filter->w * in->c;
    const int32_t chunks = filter->h / params->rows * ((terms + CHUNK - 1) / CHUNK);
    workspace work = {.table = ctx->buf, .pitch = (terms + GROUP - 1) / GROUP * GROUP};
    work.acc = work.table + SUMS * GROUPS;
    int32_t *after = (int32_t *)(work.acc + channels);
    work.wide = chunks > FLUSH ? after : NULL;
    work.inputs = (int8_t *)(work.wide ? after + PIXELS * channels : after);
    return work;
}

void nn_conv2d_t2_swar(const nn_context *ctx, const nn_swar_conv_params *params,
                       const nn_per_channel_quant_params *quant, const nn_dims *input_dims, const int8_t *input,
                       const nn_dims *filter_dims, const NN_FLASH uint32_t *filter, const NN_FLASH int32_t *bias,
                       const nn_dims *output_dims, int8_t *output) {
    const workspace work = workspace_in(ctx, params, input_dims, filter_dims, nn_min(BLOCK, output_dims->c));
    const int32_t pixels = output_dims->h * output_dims->w;
    block b = {.count = pixels, .step = nn_min(NN_SWAR_FIELDS, nn_max(0, pixels - NN_SWAR_FIELDS))};
    for (int32_t first = 0; first < pixels; first += PIXELS) {
        const NN_FLASH uint32_t *words = filter;
        b.first = nn_max(0, nn_min(first, pixels - PIXELS));
        for (int32_t oc = 0; oc < output_dims->c; oc += BLOCK) {
            const int32_t channels = nn_min(BLOCK, output_dims->c - oc);
            words = sum_windows(params, input_dims, input, filter_dims, words, output_dims->w, &b, channels, &work);
            finish(params, quant, bias, &b, output_dims->c, oc, channels, &work, output);
        }
    }
}
