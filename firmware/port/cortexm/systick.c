/* SysTick as a counter of 32 bits: 24 of its own, and above them how often they have run out. For cores that count no
 * cycles themselves. Registers: Armv7-M Architecture Reference Manual B3.3, Armv6-M (DDI 0419) B3.3. */
#include "mcu.h"

#define SYST_CSR REG32(0xE000E010U)
#define SYST_RVR REG32(0xE000E014U)
#define SYST_CVR REG32(0xE000E018U)
#define SYST_ON_CORE_CLOCK 7U /* CLKSOURCE, TICKINT, ENABLE */

enum { SYST_BITS = 24, SYST_MASK = (1U << SYST_BITS) - 1U };

volatile uint32_t cortexm_systick_wraps;

void cortexm_start_systick(void) {
    SYST_RVR = SYST_MASK;
    SYST_CVR = 0; /* any value clears it */
    SYST_CSR = SYST_ON_CORE_CLOCK;
}

/* CORTEXM_SYSTICK_INSTRUCTIONS of them, always the same. */
__attribute__((naked)) void cortexm_systick_isr(void) {
    __asm volatile(".syntax unified\n\t"
                   "ldr r0, =cortexm_systick_wraps\n\t"
                   "ldr r1, [r0]\n\t"
                   "adds r1, r1, #1\n\t"
                   "str r1, [r0]\n\t"
                   "bx lr\n\t");
}

/* It counts down, and its interrupt comes at 0: both parts change together but for a moment, which is waited for. */
uint32_t cortexm_systick(void) {
    uint32_t wraps, down;
    do {
        wraps = cortexm_systick_wraps;
        down = SYST_CVR;
        cortexm_barrier();
    } while (wraps != cortexm_systick_wraps);
    return wraps << SYST_BITS | ((0U - down) & SYST_MASK);
}
