/* Ternary kernels for cores with the DSP extension (Cortex-M4, M7, M33): see nn_block_dsp.S for the idea.
 *
 * Biases are folded and doubled: 2 (bias - input zero point * sum of the channel's weights). The kernels sum inputs as
 * they are and pad with the zero point. Doubled accumulators fit 32 bits, shifts are -22 to 0, multipliers positive.
 * All by pipeline/kernels/_dsp.py. */
#ifndef NN_DSP_H
#define NN_DSP_H

#include "nn.h"

#define NN_DSP_CHANNELS 4                              /* a block computes */
#define NN_DSP_WORD_INPUTS 4                           /* inputs of a word of filter */
#define NN_DSP_UNROLL 6                                /* words a turn of a block's loop */
#define NN_DSP_WORD_BYTES(pixels) (24 * (pixels) + 20) /* code that a word takes */

enum { NN_DSP_GO_ON, NN_DSP_FLUSH, NN_DSP_FINISH };

/* A run of inputs that lie one behind the other in every pixel's window. */
typedef struct {
    const int16_t *inputs; /* of the first pixel */
    int32_t sums[3];       /* of each pixel's inputs */
    const int16_t *end;
    int32_t skip; /* bytes of code jumped over in the first turn */
    int32_t then; /* NN_DSP_... */
} nn_dsp_piece;

/* What the outputs of a block share. */
typedef struct {
    int32_t step;     /* from pixel to pixel of the output */
    int32_t rounding; /* 2 * output offset + 1 */
    int32_t distance; /* of the inputs of neighbouring pixels, in bytes; for blocks of two pixels */
    nn_dsp_piece pieces[];
} nn_dsp_block;

/* Requantization of four channels, 9 bytes each: four biases, four multipliers, four right shifts in one word. */
#define NN_DSP_QUANT_WORDS 9

/* Four channels of the pixels of a block, to output[pixel * step + channel]. */
typedef void nn_dsp_block_function(const nn_dsp_block *block, const uint32_t *filter, const int32_t *quant,
                                   int8_t *output);

nn_dsp_block_function nn_dsp_block2; /* two pixels at any distance */
/* Three pixels whose inputs are so many bytes apart. */
nn_dsp_block_function nn_dsp_block3_4, nn_dsp_block3_8, nn_dsp_block3_16, nn_dsp_block3_32, nn_dsp_block3_64,
    nn_dsp_block3_128, nn_dsp_block3_256;

/* The input is expanded to 16 bits, row by row, into a ring of as many rows as the kernel has. Only every
 * `column_step`-th column is. A pixel takes `granules` granules of `granule` inputs. */
typedef struct {
    nn_conv_params conv;
    int32_t column_step, granules, granule;
    int32_t pieces, words;         /* of a window, for four channels */
    int32_t row_size;              /* of the ring: inputs of an expanded row, with what lies behind them */
    nn_dsp_block_function *block3; /* NULL: all blocks have two pixels */
} nn_dsp_conv_params;

/* Filter: words of a block of channels, see nn_conv2d_dsp.c. Plan: the pieces of every window, NN_DSP_PLAN_BYTES each:
 * kernel row, its first granule, the one behind its last, words of filter, NN_DSP_... output may be input where both
 * have one shape. */
#define NN_DSP_PLAN_BYTES 5
void nn_convolve_t2_dsp(const nn_context *ctx, const nn_dsp_conv_params *params, const nn_dims *input_dims,
                        const int8_t *input, const nn_dims *filter_dims, const uint32_t *filter, const uint8_t *plan,
                        const int32_t *quant, const nn_dims *output_dims, int8_t *output);

#endif
