/* Ternary dense layer by field-packed SMLAD, see nn_conv2d_t2_dsp_core.S: what follows the expansion by
 * nn_dense_t2_dsp.c.
 *
 * void nn_dsp_dense(const nn_dsp_features *x, const uint32_t *filter, const int32_t *quant, int8_t *output,
 *                   int32_t outputs)
 *
 * Eight outputs at a time; at the end four or two. After every interval of inputs, the packed sums are moved to totals,
 * which start at the biases and hold twice the sums. A word of filter is four inputs of four outputs; for eight outputs
 * the words of the two halves alternate.
 *
 * Registers, sums                                              Registers, outputs
 *     r0      inputs                                               r4, r5   totals
 *     r1      filter                                               r6, r7   multipliers
 *     r2      outputs left                                         r8       shifts
 *     r3      mask                                                 r9       quant
 *     r4-r7   sums of outputs 0 and 1, 2 and 3, ...                r10      totals that follow
 *             (four outputs or two: r6-r9 inputs)                  r11      output
 *     r8-r9   inputs                                               r12      rounding, before the shift
 *     r10-r11 words of filter                                      r3, lr   temporary
 *     r12     extracted fields; lr  end of the interval            r1, r2   as before
 * Instructions for four inputs: eight outputs 19, four 10, two 6; for writing an output 10. Cycles for four inputs of
 * eight outputs on a Cortex-M4 without wait states: 24 for 32 multiply-accumulates. */
#include "nn_dsp.h"

    /* Stack */
    .equ TOTALS, 0
    .equ WRITE, 32 /* nn_dsp_features: what writes the outputs */
    .equ OFFSET, 36
    .equ X, 40 /* and where its running totals start */
    .equ INTERVAL, 48 /* and the end of all inputs */
    .equ RUNNING, 56 /* running total before this interval */
    .equ QUANT, 60 /* and the output */
    .equ FRAME, 72 /* a multiple of 8 with the ten registers saved */
    .equ OUTPUTS, FRAME + 40 /* argument */

/* Adds four inputs times one word of filter to the sums of its outputs. */
.macro products outputs, word, x0, x1, a, b
    and.w   r12, r3, \word
    smlad   \a, \x0, r12, \a
    .if \outputs > 2
    and     r12, r3, \word, ror #4
    smlad   \b, \x0, r12, \b
    .endif
    and     r12, r3, \word, ror #8
    smlad   \a, \x1, r12, \a
    .if \outputs > 2
    and     r12, r3, \word, ror #12
    smlad   \b, \x1, r12, \b
    .endif
.endm

/* Adds eight inputs. */
.macro eight_inputs outputs
    .if \outputs == 8
    .rept 2
    ldrd    r8, r9, [r0], #8
    ldrd    r10, r11, [r1], #8
    products 8, r10, r8, r9, r4, r5
    products 8, r11, r8, r9, r6, r7
    .endr
    .else
    ldm     r0!, {r6-r9}
    ldrd    r10, r11, [r1], #8
    products \outputs, r10, r6, r7, r4, r5
    products \outputs, r11, r8, r9, r4, r5
    .endif
.endm

