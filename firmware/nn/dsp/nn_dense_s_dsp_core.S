/* Sums of dense layers with weights of 8, 4 or 3 bits. C side: nn_dense_s_dsp.c.
 *
 * const uint32_t *nn_dsp_dot_s8(const int16_t *x, const int16_t *end, const uint32_t *filter, int32_t sums[4]), _s4, _s3:
 * adds to the sums of four outputs, eight inputs per iteration. Returns the end of their filter.
 *
 * Registers: r0-r3 sums, r4-r7 eight inputs, r8 end, r9-r11 see `weights`, r12 inputs, lr filter. Instructions of an
 * iteration, 32 multiply-accumulates: 39 with 8 and 4 bits, 45 with 3 bits. */
#include "nn_dsp.h"
#include "nn_dsp_macros.h"

.macro four_outputs inputs
    weights bits
    smlad   r0, \inputs, r9, r0
    weights bits
    smlad   r1, \inputs, r9, r1
    weights bits
    smlad   r2, \inputs, r9, r2
    weights bits
    smlad   r3, \inputs, r9, r3
.endm

.macro dot name, width
    function \name
    push    {r3-r11, lr}
    .set    bits, \width
    mov     r12, r0
    mov     r8, r1
    mov     lr, r2
    load_field_mask bits
    ldm     r3, {r0-r3}
1:  ldmia   r12!, {r4-r7}
    .set    weight, 0
    four_outputs r4
    four_outputs r5
    four_outputs r6
    four_outputs r7
    cmp     r12, r8
    bne     1b
    ldr     r4, [sp]
    stm     r4, {r0-r3}
    mov     r0, lr
    pop     {r3-r11, pc}
    .size   \name, . - \name
.endm

    dot     nn_dsp_dot_s8, 8
    dot     nn_dsp_dot_s4, 4
    dot     nn_dsp_dot_s3, 3
