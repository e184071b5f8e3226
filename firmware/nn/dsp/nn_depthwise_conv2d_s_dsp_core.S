/* Depthwise convolution with weights of 8, 4 or 3 bits: the sums and outputs of nn_depthwise_conv2d_s_dsp.c, which says
 * how inputs and filters are laid out.
 *
 * void nn_dsp_taps...(const nn_dsp_taps *p): rows of outputs of four channels, two neighbouring pixels at a time. The
 * number in the name is the stride: input columns from one pixel to the next.
 *
 * Registers, sums                                        Registers, outputs
 *     r0, r1   channel 0 of both pixels                      r0-r5    sums
 *     r2, r3   channel 1; r4, r5  2; r6, r7  3               r6-r10   see `channel`
 *     r8, lr   a pixel: channels 0 and 2, 1 and 3            r11      output
 *     r9, r10  weights in the same order                     r12      nn_dsp_quant
 *     r11      inputs; r12  filter                           lr       step from pixel to pixel
 * Instructions for a tap of eight outputs: 11; a kernel row takes six more. */
#include "nn_dsp.h"
#include "nn_dsp_macros.h"

    /* Stack */
    .equ SUMS, 0
    .equ INPUTS, 8 /* of this pair; and its output */
    .equ LEFT, 16  /* columns */
    .equ SKIP, 20  /* from here on nn_dsp_taps */
    .equ NEXT_ROW, 24 /* and the filter's end */
    .equ FILTER, 32
    .equ STEP, 36
    .equ QUANT, 40
    .equ ROWS, 44
    .equ ROW_INPUTS, 48 /* and the row's output */
    .equ COLUMNS, 56
    .equ ROW_STEP, 60 /* and the output's */
    .equ FRAME, 68 /* a multiple of 8 with the nine registers saved */

.macro pixel a0, a1, a2, a3
    smlabb  \a0, r8, r9, \a0
    smlatt  \a2, r8, r9, \a2
    smlabb  \a1, lr, r10, \a1
    smlatt  \a3, lr, r10, \a3
.endm

