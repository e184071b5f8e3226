/* Clock tree of the STM32L4 (RM0351 6.2), L4+ (RM0432 6.2), G0 (RM0444 5.2), G4 (RM0440 7.2) and WB (RM0434 8.2): HSI16
 * -> PLL -> core; HSI16 if the PLL does not start; where the core wakes up on MSI, MSI at the same 16 MHz if HSI16 does
 * not start either. The regulator is in range 1 after reset (PWR_CR1). */
#include <assert.h>

#include "mcu.h"

/* RCC_PLLCFGR of each manual; data sheets: input of 2.66 (STM32L4: 4) to 16 MHz, VCO of up to 344 MHz. */
static_assert(MCU_INTERNAL_HZ / STM32_PLL_M * STM32_PLL_N / STM32_PLL_R == BOARD_CLOCK_HZ, "PLL settings and clock_hz");
static_assert(MCU_INTERNAL_HZ / STM32_PLL_M >= 4000000U, "PLL input");
static_assert(BOARD_CLOCK_HZ * STM32_PLL_R >= MCU_VCO_MIN_HZ && BOARD_CLOCK_HZ * STM32_PLL_R <= 344000000U,
              "PLL's VCO");
static_assert(STM32_PLL_R == 2 || STM32_PLL_R == 4 || STM32_PLL_R == 6 || STM32_PLL_R == 8, "PLL divider");
static_assert(BOARD_CLOCK_HZ <= MCU_MAX_HZ, "core clock");
static_assert(STM32_FLASH_WAIT_STATES == (BOARD_CLOCK_HZ - 1U) / MCU_WAIT_STATE_HZ, "wait states");

#define PLL_SETTINGS                                                                                                   \
    (PLLSRC_HSI | (STM32_PLL_M - 1U) << PLLM | STM32_PLL_N << PLLN | PLLR_ON | PLLR_CODE(STM32_PLL_R) << PLLR)

static const cortexm_step to_hsi[] = {
#if STM32_VDDIO2
    {CORTEXM_SET, &RCC_APB1ENR, POWER_ENABLE, POWER_ENABLE},
    {CORTEXM_SET, &PWR_CR2, VDDIO2_VALID, VDDIO2_VALID},
#endif
#if MCU_HAS_MSI
    {CORTEXM_AWAIT, &RCC_CR, MSI_READY, MSI_READY},
    {CORTEXM_SET, &RCC_CR, MSI_RANGE_MASK, MSI_16_MHZ}, /* 16 MHz needs no wait state in range 1 */
#endif
    {CORTEXM_SET, &RCC_CR, HSI_ON, HSI_ON},
    {CORTEXM_AWAIT, &RCC_CR, HSI_READY, HSI_READY},
    {CORTEXM_SET, &RCC_CFGR, SWITCH_MASK, SWITCH_HSI},
    {CORTEXM_AWAIT, &RCC_CFGR, STATUS_MASK, STATUS_HSI},
};

static const cortexm_step to_pll[] = {
    {CORTEXM_SET, &RCC_PLLCFGR, UINT32_MAX, PLL_SETTINGS},
    {CORTEXM_SET, &RCC_CR, PLL_ON, PLL_ON},
    {CORTEXM_AWAIT, &RCC_CR, PLL_READY, PLL_READY},
#if STM32_BOOST
    /* With boost, the core must run at half the clock at first, for at least 1 us (RM0432 5.1.8, RM0440 6.1.5). */
    {CORTEXM_SET, &RCC_APB1ENR, POWER_ENABLE, POWER_ENABLE},
    {CORTEXM_SET, &PWR_CR5, NOT_BOOSTED, 0},
    {CORTEXM_SET, &RCC_CFGR, HPRE_MASK, HPRE_2},
#endif
#ifdef MCU_HAS_RADIO_CORE
    {CORTEXM_SET, &RCC_EXTCFGR, RADIO_HPRE_MASK, RADIO_HPRE_2},
#endif
    {CORTEXM_SET, &FLASH_ACR, FLASH_ACCELERATORS | LATENCY_MASK, FLASH_ACCELERATORS | STM32_FLASH_WAIT_STATES},
    {CORTEXM_AWAIT, &FLASH_ACR, LATENCY_MASK, STM32_FLASH_WAIT_STATES},
    {CORTEXM_SET, &RCC_CFGR, SWITCH_MASK, SWITCH_PLL},
    {CORTEXM_AWAIT, &RCC_CFGR, STATUS_MASK, STATUS_PLL},
};

static const cortexm_step back_to_hsi[] = {
    {CORTEXM_SET, &RCC_CFGR, SWITCH_MASK | HPRE_MASK, SWITCH_HSI},
    {CORTEXM_AWAIT, &RCC_CFGR, STATUS_MASK, STATUS_HSI},
    {CORTEXM_SET, &RCC_CR, PLL_ON, 0},
};

/* At half the clock, 100 iterations take well over 1 us. */
static void end_half_clock(void) {
    for (int i = 0; i < 100; i++) cortexm_barrier();
    RCC_CFGR &= ~HPRE_MASK;
}

mcu_clocks mcu_start_clocks(void) {
    if (CORTEXM_TAKE_STEPS(to_hsi)) {
        if (CORTEXM_TAKE_STEPS(to_pll)) {
            if (STM32_BOOST) end_half_clock();
            return (mcu_clocks){BOARD_CLOCK_HZ, UART_DIVIDER(MCU_UART_HZ), MCU_TIMER_HZ};
        }
        (void)CORTEXM_TAKE_STEPS(back_to_hsi);
    }
    return (mcu_clocks){MCU_INTERNAL_HZ, UART_DIVIDER(MCU_INTERNAL_UART_HZ), MCU_INTERNAL_HZ};
}
