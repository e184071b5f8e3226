/* uint16_t *nn_dsp_expand(const int8_t *x, int16_t *to, uint16_t *totals, int32_t granules, int32_t words): expands
 * granules of 4 * words inputs to 16 bits, every four in the order 0, 2, 1, 3; writes their running totals after
 * *totals and returns the place of the last one. x is aligned to four bytes. nn_dsp_expand_apart: one more argument, the
 * bytes between two granules.
 *
 * Registers: the arguments, r4 total, r5 ones, r6 pairs of words left, r7-r12 inputs, lr words. Instructions for a
 * granule: 6 per word plus 5, 1 more with an odd number of words. */
#include "nn_dsp.h"

.macro expand name, apart
    function \name
    push    {r4-r11, lr}
    ldr     lr, [sp, #36]
    mov     r5, #0x00010001
    ldrh    r4, [r2]
1:  lsrs    r6, lr, #1
    bcc     2f
    ldr     r7, [r0], #4
    sxtb16  r8, r7
    sxtb16  r9, r7, ror #8
    smlad   r4, r8, r5, r4
    smlad   r4, r9, r5, r4
    strd    r8, r9, [r1], #8
    beq     3f
2:  ldrd    r7, r8, [r0], #8
    sxtb16  r9, r7
    sxtb16  r10, r7, ror #8
    sxtb16  r11, r8
    sxtb16  r12, r8, ror #8
    smlad   r4, r9, r5, r4
    smlad   r4, r10, r5, r4
    smlad   r4, r11, r5, r4
    smlad   r4, r12, r5, r4
    stm     r1!, {r9-r12}
    subs    r6, r6, #1
    bne     2b
3:  strh    r4, [r2, #2]!
    .if \apart
    ldr     r7, [sp, #40]
    add     r0, r0, r7
    .endif
    subs    r3, r3, #1
    bne     1b
    mov     r0, r2
    pop     {r4-r11, pc}
    .size   \name, . - \name
.endm

    expand  nn_dsp_expand, 0
    expand  nn_dsp_expand_apart, 1
