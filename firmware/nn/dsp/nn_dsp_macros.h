/* Assembler macros that the kernels in this folder share. */
#ifndef NN_DSP_MACROS_H
#define NN_DSP_MACROS_H
#ifdef __ASSEMBLER__

/* clang-format off */
/* The accumulator's output (docs/ARITHMETIC.md): twice = 2 (bias + sum), q = twice * multiplier / 2^32 rounded to
 * nearest, saturated((q + rounding - (twice < 0)) >> shift).
 * kind: right  the shift is to the right
 *       relu   it is to the right or 0, the output offset -128: a negative sum gives -128, however it is rounded
 *       any    any shift; one to the left comes first; the flags hold its comparison with 0
 * r6 2 * bias, r7 multiplier, r8 rounding and output offset, r9 shift. second: the sum is B, otherwise a total. */
.macro output accumulator, kind, second
    .if \second
    add     r10, r6, \accumulator, asr #13
    .else
    add     r10, r6, \accumulator, lsl #1
    .endif
    .ifc \kind, any
    it      lt
    lsllt   r10, r10, r9
    .endif
    smmlar  \accumulator, r10, r7, r8
    .ifc \kind, any
    itt     gt
    addgt   \accumulator, \accumulator, r10, asr #31
    asrgt   \accumulator, \accumulator, r9
    .else
    .ifc \kind, right
    add     \accumulator, \accumulator, r10, asr #31
    .endif
    asr     \accumulator, \accumulator, r9
    .endif
    ssat    \accumulator, #8, \accumulator
.endm

/* Writes one channel of all pixels. r11 output, lr step from pixel to pixel, r12 nn_dsp_quant; advance: to the next
 * channel. */
.macro channel pixels, kind, second, advance, a0, a1, a2
    ldmia   r12!, {r6-r9}
    .ifc \kind, any
    cmp     r9, #0
    it      lt
    rsblt   r9, r9, #0
    .endif
    .if \pixels == 3
    output  \a2, \kind, \second
    strb    \a2, [r11, lr, lsl #1]
    .endif
    output  \a1, \kind, \second
    strb    \a1, [r11, lr]
    output  \a0, \kind, \second
    strb    \a0, [r11], #\advance
.endm

/* Turns x, of nn_dsp_pair_fit, into its output; with ties negative ones are without the addend. */
.macro wide_fitted x, factor, addend, shift, ties, temporary
    .if \ties
    bic     \temporary, \addend, \x, asr #31
    smmla   \x, \x, \factor, \temporary
    .else
    smmla   \x, \x, \factor, \addend
    .endif
    ssat    \x, #8, \x, asr #\shift
.endm

/* The next two weights of a channel, of 8, 4 or 3 bits, to the halves of r9; layout: nn_conv2d_s_dsp.c. lr filter, r10
 * word, r11 with 8 bits the second word, otherwise the mask of a field in both halves. `weight` counts within an
 * iteration of the loop. */
.macro weights bits
    .if \bits == 8
    .if weight % 4 == 0
    ldrd    r10, r11, [lr], #8
    sxtb16  r9, r10
    .elseif weight % 4 == 1
    sxtb16  r9, r10, ror #8
    .elseif weight % 4 == 2
    sxtb16  r9, r11
    .else
    sxtb16  r9, r11, ror #8
    .endif
    .elseif \bits == 4
    fields  (weight % 4), 4
    .elseif weight % 16 < 15
    fields  ((weight % 16) % 5), 3
    .else
    spare_bits
    .endif
    .set    weight, weight + 1
.endm

/* Extracts field `slot` of each half of a word, counted from the low bits; the first one loads the word. */
.macro fields slot, bits
    .if \slot == 0
    ldr     r10, [lr], #4
    and.w   r9, r11, r10
    .else
    and     r9, r11, r10, ror #(\slot * \bits)
    .endif
.endm

/* The field in the spare bits of three words, the highest bit of each half; that of the last word is its highest bit. */
.macro spare_bits
    and     r9, r10, #0x80008000
    ldr     r10, [lr, #-8]
    lsr.w   r9, r9, #13
    and     r10, r10, #0x80008000
    orr     r9, r9, r10, lsr #14
    ldr     r10, [lr, #-12]
    and     r10, r10, #0x80008000
    orr     r9, r9, r10, lsr #15
.endm

.macro load_field_mask bits
    .if \bits < 8
    mov     r11, #(((1 << \bits) - 1) * 0x00010001)
    .endif
.endm
/* clang-format on */

#endif
#endif
