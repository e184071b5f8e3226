/* nRF51: a Cortex-M0 at 16 MHz. Timer 0 counts at the same rate, so its counts are cycles. */
#ifndef MCU_H
#define MCU_H

#include "nrf.h"

static inline void mcu_start_cache(void) {}

/* QEMU's clock control reads as 1 everywhere: "the crystal is the source, but is not running", which no chip says. */
static inline port_tick mcu_counted(void) {
    return CLOCK_HFCLKSTAT == 1U ? PORT_TICK_INSTRUCTIONS : PORT_TICK_CYCLES;
}

#endif
