/* Sums of convolutions with weights of 8, 4 or 3 bits: SMLAD, two multiply-accumulates per instruction. C side:
 * nn_conv2d_s_dsp.c.
 *
 * A block is two output channels of three pixels. The inputs that the windows of the pixels read are interleaved, two
 * of 16 bits of each window in turn, so that one instruction loads the next two of all. Weights become pairs of 16 bits in
 * a register, in one instruction per pair: those of 8 bits by SXTB16; narrower ones are codes w + 2^(bits - 1),
 * extracted by AND with a rotated word. Their sums start at minus 2^(bits - 1) times the sum of the pixel's inputs.
 *
 * Registers
 *     r0-r2   accumulators of the first channel, one per pixel    r9   two weights
 *     r3-r5   of the second                                       r10  word of filter
 *     r6-r8   two inputs of each pixel                            r11  second word or mask
 *                                                                 r12  inputs; lr  filter
 * Instructions for 24 multiply-accumulates: 19 with 8 and 4 bits, 20.5 with 3 bits. Cycles on a Cortex-M4 without wait
 * states: 27 with 8 bits. */
#include "nn_dsp.h"
#include "nn_dsp_macros.h"

    /* Stack */
    .equ END, 0
    .equ WRITE, 4
    .equ STEP, 8
    .equ QUANT, 12 /* and the output */
    .equ PAIRS, 20
    .equ NEXT, 24 /* the code of a pair of channels */
    .equ PIXELS, 28
    .equ FILTER, 32
    .equ FRAME, 36 /* a multiple of 8 with the nine registers saved */

/* Adds the inputs of one unit. */
.macro unit bits, pairs
    .rept \pairs
    ldmia   r12!, {r6-r8}
    weights \bits
    smlad   r0, r6, r9, r0
    smlad   r1, r7, r9, r1
    smlad   r2, r8, r9, r2
    weights \bits
    smlad   r3, r6, r9, r3
    smlad   r4, r7, r9, r4
    smlad   r5, r8, r9, r5
    .endr
.endm

/* nn_dsp_blocks_code. */
.macro blocks name, bits, pairs, units, unit_bytes
    function \name
    push    {r4-r11, lr}
    sub     sp, #FRAME
    ldr     r3, [r0, #20] /* nn_dsp_pixels: end, write, step, quant, pairs */
    ldr     r4, [r0, #24]
    ldrd    r5, r6, [r0, #28]
    ldr     r7, [r0, #36]
    adr     r8, 2f
    orr     r8, r8, #1
    strd    r3, r4, [sp, #END]
    strd    r5, r6, [sp, #STEP]
    strd    r2, r7, [sp, #(QUANT + 4)]
    strd    r8, r0, [sp, #NEXT]
    mov     lr, r1
    .balign 4
2:  ldr     r12, [sp, #PIXELS]
    load_field_mask \bits
    ldm     r12, {r0-r2, r9, r12} /* start, skip, inputs */
    mov     r3, r0
    mov     r4, r1
    mov     r5, r2
    .balign 4
    add     pc, r9 /* skips units, so that the rest is whole iterations */
    nop
1:
    .set    weight, 0
    .rept   \units
    unit    \bits, \pairs
    .endr
    .if (. - 1b) != \units * \unit_bytes
    .error "unit_bytes"
    .endif
    ldr     r6, [sp, #END]
    cmp     r12, r6
    bne.w   1b
    ldr     pc, [sp, #WRITE]
    .size   \name, . - \name
.endm

/* Writes the outputs of two channels; continues with the next two. */
.macro write name, kind
    function \name
    str     lr, [sp, #FILTER]
    ldrd    r12, r11, [sp, #QUANT]
    ldr     lr, [sp, #STEP]
    channel 3, \kind, 0, 1, r0, r1, r2
    channel 3, \kind, 0, 1, r3, r4, r5
    ldr     r6, [sp, #PAIRS]
    strd    r12, r11, [sp, #QUANT]
    ldr     lr, [sp, #FILTER]
    subs    r6, r6, #1
    str     r6, [sp, #PAIRS]
    it      ne
    ldrne   pc, [sp, #NEXT]
    add     sp, #FRAME
    pop     {r4-r11, pc}
    .size   \name, . - \name
.endm

    blocks  nn_dsp_blocks_s8, 8, 2, 6, NN_DSP_UNIT_BYTES
    blocks  nn_dsp_blocks_s4, 4, 2, 6, NN_DSP_UNIT_BYTES
    blocks  nn_dsp_blocks_s3, 3, 8, 2, NN_DSP_UNIT3_BYTES
    write   nn_dsp_write_s, right
    write   nn_dsp_write_s_relu, relu
    write   nn_dsp_write_s_any, any

/* int32_t nn_dsp_interleave...(const int8_t *const *rows, int32_t offset, int32_t count, int32_t words, int16_t *to):
 * expands 4 * words inputs of each of `count` rows, one or more, from rows[...] + offset on, to 16 bits: every four in
 * the order 0, 2, 1, 3, into two of every six places. ..._sum returns the sum of the inputs.
 *
 * Registers: the arguments, r4 input, r5 pairs of words left, r6-r9 inputs, r10 sum, r11 ones, r12 to. Instructions for
 * eight inputs: 12, with the sum 16. */
.macro interleave name, sum
    function \name
    push    {r4-r11, lr}
    ldr     r12, [sp, #36]
    mov     r10, #0
    mov     r11, #0x00010001
1:  ldr     r4, [r0], #4
    add     r4, r4, r1
    lsrs    r5, r3, #1
    bcc     2f
    ldr     r6, [r4], #4
    sxtb16  r7, r6
    sxtb16  r8, r6, ror #8
    str     r8, [r12, #12]
    str     r7, [r12], #24
    .if \sum
    smlad   r10, r7, r11, r10
    smlad   r10, r8, r11, r10
    .endif
    beq     3f
2:  ldr     r6, [r4], #4
    ldr     r7, [r4], #4
    sxtb16  r8, r6
    sxtb16  r9, r6, ror #8
    sxtb16  r6, r7
    sxtb16  r7, r7, ror #8
    str     r9, [r12, #12]
    str     r6, [r12, #24]
    str     r7, [r12, #36]
    str     r8, [r12], #48
    .if \sum
    smlad   r10, r6, r11, r10
    smlad   r10, r7, r11, r10
    smlad   r10, r8, r11, r10
    smlad   r10, r9, r11, r10
    .endif
    subs    r5, r5, #1
    bne     2b
3:  subs    r2, r2, #1
    bne     1b
    mov     r0, r10
    pop     {r4-r11, pc}
    .size   \name, . - \name
.endm

    interleave nn_dsp_interleave, 0
    interleave nn_dsp_interleave_sum, 1
