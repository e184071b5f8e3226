/* Depthwise convolution with a 3x3 filter and stride 1, two output pixels per instruction: the inner loops of
 * nn_depthwise_conv2d_t2_dsp.c, which says how inputs and filters are laid out.
 *
 * void nn_dsp_pairs...(const nn_dsp_pairs_of_rows *p): up to six neighbouring outputs of every row of one channel.
 *     (none)    the shift is to the right
 *     ..._zero  it is 0, which does not round
 *     ..._left  it is to the left
 *     8         a row of the plane has eight columns
 *
 * Sums start at 2^12 (1 + 2^14): both fields of a sum, A and B, at most 9 * 128 in magnitude, stay positive, in bits
 * 0-12 and 14-26; bit 13 stays 0, and to double either takes a shift and an addition. The bias is less by 2^13.
 *
 * Registers, sums                                    Registers, outputs
 *     r0-r5    filter, two words a kernel row            r0-r3  nn_dsp_quant; in ..._left r3 is to the left
 *     r6-r8    sums of pairs of pixels                   r4     outputs left out of six, then temporary
 *     r9-r12   a row of inputs, eight columns            r5     rows left
 *     lr       inputs                                    r6-r8  sums of pairs of pixels; lr inputs
 *                                                        r9     temporary
 *                                                        r10    second output
 *                                                        r11    first output; r12 step from pixel to pixel
 * Instructions for a row of six (54 multiply-accumulates): 8_zero 59, 8_left 65, 8 71; five more where a row
 * has more than eight columns. */
#include "nn_dsp.h"

    /* Stack: nn_dsp_pairs_of_rows up to FILTER */
    .equ ROWS, 20 /* and the output */
    .equ ROW, 32
    .equ PITCH, 36
    .equ NEXT, 40
    .equ FILTER, 44 /* and what sums start at */
    .equ FRAME, 72  /* a multiple of 8 with the ten registers saved */

    .equ START, (1 << 12) + (1 << 26)

/* Expands the filter's row of three weights, from bit 2 * first of r7 on, to two words. */
.macro weights first, w0, w1
    sbfx    r8, r7, #(2 * \first), #2
    sbfx    r9, r7, #(2 * \first + 2), #2
    sbfx    r10, r7, #(2 * \first + 4), #2
    add     r11, r9, r8, lsl #14
    pkhbt   \w0, r8, r11, lsl #16
    add     r11, r10, r9, lsl #14
    pkhbt   \w1, r11, r10, lsl #30
.endm

/* Adds one kernel row to the sums of six pixels; first: the sums start at r6. */
.macro kernel_row first, pitch, w0, w1
    .if \pitch
    ldm     lr!, {r9-r12}
    .else
    ldm     lr, {r9-r12}
    .endif
    .if \first
    smlad   r7, r10, \w0, r6
    smlad   r8, r11, \w0, r6
    .else
    smlad   r7, r10, \w0, r7
    smlad   r8, r11, \w0, r8
    .endif
    smlad   r6, r9, \w0, r6
    smlad   r6, r10, \w1, r6
    smlad   r7, r11, \w1, r7
    smlad   r8, r12, \w1, r8
.endm