/* Adds A and B of a sum to their totals. */
.macro to_totals sum, at
    ldrd    r8, r9, [sp, #(TOTALS + \at)]
    sbfx    r12, \sum, #0, #14
    sub     \sum, \sum, r12
    add     r8, r8, r12, lsl #1
    add     r9, r9, \sum, asr #13
    strd    r8, r9, [sp, #(TOTALS + \at)]
.endm

/* Sums up the totals, which start at the biases, of a number of outputs; then goes on to write these. */
.macro sums outputs
1:  ldr     r8, [sp, #RUNNING]
    ldrh    r9, [r8], #2
    ldrh    r10, [r8]
    str     r8, [sp, #RUNNING]
    sub     r4, r9, r10
    sxth    r4, r4
    ldrd    r8, r9, [sp, #INTERVAL]
    add     lr, r0, r8
    cmp     lr, r9
    it      hi
    movhi   lr, r9
    .if \outputs > 2
    mov     r5, r4
    .endif
    .if \outputs > 4
    mov     r6, r4
    mov     r7, r4
    .endif
2:  eight_inputs \outputs
    cmp     r0, lr
    bne     2b
    to_totals r4, 0
    .if \outputs > 2
    to_totals r5, 8
    .endif
    .if \outputs > 4
    to_totals r6, 16
    to_totals r7, 24
    .endif
    ldr     r9, [sp, #(INTERVAL + 4)]
    cmp     r0, r9
    bne     1b
    ldr     pc, [sp, #WRITE]
.endm

/* Loads four biases into totals. */
.macro biases at
    ldm     r9, {r4-r7}
    .if \at
    add     r10, sp, #(TOTALS + \at)
    stm     r10, {r4-r7}
    .else
    stm     sp, {r4-r7}
    .endif
.endm

    function nn_dsp_dense
    push    {r3-r11, lr}
    sub     sp, #FRAME
    strd    r2, r3, [sp, #QUANT]
    ldm     r0, {r4-r9}
    add     r0, sp, #WRITE
    stm     r0, {r4-r9}
nn_dsp_dense_block:
    movw    r3, #0xC003
    movt    r3, #0xC003
    ldrd    r0, r8, [sp, #X]
    str     r8, [sp, #RUNNING]
    ldr     r9, [sp, #QUANT]
    ldr     r2, [sp, #OUTPUTS]
    biases  0
    cmp     r2, #4
    ble     3f
    adds    r9, r9, #36
    biases  16
    sums    8
3:  cmp     r2, #2
    ble     4f
    sums    4
4:  sums    2
    .size   nn_dsp_dense, . - nn_dsp_dense

/* The output of a total, docs/ARITHMETIC.md. Bits from `at` on of r8: the shift to the right, less one; any: the shift,
 * which may be 0 or to the left. r12: twice the output offset, plus one. */
.macro output any, total, multiplier, at
    .if \any
    sxtb    lr, r8, ror #\at
    cmp     lr, #0
    ittt    lt
    rsblt   lr, lr, #0
    lsllt   \total, \total, lr
    movlt   lr, #0
    lsl     r3, r12, lr
    asr     r3, r3, #1
    smmlar  r3, \total, \multiplier, r3
    cmp     lr, #0
    it      ne
    addne   r3, r3, \total, asr #31
    asr     r3, r3, lr
    ssat    r3, #8, r3
    .else
    uxtb    lr, r8, ror #\at
    lsl     r3, r12, lr
    smmlar  r3, \total, \multiplier, r3
    add     r3, r3, \total, asr #31
    asr     r3, r3, lr
    ssat    r3, #8, r3, asr #1
    .endif
    strb    r3, [r11], #1
    subs    r2, r2, #1
    beq     2f
.endm

/* Writes the outputs of a block; continues with the next block. */
.macro write name, any
    function \name
    ldrd    r9, r11, [sp, #QUANT]
    ldr     r12, [sp, #OFFSET]
    mov     r10, sp
1:  ldr     r8, [r9, #32]
    .if \any == 0
    sub     r8, r8, #0x01010101
    .endif
    ldrd    r4, r5, [r10], #8
    ldrd    r6, r7, [r9, #16]
    output  \any, r4, r6, 0
    output  \any, r5, r7, 8
    ldrd    r4, r5, [r10], #8
    ldrd    r6, r7, [r9, #24]
    output  \any, r4, r6, 16
    output  \any, r5, r7, 24
    adds    r9, r9, #36
    add     lr, sp, #(TOTALS + 32)
    cmp     r10, lr
    bne     1b
    strd    r9, r11, [sp, #QUANT]
    str     r2, [sp, #OUTPUTS]
    b.w     nn_dsp_dense_block
2:  add     sp, #FRAME
    pop     {r3-r11, pc}
    .size   \name, . - \name
.endm

    write   nn_dsp_dense_right, 0
    write   nn_dsp_dense_any, 1
