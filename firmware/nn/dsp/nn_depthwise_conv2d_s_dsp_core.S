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
