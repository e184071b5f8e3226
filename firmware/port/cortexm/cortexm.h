/* What all Cortex-M ports share. A port's mcu.h defines
 *
 *   MCU_LINK_IRQ              interrupt number of the link's receiver; the port implements mcu_link_isr()
 *   MCU_COUNTER               current value of the MCU's own counter, modulo 2^32
 *   MCU_USES_SYSTICK          1 where that is cortexm_systick(), else 0
 *   MCU_EMULATED_COUNTER_HZ   counts per second in an emulator
 *
 * Registers: Armv7-M Architecture Reference Manual (DDI 0403E), sections named below. */
#ifndef CORTEXM_H
#define CORTEXM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

#include "port.h"
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
#define NVIC_ICER(n) REG32(0xE000E180U + 4U * (n)) /* B3.4.5 */

/* For port_ticks_start and port_ticks_stop: inlined into the calibration only, they would later cost more than it
 * measured. */
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

/* Enables and disables the interrupt of the link's receiver. */
void cortexm_enable_link_irq(void);
void cortexm_disable_link_irq(void);

/* The oldest byte of the ring; sleeps while it is empty. */
uint8_t cortexm_ring_wait(ring *r);

/* Restarts the MCU. */
noreturn void cortexm_reset_mcu(void);

/* Starts the instruction and the data cache of a Cortex-M7. */
void cortexm_start_caches(void);

/* One step of a start-up sequence: sets the bits under `mask` to `value` (SET), or waits until they are (AWAIT). */
typedef struct {
    enum { CORTEXM_SET, CORTEXM_AWAIT } action;
    volatile uint32_t *reg;
    uint32_t mask;
    uint32_t value;
} cortexm_step;

/* Takes the steps in order; returns false at the first wait that takes too long, without the steps after it. */
bool cortexm_take_steps(const cortexm_step *steps, size_t count);
#define CORTEXM_TAKE_STEPS(steps) cortexm_take_steps((steps), sizeof(steps) / sizeof((steps)[0]))

/* Nanoseconds that an emulated instruction takes, by the board's [emulator] arguments. */
#ifdef BOARD_EMULATED_INSTRUCTION_NS
#define CORTEXM_INSTRUCTION_NS BOARD_EMULATED_INSTRUCTION_NS
#else
#define CORTEXM_INSTRUCTION_NS 1
#endif

/* Starts the ticks of port.h. They are the core's cycles where it has a counter that advances, which emulated cores and
 * Armv6-M lack; otherwise they are `counted`, from MCU_COUNTER, which must have been started and, where a tick is a
 * microsecond, counts at counter_hz. */
void cortexm_start_ticks(uint32_t core_hz, port_tick counted, uint32_t counter_hz);

/* SysTick as a counter of the core's clock, modulo 2^32. Its interrupt takes this many instructions every 2^24 counts.
 */
#define CORTEXM_SYSTICK_INSTRUCTIONS 5U
void cortexm_start_systick(void);
void cortexm_systick_isr(void);
uint32_t cortexm_systick(void);

/* Implemented by the port; called when the link has received something. */
void mcu_link_isr(void);

#endif
