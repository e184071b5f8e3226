/* Clock tree of the RP2040 (datasheet, Clocks, Crystal Oscillator, PLL): crystal -> PLL -> core and UART. If the PLL
 * does not start, the core runs at the crystal's frequency; if the crystal does not start, on the ring oscillator that
 * it woke up on, and the link's rate is wrong. After a restart by a debugger all of this may be running already. */
#include <assert.h>

#include "mcu.h"

#define PLL_INPUT_HZ (RP2040_XOSC_HZ / RP2040_PLL_REFDIV)
#define VCO_HZ (1ULL * PLL_INPUT_HZ * RP2040_PLL_FBDIV)

static_assert(RP2040_XOSC_HZ >= 1000000U && RP2040_XOSC_HZ <= 15000000U, "crystal: 1 to 15 MHz");
static_assert(VCO_HZ == 1ULL * BOARD_CLOCK_HZ * RP2040_PLL_POSTDIV1 * RP2040_PLL_POSTDIV2, "PLL settings and clock_hz");
static_assert(RP2040_PLL_REFDIV >= 1 && RP2040_PLL_REFDIV <= 63 && PLL_INPUT_HZ >= 5000000U, "PLL input");
static_assert(RP2040_PLL_FBDIV >= 16 && RP2040_PLL_FBDIV <= 320, "PLL feedback divider");
static_assert(VCO_HZ >= 750000000U && VCO_HZ <= 1600000000U, "PLL's VCO");
static_assert(PLL_INPUT_HZ <= VCO_HZ / 16U, "PLL input: at most a sixteenth of the VCO");
static_assert(RP2040_PLL_POSTDIV1 >= RP2040_PLL_POSTDIV2, "PLL dividers: the larger one first takes less current");
static_assert(RP2040_PLL_POSTDIV2 >= 1 && RP2040_PLL_POSTDIV1 <= 7, "PLL dividers");
static_assert(BOARD_CLOCK_HZ <= 133000000U, "core clock");

/* A millisecond, in units of 256 periods of the crystal. */
#define XOSC_STARTUP_DELAY ((RP2040_XOSC_HZ / 1000U + 128U) / 256U)

static const cortexm_step to_ring_or_crystal[] = {
    {CORTEXM_SET, &CLK_SYS_CTRL, SYS_SRC_MASK, SYS_FROM_REF},
    {CORTEXM_AWAIT, &CLK_SYS_SELECTED, UINT32_MAX, 1U << SYS_FROM_REF},
    {CORTEXM_SET, &CLK_PERI_CTRL, AUXSRC_MASK | PERI_ON, PERI_FROM_SYS | PERI_ON},
};

static const cortexm_step to_crystal[] = {
    {CORTEXM_SET, &XOSC_STARTUP, XOSC_STARTUP_MASK, XOSC_STARTUP_DELAY},
    {CORTEXM_SET, &XOSC_CTRL, XOSC_CTRL_MASK, XOSC_1_TO_15_MHZ | XOSC_ON},
    {CORTEXM_AWAIT, &XOSC_STATUS, XOSC_STABLE, XOSC_STABLE},
    {CORTEXM_SET, &CLK_REF_CTRL, REF_SRC_MASK, REF_FROM_XOSC},
    {CORTEXM_AWAIT, &CLK_REF_SELECTED, UINT32_MAX, 1U << REF_FROM_XOSC},
};

static const cortexm_step to_pll[] = {
    {CORTEXM_SET, &RESETS_RESET, RESET_PLL_SYS, RESET_PLL_SYS},
    {CORTEXM_SET, &RESETS_RESET, RESET_PLL_SYS, 0},
    {CORTEXM_AWAIT, &RESETS_DONE, RESET_PLL_SYS, RESET_PLL_SYS},
    {CORTEXM_SET, &PLL_CS, PLL_REFDIV_MASK, RP2040_PLL_REFDIV},
    {CORTEXM_SET, &PLL_FBDIV_INT, PLL_FBDIV_MASK, RP2040_PLL_FBDIV},
    {CORTEXM_SET, &PLL_PWR, PLL_OFF, 0},
    {CORTEXM_AWAIT, &PLL_CS, PLL_LOCKED, PLL_LOCKED},
    {CORTEXM_SET, &PLL_PRIM, PLL_PRIM_MASK, RP2040_PLL_POSTDIV1 << PLL_POSTDIV1 | RP2040_PLL_POSTDIV2 << PLL_POSTDIV2},
    {CORTEXM_SET, &PLL_PWR, PLL_POSTDIV_OFF, 0},
    /* The auxiliary source may only be changed while it is not in use. */
    {CORTEXM_SET, &CLK_SYS_CTRL, AUXSRC_MASK, SYS_AUX_PLL},
    {CORTEXM_SET, &CLK_SYS_CTRL, SYS_SRC_MASK, SYS_FROM_AUX},
    {CORTEXM_AWAIT, &CLK_SYS_SELECTED, UINT32_MAX, 1U << SYS_FROM_AUX},
};

static const cortexm_step back_to_crystal[] = {
    {CORTEXM_SET, &CLK_SYS_CTRL, SYS_SRC_MASK, SYS_FROM_REF},
    {CORTEXM_AWAIT, &CLK_SYS_SELECTED, UINT32_MAX, 1U << SYS_FROM_REF},
    {CORTEXM_SET, &RESETS_RESET, RESET_PLL_SYS, RESET_PLL_SYS},
};

mcu_clocks mcu_start_clocks(void) {
    (void)CORTEXM_TAKE_STEPS(to_ring_or_crystal);
    if (CORTEXM_TAKE_STEPS(to_crystal)) {
        if (CORTEXM_TAKE_STEPS(to_pll)) return (mcu_clocks){BOARD_CLOCK_HZ, UART_DIVIDER(BOARD_CLOCK_HZ)};
        (void)CORTEXM_TAKE_STEPS(back_to_crystal);
        return (mcu_clocks){RP2040_XOSC_HZ, UART_DIVIDER(RP2040_XOSC_HZ)};
    }
    return (mcu_clocks){RING_OSCILLATOR_HZ, UART_DIVIDER(RING_OSCILLATOR_HZ)};
}
