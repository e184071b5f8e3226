/* Kernels for cores with the DSP extension (Cortex-M4, M7, M33). nn_conv2d_t2_dsp_core.S explains the idea of the
 * ternary ones, nn_conv2d_s_dsp_core.S that of the others.
 *
 * Biases are folded and doubled: 2 (bias - input zero point * sum of the channel's weights). The kernels sum inputs as
 * they are and pad with the zero point. Doubled accumulators fit 32 bits, also after a shift to the left; shifts to the
 * right are at most 22, multipliers positive. All this is ensured by pipeline/codegen/kernels/_dsp.py. */
#ifndef NN_DSP_H
#define NN_DSP_H

#define NN_DSP_CHANNELS 4    /* of a block */
#define NN_DSP_WORD_INPUTS 4 /* inputs in a word of filter */
#define NN_DSP_UNROLL 8      /* words per iteration of a piece's loop: 736 bytes, less than a small flash cache holds */
#define NN_DSP_WORD_BYTES3 92  /* of code per word, with three pixels */
#define NN_DSP_RUN_LEFT 12     /* place of `left` in nn_dsp_run */
#define NN_DSP_FIT_BITS 12     /* see nn_dsp_fit */
#define NN_DSP_WIDE_FIT_BITS 8 /* see nn_dsp_pair_fit */
#define NN_DSP_UNIT_BYTES 76   /* of code per unit of nn_dsp_width */
#define NN_DSP_LANES_BYTES 68  /* the same with lanes */
#define NN_DSP_UNIT3_BYTES 328 /* the same with 3 bits */
#define NN_DSP_TAPS 8          /* at most in a kernel row of nn_dsp_taps... */
#define NN_DSP_TAP_BYTES 44    /* of code per tap */

#ifdef __ASSEMBLER__

/* clang-format off */
    .syntax unified
    .thumb

/* Begins a function in a section of its own. */
.macro function name
    .section .text.\name, "ax", %progbits
    .balign 4
    .global \name
    .type   \name, %function
    .thumb_func
\name:
.endm
/* clang-format on */

#else

#include <stdbool.h>

#include "nn.h"
#include "nn_arith.h"

/* Code in assembly that is not a C function: records and structs name what is executed next. */
typedef void nn_dsp_code(void);

/* Pieces of two pixels at any distance, with inputs aligned to words or not; of three whose inputs are that many bytes
 * apart. */
nn_dsp_code nn_dsp_piece2, nn_dsp_piece2_odd, nn_dsp_piece3_4, nn_dsp_piece3_8, nn_dsp_piece3_16, nn_dsp_piece3_20,
    nn_dsp_piece3_24, nn_dsp_piece3_32, nn_dsp_piece3_40, nn_dsp_piece3_56, nn_dsp_piece3_64, nn_dsp_piece3_80,
    nn_dsp_piece3_128, nn_dsp_piece3_256;
/* The first flush of a window, or a further one. */
nn_dsp_code nn_dsp_flush2_first, nn_dsp_flush2_more, nn_dsp_flush3_first, nn_dsp_flush3_more;
/* The end of a window without flushes, or with some, and its outputs: by nn_dsp_half_fit or nn_dsp_fit with that shift;
 * by nn_dsp_quant with any. */
nn_dsp_code nn_dsp_half2_first_12, nn_dsp_half2_first_15, nn_dsp_half2_more_12, nn_dsp_half2_more_15;
nn_dsp_code nn_dsp_half3_first_12, nn_dsp_half3_first_15, nn_dsp_half3_more_12, nn_dsp_half3_more_15;
nn_dsp_code nn_dsp_fit2_first_8, nn_dsp_fit2_first_11, nn_dsp_fit2_first_15;
nn_dsp_code nn_dsp_fit2_more_8, nn_dsp_fit2_more_11, nn_dsp_fit2_more_15;
nn_dsp_code nn_dsp_fit3_first_8, nn_dsp_fit3_first_11, nn_dsp_fit3_first_15;
nn_dsp_code nn_dsp_fit3_more_8, nn_dsp_fit3_more_11, nn_dsp_fit3_more_15;
nn_dsp_code nn_dsp_ties2_first_8, nn_dsp_ties2_first_11, nn_dsp_ties2_first_15;
nn_dsp_code nn_dsp_ties2_more_8, nn_dsp_ties2_more_11, nn_dsp_ties2_more_15;
nn_dsp_code nn_dsp_ties3_first_8, nn_dsp_ties3_first_11, nn_dsp_ties3_first_15;
nn_dsp_code nn_dsp_ties3_more_8, nn_dsp_ties3_more_11, nn_dsp_ties3_more_15;
nn_dsp_code nn_dsp_any2_first, nn_dsp_any2_more, nn_dsp_any3_first, nn_dsp_any3_more;

