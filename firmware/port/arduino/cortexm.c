/* The Arduino port on Arm Cortex-M. */
#ifdef __arm__

#include "arduino_core.h"
#include "board_config.h"
#include "cpu.h"
#include "dwt.h"
#include "port.h"

enum { US_PER_S = 1000000 };

static bool has_cycles;
static uint32_t started, overhead;

static uint32_t now(void) {
    return has_cycles ? dwt_cycles() : core_micros();
}

void cpu_start(void) {
#if __ARM_ARCH_ISA_THUMB == 2 /* Armv6-M and Armv8-M Baseline have no cycle counter */
    has_cycles = dwt_start();
#endif
    port_ticks_start();
    overhead = port_ticks_stop();
}

/* The Arduino core may do its USB work while it is polled, so there is no sleep here. */
void cpu_idle(void) {}

/* Flushes first: the interrupts of unsent bytes would be counted. */
void port_ticks_start(void) {
    core_serial_flush();
    started = now();
}

uint32_t port_ticks_stop(void) {
    const uint32_t ticks = now() - started;
    return ticks > overhead ? ticks - overhead : 0;
}

port_tick port_tick_unit(void) {
    return has_cycles ? PORT_TICK_CYCLES : PORT_TICK_US;
}

uint32_t port_tick_hz(void) {
    return has_cycles ? BOARD_CLOCK_HZ : US_PER_S;
}

noreturn void port_reset(void) {
    core_serial_flush();
    __asm volatile("dsb" ::: "memory");
    *(volatile uint32_t *)0xE000ED0CU = 0x05FA0004U; /* AIRCR: VECTKEY, SYSRESETREQ (DDI 0403E, B3.2.6) */
    for (;;) {
    }
}

/* Reset flags and stack belong to the Arduino core. */
uint32_t port_reset_cause(void) {
    return 0;
}

uint32_t port_stack_size(void) {
    return 0;
}

uint32_t port_stack_high_water(void) {
    return 0;
}

#endif
