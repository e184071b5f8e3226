/* Cycle counter of Armv7-M and Armv8-M Mainline cores: Data Watchpoint and Trace unit (Armv7-M Architecture Reference
 * Manual, DDI 0403E, sections named below). */
#ifndef DWT_H
#define DWT_H

#include <stdbool.h>
#include <stdint.h>

#define DWT_REG(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define DWT_DEMCR DWT_REG(0xE000EDFCU)  /* C1.6.5 */
#define DWT_CTRL DWT_REG(0xE0001000U)   /* C1.8.7 */
#define DWT_CYCCNT DWT_REG(0xE0001004U) /* C1.8.8 */
#define DWT_LAR DWT_REG(0xE0001FB0U)    /* lock access: needed on Cortex-M7, ignored elsewhere */

/* Starts the counter. True when it advances: emulators and the smallest cores have none. */
static inline bool dwt_start(void) {
    DWT_DEMCR |= 1U << 24; /* TRCENA */
    DWT_LAR = 0xC5ACCE55U;
    DWT_CYCCNT = 0;
    DWT_CTRL |= 1U; /* CYCCNTENA */
    const uint32_t before = DWT_CYCCNT;
    for (int i = 0; i < 8; i++) __asm volatile("dsb\n\tisb" ::: "memory");
    return DWT_CYCCNT != before;
}

static inline uint32_t dwt_cycles(void) {
    return DWT_CYCCNT;
}

#endif
