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
 *     r3-r5   of channels 2 and 3 (two pixels: r2 free,           r10  word of filter; between pieces the next record
 *             r5 distance between pixels in bytes)                r11  mask
 *     r6-r8   two inputs of each pixel; temporary                 r12  inputs of the first pixel
 *                                                                 lr   filter
 * Cycles of the inner step, 4 inputs of 4 channels, on a Cortex-M4 without wait states: three pixels 25 for 48
 * multiply-accumulates (23 instructions), two pixels 20 for 32 (17 instructions). */
#include "nn_dsp.h"
#include "nn_dsp_macros.h"

    /* Stack */
    .equ TOTALS, 0 /* of channels 0 and 2: A, per pixel */
    .equ END, 24   /* of the inputs of this piece */
    .equ NEXT, 28  /* place of `then` in its record */
    .equ RECORDS, 32
    .equ STEP, 36
    .equ FINISH, 40
    .equ FILTER, 44
    .equ QUANT, 48
    .equ OUTPUT, 52
    .equ FRAME, 60 /* a multiple of 8 with the nine registers saved */
    .equ BLOCKS, FRAME + 36 /* argument */

.macro load_mask
    movw    r11, #0xC003
    movt    r11, #0xC003
.endm

/* Loads two inputs of each pixel; distance: between neighbouring pixels, in bytes. */
.macro load pixels, distance
    .if \pixels == 3
    ldr.w   r8, [r12, #(2 * \distance)]
    ldr.w   r7, [r12, #\distance]
    .else
    ldr.w   r7, [r12, r5]
    .endif
    ldr     r6, [r12], #4
.endm

/* Adds the inputs just loaded to the accumulators of channels 0, 1 and of channels 2, 3. */
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

/* One word of filter: NN_DSP_WORD_BYTES of code. */
.macro word pixels, distance
    ldr     r10, [lr], #4
    load    \pixels, \distance
    accumulate \pixels, 0
    load    \pixels, \distance
    accumulate \pixels, 1
.endm

/* A piece of the window, of pixels at this distance; of two pixels, at the distance in r5. r10: its record. */
.macro piece name, pixels, distance
    function \name
    ldmia   r10!, {r6, r9, r12}
    str     r6, [sp, #END]
    str     r10, [sp, #NEXT]
    .balign 4
    add     pc, r9 /* skips words, so that the rest is whole iterations */
    nop
1:
    .rept NN_DSP_UNROLL
    word    \pixels, \distance
    .endr
    ldr     r6, [sp, #END]
    cmp     r12, r6
    bne.w   1b
    ldr     r10, [sp, #NEXT]
    ldr     pc, [r10], #4
    .size   \name, . - \name
.endm

/* Subtracts the sums of an interval's inputs from the accumulators, or loads them negated; then its first piece. */
.macro start_interval pixels, operation
    ldmia   r10!, {r6, r9}
    ldm     r6, {r6, r7, r8}
    \operation r0, r6
    \operation r1, r7
    \operation r3, r6
    \operation r4, r7
    .if \pixels == 3
    \operation r2, r8
    \operation r5, r8
    .endif
    bx      r9
.endm

.macro sub_from register, sum
    sub     \register, \register, \sum
.endm
.macro negate register, sum
    rsb     \register, \sum, #0
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
    ldr     r10, [sp, #NEXT]
    add     r10, #4
    .if \more
    load_mask
    .endif
    start_interval \pixels, sub_from
    .size   \name, . - \name
.endm

/* After the last interval. */
.macro finish name, pixels, more
    function \name
    total   \pixels, \more
    ldr     pc, [sp, #FINISH]
    .size   \name, . - \name
.endm

/* Writes the outputs of a block, channels 1, 3, 0, 2; continues with the next block. */
.macro write name, pixels, kind
    function \name
    str     lr, [sp, #FILTER]
    ldrd    r12, r11, [sp, #QUANT]
    ldr     lr, [sp, #STEP]
    channel \pixels, \kind, 1, 2, r0, r1, r2
    channel \pixels, \kind, 1, -3, r3, r4, r5
    .if \pixels == 3
    ldm     sp, {r0-r5}
    channel 3, \kind, 0, 2, r0, r1, r2
    channel 3, \kind, 0, 3, r3, r4, r5
    .else
    ldm     sp, {r0-r3}
    channel 2, \kind, 0, 2, r0, r1
    channel 2, \kind, 0, 3, r2, r3
    .endif
    ldr     r6, [sp, #BLOCKS]
    strd    r12, r11, [sp, #QUANT]
    ldr     lr, [sp, #FILTER]
    subs    r6, r6, #1
    str     r6, [sp, #BLOCKS]
    bne     nn_dsp_next\pixels
    add     sp, #FRAME
    pop     {r4-r11, pc}
    .size   \name, . - \name
.endm

/* void nn_dsp_blocks...(const nn_dsp_block *block, const uint32_t *filter, const nn_dsp_quant *quant, int8_t *output,
 *                       int32_t blocks) */
.macro blocks pixels
    function nn_dsp_blocks\pixels
    push    {r4-r11, lr}
    sub     sp, #FRAME
    mov     lr, r1
    adds    r3, r3, #1 /* channel 1 comes first */
    strd    r2, r3, [sp, #QUANT]
    ldmia   r0!, {r4, r5, r6} /* nn_dsp_block: step, write, distance */
    strd    r0, r4, [sp, #RECORDS]
    str     r5, [sp, #FINISH]
    .if \pixels == 2
    mov     r5, r6
    .endif
nn_dsp_next\pixels:
    ldr     r10, [sp, #RECORDS]
    load_mask
    start_interval \pixels, negate
    .size   nn_dsp_blocks\pixels, . - nn_dsp_blocks\pixels
.endm

    blocks  2
    flush   nn_dsp_flush2_first, 2, 0
    flush   nn_dsp_flush2_more, 2, 1
    finish  nn_dsp_finish2_first, 2, 0
    finish  nn_dsp_finish2_more, 2, 1
    write   nn_dsp_write2, 2, right
    write   nn_dsp_write2_relu, 2, relu
    write   nn_dsp_write2_any, 2, any
    piece   nn_dsp_piece2, 2, 0

    blocks  3
    flush   nn_dsp_flush3_first, 3, 0
    flush   nn_dsp_flush3_more, 3, 1
    finish  nn_dsp_finish3_first, 3, 0
    finish  nn_dsp_finish3_more, 3, 1
    write   nn_dsp_write3, 3, right
    write   nn_dsp_write3_relu, 3, relu
    write   nn_dsp_write3_any, 3, any
    piece   nn_dsp_piece3_4, 3, 4
    piece   nn_dsp_piece3_8, 3, 8
    piece   nn_dsp_piece3_16, 3, 16
    piece   nn_dsp_piece3_32, 3, 32
    piece   nn_dsp_piece3_40, 3, 40
    piece   nn_dsp_piece3_64, 3, 64
    piece   nn_dsp_piece3_128, 3, 128
    piece   nn_dsp_piece3_256, 3, 256