/* NN_DSP_TAP_BYTES of code. */
.macro tap distance
    ldrd    r9, r10, [r12], #8
    ldrd    r8, lr, [r11, #(8 * \distance)]
    pixel   r1, r3, r5, r7
    ldrd    r8, lr, [r11], #8
    pixel   r0, r2, r4, r6
.endm

.macro taps name, distance, kind
    function \name
    push    {r4-r11, lr}
    sub     sp, #FRAME
    add     r12, sp, #SKIP
    ldmia   r0!, {r1-r6}
    stmia   r12!, {r1-r6}
    ldmia   r0, {r1-r6}
    stmia   r12, {r1-r6}
1:  ldrd    r4, r5, [sp, #ROW_INPUTS]
    ldr     r6, [sp, #COLUMNS]
    strd    r4, r5, [sp, #INPUTS]
    str     r6, [sp, #LEFT]
2:  ldr     r11, [sp, #INPUTS]
    ldr     r12, [sp, #FILTER]
    movs    r0, #0
    movs    r1, #0
    movs    r2, #0
    movs    r3, #0
    movs    r4, #0
    movs    r5, #0
    movs    r6, #0
    movs    r7, #0
3:  ldr     r8, [sp, #SKIP]
    .balign 4
    add     pc, r8 /* skips taps, so that those of a kernel row remain */
    nop
4:  .rept NN_DSP_TAPS
    tap     \distance
    .endr
    .if (. - 4b) != NN_DSP_TAPS * NN_DSP_TAP_BYTES
    .error "NN_DSP_TAP_BYTES"
    .endif
    ldrd    r8, r9, [sp, #NEXT_ROW]
    add     r11, r11, r8
    cmp     r12, r9
    bne.w   3b
    strd    r6, r7, [sp, #SUMS]
    ldr     r11, [sp, #(INPUTS + 4)]
    ldr     lr, [sp, #STEP]
    ldr     r12, [sp, #QUANT]
    ldr     r6, [sp, #LEFT]
    cmp     r6, #1
    it      eq
    moveq   lr, #0 /* an odd last pixel: the second one's outputs are overwritten by the first one's */
    channel 2, \kind, 0, 1, r0, r1
    channel 2, \kind, 0, 1, r2, r3
    channel 2, \kind, 0, 1, r4, r5
    ldrd    r0, r1, [sp, #SUMS]
    channel 2, \kind, 0, 1, r0, r1
    ldrd    r4, r5, [sp, #INPUTS]
    ldr     r7, [sp, #STEP]
    ldr     r6, [sp, #LEFT]
    add     r4, r4, #(16 * \distance)
    add     r5, r5, r7, lsl #1
    strd    r4, r5, [sp, #INPUTS]
    subs    r6, r6, #2
    str     r6, [sp, #LEFT]
    bgt.w   2b
    ldrd    r4, r5, [sp, #ROW_INPUTS]
    ldrd    r6, r7, [sp, #ROW_STEP]
    ldr     r8, [sp, #ROWS]
    add     r4, r4, r6
    add     r5, r5, r7
    strd    r4, r5, [sp, #ROW_INPUTS]
    subs    r8, r8, #1
    str     r8, [sp, #ROWS]
    bne.w   1b
    add     sp, #FRAME
    pop     {r4-r11, pc}
    .size   \name, . - \name
.endm

    taps    nn_dsp_taps1, 1, right
    taps    nn_dsp_taps1_relu, 1, relu
    taps    nn_dsp_taps1_any, 1, any
    taps    nn_dsp_taps2, 2, right
    taps    nn_dsp_taps2_relu, 2, relu
    taps    nn_dsp_taps2_any, 2, any
    taps    nn_dsp_taps3, 3, right
    taps    nn_dsp_taps3_relu, 3, relu
    taps    nn_dsp_taps3_any, 3, any

/* void nn_dsp_wide_rows<outputs>_by<stride>[_adjacent][_ties]_<shift>(const nn_dsp_rows *p): so many neighbouring
 * outputs, one to six, of every row of all channels with filters of 3x3, by nn_dsp_wide_fit with that shift. stride:
 * input columns from one output to the next, 1 or 2; adjacent: a row of the plane has no more columns than they read.
 *
 * A word holds two neighbouring columns. Of a kernel row w0, w1, w2 the filter's words are w0 w1 and w1 w2, times 2^8:
 * with stride 1 two neighbouring outputs are x0 w0 + x1 w1 + x2 w2 and x1 w0 + x2 w1 + x3 w2.
 *
 * Registers, sums                                         Registers, outputs
 *     r0-r5    filter, two words a kernel row                 r6-r11   sums, as many as outputs
 *     r6-r11   sums, as many as outputs                       two of   factor and addend, then output and step from
 *     ...-r12  inputs, as many as are left, at most three     those      pixel to pixel: r11, r12, else r0-r3, which
 *     lr       inputs                                         left       are loaded again
 * Instructions for a row of six outputs (54 multiply-accumulates) with stride 1: 83, 1 more for each output with ties,
 * 4 less where it is adjacent; of five (45): 62 where it is adjacent. */

    /* Stack */
    .equ STARTS, 0 /* of six sums */
    .equ FACTOR, 24 /* and addend */
    .equ R_OUTPUT, 32 /* from here on nn_dsp_rows, `size` replaced */
    .equ R_NEXT, 40 /* and where the output of the row after the last one would be */
    .equ R_FIT, 48 /* and the filter */
    .equ R_FILTER, 52
    .equ R_INPUTS, 56 /* and from plane to plane */
    .equ R_CHANNELS, 64
    .equ R_GAP, 68 /* from the end of a kernel row to the next one, or to the first one of the next row of outputs */
    .equ R_BACK, 72
    .equ R_SIZE, 76
    .equ R_FRAME, 84 /* a multiple of 8 with the nine registers saved */

/* Multiplies for output `number`, if there is that one. */
.macro product operation, number, outputs, x, w
    .if (\number) < 0 || (\number) >= \outputs
    .elseif (\number) == 0
    \operation r6, \x, \w, r6
    .elseif (\number) == 1
    \operation r7, \x, \w, r7
    .elseif (\number) == 2
    \operation r8, \x, \w, r8
    .elseif (\number) == 3
    \operation r9, \x, \w, r9
    .elseif (\number) == 4
    \operation r10, \x, \w, r10
    .else
    \operation r11, \x, \w, r11
    .endif
.endm

/* Adds word `word` of a kernel row, of inputs x, to the outputs that read it. */
.macro add_word outputs, stride, x, w01, w12
    .if \stride == 1
    product smlabt, 2 * word - 2, \outputs, \x, \w12
    product smlad, 2 * word - 1, \outputs, \x, \w12
    product smlad, 2 * word, \outputs, \x, \w01
    product smlatb, 2 * word + 1, \outputs, \x, \w01
    .else
    product smlabt, word - 1, \outputs, \x, \w12
    product smlad, word, \outputs, \x, \w01
    .endif
    .set    word, word + 1
.endm

/* Adds a kernel row of so many words of inputs, an even number with five outputs. */
.macro add_row outputs, stride, words, w01, w12
    .set    word, 0
    .rept   \words
    .if word == \words
    .elseif \outputs == 6
    ldr     r12, [lr], #4
    add_word \outputs, \stride, r12, \w01, \w12
    .elseif \outputs == 5
    ldrd    r11, r12, [lr], #8
    add_word \outputs, \stride, r11, \w01, \w12
    add_word \outputs, \stride, r12, \w01, \w12
    .elseif \words - word >= 3
    ldm     lr!, {r10-r12}
    add_word \outputs, \stride, r10, \w01, \w12
    add_word \outputs, \stride, r11, \w01, \w12
    add_word \outputs, \stride, r12, \w01, \w12
    .elseif \words - word == 2
    ldrd    r10, r11, [lr], #8
    add_word \outputs, \stride, r10, \w01, \w12
    add_word \outputs, \stride, r11, \w01, \w12
    .else
    ldr     r10, [lr], #4
    add_word \outputs, \stride, r10, \w01, \w12
    .endif
    .endr
.endm

.macro load_starts outputs
    .if \outputs == 6
    ldm     sp, {r6-r11}
    .elseif \outputs == 5
    ldm     sp, {r6-r10}
    .elseif \outputs == 4
    ldm     sp, {r6-r9}
    .elseif \outputs == 3
    ldm     sp, {r6-r8}
    .elseif \outputs == 2
    ldrd    r6, r7, [sp, #STARTS]
    .else
    ldr     r6, [sp, #STARTS]
    .endif
.endm

.macro move_inputs offset
    ldr     r12, [sp, #\offset]
    add     lr, lr, r12
.endm

/* Turns sum `number` into its output, if there is that one. */
.macro fit_output number, outputs, shift, ties, factor, addend, temporary, sum
    .if \number < \outputs
    wide_fitted \sum, \factor, \addend, \shift, \ties, \temporary
    .endif
.endm

.macro store_output number, outputs, sum, address:vararg
    .if \number < \outputs
    strb    \sum, \address
    .endif
.endm

/* Writes a row of outputs; leaves the next row's in `output`, and whether that is behind the last one in the flags. */
.macro write_outputs outputs, shift, ties, factor, addend, output, step, temporary
    ldrd    \factor, \addend, [sp, #FACTOR]
    fit_output 0, \outputs, \shift, \ties, \factor, \addend, \temporary, r6
    fit_output 1, \outputs, \shift, \ties, \factor, \addend, \temporary, r7
    fit_output 2, \outputs, \shift, \ties, \factor, \addend, \temporary, r8
    fit_output 3, \outputs, \shift, \ties, \factor, \addend, \temporary, r9
    fit_output 4, \outputs, \shift, \ties, \factor, \addend, \temporary, r10
    fit_output 5, \outputs, \shift, \ties, \factor, \addend, \temporary, r11
    ldrd    \output, \step, [sp, #R_OUTPUT]
    store_output 0, \outputs, r6, [\output]
    store_output 2, \outputs, r8, [\output, \step, lsl #1]
    store_output 4, \outputs, r10, [\output, \step, lsl #2]
    add     \output, \output, \step
    store_output 1, \outputs, r7, [\output]
    store_output 3, \outputs, r9, [\output, \step, lsl #1]
    store_output 5, \outputs, r11, [\output, \step, lsl #2]
    ldrd    r6, r7, [sp, #R_NEXT]
    add     \output, \output, r6
    str     \output, [sp, #R_OUTPUT]
    cmp     \output, r7
.endm

.macro wide_rows name, outputs, stride, words, adjacent, ties, shift
    function \name
    push    {r4-r11, lr}
    sub     sp, #R_FRAME
    ldm     r0, {r1-r11} /* nn_dsp_rows */
    str     r4, [sp, #R_SIZE]
    add     r4, r4, r1
    sub     r10, r10, #(4 * \words)
    sub     r11, r11, #(4 * \words)
    add     r12, sp, #R_OUTPUT
    stm     r12, {r1-r11}
1:  ldrd    r11, r12, [sp, #R_FIT]
    ldm     r11!, {r0-r2}
    strd    r0, r0, [sp, #STARTS]
    strd    r0, r0, [sp, #(STARTS + 8)]
    strd    r0, r0, [sp, #(STARTS + 16)]
    strd    r1, r2, [sp, #FACTOR]
    str     r11, [sp, #R_FIT]
    ldrd    lr, r9, [sp, #R_INPUTS]
    add     r9, r9, lr
    str     r9, [sp, #R_INPUTS]
    ldm     r12, {r0-r5}
2:  load_starts \outputs
    add_row \outputs, \stride, \words, r0, r1
    .if \adjacent == 0
    move_inputs R_GAP
    .endif
    add_row \outputs, \stride, \words, r2, r3
    .if \adjacent == 0
    move_inputs R_GAP
    .endif
    add_row \outputs, \stride, \words, r4, r5
    move_inputs R_BACK
    .if \outputs + \ties <= 5 /* enough registers are left */
    write_outputs \outputs, \shift, \ties, r11, r12, r11, r12, r10
    .else
    write_outputs \outputs, \shift, \ties, r0, r1, r2, r3, r12
    ldr     r12, [sp, #R_FILTER]
    ldm     r12, {r0-r3}
    .endif
    bne.w   2b
    ldr     r12, [sp, #R_FILTER]
    add     r12, r12, #24
    str     r12, [sp, #R_FILTER]
    ldr     r6, [sp, #R_SIZE]
    adds    r7, r7, #1
    str     r7, [sp, #(R_NEXT + 4)]
    subs    r7, r7, r6
    str     r7, [sp, #R_OUTPUT]
    ldr     r6, [sp, #R_CHANNELS]
    subs    r6, r6, #1
    str     r6, [sp, #R_CHANNELS]
    bne.w   1b
    add     sp, #R_FRAME
    pop     {r4-r11, pc}
    .size   \name, . - \name
.endm

/* All ways to compute so many outputs. */
.macro all_wide_rows outputs, stride, words
    .irp    shift, 9, 12, 15
    wide_rows nn_dsp_wide_rows\outputs\()_by\stride\()_\shift, \outputs, \stride, \words, 0, 0, \shift
    wide_rows nn_dsp_wide_rows\outputs\()_by\stride\()_ties_\shift, \outputs, \stride, \words, 0, 1, \shift
    wide_rows nn_dsp_wide_rows\outputs\()_by\stride\()_adjacent_\shift, \outputs, \stride, \words, 1, 0, \shift
    wide_rows nn_dsp_wide_rows\outputs\()_by\stride\()_adjacent_ties_\shift, \outputs, \stride, \words, 1, 1, \shift
    .endr
.endm

    all_wide_rows 1, 1, 2
    all_wide_rows 2, 1, 2
    all_wide_rows 3, 1, 3
    all_wide_rows 4, 1, 3
    all_wide_rows 5, 1, 4
    all_wide_rows 6, 1, 4
    all_wide_rows 1, 2, 2
    all_wide_rows 2, 2, 3
    all_wide_rows 3, 2, 4
    all_wide_rows 4, 2, 5
    all_wide_rows 5, 2, 6
    all_wide_rows 6, 2, 7
