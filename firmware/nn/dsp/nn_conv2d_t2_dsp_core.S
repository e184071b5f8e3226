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
 * window, then what the piece's record names: the next piece, a flush, or the totals and outputs, then the next block.
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
    .equ STEP, 40
    .equ WRITE, 44
    .equ FILTER, 48
    .equ QUANT_END, 52
    .equ QUANT, 56
    .equ OUTPUT, 60
    .equ DISTANCE, 64 /* of two pixels' inputs, in bytes */
    .equ FRAME, 68 /* a multiple of 8 with the nine registers saved */
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
    strd    r6, r10, [sp, #END]
    .if \pixels == 2
    ldr     r5, [sp, #DISTANCE]
    add     r5, r5, r12
    .endif
    .balign 4
    add     pc, r9 /* skips words, so that the rest is whole iterations */
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

/* After the last interval, where outputs are not written by halves. */
.macro finish name, pixels, more
    function \name
    total   \pixels, \more
    ldr     pc, [sp, #WRITE]
    .size   \name, . - \name
.endm

/* The output of a sum A, or second: of 2^14 B; by nn_dsp_fit: r6 start, r7 factor, r8 of ties. */
.macro fitted accumulator, shift, ties, second
    .if \second
    add     r10, r6, \accumulator, asr #(14 - NN_DSP_FIT_BITS)
    .else
    add     r10, r6, \accumulator, lsl #NN_DSP_FIT_BITS
    .endif
    .if \ties
    bic     r9, r8, r10, asr #31
    smmla   \accumulator, r10, r7, r9
    .else
    smmul   \accumulator, r10, r7
    .endif
    ssat    \accumulator, #8, \accumulator, asr #\shift
.endm

/* One channel of all pixels: as `channel` in nn_dsp_macros.h. */
.macro fitted_channel pixels, shift, ties, second, advance, a0, a1, a2
    .if \ties
    ldm     r12!, {r6-r8}
    .else
    ldrd    r6, r7, [r12], #8
    .endif
    .if \pixels == 3
    fitted  \a2, \shift, \ties, \second
    strb    \a2, [r11, lr, lsl #1]
    .endif
    fitted  \a1, \shift, \ties, \second
    strb    \a1, [r11, lr]
    fitted  \a0, \shift, \ties, \second
    strb    \a0, [r11], #\advance
.endm

/* Before outputs are written: saves the filter; r11 output, lr step from pixel to pixel, r12 requantization. */
.macro begin_write
    str     lr, [sp, #FILTER]
    ldrd    r12, r11, [sp, #QUANT]
    ldr     lr, [sp, #STEP]
.endm

/* After that: continues with the next block, if there is one. */
.macro end_write pixels
    strd    r12, r11, [sp, #QUANT]
    ldrd    lr, r6, [sp, #FILTER]
    cmp     r12, r6
    bne     nn_dsp_next\pixels
    add     sp, #FRAME
    pop     {r4-r11, pc}
.endm

/* Writes the outputs of a block, channels 1, 3, 0, 2; one_channel: the macro that writes a channel, and its first
 * arguments. */
.macro write name, pixels, one_channel:vararg
    function \name
    begin_write
    \one_channel, 1, 2, r0, r1, r2
    \one_channel, 1, -3, r3, r4, r5
    .if \pixels == 3
    ldm     sp, {r0-r5}
    \one_channel, 0, 2, r0, r1, r2
    \one_channel, 0, 3, r3, r4, r5
    .else
    ldm     sp, {r0-r3}
    \one_channel, 0, 2, r0, r1
    \one_channel, 0, 3, r2, r3
    .endif
    end_write \pixels
    .size   \name, . - \name
.endm

/* Outputs by halves, nn_dsp_half_fit: SMLAWB and SMLAWT multiply a sum of 16 bits, in the lower or upper half of a
 * register, by a factor of 32 bits, and add the start. An accumulator shifted left by two bits is 4 A + 2^16 B: its lower
 * half is 4 A, as |4 A| stays below 2^15, and its upper half is B after 2^15 has been added. */

/* One output: of the lower half (b) or the upper one (t). */
.macro half to, half, sum, factor, start, shift
    smlaw\half \to, \factor, \sum, \start
    ssat    \to, #8, \to, asr #\shift
.endm

/* B of one accumulator, which is shifted, to r8. */
.macro shifted_second sum, shift
    lsl     \sum, \sum, #2
    add     r8, \sum, #0x8000
    half    r8, t, r8, r7, r6, \shift
.endm

/* The outputs of one accumulator per pixel without flushes, B then A. */
.macro half_pair pixels, shift, a0, a1, a2
    ldm     r12!, {r6, r7, r9, r10}
    .if \pixels == 3
    shifted_second \a2, \shift
    strb    r8, [r11, lr, lsl #1]
    .endif
    shifted_second \a1, \shift
    strb    r8, [r11, lr]
    shifted_second \a0, \shift
    strb    r8, [r11], #-1
    .if \pixels == 3
    half    \a2, b, \a2, r10, r9, \shift
    strb    \a2, [r11, lr, lsl #1]
    .endif
    half    \a1, b, \a1, r10, r9, \shift
    strb    \a1, [r11, lr]
    half    \a0, b, \a0, r10, r9, \shift
    strb    \a0, [r11], #3
.endm

/* The end of a window without flushes: channels 1, 0, 3, 2. */
.macro half_first name, pixels, shift
    function \name
    begin_write
    half_pair \pixels, \shift, r0, r1, r2
    half_pair \pixels, \shift, r3, r4, r5
    end_write \pixels
    .size   \name, . - \name
.endm

/* B of one accumulator, with r8 = 2^15. */
.macro second sum, shift
    add     r9, r8, \sum, lsl #2
    half    \sum, t, r9, r7, r6, \shift
.endm

/* One channel of all pixels, of B or totals of A. */
.macro half_channel pixels, shift, second, advance, a0, a1, a2
    ldrd    r6, r7, [r12], #8
    .if \second
    .if \pixels == 3
    second  \a2, \shift
    strb    \a2, [r11, lr, lsl #1]
    .endif
    second  \a1, \shift
    strb    \a1, [r11, lr]
    second  \a0, \shift
    .else
    .if \pixels == 3
    half    \a2, b, \a2, r7, r6, \shift
    strb    \a2, [r11, lr, lsl #1]
    .endif
    half    \a1, b, \a1, r7, r6, \shift
    strb    \a1, [r11, lr]
    half    \a0, b, \a0, r7, r6, \shift
    .endif
    strb    \a0, [r11], #\advance
.endm

/* Adds A of one accumulator to its total. */
.macro take_last total, accumulator
    sbfx    r11, \accumulator, #0, #14
    add     \total, \total, r11
.endm

/* The end of a window with flushes: channels 1, 3, 0, 2. */
.macro half_more name, pixels, shift
    function \name
    ldm     sp, {r6-r10, r12}
    take_last r6, r0
    take_last r7, r1
    .if \pixels == 3
    take_last r8, r2
    take_last r9, r3
    take_last r10, r4
    take_last r12, r5
    .else
    take_last r8, r3
    take_last r9, r4
    .endif
    stm     sp, {r6-r10, r12}
    begin_write
    mov     r8, #0x8000
    half_channel \pixels, \shift, 1, 2, r0, r1, r2
    half_channel \pixels, \shift, 1, -3, r3, r4, r5
    .if \pixels == 3
    ldm     sp, {r0-r5}
    half_channel 3, \shift, 0, 2, r0, r1, r2
    half_channel 3, \shift, 0, 3, r3, r4, r5
    .else
    ldm     sp, {r0-r3}
    half_channel 2, \shift, 0, 2, r0, r1
    half_channel 2, \shift, 0, 3, r2, r3
    .endif
    end_write \pixels
    .size   \name, . - \name
.endm

/* All ways to write so many pixels. */
.macro writes pixels
    .irp    shift, 8, 11, 15
    write   nn_dsp_write\pixels\()_\shift, \pixels, fitted_channel \pixels, \shift, 0
    write   nn_dsp_write\pixels\()_ties_\shift, \pixels, fitted_channel \pixels, \shift, 1
    .endr
    write   nn_dsp_write\pixels\()_any, \pixels, channel \pixels, any
    .irp    shift, 12, 15
    half_first nn_dsp_half\pixels\()_first_\shift, \pixels, \shift
    half_more nn_dsp_half\pixels\()_more_\shift, \pixels, \shift
    .endr
.endm

/* void nn_dsp_blocks...(const nn_dsp_block *block, const uint32_t *filter, const int32_t *quant, int8_t *output,
 *                        const int32_t *quant_end) */
.macro blocks pixels
    function nn_dsp_blocks\pixels
    push    {r4-r11, lr}
    sub     sp, #FRAME
    mov     lr, r1
    adds    r3, r3, #1 /* channel 1 comes first */
    strd    r2, r3, [sp, #QUANT]
    ldmia   r0!, {r4, r5, r6} /* nn_dsp_block: step, write, distance */
    strd    r4, r5, [sp, #STEP]
    movw    r11, #0xC003
    movt    r11, #0xC003
    strd    r0, r11, [sp, #RECORDS]
    ldr     r7, [sp, #LAST]
    str     r7, [sp, #QUANT_END]
    .if \pixels == 2
    str     r6, [sp, #DISTANCE]
    .endif
nn_dsp_next\pixels:
    start_window \pixels
    .size   nn_dsp_blocks\pixels, . - nn_dsp_blocks\pixels
.endm

    blocks  2
    flush   nn_dsp_flush2_first, 2, 0
    flush   nn_dsp_flush2_more, 2, 1
    finish  nn_dsp_finish2_first, 2, 0
    finish  nn_dsp_finish2_more, 2, 1
    writes  2
    piece   nn_dsp_piece2, 2, 4
    piece   nn_dsp_piece2_odd, 2, 2

    blocks  3
    flush   nn_dsp_flush3_first, 3, 0
    flush   nn_dsp_flush3_more, 3, 1
    finish  nn_dsp_finish3_first, 3, 0
    finish  nn_dsp_finish3_more, 3, 1
    writes  3
    piece   nn_dsp_piece3_4, 3, 4
    piece   nn_dsp_piece3_8, 3, 8
    piece   nn_dsp_piece3_16, 3, 16
    piece   nn_dsp_piece3_32, 3, 32
    piece   nn_dsp_piece3_40, 3, 40
    piece   nn_dsp_piece3_64, 3, 64
    piece   nn_dsp_piece3_128, 3, 128
    piece   nn_dsp_piece3_256, 3, 256
