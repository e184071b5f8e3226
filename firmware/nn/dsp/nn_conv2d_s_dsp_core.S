/* Sums of convolutions with weights of 8, 4 or 3 bits: SMLAD, two multiply-accumulates per instruction. C side:
 * nn_conv2d_s_dsp.c.
 *
 * A block is two output channels of three pixels. The inputs that the windows of the pixels read are interleaved, two
 * of 16 bits of each window in turn, so that one instruction loads the next two of all. How weights become pairs of 16
 * bits in a register depends on their width:
 *
 *     lanes  8 bits: half a word is a + 2^8 b, of a weight a of the first channel and b of the second. A word as it is
 *            adds A + 2^8 B to the second channel's accumulators; SXTB16 leaves a in each half. At the end the first
 *            channel's accumulators are subtracted, which leaves 2^8 B, exactly if B takes 24 bits.
 *     8      8 bits, whatever the sums: SXTB16 for each channel.
 *     4, 3   codes w + 2^(bits - 1), extracted by AND with a rotated word. Their sums start at minus 2^(bits - 1) times
 *            the sum of the pixel's inputs.
 *
 * Registers
 *     r0-r2   accumulators of the first channel, one per pixel    r9   two weights
 *     r3-r5   of the second                                       r10  word of filter
 *     r6-r8   two inputs of each pixel                            r11  second word or mask; with lanes the inputs' end
 *                                                                 r12  inputs; lr  filter
 * Instructions for 24 multiply-accumulates: 17 with lanes, 19 with 8 and 4 bits, 20.5 with 3 bits. Cycles on a Cortex-M4
 * without wait states: 25 with lanes, 27 with 8 bits. */
#include "nn_dsp.h"
#include "nn_dsp_macros.h"

    /* Stack */
    .equ SKIP, 0 /* as in nn_dsp_pixels; then, in this order, END and INPUTS */
    .equ END, 4
    .equ INPUTS, 8
    .equ WRITE, 12
    .equ STEP, 16
    .equ QUANT, 20 /* and the output */
    .equ QUANT_END, 28
    .equ NEXT, 32 /* the code of a pair of channels; like PIXELS not with lanes */
    .equ PIXELS, 36
    .equ FILTER, 40
    .equ FRAME, 44 /* a multiple of 8 with the nine registers saved */

.macro products a0, a1, a2, weights
    smlad   \a0, r6, \weights, \a0
    smlad   \a1, r7, \weights, \a1
    smlad   \a2, r8, \weights, \a2
.endm

/* Adds two inputs of each pixel. */
.macro lanes word
    ldmia   r12!, {r6-r8}
    products r3, r4, r5, \word
    sxtb16  \word, \word
    products r0, r1, r2, \word
.endm

/* Adds the inputs of one unit. */
.macro unit bits, pairs
    .ifc \bits, lanes
    ldrd    r9, r10, [lr], #8
    lanes   r9
    lanes   r10
    .else
    .rept \pairs
    ldmia   r12!, {r6-r8}
    weights \bits
    products r0, r1, r2, r9
    weights \bits
    products r3, r4, r5, r9
    .endr
    .endif
.endm

/* Loads the first values of the accumulators, skip to r9 and the inputs to r12. With lanes the second channel's are the
 * first word of its requantization, which r12 points to; the other ones are 0. */
