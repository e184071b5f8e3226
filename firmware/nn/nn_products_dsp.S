/* Ternary dense sums by field-packed SMLAD, see nn_block_dsp.S: the inner loop of nn_dense_dsp.c.
 *
 * const uint32_t *nn_dsp_products8(const int16_t *x, const uint32_t *filter, int32_t *totals, int32_t sum,
 *                                  const int16_t *end)
 * adds the sums of eight outputs over the inputs x to end, a multiple of eight, to totals; sum: of these inputs. Returns
 * the filter behind them. nn_dsp_products4 does so for four outputs.
 *
 * A word of filter is four inputs of four outputs; of eight outputs the words of both halves follow each other.
 *
 * Registers
 *     r0      inputs                 r4-r7   sums of outputs 0 and 1, 2 and 3, ...    lr  end
 *     r1      filter                 r8-r9   inputs
 *     r2      totals                 r10-r11 words of filter
 *     r3      mask                   r12     fields taken out
 * Cycles of four inputs on a Cortex-M4 without wait states: eight outputs 24 for 32 multiply-accumulates, 18 instructions. */
#include "nn_dsp.h"

/* Inputs of one word of filter to two sums. */
.macro products word, a, b
    and.w   r12, r3, \word
    smlad   \a, r8, r12, \a
    and     r12, r3, \word, ror #4
    smlad   \b, r8, r12, \b
    and     r12, r3, \word, ror #8
    smlad   \a, r9, r12, \a
    and     r12, r3, \word, ror #12
    smlad   \b, r9, r12, \b
.endm

.macro step outputs
    ldrd    r8, r9, [r0], #8
    .if \outputs == 8
    ldrd    r10, r11, [r1], #8
    products r10, r4, r5
    products r11, r6, r7
    .else
    ldr     r10, [r1], #4
    products r10, r4, r5
    .endif
.endm

/* A and B of a sum to their totals. */
.macro to_totals sum
    ldrd    r8, r9, [r2]
    sbfx    r12, \sum, #0, #14
    sub     \sum, \sum, r12
    add     r8, r8, r12
    add     r9, r9, \sum, asr #14
    strd    r8, r9, [r2], #8
.endm

.macro products_of name, outputs
    function \name
    push    {r4-r12, lr}
    ldr     lr, [sp, #40]
    rsb     r4, r3, #0
    mov     r5, r4
    .if \outputs == 8
    mov     r6, r4
    mov     r7, r4
    .endif
    movw    r3, #0xC003
    movt    r3, #0xC003
1:  step    \outputs
    step    \outputs
    cmp     r0, lr
    bne     1b
    to_totals r4
    to_totals r5
    .if \outputs == 8
    to_totals r6
    to_totals r7
    .endif
    mov     r0, r1
    pop     {r4-r12, pc}
    .size   \name, . - \name
.endm

    products_of nn_dsp_products4, 4
    products_of nn_dsp_products8, 8
