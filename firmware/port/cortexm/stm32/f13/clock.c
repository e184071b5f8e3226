/* Clock tree of the STM32F1 (RM0008 7.2, RM0041 6.2) and STM32F3 (RM0316 9.2): HSE, or half of HSI -> PLL -> core; HSI
 * when either does not start. */
#include <assert.h>

#include "mcu.h"

/* PPREx field of RCC_CFGR for a divider of 1, 2, 4, 8 or 16 (7.3.2). */
#define PRESCALER(divider) ((divider) == 1 ? 0U : (divider) == 2 ? 4U : (divider) == 4 ? 5U : (divider) == 8 ? 6U : 7U)
#define PRESCALERS (PRESCALER(STM32_APB1_DIVIDER) << PPRE1 | PRESCALER(STM32_APB2_DIVIDER) << PPRE2)
#define PLL_INPUT_HZ (STM32_HSE_HZ ? STM32_HSE_HZ : MCU_INTERNAL_HZ / 2U)
#define PLL_SETTINGS ((STM32_HSE_HZ ? PLLSRC_HSE : 0U) | (STM32_PLL_MUL - 2U) << PLLMUL)

/* RM0008 7.2.3, 7.3.2; data sheets: an input of 1 to 24 MHz, an output of at least 16 MHz. */
static_assert(PLL_INPUT_HZ * STM32_PLL_MUL == BOARD_CLOCK_HZ, "PLL settings and clock_hz");
static_assert(PLL_INPUT_HZ >= 1000000U && PLL_INPUT_HZ <= 24000000U, "PLL input");
static_assert(STM32_PLL_MUL >= 2 && STM32_PLL_MUL <= 16 && BOARD_CLOCK_HZ >= 16000000U, "PLL's factor");
static_assert(BOARD_CLOCK_HZ <= MCU_MAX_HZ, "core clock");
static_assert(APB1_HZ <= MCU_MAX_HZ / 2U && APB2_HZ <= MCU_MAX_HZ, "bus clocks");
/* One wait state per 24 MHz beyond the first 24 (RM0008 3.3.3, RM0316 4.5.1). */
static_assert(STM32_FLASH_WAIT_STATES == (BOARD_CLOCK_HZ - 1U) / 24000000U, "wait states");

static const cortexm_step to_pll[] = {
#if STM32_FLASH_WAIT_STATES
    /* Before the clock that needs them; they do not harm the old one. */
    {CORTEXM_SET, &FLASH_ACR, LATENCY_MASK, STM32_FLASH_WAIT_STATES},
    {CORTEXM_AWAIT, &FLASH_ACR, LATENCY_MASK, STM32_FLASH_WAIT_STATES},
#endif
#if STM32_HSE_HZ
    {CORTEXM_SET, &RCC_CR, HSE_BYPASS, STM32_HSE_BYPASS ? HSE_BYPASS : 0U},
    {CORTEXM_SET, &RCC_CR, HSE_ON, HSE_ON},
    {CORTEXM_AWAIT, &RCC_CR, HSE_READY, HSE_READY},
#endif
    {CORTEXM_SET, &RCC_CFGR, UINT32_MAX, PLL_SETTINGS | PRESCALERS},
    {CORTEXM_SET, &RCC_CR, PLL_ON, PLL_ON},
    {CORTEXM_AWAIT, &RCC_CR, PLL_READY, PLL_READY},
    {CORTEXM_SET, &RCC_CFGR, SWITCH_MASK, SWITCH_PLL},
    {CORTEXM_AWAIT, &RCC_CFGR, STATUS_MASK, STATUS_PLL},
};

static const cortexm_step back_to_hsi[] = {
    {CORTEXM_SET, &RCC_CFGR, UINT32_MAX, 0},
    {CORTEXM_AWAIT, &RCC_CFGR, STATUS_MASK, 0},
    {CORTEXM_SET, &RCC_CR, PLL_ON | HSE_ON, 0},
};

mcu_clocks mcu_start_clocks(void) {
    if (CORTEXM_TAKE_STEPS(to_pll)) return (mcu_clocks){BOARD_CLOCK_HZ, UART_DIVIDER(MCU_UART_HZ), MCU_TIMER_HZ};
    (void)CORTEXM_TAKE_STEPS(back_to_hsi);
    return (mcu_clocks){MCU_INTERNAL_HZ, UART_DIVIDER(MCU_INTERNAL_UART_HZ), MCU_INTERNAL_HZ};
}