.macro begin_sums bits
    .ifc \bits, lanes
    ldr     r3, [r12]
    ldm     sp, {r9, r11, r12}
    movs    r0, #0
    movs    r1, #0
    movs    r2, #0
    mov     r4, r3
    mov     r5, r3
    .else
    ldr     r12, [sp, #PIXELS]
    load_field_mask \bits
    ldm     r12, {r0-r2, r9, r12}
    mov     r3, r0
    mov     r4, r1
    mov     r5, r2
    .endif
.endm

/* nn_dsp_blocks_code. */
.macro blocks name, bits, pairs, units, unit_bytes
    function \name
    push    {r4-r11, lr}
    sub     sp, #FRAME
    add     r3, r0, #12
    ldm     r3, {r3-r7, r12} /* nn_dsp_pixels: skip, inputs, end, write, step, quant */
    ldr     r9, [r0, #36]    /* quant_end */
    strd    r3, r5, [sp, #SKIP]
    strd    r4, r6, [sp, #INPUTS]
    strd    r7, r12, [sp, #STEP]
    strd    r2, r9, [sp, #(QUANT + 4)]
    .ifnc \bits, lanes
    adr     r8, 2f
    orr     r8, r8, #1
    strd    r8, r0, [sp, #NEXT]
    .endif
    mov     lr, r1
    .balign 4
    .ifc \bits, lanes
    .thumb_func
nn_dsp_next_lanes:
    .endif
2:  begin_sums \bits
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
    .ifc \bits, lanes
    cmp     r12, r11
    .else
    ldr     r6, [sp, #END]
    cmp     r12, r6
    .endif
    bne.w   1b
    ldr     pc, [sp, #WRITE]
    .size   \name, . - \name
.endm

/* Continues with the next two channels; r12 their requantization, r11 their outputs. */
.macro next_pair is_lanes
    ldr     r6, [sp, #QUANT_END]
    strd    r12, r11, [sp, #QUANT]
    cmp     r12, r6
    .if \is_lanes
    bne.w   nn_dsp_next_lanes
    .else
    it      ne
    ldrne   pc, [sp, #NEXT]
    .endif
    add     sp, #FRAME
    pop     {r4-r11, pc}
.endm

/* Leaves the second channel's sum in its accumulator; start: what that started at. */
.macro second_sum first, second, start
    sub     \second, \second, \first
    sub     \second, \second, \start
    asr     \second, \second, #8
.endm

/* Writes the outputs of two channels by nn_dsp_quant. */
.macro write name, kind, is_lanes
    function \name
    str     lr, [sp, #FILTER]
    ldrd    r12, r11, [sp, #QUANT]
    ldr     lr, [sp, #STEP]
    .if \is_lanes
    ldr     r6, [r12]
    second_sum r0, r3, r6
    second_sum r1, r4, r6
    second_sum r2, r5, r6
    .endif
    channel 3, \kind, 0, 1, r0, r1, r2
    channel 3, \kind, 0, 1, r3, r4, r5
    ldr     lr, [sp, #FILTER]
    next_pair \is_lanes
    .size   \name, . - \name
.endm

/* Writes the outputs of one channel; r8 step from pixel to pixel. */
.macro fitted_channel shift, ties, factor, addend, a0, a1, a2
    wide_fitted \a2, \factor, \addend, \shift, \ties, r6
    wide_fitted \a1, \factor, \addend, \shift, \ties, r6
    wide_fitted \a0, \factor, \addend, \shift, \ties, r6
    strb    \a2, [r11, r8, lsl #1]
    strb    \a1, [r11, r8]
    strb    \a0, [r11], #1
.endm

/* Writes the outputs of two channels by nn_dsp_pair_fit. */
.macro write_fitted name, shift, ties, is_lanes
    function \name
    ldrd    r12, r11, [sp, #QUANT]
    ldr     r8, [sp, #STEP]
    ldmia   r12!, {r6, r7, r9, r10} /* starts; factor and addend of the first channel */
    .if \is_lanes
    sub     r3, r3, r0
    sub     r4, r4, r1
    sub     r5, r5, r2
    .else
    add     r3, r6, r3, lsl #NN_DSP_WIDE_FIT_BITS
    add     r4, r6, r4, lsl #NN_DSP_WIDE_FIT_BITS
    add     r5, r6, r5, lsl #NN_DSP_WIDE_FIT_BITS
    .endif
    add     r0, r7, r0, lsl #NN_DSP_WIDE_FIT_BITS
    add     r1, r7, r1, lsl #NN_DSP_WIDE_FIT_BITS
    add     r2, r7, r2, lsl #NN_DSP_WIDE_FIT_BITS
    fitted_channel \shift, \ties, r9, r10, r0, r1, r2
    ldrd    r7, r10, [r12], #8
    fitted_channel \shift, \ties, r7, r10, r3, r4, r5
    next_pair \is_lanes
    .size   \name, . - \name
.endm

    blocks  nn_dsp_blocks_lanes, lanes, 2, 8, NN_DSP_LANES_BYTES
    blocks  nn_dsp_blocks_s8, 8, 2, 6, NN_DSP_UNIT_BYTES
    blocks  nn_dsp_blocks_s4, 4, 2, 6, NN_DSP_UNIT_BYTES
    blocks  nn_dsp_blocks_s3, 3, 8, 2, NN_DSP_UNIT3_BYTES

.macro writes name, is_lanes
    write   \name, right, \is_lanes
    write   \name\()_relu, relu, \is_lanes
    write   \name\()_any, any, \is_lanes
    .irp    shift, 9, 12, 15
    write_fitted \name\()_\shift, \shift, 0, \is_lanes
    write_fitted \name\()_ties_\shift, \shift, 1, \is_lanes
    .endr
.endm

    writes  nn_dsp_write_s, 0
    writes  nn_dsp_write_lanes, 1

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

/* void nn_dsp_interleave3...(const int8_t *const *rows, int32_t offset, int32_t count, int32_t words, int16_t *to,
 * int32_t step, int32_t sums[3]): the same of three windows, `step` inputs apart, into all places; ..._sum writes their
 * sums.
 *
 * Registers: r0-r2 sums, r3 ones, r4 input, r5 pairs of words left, r6-r11 inputs, r12 to, lr step. Instructions for
 * eight inputs of three windows: 22, with the sums 34. */
    .equ ROWS, 4 /* and offset */
    .equ COUNT, 12
    .equ WORDS, 16
    .equ TO, 56 /* and step, sums */

.macro add_sums even, odd, sum
    smlad   \sum, \even, r3, \sum
    smlad   \sum, \odd, r3, \sum
.endm

.macro three_words sum
    ldr     r10, [r4, lr]
    ldr     r11, [r4, lr, lsl #1]
    ldr     r9, [r4], #4
    sxtb16  r6, r9
    sxtb16  r7, r10
    sxtb16  r8, r11
    sxtb16  r9, r9, ror #8
    sxtb16  r10, r10, ror #8
    sxtb16  r11, r11, ror #8
    stmia   r12!, {r6-r11}
    .if \sum
    add_sums r6, r9, r0
    add_sums r7, r10, r1
    add_sums r8, r11, r2
    .endif
.endm

.macro interleave3 name, sum
    function \name
    push    {r0-r11, lr}
    sub     sp, #4 /* a multiple of 8 */
    ldrd    r12, lr, [sp, #TO]
    .if \sum
    mov     r0, #0
    mov     r1, #0
    mov     r2, #0
    mov     r3, #0x00010001
    .endif
1:  ldrd    r4, r5, [sp, #ROWS]
    ldr     r6, [r4], #4
    str     r4, [sp, #ROWS]
    add     r4, r6, r5
    ldr     r5, [sp, #WORDS]
    lsrs    r5, r5, #1
    bcc     2f
    three_words \sum
    beq     3f
2:  three_words \sum
    three_words \sum
    subs    r5, r5, #1
    bne     2b
3:  ldr     r6, [sp, #COUNT]
    subs    r6, r6, #1
    str     r6, [sp, #COUNT]
    bne     1b
    .if \sum
    ldr     r6, [sp, #(TO + 8)]
    stm     r6, {r0-r2}
    .endif
    add     sp, #20
    pop     {r4-r11, pc}
    .size   \name, . - \name
.endm

    interleave3 nn_dsp_interleave3, 0
    interleave3 nn_dsp_interleave3_sum, 1