/* A window is a sequence of intervals between flushes, an interval a sequence of pieces, which are contiguous inputs.
 * Records: one of an interval, then those of its pieces. */
typedef struct {
    const int32_t *sums; /* minus those of the inputs of the first pixel, the next one, ... */
    nn_dsp_code *start;  /* code of the first piece */
} nn_dsp_interval;

typedef struct {
    int32_t skip;          /* bytes of code jumped over in the first turn */
    const int16_t *end;    /* of the inputs */
    const int16_t *inputs; /* of the first pixel */
    nn_dsp_code *then;
} nn_dsp_piece;

/* Neighbouring blocks with the same number of pixels. */
typedef struct {
    char *records;       /* of the windows of the next block */
    int32_t step;        /* from pixel to pixel of the output */
    int32_t distance;    /* of the inputs of neighbouring pixels, in bytes; for blocks of two pixels */
    int32_t left;        /* blocks */
    int32_t next_output; /* from behind the last channels of a block's first pixel to the next block */
    int32_t move;        /* from the inputs of a block to those of the next, in bytes */
    char *end;           /* of the records */
} nn_dsp_run;

/* Requantization of a channel; for the blocks above in the order 1, 3, 0, 2. rounding: nn_dsp_rounding. right_shift < 0
 * is a shift to the left. */
typedef struct {
    int32_t bias, multiplier, rounding, right_shift;
} nn_dsp_quant;

/* What the packer has fitted to a channel, by comparing thresholds, so that every sum that can occur gives the output
 * of docs/ARITHMETIC.md. With x = start + 2^NN_DSP_FIT_BITS sum it is x * factor / 2^(32 + shift), rounded down and
 * saturated. For ..._ties_... a third word is added to the high word of the product unless x is negative: halves are
 * rounded away from zero. */
typedef struct {
    int32_t start, factor;
} nn_dsp_fit;

/* The same for sums of 16 bits: the output is (start + 4 * factor * sum / 2^16, rounded down) / 2^shift, rounded down
 * and saturated. Where a register holds the sum itself and not 4 times the sum, `factor` is 4 times the factor.
 * Depthwise convolutions: sums start at NN_DSP_PAIRS_START. Convolutions: in the order 1, 0, 3, 2 for windows without
 * flushes. */
typedef struct {
    int32_t start, factor;
} nn_dsp_half_fit;

/* The same of two channels of weights of 8, 4 or 3 bits: with x = start + 2^NN_DSP_WIDE_FIT_BITS sum the output is
 * (x * factor / 2^32, rounded down, + addend) / 2^shift, rounded down and saturated. For ..._ties_... the addend is
 * left out where x is negative. */
typedef struct {
    int32_t second_start, start, factor, addend, second_factor, second_addend;
} nn_dsp_pair_fit;

/* The same of a channel. */
typedef struct {
    int32_t start, factor, addend;
} nn_dsp_wide_fit;

/* nn_dsp_quant in flash, 9 bytes per channel: four biases, four multipliers, four shifts in one word. */
#define NN_DSP_QUANT_WORDS 9

/* Computes the blocks of the run, of two or three pixels, as many times four channels as have their requantization
 * before `quant_end`; writes output[pixel * run->step + channel]. At least one block; with more the records move on. */
typedef void nn_dsp_blocks(nn_dsp_run *run, const uint32_t *filter, const int32_t *quant, int8_t *output,
                           const int32_t *quant_end);
nn_dsp_blocks nn_dsp_blocks2, nn_dsp_blocks3;

/* What is added before the shift: half of the last place that it keeps, and the output offset; for a shift to the left,
 * which comes first and drops nothing, the offset alone. */
