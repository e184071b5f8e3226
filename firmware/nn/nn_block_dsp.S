/* Ternary sums by field-packed SMLAD: four multiply-accumulates an instruction. C side: nn_dsp.h.
 *
 * A lane of 16 bits holds the weights of two output channels at one input: w_a + 1 in bits 0-1, w_b in bits 14-15. SMLAD
 * with two inputs of 16 bits adds both inputs times both channels to one accumulator of 32 bits, A + 2^14 B. It starts
 * at minus the sum of the inputs, which undoes the + 1. While |A| stays below 2^13, which the packer proves from the
 * weights, bits 0-13 are A and the rest is B; a flush moves both into totals before A can grow further.
 *
 * A word of filter holds four inputs of four channels. `and wt, mask, word, ror #4 t` takes out two inputs of two:
 *     t = 0: inputs 0, 1 of channels 0, 1;  1: inputs 0, 1 of channels 2, 3;  2, 3: the same of inputs 2, 3.
 *
 * void nn_dsp_block...(const nn_dsp_block *block, const uint32_t *filter, const nn_dsp_quant *quant, int8_t *output)
 * computes four channels of two or three neighbouring pixels: sums over all pieces of the window, then requantization.
 *
 * Registers
 *     r0-r2   accumulators of channels 0 and 1, one a pixel       r9   filter fields taken out; temporary
 *     r3-r5   of channels 2 and 3 (two pixels: r2 free,           r10  word of filter; temporary
 *             r5 distance of the pixels in bytes)                 r11  mask
 *     r6-r8   two inputs of each pixel; temporary                 r12  inputs of the first pixel
 *                                                                 lr   filter
 * Cycles of the inner step on a Cortex-M4 without wait states, 4 inputs of 4 channels: three pixels 25 for 48
 * multiply-accumulates (23 instructions), two pixels 20 for 32 (17 instructions). */
    .syntax unified
    .thumb

    .equ UNROLL, 6 /* words of filter a turn of the loop */

    /* struct nn_dsp_block */
    .equ BLOCK_STEP, 0
    .equ BLOCK_ROUNDING, 4
    .equ BLOCK_DISTANCE, 8
    .equ BLOCK_PIECES, 12

    /* struct nn_dsp_quant */
    .equ QUANT_BIAS, 0
    .equ QUANT_MULTIPLIER, 16
    .equ QUANT_SHIFT, 32

    /* Stack */
    .equ TOTALS, 0 /* 2 (bias + sum): four channels of pixel 0, of pixel 1, of pixel 2 */
    .equ END, 48   /* of the inputs of this piece */
    .equ PIECE, 52 /* the next one */
    .equ START, 56 /* where a piece starts with empty accumulators */
    .equ BLOCK, 60
    .equ QUANT, 64
    .equ OUTPUT, 68
    .equ FRAME, 76 /* a multiple of 8 with the nine registers saved */

/* Accumulators of channels 0, 1 and of channels 2, 3 with the inputs just loaded. */
.macro accumulate pixels, turn
    .if \turn
    and     r9, r11, r10, ror #(8 * \turn)
    .else
    and.w   r9, r11, r10
    .endif
    smlad   r0, r6, r9, r0
    smlad   r1, r7, r9, r1
    .if \pixels == 3
    smlad   r2, r8, r9, r2
    .endif
    and     r9, r11, r10, ror #(8 * \turn + 4)
    smlad   r3, r6, r9, r3
    smlad   r4, r7, r9, r4
    .if \pixels == 3
    smlad   r5, r8, r9, r5
    .endif
.endm

