/* Ternary sums by field-packed SMLAD: four multiply-accumulates per instruction. C side: nn_conv2d_t2_dsp.c.
 *
 * A lane of 16 bits holds the weights of two output channels at one input: w_a + 1 in bits 0-1, w_b in bits 14-15. SMLAD
 * with two inputs of 16 bits adds both inputs times both channels to one accumulator of 32 bits, A + 2^14 B. It starts
 * at minus the sum of the inputs, which undoes the + 1. While |A| stays below 2^13, which the packer proves from the
 * weights, bits 0-13 are A and the rest is B; a flush moves A into a total before it can grow further.
 *
 * A word of filter holds four inputs of four channels. `and wt, mask, word, ror #4 t` extracts two inputs of two:
 *     t = 0: inputs 0, 1 of channels 0, 1;  1: inputs 0, 1 of channels 2, 3;  2, 3: the same for inputs 2, 3.
 *
 * A block is four channels of two or three neighbouring pixels. Its code is a chain: the inner loop for a piece of the
 * window, then what the piece's record names: the next piece, a flush, or the totals and outputs, then the next block:
 * first all channels of the same pixels, then the pixels to their right.
 *
 * Registers of the chain
 *     r0-r2   accumulators of channels 0 and 1, one per pixel     r9   extracted fields of the filter; temporary
 *     r3-r5   of channels 2 and 3 (two pixels: r2 inputs too,     r10  word of filter; between pieces the next record
 *             r5 inputs of the second pixel)                      r11  mask
 *     r6-r8   two inputs of each pixel; temporary                 r12  inputs of the first pixel
 *                                                                 lr   filter
 * Cycles of the inner step, 4 inputs of 4 channels, on a Cortex-M4 without wait states: three pixels 25 for 48
 * multiply-accumulates (23 instructions), two pixels 20 for 32 (15 instructions; 17 for inputs not aligned to words). */
#include "nn_dsp.h"
#include "nn_dsp_macros.h"

    /* Stack */
    .equ TOTALS, 0 /* of channels 0 and 2: A, per pixel */
    .equ END, 24   /* of the inputs of this piece */
    .equ NEXT, 28  /* place of `then` in its record */
    .equ RECORDS, 32
    .equ MASK, 36
    .equ FILTER, 40
    .equ QUANT_END, 44
    .equ QUANT, 48
    .equ OUTPUT, 52
    .equ STEP, 56 /* of the output, from pixel to pixel */
    .equ DISTANCE, 60 /* of two pixels' inputs, in bytes */
    .equ RUN, 64      /* arguments */
    .equ FIRST_FILTER, 68
    .equ FIRST_QUANT, 72
    .equ FRAME, 76 /* a multiple of 8 with the nine registers saved */
    .equ LAST, FRAME + 36 /* argument */

