/* nRF52832, nRF52833, nRF52840: a Cortex-M4F at 64 MHz. */
#ifndef MCU_H
#define MCU_H

#include "nrf.h"

#define NVMC_ICACHECNF REG32(0x4001E540U) /* nRF52840 Product Specification 4.3, NVMC */
#define CACHE_ON (1U << 0)

static inline void mcu_start_cache(void) {
    NVMC_ICACHECNF = CACHE_ON;
}

/* Where the cycle counter does not advance. */
static inline port_tick mcu_counted(void) {
    return PORT_TICK_US;
}

#endif
