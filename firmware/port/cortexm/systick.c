/* SysTick as a counter of 32 bits: its own 24, and above them the number of times that these have wrapped. For cores
 * without a cycle counter. Registers: Armv7-M Architecture Reference Manual B3.3, Armv6-M (DDI 0419) B3.3. */
#include "mcu.h"

#define SYST_CSR REG32(0xE000E010U)
#define SYST_RVR REG32(0xE000E014U)
#define SYST_CVR REG32(0xE000E018U)
#define SYST_ON_CORE_CLOCK 7U /* CLKSOURCE, TICKINT, ENABLE */

enum { SYST_BITS = 24, SYST_MASK = (1U << SYST_BITS) - 1U };

volatile uint32_t cortexm_systick_wraps;

void cortexm_start_systick(void) {
    SYST_RVR = SYST_MASK;
    SYST_CVR = 0; /* writing any value clears it */
    SYST_CSR = SYST_ON_CORE_CLOCK;
}

/* Takes CORTEXM_SYSTICK_INSTRUCTIONS instructions, always. */
__attribute__((naked)) void cortexm_systick_isr(void) {
    __asm volatile(".syntax unified\n\t"
                   "ldr r0, =cortexm_systick_wraps\n\t"
                   "ldr r1, [r0]\n\t"
                   "adds r1, r1, #1\n\t"
                   "str r1, [r0]\n\t"
                   "bx lr\n\t");
}

/* SysTick counts down and interrupts at 0, so both parts change together, except for a moment; then they are read
 * again. */
uint32_t cortexm_systick(void) {
    uint32_t wraps, down;
    do {
        wraps = cortexm_systick_wraps;
        down = SYST_CVR;
        cortexm_barrier();
    } while (wraps != cortexm_systick_wraps);
    return wraps << SYST_BITS | ((0U - down) & SYST_MASK);
}
