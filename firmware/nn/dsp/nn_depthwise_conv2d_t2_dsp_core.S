/* Depthwise convolution with a 3x3 filter and stride 1, two output pixels per instruction: the inner loops of
 * nn_depthwise_conv2d_t2_dsp.c, which says how inputs and filters are laid out.
 *
 * void nn_dsp_pairs...(const nn_dsp_pairs_of_rows *p): up to six neighbouring outputs of every row of one channel.
 *     (none)    the shift is to the right
 *     ..._zero  it is 0, which does not round
 *     ..._left  it is to the left
 *     ..._relu  it is to the right or 0; the output of a negative sum is -128, however it is rounded
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
 * Instructions for a row of six (54 multiply-accumulates): 8_relu 65, 8_zero 59, 8_left 65, 8 71; five more where a row
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
    .ifc \kind, relu
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
    pairs   nn_dsp_pairs_relu, relu, 0
    pairs   nn_dsp_pairs8, right, 16
    pairs   nn_dsp_pairs8_zero, zero, 16
    pairs   nn_dsp_pairs8_left, left, 16
    pairs   nn_dsp_pairs8_relu, relu, 16

/* void nn_dsp_planes(const int8_t *x, int16_t *plane, int32_t rows, const nn_dsp_split *split): expands four channels
 * of rows of pixels to 16 bits, each channel to its plane.
 *
 * Registers
 *     r0     input           r6-r11 two pixels     lr   rows left
 *     r1     bytes per pixel r12    columns left, less two
 *     r2-r5  planes
 * Instructions for a row: 8.5 per pixel plus 13; 1.5 more with an odd number of pixels. Where the padding is odd, words
 * of a plane start at odd columns: stores need not be aligned. */
    function nn_dsp_planes
    push    {r4-r11, lr}
    mov     lr, r2
    mov     r2, r1
    ldm     r3, {r1, r6-r9} /* nn_dsp_split: pixel, plane, columns, skip, gap */
    sub     sp, #12
    stm     sp, {r7-r9}
    add     r3, r2, r6
    add     r4, r3, r6
    add     r5, r4, r6
1:  ldr     r12, [sp]
    subs    r12, r12, #2
    blt     3f
2:  ldr     r7, [r0, r1]
    ldr     r6, [r0]
    add     r0, r0, r1, lsl #1
    sxtb16  r8, r6
    sxtb16  r9, r7
    sxtb16  r10, r6, ror #8
    sxtb16  r11, r7, ror #8
    pkhbt   r6, r8, r9, lsl #16
    pkhtb   r8, r9, r8, asr #16
    pkhbt   r7, r10, r11, lsl #16
    pkhtb   r10, r11, r10, asr #16
    str     r6, [r2], #4
    str     r7, [r3], #4
    str     r8, [r4], #4
    str     r10, [r5], #4
    subs    r12, r12, #2
    bge     2b
3:  adds    r12, r12, #1
    bne     4f
    ldr     r6, [r0]
    add     r0, r0, r1
    sxtb16  r8, r6
    sxtb16  r9, r6, ror #8
    strh    r8, [r2], #2
    strh    r9, [r3], #2
    asr     r8, r8, #16
    asr     r9, r9, #16
    strh    r8, [r4], #2
    strh    r9, [r5], #2
4:  ldrd    r6, r7, [sp, #4]
    add     r0, r0, r6
    add     r2, r2, r7
    add     r3, r3, r7
    add     r4, r4, r7
    add     r5, r5, r7
    subs    lr, lr, #1
    bne     1b
    add     sp, #12
    pop     {r4-r11, pc}
    .size   nn_dsp_planes, . - nn_dsp_planes