static inline int32_t nn_dsp_rounding(int32_t output_offset, int32_t right_shift) {
    if (right_shift < 0) return output_offset;
    return ((2 * output_offset + 1) * ((int32_t)1 << right_shift)) >> 1;
}

/* Unpacks the requantization of `blocks` blocks of channels from flash. */
static inline void nn_dsp_unpack_quant(const int32_t *packed, int32_t blocks, int32_t output_offset,
                                       nn_dsp_quant *quant) {
    for (; blocks > 0; blocks--, packed += NN_DSP_QUANT_WORDS) {
        uint32_t shifts = (uint32_t)packed[2 * NN_DSP_CHANNELS];
        for (int32_t i = 0; i < NN_DSP_CHANNELS; i++, quant++, shifts >>= 8) {
            quant->bias = packed[i];
            quant->multiplier = packed[NN_DSP_CHANNELS + i];
            quant->right_shift = (int8_t)(uint8_t)shifts;
            quant->rounding = nn_dsp_rounding(output_offset, quant->right_shift);
        }
    }
}

/* The output of a sum; twice: 2 (bias + sum). The shift must not be to the left. ties: ties of negative sums are
 * rounded away from zero, which neither a shift of 0 nor an output offset of -128 needs. */
static inline int8_t nn_dsp_output(int32_t twice, const nn_dsp_quant *quant, const bool ties) {
    int32_t q;
    __asm("smmlar %0, %1, %2, %3" : "=r"(q) : "r"(twice), "r"(quant->multiplier), "r"(quant->rounding));
    if (ties) q += twice >> 31;
    q >>= quant->right_shift;
    __asm("ssat %0, #8, %0" : "+r"(q));
    return (int8_t)q;
}

/* The same with any shift. */
static inline int8_t nn_dsp_any_output(int32_t twice, const nn_dsp_quant *quant) {
    if (quant->right_shift >= 0) return nn_dsp_output(twice, quant, quant->right_shift > 0);
    const int32_t q = nn_requantize(twice / 2, quant->multiplier, -quant->right_shift) + quant->rounding;
    return (int8_t)nn_clamp(q, INT8_MIN, INT8_MAX);
}

/* Applies activation limits to int8 outputs. */
static inline void nn_dsp_clamp(int8_t *x, int32_t count, nn_activation limits) {
    if (limits.min == INT8_MIN && limits.max == INT8_MAX) return;
    for (int32_t i = 0; i < count; i++) x[i] = (int8_t)nn_clamp(x[i], limits.min, limits.max);
}

/* Expands granules, one or more, of 4 * words inputs to 16 bits, every four in the order 0, 2, 1, 3; writes their
 * running totals after *totals and returns the place of the last one. */
uint16_t *nn_dsp_expand(const int8_t *x, int16_t *to, uint16_t *totals, int32_t granules, int32_t words);

/* The same of granules with `skip` bytes between them. */
uint16_t *nn_dsp_expand_apart(const int8_t *x, int16_t *to, uint16_t *totals, int32_t granules, int32_t words,
                              int32_t skip);

/* Plan: one entry for each piece of a window: kernel row, first granule, the one after the last, words of filter, and
 * one of NN_DSP_GO_ON and so on. */
#define NN_DSP_PLAN_BYTES 5
enum { NN_DSP_GO_ON, NN_DSP_FLUSH_FIRST, NN_DSP_FLUSH_MORE, NN_DSP_FINISH };

/* The rows that windows read: of the input, or, where windows reach beyond it, copies with padding in a ring of as many
 * rows as the kernel has. */
typedef struct {
    const nn_conv_params *conv;
    const nn_dims *in;
    const int8_t *input;
    const int8_t **starts; /* of the rows of the windows of one row of outputs; behind them lies the ring */
    int32_t height;        /* of the kernel */
    int32_t pitch;         /* bytes of a row of the ring; 0: there is none */
    int32_t next;          /* input row that is copied next; at first that of the first window */
} nn_dsp_window_rows;

/* Points `starts` to the rows of the windows of output row y, copies them where there is a ring. The first y is 0; no
 * later one is smaller than the one before. */