/* Loads two inputs of each pixel; distance: between neighbouring pixels, in bytes. */
.macro load pixels, distance
    .if \pixels == 3
    ldr.w   r8, [r12, #(2 * \distance)]
    ldr.w   r7, [r12, #\distance]
    .else
    ldr     r7, [r5], #4
    .endif
    ldr     r6, [r12], #4
.endm

/* Adds two inputs of each pixel to the accumulators of channels 0, 1 and of channels 2, 3. */
.macro accumulate pixels, turn, x0, x1, x2
    .if \turn
    and     r9, r11, r10, ror #(8 * \turn)
    .else
    and.w   r9, r11, r10
    .endif
    smlad   r0, \x0, r9, r0
    smlad   r1, \x1, r9, r1
    .if \pixels == 3
    smlad   r2, \x2, r9, r2
    .endif
    and     r9, r11, r10, ror #(8 * \turn + 4)
    smlad   r3, \x0, r9, r3
    smlad   r4, \x1, r9, r4
    .if \pixels == 3
    smlad   r5, \x2, r9, r5
    .endif
.endm

/* One word of filter. distance: between three pixels, in bytes; with two pixels 4 if their inputs are aligned to words,
 * else 2. */
.macro word pixels, distance
    ldr     r10, [lr], #4
    .if \pixels == 2 && \distance == 4
    ldrd    r6, r7, [r12], #8
    ldrd    r8, r2, [r5], #8
    accumulate 2, 0, r6, r8
    accumulate 2, 1, r7, r2
    .else
    load    \pixels, \distance
    accumulate \pixels, 0, r6, r7, r8
    load    \pixels, \distance
    accumulate \pixels, 1, r6, r7, r8
    .endif
.endm

/* A piece of the window, of pixels at this distance (see word). r10: its record. */
.macro piece name, pixels, distance
    function \name
    ldmia   r10!, {r6, r9, r12}
    strd    r9, r10, [sp, #END]
    .if \pixels == 2
    ldr     r5, [sp, #DISTANCE]
    add     r5, r5, r12
    .endif
    .balign 4
    add     pc, r6 /* skips words, so that the rest is whole iterations */
    nop
1:
    .rept NN_DSP_UNROLL
    word    \pixels, \distance
    .endr
    ldrd    r6, r10, [sp, #END]
    cmp     r12, r6
    bne.w   1b
    ldr     pc, [r10], #4
    .size   \name, . - \name
.endm

/* Begins the first interval of a window: the accumulators start at minus the sums of its inputs. */
.macro start_window pixels
    ldrd    r10, r11, [sp, #RECORDS]
    ldmia   r10!, {r6, r9}
    .if \pixels == 3
    ldm     r6, {r0, r1, r2}
    mov     r5, r2
    .else
    ldm     r6, {r0, r1}
    .endif
    mov     r3, r0
    mov     r4, r1
    bx      r9
.endm

/* Begins another interval. */
.macro start_interval pixels
    ldr     r10, [sp, #NEXT]
    add     r10, #4
    ldmia   r10!, {r6, r9}
    ldm     r6, {r6, r7, r8}
    add     r0, r0, r6
    add     r1, r1, r7
    add     r3, r3, r6
    add     r4, r4, r7
    .if \pixels == 3
    add     r2, r2, r8
    add     r5, r5, r8
    .endif
    bx      r9
.endm

/* Moves A of one accumulator, which keeps 2^14 B, to the total: replaces it or adds to it. */
.macro take total, accumulator, more
    .if \more
    sbfx    r11, \accumulator, #0, #14
    sub     \accumulator, \accumulator, r11
    add     \total, \total, r11
    .else
    sbfx    \total, \accumulator, #0, #14
    sub     \accumulator, \accumulator, \total
    .endif
.endm

/* Moves A of all accumulators to the totals; more: adds to existing ones. Clobbers r6-r12, without `more` not r11. */
.macro total pixels, more
    .if \more
    ldm     sp, {r6-r10, r12}
    .endif
    take    r6, r0, \more
    take    r7, r1, \more
    .if \pixels == 3
    take    r8, r2, \more
    take    r9, r3, \more
    take    r10, r4, \more
    take    r12, r5, \more
    .else
    take    r8, r3, \more
    take    r9, r4, \more
    .endif
    stm     sp, {r6-r10, r12}
.endm

/* Between two intervals: the flush. */
.macro flush name, pixels, more
    function \name
    total   \pixels, \more
    .if \more
    ldr     r11, [sp, #MASK]
    .endif
    start_interval \pixels
    .size   \name, . - \name
.endm

/* Before outputs are written: saves the filter; r12 requantization. */
.macro begin_write
    str     lr, [sp, #FILTER]
    ldr     r12, [sp, #QUANT]
.endm

/* After that: continues with the next four channels, if there are some. r6: their output. */
.macro end_write pixels
    strd    r12, r6, [sp, #QUANT]
    ldrd    lr, r7, [sp, #FILTER]
    cmp     r12, r7
    bne     nn_dsp_next\pixels
    b.w     nn_dsp_advance\pixels
.endm

/* Writes four channels of all pixels: of the first pixel \first0, channels 0 and 1 in the lower bytes, and \second0,
 * channels 2 and 3. */
.macro store pixels, first0, first1, first2, second0, second1, second2
    ldrd    r6, r7, [sp, #OUTPUT]
    pkhbt   \first1, \first1, \second1, lsl #16
    pkhbt   \first0, \first0, \second0, lsl #16
    .if \pixels == 3
    pkhbt   \first2, \first2, \second2, lsl #16
    str     \first2, [r6, r7, lsl #1]
    .endif
    str     \first1, [r6, r7]
    str     \first0, [r6], #4
.endm

/* Outputs by nn_dsp_half_fit: SMLAWB and SMLAWT multiply a sum of 16 bits, in the lower or upper half of a register, by a
 * factor of 32 bits, and add the start. An accumulator shifted left by two bits is 4 A + 2^16 B: its lower half is 4 A, as
 * |4 A| stays below 2^15, and its upper half is B after 2^15 has been added. */

/* One output: of the lower half (b) or the upper one (t). */
.macro half to, half, sum, factor, start, shift
    smlaw\half \to, \factor, \sum, \start
    ssat    \to, #8, \to, asr #\shift
.endm

/* The outputs of one accumulator without flushes, B then A, to its lower two bytes: r6, r7 start and factor of B, r9, r10
 * of A. */
.macro half_both sum, shift
    lsl     \sum, \sum, #2
    add     r8, \sum, #0x8000
    half    r8, t, r8, r7, r6, \shift
    half    \sum, b, \sum, r10, r9, \shift
    bfi     \sum, r8, #8, #8
.endm

/* The end of a window without flushes: requantization in the order 1, 0, 3, 2. */
.macro half_first name, pixels, shift
    function \name
    begin_write
    ldm     r12!, {r6, r7, r9, r10}
    half_both r0, \shift
    half_both r1, \shift
    .if \pixels == 3
    half_both r2, \shift
    .endif
    ldm     r12!, {r6, r7, r9, r10}
    half_both r3, \shift
    half_both r4, \shift
    .if \pixels == 3
    half_both r5, \shift
    .endif
    store   \pixels, r0, r1, r2, r3, r4, r5
    end_write \pixels
    .size   \name, . - \name
.endm

/* A of one accumulator, with what earlier intervals have added to the total. Leaves 2^14 B; by halves, where it does not
 * matter, B and A. Clobbers lr. */
.macro take_last total, accumulator, kind, more
    .if \more
    sbfx    lr, \accumulator, #0, #14
    .ifnc \kind, half
    sub     \accumulator, \accumulator, lr
    .endif
    add     \total, \total, lr
    .else
    sbfx    \total, \accumulator, #0, #14
    .ifnc \kind, half
    sub     \accumulator, \accumulator, \total
    .endif
    .endif
.endm

/* The output of a sum A, or second: of 2^14 B; kind: half, by nn_dsp_half_fit; fit or ties, by nn_dsp_fit. r6 start, r7
 * factor, r8 of ties. lr is clobbered; by halves 2^15 for the second sum. */
.macro fitted sum, kind, shift, second
    .ifc \kind, half
    .if \second
    add     \sum, lr, \sum, lsl #2
    half    \sum, t, \sum, r7, r6, \shift
    .else
    half    \sum, b, \sum, r7, r6, \shift
    .endif
    .else
    .if \second
    add     \sum, r6, \sum, asr #(14 - NN_DSP_FIT_BITS)
    .else
    add     \sum, r6, \sum, lsl #NN_DSP_FIT_BITS
    .endif
    .ifc \kind, ties
    bic     lr, r8, \sum, asr #31
    smmla   \sum, \sum, r7, lr
    .else
    smmul   \sum, \sum, r7
    .endif
    ssat    \sum, #8, \sum, asr #\shift
    .endif
.endm

/* Requantization of the next channel. */
.macro next_channel kind
    .ifc \kind, ties
    ldm     r12!, {r6-r8}
    .else
    ldrd    r6, r7, [r12], #8
    .endif
.endm

/* The outputs of one accumulator per pixel, A then B, to the lower two bytes of t0, t1, t2: with `more` the totals. */
.macro both_fitted pixels, kind, more, shift, a0, a1, a2, t0, t1, t2
    next_channel \kind
    take_last \t0, \a0, \kind, \more
    fitted  \t0, \kind, \shift, 0
    take_last \t1, \a1, \kind, \more
    fitted  \t1, \kind, \shift, 0
    .if \pixels == 3
    take_last \t2, \a2, \kind, \more
    fitted  \t2, \kind, \shift, 0
    .endif
    next_channel \kind
    .ifc \kind, half
    mov     lr, #0x8000
    .endif
    fitted  \a0, \kind, \shift, 1
    bfi     \t0, \a0, #8, #8
    fitted  \a1, \kind, \shift, 1
    bfi     \t1, \a1, #8, #8
    .if \pixels == 3
    fitted  \a2, \kind, \shift, 1
    bfi     \t2, \a2, #8, #8
    .endif
.endm

/* The end of a window and its outputs; more: with flushes. */
.macro write name, pixels, kind, more, shift
    function \name
    begin_write
    .if \more
    .if \pixels == 3
    ldm     sp, {r9-r11}
    .else
    ldrd    r9, r10, [sp, #TOTALS]
    .endif
    .endif
    both_fitted \pixels, \kind, \more, \shift, r0, r1, r2, r9, r10, r11
    .if \more
    ldrd    r0, r1, [sp, #(TOTALS + 4 * \pixels)]
    .if \pixels == 3
    ldr     r2, [sp, #(TOTALS + 20)]
    .endif
    .endif
    both_fitted \pixels, \kind, \more, \shift, r3, r4, r5, r0, r1, r2
    store   \pixels, r9, r10, r11, r0, r1, r2
    end_write \pixels
    .size   \name, . - \name
.endm

/* The same by nn_dsp_quant, with any requantization, in the order 1, 3, 0, 2: moves all A to the totals first. */
.macro write_any name, pixels, more
    function \name
    total   \pixels, \more
    begin_write
    ldrd    r11, lr, [sp, #OUTPUT]
    add     r11, #1
    channel \pixels, any, 1, 2, r0, r1, r2
    channel \pixels, any, 1, -3, r3, r4, r5
    .if \pixels == 3
    ldm     sp, {r0-r5}
    channel 3, any, 0, 2, r0, r1, r2
    channel 3, any, 0, 3, r3, r4, r5
    .else
    ldm     sp, {r0-r3}
    channel 2, any, 0, 2, r0, r1
    channel 2, any, 0, 3, r2, r3
    .endif
    sub     r6, r11, #1
    end_write \pixels
    .size   \name, . - \name
.endm

/* All ways to end a window of so many pixels. */
.macro writes pixels
    .irp    shift, 12, 15
    half_first nn_dsp_half\pixels\()_first_\shift, \pixels, \shift
    write   nn_dsp_half\pixels\()_more_\shift, \pixels, half, 1, \shift
    .endr
    .irp    shift, 8, 11, 15
    write   nn_dsp_fit\pixels\()_first_\shift, \pixels, fit, 0, \shift
    write   nn_dsp_fit\pixels\()_more_\shift, \pixels, fit, 1, \shift
    write   nn_dsp_ties\pixels\()_first_\shift, \pixels, ties, 0, \shift
    write   nn_dsp_ties\pixels\()_more_\shift, \pixels, ties, 1, \shift
    .endr
    write_any nn_dsp_any\pixels\()_first, \pixels, 0
    write_any nn_dsp_any\pixels\()_more, \pixels, 1
.endm

/* void nn_dsp_blocks...(nn_dsp_run *run, const uint32_t *filter, const int32_t *quant, int8_t *output,
 *                        const int32_t *quant_end) */
.macro blocks pixels
    function nn_dsp_blocks\pixels
    push    {r4-r11, lr}
    sub     sp, #FRAME
    mov     lr, r1
    ldmia   r0, {r4-r6} /* nn_dsp_run: records, step, distance */
    strd    r2, r3, [sp, #QUANT]
    strd    r5, r6, [sp, #STEP]
    movw    r11, #0xC003
    movt    r11, #0xC003
    strd    r4, r11, [sp, #RECORDS]
    ldr     r7, [sp, #LAST]
    str     r7, [sp, #QUANT_END]
    strd    r0, r1, [sp, #RUN]
    str     r2, [sp, #FIRST_QUANT]
nn_dsp_next\pixels:
    start_window \pixels
nn_dsp_advance\pixels:
    ldr     r0, [sp, #RUN]
    ldrd    r8, r9, [r0, #NN_DSP_RUN_LEFT] /* left, next_output */
    subs    r8, r8, #1
    beq     3f
    str     r8, [r0, #NN_DSP_RUN_LEFT]
    add     r6, r6, r9
    ldrd    r8, r9, [r0, #(NN_DSP_RUN_LEFT + 8)] /* move, end */
    ldrd    lr, r12, [sp, #FIRST_FILTER]
    strd    r12, r6, [sp, #QUANT]
    ldr     r6, [sp, #RECORDS]
1:  ldrd    r0, r1, [r6] /* nn_dsp_interval: sums, start */
    add     r0, r0, #(4 * \pixels)
    str     r0, [r6], #8
2:  ldm     r6, {r2-r5} /* nn_dsp_piece: skip, end, inputs, then */
    add     r3, r3, r8
    add     r4, r4, r8
    stmia   r6!, {r2-r5}
    cmp     r5, r1
    beq     2b
    cmp     r6, r9
    bne     1b
    b       nn_dsp_next\pixels
3:  add     sp, #FRAME
    pop     {r4-r11, pc}
    .size   nn_dsp_blocks\pixels, . - nn_dsp_blocks\pixels
.endm

    blocks  2
    flush   nn_dsp_flush2_first, 2, 0
    flush   nn_dsp_flush2_more, 2, 1
    writes  2
    piece   nn_dsp_piece2, 2, 4
    piece   nn_dsp_piece2_odd, 2, 2

    blocks  3
    flush   nn_dsp_flush3_first, 3, 0
    flush   nn_dsp_flush3_more, 3, 1
    writes  3
    piece   nn_dsp_piece3_4, 3, 4
    piece   nn_dsp_piece3_8, 3, 8
    piece   nn_dsp_piece3_16, 3, 16
    piece   nn_dsp_piece3_20, 3, 20
    piece   nn_dsp_piece3_24, 3, 24
    piece   nn_dsp_piece3_32, 3, 32
    piece   nn_dsp_piece3_40, 3, 40
    piece   nn_dsp_piece3_56, 3, 56
    piece   nn_dsp_piece3_64, 3, 64
    piece   nn_dsp_piece3_80, 3, 80
    piece   nn_dsp_piece3_128, 3, 128
    piece   nn_dsp_piece3_256, 3, 256
