/* What all Cortex-M ports share. A port's mcu.h defines MCU_LINK_IRQ, the interrupt number of the link's receiver, and
 * the port implements mcu_link_isr().
 * Registers: Armv7-M Architecture Reference Manual (DDI 0403E), sections named below. */
#ifndef CORTEXM_H
#define CORTEXM_H

#include <stdint.h>
#include <stdnoreturn.h>

#include "ring.h"

#define REG32(address) (*(volatile uint32_t *)(uintptr_t)(address))

/* System control block (B3.2.2). */
#define SCB_VTOR REG32(0xE000ED08U)
#define SCB_AIRCR REG32(0xE000ED0CU)
#define SCB_CCR REG32(0xE000ED14U)
#define SCB_CFSR REG32(0xE000ED28U)
#define SCB_HFSR REG32(0xE000ED2CU)
#define SCB_MMFAR REG32(0xE000ED34U)
#define SCB_BFAR REG32(0xE000ED38U)
#define SCB_CPACR REG32(0xE000ED88U)
/* Memory protection unit (B3.5). */
#define MPU_TYPE REG32(0xE000ED90U)
#define MPU_CTRL REG32(0xE000ED94U)
#define MPU_RNR REG32(0xE000ED98U)
#define MPU_RBAR REG32(0xE000ED9CU)
#define MPU_RASR REG32(0xE000EDA0U)
#define NVIC_ISER(n) REG32(0xE000E100U + 4U * (n)) /* B3.4.4 */

/* For port_ticks_start and port_ticks_stop: inlined into the calibration only, they would cost more than it found. */
#define NEVER_INLINE __attribute__((noinline))

/* Every word of the stack holds this until it is used. */
#define CORTEXM_STACK_PAINT 0xA5A5A5A5

static inline void cortexm_disable_irq(void) {
    __asm volatile("cpsid i" ::: "memory");
}
static inline void cortexm_enable_irq(void) {
    __asm volatile("cpsie i" ::: "memory");
}
static inline void cortexm_wait_for_irq(void) {
    __asm volatile("wfi" ::: "memory");
}
static inline void cortexm_barrier(void) {
    __asm volatile("dsb\n\tisb" ::: "memory");
}

/* Lets the link's receiver interrupt. */
void cortexm_enable_link_irq(void);

/* The oldest byte of the ring; sleeps while it is empty. */
uint8_t cortexm_ring_wait(ring *r);

/* Restarts the MCU. */
noreturn void cortexm_reset_mcu(void);

/* Starts the instruction and the data cache of a Cortex-M7. */
void cortexm_start_caches(void);

/* Starts the cycle counter (DWT, C1.8). Returns 1 when it advances, 0 where it does not exist, as in an emulator. */
int cortexm_start_cycle_counter(void);
uint32_t cortexm_cycles(void);

/* Implemented by the port: the link received something. */
void mcu_link_isr(void);

#endif