void nn_dsp_point_rows(nn_dsp_window_rows *rows, int32_t y);

/* Gathers `count` windows, one or more: expands the inputs of each to 16 bits, to one place after the other; writes
 * their running totals after *totals and returns the place of the last one. The windows start `offset` inputs after the
 * starts of their rows, and then every `step` inputs. */
typedef uint16_t *nn_dsp_gather_code(const int8_t *const *starts, const int8_t *const *starts_end, int32_t offset,
                                     int32_t step, int32_t count, int16_t *to, uint16_t *totals);
/* Of every kernel row four inputs, in the order 0, 2, 1, 3; of three kernel rows nine, eight of each in that order,
 * then the last ones and a 0. */
nn_dsp_gather_code nn_dsp_gather_4, nn_dsp_gather_3x9;

typedef struct {
    nn_dsp_window_rows rows;
    int32_t x, y; /* of the next window's output */
} nn_dsp_windows;

/* Gathers the next `count` windows to `to`, with their totals behind them. */
struct nn_dsp_conv_params;
typedef void nn_dsp_gather(const struct nn_dsp_conv_params *params, nn_dsp_windows *windows, int32_t count,
                           int16_t *to);
nn_dsp_gather nn_dsp_gather_windows;

/* The input is expanded to 16 bits, row by row, into a ring of as many rows as the kernel has, but only every
 * `column_step`-th column. A pixel takes `granules` granules of `granule` inputs. Or windows are gathered: each is a
 * pixel of one granule, and the rows of the output are cut as those of a 1x1 convolution. */
typedef struct nn_dsp_conv_params {
    nn_conv_params conv;
    uint8_t granule, pieces, intervals; /* the last two: of a window */
    uint8_t word2_bytes;                /* of code per word, in piece2 */
    int32_t column_step, granules;
    int32_t words;         /* of a window and four channels */
    int32_t row_size;      /* inputs that an expanded row takes, with the totals that follow */
    int32_t joined;        /* rows of outputs of a 1x1 convolution that are computed as one */
    int32_t last_width;    /* of a 1x1 convolution whose pixels are cut into rows: columns of the last one; else 0 */
    nn_dsp_gather *gather; /* nn_dsp_gather_windows; NULL: there is a ring */
    nn_dsp_gather_code *gather_code;
    int32_t gather_bytes; /* of scratch memory: `starts` of nn_dsp_window_rows and its ring; else 0 */
    int32_t pitch;        /* of nn_dsp_window_rows */
    int32_t across;       /* windows of a row of outputs */
    nn_dsp_code *piece3;  /* NULL: all blocks have two pixels */
    nn_dsp_code *piece2;
    int32_t quant_words; /* of a channel: nn_dsp_half_fit, nn_dsp_fit or nn_dsp_quant */
    nn_dsp_code *finish2, *finish3;
} nn_dsp_conv_params;

/* Filter: see nn_conv2d_t2_dsp.c. output may be input where both have the same shape. */
void nn_conv2d_t2_dsp(const nn_context *ctx, const nn_dsp_conv_params *params, const nn_dims *input_dims,
                      const int8_t *input, const nn_dims *filter_dims, const uint32_t *filter, const uint8_t *plan,
                      const int32_t *quant, const nn_dims *output_dims, int8_t *output);

/* Three pixels whose windows are laid out by nn_conv2d_s_dsp.c. */
typedef struct {
    int32_t start[3];      /* of the sums of each pixel; not with lanes */
    int32_t skip;          /* bytes of code jumped over in the first turn */
    const int16_t *inputs; /* of the pixels, interleaved */
    const int16_t *end;
    nn_dsp_code *write;
    int32_t step;         /* from pixel to pixel of the output */
    const int32_t *quant; /* nn_dsp_pair_fit of every two channels, or nn_dsp_quant of each */
    const int32_t *quant_end;
} nn_dsp_pixels;

/* Computes all channels of the pixels; writes output[pixel * step + channel]. */
typedef void nn_dsp_blocks_code(const nn_dsp_pixels *pixels, const uint32_t *filter, int8_t *output);
nn_dsp_blocks_code nn_dsp_blocks_lanes, nn_dsp_blocks_s8, nn_dsp_blocks_s4, nn_dsp_blocks_s3;
/* Their outputs by nn_dsp_quant: with shifts to the right; to the right or 0, with an output offset of -128; with any
 * shift. By nn_dsp_pair_fit with that shift. */
