/* Windows of few inputs a kernel row, expanded to 16 bits: nn_dsp_gather_code of nn_dsp.h. A total is the sum of two
 * lanes, all modulo 2^16. Inputs are read as words, aligned or not. */
#include "nn_dsp.h"

/* Loads the arguments on the stack: r5 count, r6 to, r7 totals; r4 the last total. */
.macro begin_gather name
    function \name
    push    {r4-r11, lr}
    add     r7, sp, #36
    ldm     r7, {r5, r6, r7}
    ldrh    r4, [r7]
.endm

/* Writes the total after a window and continues with the next one at 1:. */
.macro end_gather name
    add     lr, r4, r4, lsr #16
    strh    lr, [r7, #2]!
    subs    r5, r5, #1
    bne     1b
    mov     r0, r7
    pop     {r4-r11, pc}
    .size   \name, . - \name
.endm

/* Expands the four inputs of `from` to `even` and `odd`, one of which it may be if it is `odd`; adds them to the total. */
.macro expand_word from, even, odd
    sxtb16  \even, \from
    sxtb16  \odd, \from, ror #8
    uadd16  r4, r4, \even
    uadd16  r4, r4, \odd
.endm

/* Four inputs of every kernel row, two rows at a time; the first one by itself where their number is odd.
 * Registers: r0, r1 starts and their end, r2 offset, r3 step, r8 start; r9-r12 inputs. */
    begin_gather nn_dsp_gather_4
1:  sub     r8, r1, r0
    lsls    r9, r8, #30 /* carry: an odd number of pointers */
    mov     r8, r0
    bcc     2f
    ldr     r9, [r8], #4
    ldr     r10, [r9, r2]
    expand_word r10, r9, r10
    strd    r9, r10, [r6], #8
    cmp     r8, r1
    beq     3f
2:  ldrd    r10, r12, [r8], #8
    ldr     r10, [r10, r2]
    ldr     r12, [r12, r2]
    expand_word r10, r9, r10
    expand_word r12, r11, r12
    stm     r6!, {r9-r12}
    cmp     r8, r1
    bne     2b
3:  add     r2, r2, r3
    end_gather nn_dsp_gather_4

/* Eight inputs of one kernel row. Registers: r9-r12. */
.macro eight_inputs start
    ldr     r10, [\start]
    ldr     r12, [\start, #4]
    expand_word r10, r9, r10
    expand_word r12, r11, r12
    stm     r6!, {r9-r12}
.endm

/* Nine inputs of three kernel rows. Registers: r0, r1, r2 starts, r3 step; r8 temporary. */
    begin_gather nn_dsp_gather_3x9
    ldm     r0, {r8, r9, r10}
    add     r0, r8, r2
    add     r1, r9, r2
    add     r2, r10, r2
1:  eight_inputs r0
    eight_inputs r1
    eight_inputs r2
    ldrsb   r8, [r0, #8]
    ldrsb   r9, [r1, #8]
    ldrsb   r10, [r2, #8]
    add     r0, r0, r3
    add     r1, r1, r3
    add     r2, r2, r3
    pkhbt   r8, r8, r9, lsl #16
    uxth    r9, r10
    uadd16  r4, r4, r8
    uadd16  r4, r4, r9
    strd    r8, r9, [r6], #8
    end_gather nn_dsp_gather_3x9
