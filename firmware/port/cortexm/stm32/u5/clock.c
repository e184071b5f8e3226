/* Clock tree of the STM32U5 (RM0456 chapter 11): HSI16 -> PLL1 -> core; HSI16 if the PLL does not start; if HSI16 does
 * not start either, MSI at 4 MHz, on which the core wakes up: the link's rate is then wrong. */
#include <assert.h>

#include "mcu.h"

#define PLL_INPUT_HZ (MCU_INTERNAL_HZ / STM32_PLL_M)

/* RCC_PLL1CFGR, RCC_PLL1DIVR; data sheet DS13737: VCO of 128 to 544 MHz in range 1. */
static_assert(PLL_INPUT_HZ * STM32_PLL_N / STM32_PLL_R == BOARD_CLOCK_HZ, "PLL settings and clock_hz");
static_assert(PLL_INPUT_HZ >= 8000000U && PLL_INPUT_HZ <= 16000000U, "PLL input, and the booster's: 4 to 16 MHz");
static_assert(BOARD_CLOCK_HZ * STM32_PLL_R >= 128000000U && BOARD_CLOCK_HZ * STM32_PLL_R <= 544000000U, "PLL's VCO");
static_assert(STM32_PLL_R == 1 || STM32_PLL_R % 2 == 0, "PLL divider");
static_assert(BOARD_CLOCK_HZ <= 160000000U, "core clock in range 1 (10.5.4)");
/* Range 1: one wait state per 32 MHz beyond the first 32 (chapter 7, read access latency). */
static_assert(STM32_FLASH_WAIT_STATES == (BOARD_CLOCK_HZ - 1U) / 32000000U, "wait states");

#define PLL_SETTINGS (PLLSRC_HSI | INPUT_8_TO_16_MHZ | (STM32_PLL_M - 1U) << PLLM | 0U << PLLMBOOST | PLLR_ON)
#define PLL_DIVIDERS ((STM32_PLL_N - 1U) << PLLN | (STM32_PLL_R - 1U) << PLLR)

static const cortexm_step to_hsi[] = {
    {CORTEXM_SET, &RCC_CR, HSI_ON, HSI_ON},
    {CORTEXM_AWAIT, &RCC_CR, HSI_READY, HSI_READY},
    /* One wait state suffices for 16 MHz in range 4, the lowest, in which the core wakes up. */
    {CORTEXM_SET, &FLASH_ACR, LATENCY_MASK, 1},
    {CORTEXM_AWAIT, &FLASH_ACR, LATENCY_MASK, 1},
    {CORTEXM_SET, &RCC_CFGR, SWITCH_MASK, SWITCH_HSI},
    {CORTEXM_AWAIT, &RCC_CFGR, STATUS_MASK, STATUS_HSI},
};

static const cortexm_step to_pll[] = {
    {CORTEXM_SET, &RCC_AHB3ENR, POWER_ENABLE, POWER_ENABLE},
    {CORTEXM_SET, &PWR_VOSR, RANGE_MASK, RANGE_1},
    {CORTEXM_AWAIT, &PWR_VOSR, RANGE_READY, RANGE_READY},
    {CORTEXM_SET, &RCC_PLLCFGR, UINT32_MAX, PLL_SETTINGS},
    {CORTEXM_SET, &RCC_PLL1DIVR, UINT32_MAX, PLL_DIVIDERS},
    /* The booster, needed from 55 MHz on, is clocked by the PLL's input and started before the PLL (10.5.4). */
    {CORTEXM_SET, &PWR_VOSR, BOOST_ON, BOOST_ON},
    {CORTEXM_AWAIT, &PWR_VOSR, BOOST_READY, BOOST_READY},
    {CORTEXM_SET, &RCC_CR, PLL_ON, PLL_ON},
    {CORTEXM_AWAIT, &RCC_CR, PLL_READY, PLL_READY},
    {CORTEXM_SET, &FLASH_ACR, PREFETCH | LATENCY_MASK, PREFETCH | STM32_FLASH_WAIT_STATES},
    {CORTEXM_AWAIT, &FLASH_ACR, LATENCY_MASK, STM32_FLASH_WAIT_STATES},
    {CORTEXM_SET, &RCC_CFGR, SWITCH_MASK, SWITCH_PLL},
    {CORTEXM_AWAIT, &RCC_CFGR, STATUS_MASK, STATUS_PLL},
};

static const cortexm_step back_to_hsi[] = {
    {CORTEXM_SET, &RCC_CFGR, SWITCH_MASK, SWITCH_HSI},
    {CORTEXM_AWAIT, &RCC_CFGR, STATUS_MASK, STATUS_HSI},
    {CORTEXM_SET, &RCC_CR, PLL_ON, 0},
};

static const cortexm_step start_cache[] = {
    {CORTEXM_AWAIT, &ICACHE_SR, ICACHE_BUSY, 0},
    {CORTEXM_SET, &ICACHE_CR, ICACHE_ON, ICACHE_ON},
};

mcu_clocks mcu_start_clocks(void) {
    (void)CORTEXM_TAKE_STEPS(start_cache);
    if (CORTEXM_TAKE_STEPS(to_hsi)) {
        if (CORTEXM_TAKE_STEPS(to_pll)) return (mcu_clocks){BOARD_CLOCK_HZ, UART_DIVIDER(MCU_UART_HZ), MCU_TIMER_HZ};
        (void)CORTEXM_TAKE_STEPS(back_to_hsi);
    }
    return (mcu_clocks){MCU_INTERNAL_HZ, UART_DIVIDER(MCU_INTERNAL_UART_HZ), MCU_INTERNAL_HZ};
}