nn_dsp_code nn_dsp_write_s, nn_dsp_write_s_relu, nn_dsp_write_s_any;
nn_dsp_code nn_dsp_write_s_9, nn_dsp_write_s_12, nn_dsp_write_s_15;
nn_dsp_code nn_dsp_write_s_ties_9, nn_dsp_write_s_ties_12, nn_dsp_write_s_ties_15;
nn_dsp_code nn_dsp_write_lanes, nn_dsp_write_lanes_relu, nn_dsp_write_lanes_any;
nn_dsp_code nn_dsp_write_lanes_9, nn_dsp_write_lanes_12, nn_dsp_write_lanes_15;
nn_dsp_code nn_dsp_write_lanes_ties_9, nn_dsp_write_lanes_ties_12, nn_dsp_write_lanes_ties_15;

/* Expands inputs of rows to their places, of one window or of three: see nn_conv2d_s_dsp_core.S. */
typedef int32_t nn_dsp_interleave_code(const int8_t *const *rows, int32_t offset, int32_t count, int32_t words,
                                       int16_t *to);
typedef void nn_dsp_interleave3_code(const int8_t *const *rows, int32_t offset, int32_t count, int32_t words,
                                     int16_t *to, int32_t step, int32_t sums[3]);
nn_dsp_interleave_code nn_dsp_interleave, nn_dsp_interleave_sum;
nn_dsp_interleave3_code nn_dsp_interleave3, nn_dsp_interleave3_sum;

/* How filters of a bit width are read. */
typedef struct {
    nn_dsp_blocks_code *blocks;
    nn_dsp_interleave_code *interleave;
    nn_dsp_interleave3_code *interleave3;
    int32_t zero;             /* code of the weight 0 */
    int32_t unit, unit_bytes; /* inputs of a unit; bytes of code that it takes */
    int32_t turn;             /* units per iteration of the loop */
} nn_dsp_width;

extern const nn_dsp_width nn_dsp_lanes, nn_dsp_s8, nn_dsp_s4, nn_dsp_s3;

typedef struct {
    nn_conv_params conv;
    const nn_dsp_width *width;
    int32_t depth;  /* inputs of a window, padded to whole units */
    int32_t pitch;  /* inputs of a padded row; 0: there is no padding */
    bool is_fitted; /* quant: nn_dsp_pair_fit, otherwise nn_dsp_quant in flash */
    nn_dsp_code *write;
} nn_dsp_signed_conv_params;

/* Filter: see nn_conv2d_s_dsp.c. output may be input where both have the same shape. */
void nn_conv2d_s_dsp(const nn_context *ctx, const nn_dsp_signed_conv_params *params, const nn_dims *input_dims,
                     const int8_t *input, const nn_dims *filter_dims, const uint32_t *filter, const int32_t *quant,
                     const nn_dims *output_dims, int8_t *output);

/* Rows of outputs of four channels of a depthwise convolution: nn_depthwise_conv2d_s_dsp.c. */
typedef struct {
    int32_t skip;               /* bytes of code jumped over in every kernel row */
    int32_t next_row;           /* bytes from the end of a kernel row to the next one */
    const uint32_t *filter_end; /* after the last tap */
    const uint32_t *filter;
    int32_t step; /* from pixel to pixel of the output */
    const nn_dsp_quant *quant;
    int32_t rows;
    const uint32_t *inputs; /* of the first output */
    int8_t *output;
    int32_t columns;
    int32_t row_step;   /* bytes from the inputs of a row to those of the next */
    int32_t output_row; /* from row to row of the output */
} nn_dsp_taps;

/* For strides 1 to 3; outputs as with nn_dsp_write_s... */
typedef void nn_dsp_taps_code(const nn_dsp_taps *p);
nn_dsp_taps_code nn_dsp_taps1, nn_dsp_taps1_relu, nn_dsp_taps1_any, nn_dsp_taps2, nn_dsp_taps2_relu, nn_dsp_taps2_any,
    nn_dsp_taps3, nn_dsp_taps3_relu, nn_dsp_taps3_any;