/* Two inputs of each pixel; distance: of neighbouring pixels, in bytes. */
.macro load pixels, distance
    .if \pixels == 3
    ldr.w   r8, [r12, #(2 * \distance)]
    ldr.w   r7, [r12, #\distance]
    .else
    ldr.w   r7, [r12, r5]
    .endif
    ldr     r6, [r12], #4
.endm

/* One word of filter. NN_DSP_WORD_BYTES in nn_dsp.h. */
.macro word pixels, distance
    ldr     r10, [lr], #4
    load    \pixels, \distance
    accumulate \pixels, 0
    load    \pixels, \distance
    accumulate \pixels, 1
.endm

/* A function for pixels at this distance; with two pixels the block says it. */
.macro block pixels, name, distance
    .section .text.\name, "ax", %progbits
    .balign 4
    .global \name
    .type   \name, %function
    .thumb_func
\name:
    push    {r4-r11, lr}
    sub     sp, #FRAME
    mov     lr, r1
    movw    r11, #0xC003
    movt    r11, #0xC003
    ldm     r2, {r4-r7} /* biases */
    add     r8, sp, #TOTALS
    stmia   r8!, {r4-r7}
    stmia   r8!, {r4-r7}
    .if \pixels == 3
    stmia   r8!, {r4-r7}
    .else
    ldr     r5, [r0, #BLOCK_DISTANCE]
    .endif
    strd    r2, r3, [sp, #QUANT]
    adr     r4, 1f
    adds    r4, #1 /* Thumb */
    strd    r4, r0, [sp, #START]
    add     r10, r0, #BLOCK_PIECES

    .balign 4
1:  /* r10: a piece for empty accumulators */
    ldr     r12, [r10], #4
    ldmia   r10!, {r6-r9}
    str     r9, [sp, #END]
    rsb     r0, r6, #0
    rsb     r1, r7, #0
    rsb     r3, r6, #0
    rsb     r4, r7, #0
    .if \pixels == 3
    rsb     r2, r8, #0
    rsb     r5, r8, #0
    .endif
    b       3f
2:  /* r10: a piece that goes on */
    ldr     r12, [r10], #4
    ldmia   r10!, {r6-r9}
    str     r9, [sp, #END]
    subs    r0, r0, r6
    subs    r1, r1, r7
    subs    r3, r3, r6
    subs    r4, r4, r7
    .if \pixels == 3
    subs    r2, r2, r8
    subs    r5, r5, r8
    .endif
3:  ldr     r9, [r10], #4
    str     r10, [sp, #PIECE]
    .balign 4
    add     pc, r9 /* skips words, so that whole turns remain */
    nop
4:
    .rept UNROLL
    word    \pixels, \distance
    .endr
    ldr     r6, [sp, #END]
    cmp     r12, r6
    bne.w   4b
    ldr     r10, [sp, #PIECE]
    ldr     r6, [r10], #4
    cmp     r6, #1
    blo.w   2b
    b.w     nn_dsp_flush\pixels
    .size   \name, . - \name
.endm

/* Totals of two channels at one pixel take up the accumulator, which becomes 0. */
.macro flush accumulator, pixel, channel
    ldrd    r6, r7, [sp, #(TOTALS + 16 * \pixel + 4 * \channel)]
    sbfx    r8, \accumulator, #0, #14
    sub     \accumulator, \accumulator, r8
    add     r6, r6, r8, lsl #1
    add     r7, r7, \accumulator, asr #13
    strd    r6, r7, [sp, #(TOTALS + 16 * \pixel + 4 * \channel)]
.endm

/* output = saturated(((high word of r9 * multiplier, rounded) + rounding - (r9 < 0)) >> shift): docs/ARITHMETIC.md.
 * A shift by 0 does not round. */
.macro output pixel
    smmlar  r10, r9, r6, r7
    it      ne
    addne   r10, r10, r9, asr #31
    asr     r10, r10, r8
    ssat    r10, #8, r10
    .if \pixel == 0
    strb    r10, [r11], #1
    .elseif \pixel == 1
    strb    r10, [r11, lr]
    .else
    strb    r10, [r11, lr, lsl #1]
    .endif
.endm

/* r6 multiplier, r7 rounding and output offset, r8 right shift of a channel; Z: it is 0. */
.macro channel index
    ldr     r7, [sp, #BLOCK]
    ldr     r7, [r7, #BLOCK_ROUNDING]
    ldrb    r8, [r12, #(QUANT_SHIFT + \index)]
    ldr     r6, [r12, #(QUANT_MULTIPLIER + 4 * \index)]
    lsl     r7, r7, r8
    asr     r7, r7, #1
    cmp     r8, #0
.endm

.macro output_a accumulator, pixel, index
    ldr     r9, [sp, #(TOTALS + 16 * \pixel + 4 * \index)]
    sbfx    r10, \accumulator, #0, #14
    sub     \accumulator, \accumulator, r10
    add     r9, r9, r10, lsl #1
    output  \pixel
.endm

.macro output_b accumulator, pixel, index
    ldr     r9, [sp, #(TOTALS + 16 * \pixel + 4 * \index)]
    add     r9, r9, \accumulator, asr #13
    output  \pixel
.endm

/* Two channels of all pixels, the first pixel last: it moves the output on. */
.macro finish pixels, first, a0, a1, a2
    channel \first
    .if \pixels == 3
    output_a \a2, 2, \first
    .endif
    output_a \a1, 1, \first
    output_a \a0, 0, \first
    channel (\first + 1)
    .if \pixels == 3
    output_b \a2, 2, (\first + 1)
    .endif
    output_b \a1, 1, (\first + 1)
    output_b \a0, 0, (\first + 1)
.endm

/* Behind a piece, flags: r6 = 1 flush and go on, 2 finish. */
.macro flush_or_finish pixels
    .section .text.nn_dsp_flush\pixels, "ax", %progbits
    .balign 4
    .type   nn_dsp_flush\pixels, %function
    .thumb_func
nn_dsp_flush\pixels:
    bhi     1f
    flush   r0, 0, 0
    flush   r1, 1, 0
    flush   r3, 0, 2
    flush   r4, 1, 2
    .if \pixels == 3
    flush   r2, 2, 0
    flush   r5, 2, 2
    .endif
    ldr     pc, [sp, #START]
1:  ldrd    r12, r11, [sp, #QUANT]
    ldr     r7, [sp, #BLOCK]
    ldr     lr, [r7, #BLOCK_STEP]
    finish  \pixels, 0, r0, r1, r2
    finish  \pixels, 2, r3, r4, r5
    add     sp, #FRAME
    pop     {r4-r11, pc}
    .size   nn_dsp_flush\pixels, . - nn_dsp_flush\pixels
.endm

    flush_or_finish 2
    flush_or_finish 3
    block   2, nn_dsp_block2, 0
    block   3, nn_dsp_block3_4, 4
    block   3, nn_dsp_block3_8, 8
    block   3, nn_dsp_block3_16, 16
    block   3, nn_dsp_block3_32, 32
    block   3, nn_dsp_block3_64, 64
    block   3, nn_dsp_block3_128, 128
    block   3, nn_dsp_block3_256, 256