/* From a kernel row to the next one, or to the first one of the next row of outputs. */
.macro advance offset
    ldr     r9, [sp, #\offset]
    add     lr, lr, r9
.endm

/* The first or second output of a pair, docs/ARITHMETIC.md: r9 = 2 (bias + sum), then the result. */
.macro output kind, second, sum, address:vararg
    .if \second
    add     r9, r0, \sum, asr #13
    .else
    ubfx    r9, \sum, #0, #13
    add     r9, r0, r9, lsl #1
    .endif
    .ifc \kind, right
    smmlar  r4, r9, r1, r2
    add     r9, r4, r9, asr #31
    .else
    .ifc \kind, left
    lsl     r9, r9, r3
    .endif
    smmlar  r9, r9, r1, r2
    .endif
    .ifc \kind, right
    asr     r9, r9, r3
    .endif
    ssat    r9, #8, r9
    strb    r9, \address
.endm

.macro pairs name, kind, pitch
    function \name
    push    {r3-r11, lr}
    sub     sp, #FRAME
    ldm     r0!, {r1-r6, r8-r12}
    stm     sp, {r1-r6, r8-r12}
    ldm     r0, {r7, lr}
    weights 0, r0, r1
    weights 3, r2, r3
    weights 6, r4, r5
    movw    r6, #(START & 0xFFFF)
    movt    r6, #(START >> 16)
    add     r7, sp, #FILTER
    stm     r7, {r0-r6}
1:  kernel_row 1, \pitch, r0, r1
    .if \pitch == 0
    advance PITCH
    .endif
    kernel_row 0, \pitch, r2, r3
    .if \pitch == 0
    advance PITCH
    .endif
    kernel_row 0, \pitch, r4, r5
    .if \pitch
    sub     lr, #(2 * \pitch)
    .else
    advance NEXT
    .endif
    ldm     sp, {r0-r5, r11, r12}
    add     r10, r11, r12
    tbb     [pc, r4]
2:  .byte   (6f - 2b) / 2, (5f - 2b) / 2, (4f - 2b) / 2, (3f - 2b) / 2, (7f - 2b) / 2, (8f - 2b) / 2
6:  output  \kind, 1, r8, [r10, r12, lsl #2]
5:  output  \kind, 0, r8, [r11, r12, lsl #2]
4:  output  \kind, 1, r7, [r10, r12, lsl #1]
3:  output  \kind, 0, r7, [r10, r12]
7:  output  \kind, 1, r6, [r10]
8:  output  \kind, 0, r6, [r11]
    ldr     r4, [sp, #ROW]
    add     r11, r11, r4
    subs    r5, r5, #1
    strd    r5, r11, [sp, #ROWS]
    add     r0, sp, #FILTER
    ldm     r0, {r0-r6}
    bne     1b
    add     sp, #FRAME
    pop     {r3-r11, pc}
    .size   \name, . - \name
.endm

    pairs   nn_dsp_pairs, right, 0
    pairs   nn_dsp_pairs_zero, zero, 0
    pairs   nn_dsp_pairs_left, left, 0
    pairs   nn_dsp_pairs8, right, 16
    pairs   nn_dsp_pairs8_zero, zero, 16
    pairs   nn_dsp_pairs8_left, left, 16

/* void nn_dsp_rows<outputs>[_adjacent]_<shift>(const nn_dsp_rows *p): so many neighbouring outputs, one to six, of every
 * row of all channels, by nn_dsp_half_fit with that shift; adjacent: a row of the plane has no more columns than they read.
 *
 * A sum is shifted to the left by two bits: then its lower half is 4 A, its upper half B, and SMLAWB and SMLAWT multiply
 * either by a factor of 32 bits and add the start.
 *
 * Registers
 *     r0-r5    filter, two words a kernel row; r5 temporary     lr   inputs
 *     r6-r8    sums of pairs of pixels, at first what they start at
 *     r9-r12   a row of inputs; then start, factor, output and step from pixel to pixel
 * Instructions for a row of six (54 multiply-accumulates): 52 where it is adjacent, else 57. */

    /* Stack */
    .equ FIT_START, 0
    .equ FIT_FACTOR, 4
    .equ ROW_OUTPUT, 8
    .equ ROW_STEP, 12
    .equ ROW_NEXT, 16
    .equ ROW_END, 20 /* where the output of the row after the last one would be */
    .equ ROW_FIT, 24
    .equ ROW_FILTER, 28
    .equ ROW_INPUTS, 32
    .equ ROW_PLANE, 36
    .equ ROW_CHANNELS, 40
    .equ ROW_PITCH, 44
    .equ ROW_BACK, 48
    .equ ROW_LAST, 52 /* the last word of the filter, then what sums start at */
    .equ ROW_SIZE, 60
    .equ ROW_FRAME, 64

/* Adds one kernel row to the sums; first: they start at r6. */
.macro sum_row first, pairs, adjacent, w0, w1
    .if \adjacent
    .if \pairs == 3
    ldm     lr!, {r9-r12}
    .elseif \pairs == 2
    ldm     lr!, {r9-r11}
    .else
    ldm     lr!, {r9, r10}
    .endif
    .else
    ldm     lr, {r9-r12}
    .endif
    .if \pairs == 3
    .if \first
    smlad   r8, r11, \w0, r6
    .else
    smlad   r8, r11, \w0, r8
    .endif
    smlad   r8, r12, \w1, r8
    .endif
    .if \pairs >= 2
    .if \first
    smlad   r7, r10, \w0, r6
    .else
    smlad   r7, r10, \w0, r7
    .endif
    smlad   r7, r11, \w1, r7
    .endif
    smlad   r6, r9, \w0, r6
    smlad   r6, r10, \w1, r6
.endm

/* Moves on to the next kernel row, or to the first one of the next row of outputs, where inputs are not adjacent. */
.macro next_row adjacent, offset
    .if \adjacent == 0
    advance \offset
    .endif
.endm

/* The output of one half of a sum, if there is that one. */
.macro half number, outputs, shift, half, to, sum, address:vararg
    .if \number < \outputs
    smlaw\half \to, r10, \sum, r9
    ssat    \to, #8, \to, asr #\shift
    strb    \to, \address
    .endif
.endm

.macro rows name, outputs, pairs, shift, adjacent
    function \name
    push    {r3-r11, lr}
    sub     sp, #ROW_FRAME
    ldm     r0, {r1-r11} /* nn_dsp_rows */
    add     r12, sp, #ROW_OUTPUT
    stm     r12, {r1-r11}
    movw    r6, #(START & 0xFFFF)
    movt    r6, #(START >> 16)
    str     r6, [sp, #(ROW_LAST + 4)]
    str     r4, [sp, #ROW_SIZE]
    add     r4, r4, r1
    str     r4, [sp, #ROW_END]
1:  ldr     r12, [sp, #ROW_FILTER]
    ldrh    r7, [r12], #2
    ldrb    r8, [r12], #1
    orr     r7, r7, r8, lsl #16
    weights 0, r0, r1
    weights 3, r2, r3
    weights 6, r4, r5
    ldr     r11, [sp, #ROW_FIT]
    ldrd    r9, r10, [r11], #8
    strd    r9, r10, [sp, #FIT_START]
    strd    r11, r12, [sp, #ROW_FIT]
    ldrd    lr, r9, [sp, #ROW_INPUTS]
    add     r9, r9, lr
    str     r9, [sp, #ROW_INPUTS]
    ldr     r6, [sp, #(ROW_LAST + 4)]
    str     r5, [sp, #ROW_LAST]
2:  sum_row 1, \pairs, \adjacent, r0, r1
    next_row \adjacent, ROW_PITCH
    sum_row 0, \pairs, \adjacent, r2, r3
    next_row \adjacent, ROW_PITCH
    sum_row 0, \pairs, \adjacent, r4, r5
    next_row \adjacent, ROW_BACK
    .if \adjacent
    sub     lr, #(8 * (\pairs + 1))
    .endif
    ldm     sp, {r9-r12}
    lsl     r6, r6, #2
    half    0, \outputs, \shift, b, r5, r6, [r11]
    .if \pairs >= 2
    lsl     r7, r7, #2
    half    2, \outputs, \shift, b, r5, r7, [r11, r12, lsl #1]
    .endif
    .if \pairs == 3
    lsl     r8, r8, #2
    half    4, \outputs, \shift, b, r5, r8, [r11, r12, lsl #2]
    .endif
    lsl     r10, r10, #2
    add     r11, r11, r12
    half    1, \outputs, \shift, t, r6, r6, [r11]
    half    3, \outputs, \shift, t, r7, r7, [r11, r12, lsl #1]
    half    5, \outputs, \shift, t, r8, r8, [r11, r12, lsl #2]
    ldrd    r9, r10, [sp, #ROW_NEXT]
    ldrd    r5, r6, [sp, #ROW_LAST]
    add     r11, r11, r9
    str     r11, [sp, #ROW_OUTPUT]
    cmp     r11, r10
    bne     2b
    ldr     r9, [sp, #ROW_SIZE]
    adds    r10, r10, #1
    str     r10, [sp, #ROW_END]
    subs    r10, r10, r9
    str     r10, [sp, #ROW_OUTPUT]
    ldr     r9, [sp, #ROW_CHANNELS]
    subs    r9, r9, #1
    str     r9, [sp, #ROW_CHANNELS]
    bne     1b
    add     sp, #ROW_FRAME
    pop     {r3-r11, pc}
    .size   \name, . - \name
.endm

/* All ways to compute so many outputs. */
.macro all_rows outputs, pairs
    .irp    shift, 8, 12
    rows    nn_dsp_rows\outputs\()_\shift, \outputs, \pairs, \shift, 0
    rows    nn_dsp_rows\outputs\()_adjacent_\shift, \outputs, \pairs, \shift, 1
    .endr
.endm

    all_rows 1, 1
    all_rows 2, 1
    all_rows 3, 2
    all_rows 4, 2
    all_rows 5, 3
    all_rows 6, 3

/* void nn_dsp_planes(const int8_t *x, int16_t *plane, int32_t rows, const nn_dsp_split *split): expands four channels
 * of rows of pixels to 16 bits, each channel to its plane.
 *
 * Registers
 *     r0     input              r4     bytes over two planes        r6-r9  two pixels
 *     r1     bytes per pixel    r5     columns                      r12    columns left, less two
 *     r2, r3 first two planes   r10, r11 from the end of a row to the next one: input, planes; lr rows left
 * Instructions for a row: 7.5 per pixel plus 9; 2.5 more with an odd number of pixels. Where the padding is odd, words
 * of a plane start at odd columns: stores need not be aligned. */
    function nn_dsp_planes
    push    {r4-r11, lr}
    mov     lr, r2
    mov     r2, r1
    ldm     r3, {r1, r4, r5, r10, r11} /* nn_dsp_split */
    add     r3, r2, r4
    lsl     r4, r4, #1
1:  subs    r12, r5, #2
    blt     3f
2:  ldr     r7, [r0, r1]
    ldr     r6, [r0]
    add     r0, r0, r1, lsl #1
    pkhbt   r8, r6, r7, lsl #16
    pkhtb   r9, r7, r6, asr #16
    sxtb16  r6, r8
    sxtb16  r7, r8, ror #8
    sxtb16  r8, r9
    sxtb16  r9, r9, ror #8
    str     r8, [r2, r4]
    str     r9, [r3, r4]
    str     r6, [r2], #4
    str     r7, [r3], #4
    subs    r12, r12, #2
    bge     2b
3:  adds    r12, r12, #1
    bne     4f
    ldr     r6, [r0]
    add     r0, r0, r1
    sxtb16  r7, r6, ror #8
    sxtb16  r6, r6
    asr     r8, r6, #16
    asr     r9, r7, #16
    strh    r8, [r2, r4]
    strh    r9, [r3, r4]
    strh    r6, [r2], #2
    strh    r7, [r3], #2
4:  add     r0, r0, r10
    add     r2, r2, r11
    add     r3, r3, r11
    subs    lr, lr, #1
    bne     1b
    pop     {r4-r11, pc}
    .size   nn_dsp_planes, . - nn_dsp_planes