typedef struct {
    nn_dw_conv_params conv;
    int32_t bits;  /* of a weight */
    int32_t rows;  /* of outputs in a strip */
    int32_t pitch; /* columns of the plane */
    nn_dsp_taps_code *code;
} nn_dsp_signed_dw_conv_params;

/* Filter: see nn_depthwise_conv2d_s_dsp.c. As many output channels as input channels; output may be input where both
 * have the same shape and there is a single strip. */
void nn_depthwise_conv2d_s_dsp(const nn_context *ctx, const nn_dsp_signed_dw_conv_params *params,
                               const nn_dims *input_dims, const int8_t *input, const nn_dims *filter_dims,
                               const uint8_t *filter, const int32_t *quant, const nn_dims *output_dims, int8_t *output);

/* Up to six neighbouring outputs of every row of one channel with a 3x3 filter and stride 1. */
typedef struct {
    nn_dsp_quant
        quant;        /* bias is less by 2 * NN_DSP_PAIRS_START; right_shift is to the left for nn_dsp_pairs..._left */
    int32_t left_out; /* of the six outputs of a row */
    int32_t rows;
    int8_t *output;
    int32_t step;  /* from pixel to pixel of the output */
    int32_t row;   /* from row to row of the output */
    int32_t pitch; /* bytes from kernel row to kernel row */
    int32_t next;  /* bytes from the last kernel row to the first one of the next row of outputs */
    uint32_t filter;
    const int16_t *inputs;
} nn_dsp_pairs_of_rows;

#define NN_DSP_PAIRS 6
#define NN_DSP_PAIRS_START (1 << 12)

/* For shifts to the right, of 0, to the left. 8: the pitch is 8 inputs. */
typedef void nn_dsp_pairs_code(const nn_dsp_pairs_of_rows *p);
nn_dsp_pairs_code nn_dsp_pairs, nn_dsp_pairs_zero, nn_dsp_pairs_left;
nn_dsp_pairs_code nn_dsp_pairs8, nn_dsp_pairs8_zero, nn_dsp_pairs8_left;

/* Up to six neighbouring outputs of every row of channels with a 3x3 filter. */
typedef struct {
    int8_t *output;        /* of the first channel */
    int32_t step;          /* from pixel to pixel of the output */
    int32_t next;          /* from the second output of a row to the first one of the next row */
    int32_t size;          /* bytes of all rows of the output */
    const int32_t *fit;    /* of each channel: nn_dsp_half_fit, or with nn_dsp_wide_rows... nn_dsp_wide_fit */
    const void *filter;    /* of each channel: three bytes, or six words */
    const int16_t *inputs; /* of the first channel */
    int32_t plane;         /* bytes from channel to channel of the inputs */
    int32_t channels;
    int32_t pitch; /* bytes from kernel row to kernel row */
    int32_t back;  /* bytes from the last kernel row to the first one of the next row of outputs */
} nn_dsp_rows;

/* So many ternary outputs of stride 1, by a fit with that shift; adjacent: the pitch is that of the inputs that they
 * read. */
typedef void nn_dsp_rows_code(const nn_dsp_rows *p);
nn_dsp_rows_code nn_dsp_rows6_8, nn_dsp_rows6_12, nn_dsp_rows6_adjacent_8, nn_dsp_rows6_adjacent_12;
nn_dsp_rows_code nn_dsp_rows5_8, nn_dsp_rows5_12, nn_dsp_rows5_adjacent_8, nn_dsp_rows5_adjacent_12;
nn_dsp_rows_code nn_dsp_rows4_8, nn_dsp_rows4_12, nn_dsp_rows4_adjacent_8, nn_dsp_rows4_adjacent_12;
nn_dsp_rows_code nn_dsp_rows3_8, nn_dsp_rows3_12, nn_dsp_rows3_adjacent_8, nn_dsp_rows3_adjacent_12;
nn_dsp_rows_code nn_dsp_rows2_8, nn_dsp_rows2_12, nn_dsp_rows2_adjacent_8, nn_dsp_rows2_adjacent_12;
nn_dsp_rows_code nn_dsp_rows1_8, nn_dsp_rows1_12, nn_dsp_rows1_adjacent_8, nn_dsp_rows1_adjacent_12;

