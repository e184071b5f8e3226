/* The Arduino port on AVR. Sections are those of the ATmega328P data sheet (DS40002061); the ATmega2560 is alike. */
#ifdef __AVR__

#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include <avr/wdt.h>

#include "arduino_core.h"
#include "board_config.h"
#include "cpu.h"
#include "port.h"

enum { PAINT = 0xA5, COUNTS_PER_US = BOARD_CLOCK_HZ / 1000000 };

extern uint8_t _end; /* first byte after the variables, from the linker */

static uint8_t reset_flags __attribute__((section(".noinit")));
static struct {
    uint32_t us;
    uint16_t count;
} started;
static uint32_t overhead;

/* Runs before variables are initialized, on an empty stack. A watchdog that has reset the MCU is still running, at its
 * shortest period (11.8.2). Paints the stack: bytes that no longer hold the paint have been used. */
__attribute__((naked, used, section(".init3"))) static void before_main(void) {
    reset_flags = MCUSR;
    MCUSR = 0;
    wdt_disable();
    for (uint8_t *byte = &_end; byte <= (uint8_t *)RAMEND; byte++) *byte = PAINT;
}

/* No byte can slip in between the test and the sleep: after sei, one more instruction is executed before any interrupt
 * (7.7). */
void cpu_idle(void) {
#ifdef ARDUINO_QEMU
    /* QEMU 7.2 does not wake up from SLEEP, and of two simultaneous interrupts it loses one until the register is
     * written. */
    UCSR0B = UCSR0B;
#else
    cli();
    if (core_serial_available() == 0) {
        sei();
        sleep_cpu();
    }
    sei();
#endif
}

/* Idle mode: sleep stops the CPU only (10.3). Timer 1 without prescaler counts CPU cycles (16.11); the Arduino core has
 * set it up for PWM, which ends here. */
void cpu_start(void) {
    SMCR = 1U << SE;
    TCCR1A = 0;
    TCCR1B = 1;
    port_ticks_start();
    overhead = port_ticks_stop();
}

/* Flushes first: the interrupts of unsent bytes would be counted. */
void port_ticks_start(void) {
    core_serial_flush();
    started.us = core_micros();
    started.count = TCNT1;
}

/* Timer 1 has the low 16 bits of the cycles; micros(), in steps of 4 us, tells how often it has wrapped. Both derive
 * from one clock, so the exact number is the one nearest to the coarse one. */
uint32_t port_ticks_stop(void) {
    const uint16_t fine = TCNT1 - started.count;
    const uint32_t coarse = (core_micros() - started.us) * COUNTS_PER_US;
    const int16_t correction = (int16_t)(fine - (uint16_t)coarse);
    return coarse + (uint32_t)(int32_t)correction - overhead;
}

port_tick port_tick_unit(void) {
    return PORT_TICK_CYCLES;
}

uint32_t port_tick_hz(void) {
    return BOARD_CLOCK_HZ;
}

noreturn void port_reset(void) {
    core_serial_flush();
    cli();
    wdt_enable(WDTO_15MS);
    for (;;) {
    }
}

uint32_t port_reset_cause(void) {
    return reset_flags;
}

uint32_t port_stack_size(void) {
    return (uint32_t)((uint8_t *)RAMEND - &_end + 1);
}

uint32_t port_stack_high_water(void) {
    const uint8_t *byte = &_end;
    while (byte <= (uint8_t *)RAMEND && *byte == PAINT) byte++;
    return (uint32_t)((uint8_t *)RAMEND - byte + 1);
}

#endif
