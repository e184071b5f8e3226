/* Depthwise convolution with a 3x3 filter, two output pixels an instruction: the inner loop of
 * nn_depthwise_conv2d_dsp.c, which lays out inputs and filters.
 *
 * void nn_dsp_pairs...(nn_dsp_pairs_of_rows *p): five or six neighbouring outputs of every row of one channel; stride 1
 * from column to column. ..._zero: the shift is 0, which does not round.
 *
 * Registers, sums                                    Registers, outputs
 *     r0-r5    filter, two words a kernel row            r0-r3  nn_dsp_quant
 *     r6-r8    sums of pairs of pixels                   r6-r8  sums of pairs of pixels
 *     r9-r12   a row of inputs, eight columns            r9-r10 temporary
 *     lr       inputs                                    r11    output; r12 step from pixel to pixel
 *                                                        lr     p
 * Cycles of a row of six on a Cortex-M4 without wait states: about 110 for 54 multiply-accumulates, 87 instructions. */
#include "nn_dsp.h"

    /* nn_dsp_pairs_of_rows */
    .equ INPUTS, 0
    .equ PITCH, 4 /* bytes from kernel row to kernel row */
    .equ NEXT, 8  /* bytes from the last kernel row to the first one of the next row of outputs */
    .equ FILTER, 12
    .equ QUANT, 16
    .equ OUTPUT, 20
    .equ STEP, 24
    .equ ROW, 28 /* bytes from a row of outputs to the next */
    .equ ROWS, 32
    .equ COUNT, 36 /* outputs of a row: 5 or 6 */

/* Six pixels' sums over one kernel row; first: replaces the sums. */
.macro kernel_row first, w0, w1
    ldm     lr, {r9-r12}
    .if \first
    smuad   r6, r9, \w0
    smuad   r7, r10, \w0
    smuad   r8, r11, \w0
    .else
    smlad   r6, r9, \w0, r6
    smlad   r7, r10, \w0, r7
    smlad   r8, r11, \w0, r8
    .endif
    smlad   r6, r10, \w1, r6
    smlad   r7, r11, \w1, r7
    smlad   r8, r12, \w1, r8
.endm

/* r10: output of r9 = 2 (bias + sum), docs/ARITHMETIC.md. */
.macro output zero
    smmlar  r10, r9, r1, r2
    .if \zero == 0
    add     r10, r10, r9, asr #31
    asr     r10, r10, r3
    .endif
    ssat    r10, #8, r10
.endm

.macro first_of_pair zero, sum
    sbfx    r9, \sum, #0, #14
    sub     \sum, \sum, r9
    add     r9, r0, r9, lsl #1
    output  \zero
.endm

.macro second_of_pair zero, sum
    add     r9, r0, \sum, asr #13
    output  \zero
.endm

.macro pairs name, zero
    function \name
    push    {r0, r4-r11, lr}
1:  ldr     r5, [r0, #FILTER]
    ldr     lr, [r0, #INPUTS]
    ldm     r5, {r0-r5}
    kernel_row 1, r0, r1
    ldr     r12, [sp]
    ldr     r9, [r12, #PITCH]
    add     lr, lr, r9
    kernel_row 0, r2, r3
    ldr     r12, [sp]
    ldr     r9, [r12, #PITCH]
    add     lr, lr, r9
    kernel_row 0, r4, r5
    ldr     r4, [sp]
    ldr     r9, [r4, #NEXT]
    add     lr, lr, r9
    str     lr, [r4, #INPUTS]
    mov     lr, r4
    ldr     r0, [lr, #QUANT]
    ldm     r0, {r0-r3}
    ldrd    r11, r12, [lr, #OUTPUT]
    ldrd    r4, r5, [lr, #ROW]
    add     r4, r4, r11
    str     r4, [lr, #OUTPUT]
    first_of_pair \zero, r6
    strb    r10, [r11]
    second_of_pair \zero, r6
    strb    r10, [r11, r12]
    first_of_pair \zero, r7
    strb    r10, [r11, r12, lsl #1]
    add     r11, r11, r12
    second_of_pair \zero, r7
    strb    r10, [r11, r12, lsl #1]
    add     r11, r11, r12
    first_of_pair \zero, r8
    strb    r10, [r11, r12, lsl #1]
    ldr     r4, [lr, #COUNT]
    cmp     r4, #6
    bne     2f
    add     r11, r11, r12
    second_of_pair \zero, r8
    strb    r10, [r11, r12, lsl #1]
2:  subs    r5, r5, #1
    str     r5, [lr, #ROWS]
    mov     r0, lr
    bne     1b
    pop     {r0, r4-r11, pc}
    .size   \name, . - \name
.endm

    pairs   nn_dsp_pairs, 0
    pairs   nn_dsp_pairs_zero, 1
