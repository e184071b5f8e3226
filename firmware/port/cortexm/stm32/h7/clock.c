/* Clock tree of the STM32H743 (RM0433 chapters 6 and 8): HSE -> PLL1 -> core, or HSI if anything does not start. */
#include <assert.h>

#include "mcu.h"

/* Silicon revisions up to Y (DBGMCU_IDC, REV_ID) reach only 400 MHz; they stay on HSI. */
enum { FIRST_480_MHZ_REVISION = 0x2001 };

/* RM0433 8.5.5: an input of 2 to 4 MHz takes range 1 and the wide VCO, 192 to 960 MHz; DIVP1 must be even. */
static_assert(STM32_HSE_HZ / STM32_PLL_M * STM32_PLL_N / STM32_PLL_P == BOARD_CLOCK_HZ, "PLL settings and clock_hz");
static_assert(STM32_HSE_HZ / STM32_PLL_M >= 2000000 && STM32_HSE_HZ / STM32_PLL_M <= 4000000, "PLL input");
static_assert(BOARD_CLOCK_HZ * STM32_PLL_P >= 192000000U && BOARD_CLOCK_HZ * STM32_PLL_P <= 960000000U, "PLL's VCO");
static_assert(STM32_PLL_P % 2 == 0, "PLL divider");
static_assert(BOARD_CLOCK_HZ <= 480000000U && MCU_UART_HZ <= 120000000U, "core and bus clocks");

/* The peripheral buses run at half the clock of the others: at 32 MHz on HSI, since the lowest voltage level, that
 * after reset, allows 50 MHz (DS12110, general operating conditions); at 120 MHz on the PLL. */
static const cortexm_step halve_peripheral_buses[] = {
    {CORTEXM_SET, &RCC_D1CFGR, UINT32_MAX, PPRE_2 << D1PPRE},
    {CORTEXM_SET, &RCC_D2CFGR, UINT32_MAX, PPRE_2 << D2PPRE1 | PPRE_2 << D2PPRE2},
    {CORTEXM_SET, &RCC_D3CFGR, UINT32_MAX, PPRE_2 << D3PPRE},
};

static const cortexm_step to_pll[] = {
    /* The supply must be configured first, and only once (6.4.1); then level 1 and from there level 0 (6.6.2). */
    {CORTEXM_SET, &PWR_CR3, SUPPLY_MASK, SUPPLY_LDO},
    {CORTEXM_AWAIT, &PWR_CSR1, ACTIVE_VOLTAGE_READY, ACTIVE_VOLTAGE_READY},
    {CORTEXM_SET, &PWR_D3CR, VOLTAGE_MASK, VOLTAGE_SCALE_1},
    {CORTEXM_AWAIT, &PWR_D3CR, VOLTAGE_READY, VOLTAGE_READY},
    {CORTEXM_SET, &RCC_APB4ENR, SYSCFG_ENABLE, SYSCFG_ENABLE},
    {CORTEXM_SET, &SYSCFG_PWRCR, OVER_DRIVE_ON, OVER_DRIVE_ON},
    {CORTEXM_AWAIT, &PWR_D3CR, VOLTAGE_READY, VOLTAGE_READY},
    {CORTEXM_AWAIT, &PWR_CSR1, ACTIVE_VOLTAGE_READY, ACTIVE_VOLTAGE_READY},
    {CORTEXM_SET, &RCC_CR, HSE_BYPASS, STM32_HSE_BYPASS ? HSE_BYPASS : 0U},
    {CORTEXM_SET, &RCC_CR, HSE_ON, HSE_ON},
    {CORTEXM_AWAIT, &RCC_CR, HSE_READY, HSE_READY},
    {CORTEXM_SET, &RCC_PLLCKSELR, UINT32_MAX, PLLSRC_HSE | STM32_PLL_M << DIVM1},
    {CORTEXM_SET, &RCC_PLLCFGR, UINT32_MAX, 1U << PLL1RGE | DIVP1_ON},
    {CORTEXM_SET, &RCC_PLL1DIVR, UINT32_MAX, (STM32_PLL_N - 1U) << DIVN1 | (STM32_PLL_P - 1U) << DIVP1},
    {CORTEXM_SET, &RCC_CR, PLL_ON, PLL_ON},
    {CORTEXM_AWAIT, &RCC_CR, PLL_READY, PLL_READY},
    /* 4 wait states up to 240 MHz of AXI clock at level 0 (table 17); WRHIGHFREQ, for programming, keeps its safest
       value. */
    {CORTEXM_SET, &FLASH_ACR, LATENCY_MASK, STM32_FLASH_WAIT_STATES},
    {CORTEXM_AWAIT, &FLASH_ACR, LATENCY_MASK, STM32_FLASH_WAIT_STATES},
    {CORTEXM_SET, &RCC_D1CFGR, HPRE_MASK, HPRE_2},
    {CORTEXM_SET, &RCC_CFGR, SWITCH_MASK, SWITCH_PLL},
    {CORTEXM_AWAIT, &RCC_CFGR, STATUS_MASK, STATUS_PLL},
};

static const cortexm_step back_to_hsi[] = {
    {CORTEXM_SET, &RCC_CFGR, SWITCH_MASK, 0},
    {CORTEXM_AWAIT, &RCC_CFGR, STATUS_MASK, 0},
    /* The peripheral buses stay halved. */
    {CORTEXM_SET, &RCC_D1CFGR, HPRE_MASK, 0},
    {CORTEXM_SET, &RCC_CR, PLL_ON | HSE_ON, 0},
};

mcu_clocks mcu_start_clocks(void) {
    (void)CORTEXM_TAKE_STEPS(halve_peripheral_buses);
    if (DBGMCU_IDC >> 16 < FIRST_480_MHZ_REVISION) {
        AXI_TARG7_FN_MOD = 1; /* READ_ISS_OVERRIDE: otherwise reads of the AXI SRAM may fail (ES0392) */
    } else if (CORTEXM_TAKE_STEPS(to_pll)) {
        return (mcu_clocks){BOARD_CLOCK_HZ, UART_DIVIDER(MCU_UART_HZ), MCU_TIMER_HZ};
    } else {
        (void)CORTEXM_TAKE_STEPS(back_to_hsi);
    }
    return (mcu_clocks){MCU_INTERNAL_HZ, UART_DIVIDER(MCU_INTERNAL_UART_HZ), MCU_INTERNAL_HZ};
}
