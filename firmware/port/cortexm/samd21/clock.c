/* Clock tree of the SAMD21 (data sheet, SYSCTRL and GCLK): crystal of 32768 Hz -> generator 1 -> frequency-locked loop
 * DFLL48M -> generator 0 -> core and UART. If the crystal or the loop does not start, the core runs on the internal
 * oscillator of 8 MHz. */
#include <assert.h>

#include "mcu.h"

static_assert(BOARD_CLOCK_HZ == CRYSTAL_HZ * SAMD21_DFLL_MUL, "SAMD21_DFLL_MUL and clock_hz");
/* Electrical Characteristics, DFLL48M in closed loop: typically 47.972 MHz, a multiplier of 1464. */
static_assert(BOARD_CLOCK_HZ <= 48000000U, "core clock, and the loop's");
static_assert(BOARD_CLOCK_HZ >= 47000000U, "the loop's clock");

enum {
    GENERATOR_OF_CORE = 0,
    GENERATOR_OF_LOOP = 1,
    /* A write reaches the slower clock domain within a few of its periods. */
    MOST_SYNC_POLLS = 100000,
    /* The crystal takes about a second to start and another one to become stable (XOSC32K, STARTUP). A poll takes at
     * least 250 cycles of 8 MHz: three seconds in all. */
    MOST_CLOCK_POLLS = 100000,
    BARRIERS_A_POLL = 25
};

void mcu_await_end_of(volatile const uint32_t *reg, uint32_t bits) {
    for (int i = 0; i < MOST_SYNC_POLLS && *reg & bits; i++) {
    }
}

static void await_gclk(void) {
    for (int i = 0; i < MOST_SYNC_POLLS && GCLK_STATUS & GCLK_BUSY; i++) {
    }
}

static bool becomes_ready(uint32_t flags) {
    for (int i = 0; i < MOST_CLOCK_POLLS; i++) {
        if ((SYSCTRL_PCLKSR & flags) == flags) return true;
        for (int j = 0; j < BARRIERS_A_POLL; j++) cortexm_barrier();
    }
    return false;
}

static void start_generator(uint32_t generator, uint32_t source) {
    GCLK_GENDIV = generator; /* undivided */
    await_gclk();
    GCLK_GENCTRL = generator | source | GENERATOR_ON | EVEN_DUTY_CYCLE;
    await_gclk();
}

void mcu_connect_clock(uint32_t peripheral, uint32_t generator) {
    GCLK_CLKCTRL = (uint16_t)(peripheral | GENERATOR(generator) | CLOCK_ON);
    await_gclk();
}

/* A bootloader may have left any clock running: back to the reset values, then from 1 to 8 MHz. One wait state suffices
 * for all of them (Electrical Characteristics, NVM). */
static void start_internal(void) {
    NVMCTRL_CTRLB = (NVMCTRL_CTRLB & ~WAIT_STATES_MASK) | ONE_WAIT_STATE;
    GCLK_CTRL = GCLK_RESET;
    await_gclk();
    SYSCTRL_OSC8M &= ~OSC8M_DIVIDER_MASK;
}

static bool start_crystal(void) {
    SYSCTRL_XOSC32K = CRYSTAL_AFTER_32768 | CRYSTAL_OUTPUT | CRYSTAL_PINS;
    SYSCTRL_XOSC32K = CRYSTAL_AFTER_32768 | CRYSTAL_OUTPUT | CRYSTAL_PINS |
                      CRYSTAL_ON; /* in a write of its own, as the data sheet requires */
    return becomes_ready(CRYSTAL_READY);
}

static bool start_loop(void) {
    start_generator(GENERATOR_OF_LOOP, SOURCE_CRYSTAL);
    mcu_connect_clock(CLOCK_OF_DFLL, GENERATOR_OF_LOOP);
    SYSCTRL_DFLLCTRL = 0; /* clears ONDEMAND first: a write to a loop that is not requested may hang (errata) */
    if (!becomes_ready(DFLL_READY)) return false;
    SYSCTRL_DFLLMUL = DFLL_COARSE_STEP | DFLL_FINE_STEP | SAMD21_DFLL_MUL;
    if (!becomes_ready(DFLL_READY)) return false;
    SYSCTRL_DFLLCTRL = DFLL_CLOSED_LOOP | DFLL_NO_QUICK_LOCK | DFLL_OUTPUT_WHEN_LOCKED;
    if (!becomes_ready(DFLL_READY)) return false;
    SYSCTRL_DFLLCTRL = DFLL_CLOSED_LOOP | DFLL_NO_QUICK_LOCK | DFLL_OUTPUT_WHEN_LOCKED | DFLL_ON;
    return becomes_ready(DFLL_READY | DFLL_LOCKED);
}

uint32_t mcu_start_clock(void) {
    start_internal();
    if (!start_crystal() || !start_loop()) return MCU_INTERNAL_HZ;
    start_generator(GENERATOR_OF_CORE, SOURCE_DFLL);
    return BOARD_CLOCK_HZ;
}
