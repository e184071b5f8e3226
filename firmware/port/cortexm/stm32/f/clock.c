/* Clock tree of the STM32F2 (RM0033 5.2), STM32F4 (RM0090 7.2) and STM32F7 (RM0410 5.2): HSE -> PLL -> core, or HSI
 * when either does not start. */
#include <assert.h>

#include "mcu.h"

/* PPREx field of RCC_CFGR for a divider of 1, 2, 4, 8 or 16 (7.3.3). */
#define PRESCALER(divider) ((divider) == 1 ? 0U : (divider) == 2 ? 4U : (divider) == 4 ? 5U : (divider) == 8 ? 6U : 7U)
#define PRESCALERS (PRESCALER(STM32_APB1_DIVIDER) << PPRE1 | PRESCALER(STM32_APB2_DIVIDER) << PPRE2)

/* PLLQ feeds USB and is unused, but must be 2 to 15; PLLR, which not every MCU has, keeps its reset value. */
#define PLL_SETTINGS                                                                                                   \
    (STM32_PLL_M << PLLM | STM32_PLL_N << PLLN | (STM32_PLL_P / 2U - 1U) << PLLP | PLLSRC_HSE | 7U << PLLQ | 2U << PLLR)

/* RM0090 7.3.2 */
static_assert(STM32_HSE_HZ / STM32_PLL_M * STM32_PLL_N / STM32_PLL_P == BOARD_CLOCK_HZ, "PLL settings and clock_hz");
static_assert(STM32_HSE_HZ / STM32_PLL_M >= 950000 && STM32_HSE_HZ / STM32_PLL_M <= 2100000, "PLL input");
static_assert(BOARD_CLOCK_HZ * STM32_PLL_P >= MCU_VCO_MIN_HZ && BOARD_CLOCK_HZ * STM32_PLL_P <= 432000000U,
              "PLL's VCO");
static_assert(BOARD_CLOCK_HZ <= MCU_MAX_HZ, "core clock");
static_assert(APB1_HZ <= MCU_APB1_MAX_HZ && APB2_HZ <= 2U * MCU_APB1_MAX_HZ, "bus clocks");

/* One wait state per 30 MHz beyond the first 30, at 2.7 to 3.6 V (RM0033 3.4.1, RM0090 table 10, RM0390 table 5,
 * RM0410 table 7). */
static_assert(STM32_FLASH_WAIT_STATES == (BOARD_CLOCK_HZ - 1U) / 30000000U, "wait states");

static const cortexm_step to_pll[] = {
    /* Wait states first: they must suit the new clock before it runs, and do not harm the old one (3.5.1). */
    {CORTEXM_SET, &FLASH_ACR, UINT32_MAX, MCU_FLASH_ACCELERATORS | STM32_FLASH_WAIT_STATES},
    {CORTEXM_AWAIT, &FLASH_ACR, LATENCY_MASK, STM32_FLASH_WAIT_STATES},
#if MCU_HAS_VOLTAGE_SCALES
    /* The highest level of the regulator, selected while the PLL is off (RM0090 5.4.1, RM0410 4.4.1). */
    {CORTEXM_SET, &RCC_APB1ENR, POWER_ENABLE, POWER_ENABLE},
    {CORTEXM_SET, &PWR_CR, VOLTAGE_SCALE_1, VOLTAGE_SCALE_1},
#endif
    {CORTEXM_SET, &RCC_CR, HSE_BYPASS, STM32_HSE_BYPASS ? HSE_BYPASS : 0U},
    {CORTEXM_SET, &RCC_CR, HSE_ON, HSE_ON},
    {CORTEXM_AWAIT, &RCC_CR, HSE_READY, HSE_READY},
    {CORTEXM_SET, &RCC_PLLCFGR, UINT32_MAX, PLL_SETTINGS},
    {CORTEXM_SET, &RCC_CR, PLL_ON, PLL_ON},
#if STM32_OVER_DRIVE
    /* While the core runs on HSI and the PLL is on (RM0410 4.1.4, entering over-drive mode). */
    {CORTEXM_SET, &PWR_CR, OVER_DRIVE_ON, OVER_DRIVE_ON},
    {CORTEXM_AWAIT, &PWR_CSR, OVER_DRIVE_READY, OVER_DRIVE_READY},
    {CORTEXM_SET, &PWR_CR, OVER_DRIVE_SWITCHED, OVER_DRIVE_SWITCHED},
    {CORTEXM_AWAIT, &PWR_CSR, OVER_DRIVE_SWITCH_READY, OVER_DRIVE_SWITCH_READY},
#endif
    {CORTEXM_AWAIT, &RCC_CR, PLL_READY, PLL_READY},
    {CORTEXM_SET, &RCC_CFGR, UINT32_MAX, PRESCALERS},
    {CORTEXM_SET, &RCC_CFGR, SWITCH_MASK, SWITCH_PLL},
    {CORTEXM_AWAIT, &RCC_CFGR, STATUS_MASK, STATUS_PLL},
};

static const cortexm_step back_to_hsi[] = {
    {CORTEXM_SET, &RCC_CFGR, UINT32_MAX, 0},
    {CORTEXM_AWAIT, &RCC_CFGR, STATUS_MASK, 0},
#if STM32_OVER_DRIVE
    {CORTEXM_SET, &PWR_CR, OVER_DRIVE_ON | OVER_DRIVE_SWITCHED, 0},
#endif
    {CORTEXM_SET, &RCC_CR, PLL_ON | HSE_ON, 0},
};

mcu_clocks mcu_start_clocks(void) {
    if (CORTEXM_TAKE_STEPS(to_pll)) return (mcu_clocks){BOARD_CLOCK_HZ, UART_DIVIDER(MCU_UART_HZ), MCU_TIMER_HZ};
    (void)CORTEXM_TAKE_STEPS(back_to_hsi);
    return (mcu_clocks){MCU_INTERNAL_HZ, UART_DIVIDER(MCU_INTERNAL_UART_HZ), MCU_INTERNAL_HZ};
}
