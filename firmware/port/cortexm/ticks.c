/* Ticks: cycles of the core where it has a counter, otherwise counts of the MCU's own counter. */
#include "port.h"

#include <assert.h>

#include "dwt.h"
#include "mcu.h"

enum { US_PER_S = 1000000, NS_PER_S = 1000000000 };

/* Counts in 1,000,000,000 emulated instructions. The difference of two truncated times is off by less than one count;
 * with more than two counts per instruction, that is less than half an instruction, so rounding gives the exact number.
 * So does exactly one count per instruction. */
#define EMULATED_COUNTS ((uint64_t)MCU_EMULATED_COUNTER_HZ * CORTEXM_INSTRUCTION_NS)
static_assert(BOARD_TICK_UNIT != PORT_TICK_INSTRUCTIONS || EMULATED_COUNTS == NS_PER_S ||
                  EMULATED_COUNTS > 2ULL * NS_PER_S,
              "the counter is too slow to tell instructions apart");

static port_tick unit;
static uint32_t ticks_a_second;
static uint32_t counts_a_second;
static bool has_cycle_counter;
static uint32_t started, overhead;

/* Armv7-M and Armv8-M Mainline have a DWT; an Armv6-M core must not look for one. */
static bool start_cycle_counter(void) {
    return __ARM_ARCH > 6 && dwt_start();
}

void cortexm_start_ticks(uint32_t core_hz, port_tick counted, uint32_t counter_hz) {
    has_cycle_counter = start_cycle_counter();
    unit = has_cycle_counter ? PORT_TICK_CYCLES : counted;
    counts_a_second = counter_hz;
    ticks_a_second = unit == PORT_TICK_CYCLES ? core_hz : unit == PORT_TICK_US ? (uint32_t)US_PER_S : 0U;
    overhead = 0;
    port_ticks_start();
    overhead = port_ticks_stop();
}

static uint32_t now(void) {
    return has_cycle_counter ? dwt_cycles() : MCU_COUNTER;
}

/* Where SysTick counts, its interrupt was served meanwhile, once for each step of the upper byte. */
static uint32_t instructions(uint32_t stopped) {
    const uint32_t counts = stopped - started;
    const uint32_t all = EMULATED_COUNTS == NS_PER_S
                             ? counts
                             : (uint32_t)(((uint64_t)counts * NS_PER_S + EMULATED_COUNTS / 2U) / EMULATED_COUNTS);
    const uint32_t interrupts = MCU_USES_SYSTICK ? ((stopped >> 24) - (started >> 24)) & 0xFFU : 0U;
    return all - interrupts * CORTEXM_SYSTICK_INSTRUCTIONS;
}

static uint32_t ticks_until(uint32_t stopped) {
    /* The first condition is a constant: firmware for a real board does without the division of 64 bits, 0.7 KB of
     * code. */
    if (BOARD_TICK_UNIT == PORT_TICK_INSTRUCTIONS && unit == PORT_TICK_INSTRUCTIONS) return instructions(stopped);
    return unit == PORT_TICK_US ? (stopped - started) / (counts_a_second / US_PER_S) : stopped - started;
}

/* The link is masked in the interrupt controller, not in the core: the interrupt that extends SysTick must go on. */
NEVER_INLINE void port_ticks_start(void) {
    if (unit == PORT_TICK_INSTRUCTIONS) cortexm_disable_link_irq();
    started = now();
}

NEVER_INLINE uint32_t port_ticks_stop(void) {
    const uint32_t stopped = now();
    if (unit == PORT_TICK_INSTRUCTIONS) cortexm_enable_link_irq();
    return ticks_until(stopped) - overhead;
}

port_tick port_tick_unit(void) {
    return unit;
}

uint32_t port_tick_hz(void) {
    return ticks_a_second;
}