/* The same with weights of 8, 4 or 3 bits, by that horizontal stride; ties: see nn_dsp_pair_fit. */
#define NN_DSP_WIDE_ROWS_OF(name) nn_dsp_rows_code name##_9, name##_12, name##_15
#define NN_DSP_WIDE_ROWS_BY(name)                                                                                      \
    NN_DSP_WIDE_ROWS_OF(name);                                                                                         \
    NN_DSP_WIDE_ROWS_OF(name##_ties);                                                                                  \
    NN_DSP_WIDE_ROWS_OF(name##_adjacent);                                                                              \
    NN_DSP_WIDE_ROWS_OF(name##_adjacent_ties)
#define NN_DSP_WIDE_ROWS(outputs)                                                                                      \
    NN_DSP_WIDE_ROWS_BY(nn_dsp_wide_rows##outputs##_by1);                                                              \
    NN_DSP_WIDE_ROWS_BY(nn_dsp_wide_rows##outputs##_by2)
NN_DSP_WIDE_ROWS(1);
NN_DSP_WIDE_ROWS(2);
NN_DSP_WIDE_ROWS(3);
NN_DSP_WIDE_ROWS(4);
NN_DSP_WIDE_ROWS(5);
NN_DSP_WIDE_ROWS(6);

typedef struct {
    nn_dw_conv_params conv;
    int32_t rows, pitch;                    /* of a strip: input rows, and columns of each */
    int32_t row_words;                      /* words, of two columns, in an expanded kernel row */
    nn_dsp_pairs_code *left, *zero, *right; /* for channels with such shifts, NULL where there are none */
    nn_dsp_rows_code *six, *last;           /* for six outputs at a time and those left of a row, NULL where there are
                                             * none; all of them NULL unless the filter is 3x3 with stride 1 */
} nn_dsp_dw_conv_params;

/* Rows of pixels of four channels. */
typedef struct {
    int32_t pixel;   /* bytes from pixel to pixel */
    int32_t plane;   /* bytes from channel to channel of the planes */
    int32_t columns; /* of a row */
    int32_t skip;    /* bytes from their end to the next row */
    int32_t gap;     /* the same in a plane */
} nn_dsp_split;

/* Expands `rows` rows of four channels from x on to 16 bits, each channel to its plane. */
void nn_dsp_planes(const int8_t *x, int16_t *plane, int32_t rows, const nn_dsp_split *split);

/* The input rows, with padding, that some rows of outputs of a depthwise convolution read: four channels of 16 bits,
 * each in a plane. */
typedef struct {
    const nn_dw_conv_params *conv;
    const nn_dims *in, *out;
    int32_t height;      /* of a filter */
    int32_t rows, pitch; /* of a plane: input rows, and columns of each */
    int16_t *plane;      /* of the first channel */
    int32_t plane_size;  /* columns of a plane */
    nn_dsp_split split;
    bool whole;     /* it holds all rows: those of the padding are never overwritten */
    int32_t filled; /* rows in the planes */
    int32_t next;   /* input row that is expanded next */
} nn_dsp_strip;

/* A strip in the scratch memory of ctx, with padding only; rows, pitch: of its planes. */
nn_dsp_strip nn_dsp_new_strip(const nn_context *ctx, const nn_dw_conv_params *conv, int32_t rows, int32_t pitch,
                              const nn_dims *in, const nn_dims *filter, const nn_dims *out);

/* Moves on by `rows` rows of outputs; 0: to the first ones. input: of the first of up to four channels. Returns how
 * many rows of outputs can be computed now. */
int32_t nn_dsp_advance(nn_dsp_strip *s, const int8_t *input, int32_t channels, int32_t rows);

/* Computes `rows` rows of outputs of the channels by `six`, and what is left of a row by `last`. filter, fit: as in
 * nn_dsp_rows. */
void nn_dsp_compute_rows(const nn_dsp_strip *s, nn_dsp_rows_code *six, nn_dsp_rows_code *last, const void *filter,
                         const int32_t *fit, int32_t channels, int32_t rows, int8_t *output);

/* Filters of 3x3 with weights of 8, 4 or 3 bits. */
typedef struct {
    nn_dw_conv_params conv;
    int32_t bits;                 /* of a weight */
    int32_t rows, pitch;          /* of nn_dsp_strip */
    nn_dsp_rows_code *six, *last; /* for six outputs at a time and those left of a row, NULL where there are none */
} nn_dsp_wide_rows_params;

/* Filter: see nn_depthwise_conv2d_s_dsp.c; fit: nn_dsp_wide_fit of each channel. As many output channels as input
 * channels; output may be input where both have the same shape. */
void nn_depthwise_conv2d_s_rows_dsp(const nn_context *ctx, const nn_dsp_wide_rows_params *params,
                                    const nn_dims *input_dims, const int8_t *input, const nn_dims *filter_dims,
                                    const uint8_t *filter, const int32_t *fit, const nn_dims *output_dims,
                                    int8_t *output);

/* Filter: see nn_depthwise_conv2d_t2_dsp.c. As many output channels as input channels; output may be input where both
 * have the same shape. */
void nn_depthwise_conv2d_t2_dsp(const nn_context *ctx, const nn_dsp_dw_conv_params *params, const nn_dims *input_dims,
                                const int8_t *input, const nn_dims *filter_dims, const uint8_t *filter,
                                const int32_t *quant, const nn_dims *output_dims, int8_t *output);

/* Outputs of a dense layer: with shifts to the right; with any. */
nn_dsp_code nn_dsp_dense_right, nn_dsp_dense_any;

/* The expanded input of a dense layer. */
typedef struct {
    nn_dsp_code *write;
    int32_t offset;         /* twice the output offset, plus one */
    const int16_t *x;       /* their number is a multiple of eight */
    const uint16_t *totals; /* running: 0, then one after every interval */
    int32_t interval;       /* bytes */
    const int16_t *end;
} nn_dsp_features;

void nn_dsp_dense(const nn_dsp_features *x, const uint32_t *filter, const int32_t *quant, int8_t *output,
                  int32_t outputs);

/* interval: number of inputs, a multiple of eight, over which no field can overflow. */
typedef struct {
    nn_fc_params fc;
    int32_t interval;
    nn_dsp_code *write;
} nn_dsp_fc_params;

/* Filter: see nn_dense_t2_dsp.c. */
void nn_dense_t2_dsp(const nn_context *ctx, const nn_dsp_fc_params *params, const nn_dims *input_dims,
                     const int8_t *input, const nn_dims *filter_dims, const uint32_t *filter, const int32_t *quant,
                     const nn_dims *output_dims, int8_t *output);

/* Adds to four sums: see nn_dense_s_dsp_core.S. */
typedef const uint32_t *nn_dsp_dot_code(const int16_t *x, const int16_t *end, const uint32_t *filter, int32_t sums[4]);
nn_dsp_dot_code nn_dsp_dot_s8, nn_dsp_dot_s4, nn_dsp_dot_s3;

typedef struct {
    nn_fc_params fc;
    int32_t zero; /* code of the weight 0 */
    nn_dsp_dot_code *dot;
} nn_dsp_signed_fc_params;

/* Filter: see nn_dense_s_dsp.c. */
void nn_dense_s_dsp(const nn_context *ctx, const nn_dsp_signed_fc_params *params, const nn_dims *input_dims,
                    const int8_t *input, const nn_dims *filter_dims, const uint32_t *filter, const int32_t *quant,
                    const nn_dims *output_dims, int8_t *output);

/* Outputs are (start + 2^8 (factor1 * input1 + factor2 * input2) / 2^16) / 2^NN_DSP_ADD_FRACTION, every product and the
 * sum rounded down. */
#define NN_DSP_ADD_FRACTION 18
typedef struct {
    int32_t factor1, factor2, start;
    nn_activation activation;
} nn_dsp_add_params;

/* output may be input1 or input2. */
void nn_add_dsp(const nn_dsp_add_params *params, const nn_dims *dims, const int8_t *input1, const int8_t *input2,
                int8_t *output);

nn_pool2d_kernel nn_max_pool2d_dsp, nn_average_pool2d_dsp;

#endif

#endif
