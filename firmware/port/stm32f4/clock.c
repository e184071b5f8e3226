/* Clock tree of the STM32F4 (RM0090 7.2): HSE -> PLL -> core, or HSI when either does not start. */
#include <assert.h>
#include <stdbool.h>

#include "mcu.h"

enum {
    HSI_HZ = 16000000,
    /* The HSE of a board starts within a few milliseconds; so many polls take at least 50 ms on the HSI. */
    MOST_POLLS = 200000
};

/* RCC_CR (7.3.1) */
#define HSE_ON (1U << 16)
#define HSE_READY (1U << 17)
#define HSE_BYPASS (1U << 18)
#define PLL_ON (1U << 24)
#define PLL_READY (1U << 25)
/* RCC_CFGR (7.3.3) */
#define SWITCH_MASK 3U
#define SWITCH_PLL 2U
#define STATUS_MASK (3U << 2)
#define STATUS_PLL (2U << 2)
/* FLASH_ACR (3.9.1): prefetch, instruction and data cache of the ART accelerator */
#define ART_ON (1U << 8 | 1U << 9 | 1U << 10)
#define WAIT_STATES_MASK 7U

/* PPREx field of RCC_CFGR for a divider of 1, 2, 4, 8 or 16 (7.3.3). */
#define PRESCALER(divider) ((divider) == 1 ? 0U : (divider) == 2 ? 4U : (divider) == 4 ? 5U : (divider) == 8 ? 6U : 7U)

static_assert(STM32_HSE_HZ / STM32_PLL_M * STM32_PLL_N / STM32_PLL_P == BOARD_CLOCK_HZ, "PLL settings and clock_hz");
static_assert(STM32_HSE_HZ / STM32_PLL_M >= 950000 && STM32_HSE_HZ / STM32_PLL_M <= 2100000, "PLL input (7.3.2)");

static bool becomes(volatile const uint32_t *reg, uint32_t mask, uint32_t value) {
    for (int i = 0; i < MOST_POLLS; i++) {
        if ((*reg & mask) == value) return true;
    }
    return false;
}

static bool start_pll(void) {
    RCC_CR |= HSE_ON | (STM32_HSE_BYPASS ? HSE_BYPASS : 0U);
    if (!becomes(&RCC_CR, HSE_READY, HSE_READY)) return false;
    /* PLLQ feeds USB and is unused, but must be 2 to 15. */
    RCC_PLLCFGR = STM32_PLL_M | STM32_PLL_N << 6 | (STM32_PLL_P / 2U - 1U) << 16 | 1U << 22 | 7U << 24;
    RCC_CR |= PLL_ON;
    return becomes(&RCC_CR, PLL_READY, PLL_READY);
}

static bool switch_to_pll(void) {
    RCC_CFGR = PRESCALER(STM32_APB1_DIVIDER) << 10 | PRESCALER(STM32_APB2_DIVIDER) << 13 | SWITCH_PLL;
    if (becomes(&RCC_CFGR, STATUS_MASK, STATUS_PLL)) return true;
    RCC_CFGR = 0;
    return false;
}

mcu_clocks mcu_start_clocks(void) {
    /* Wait states first: they must suit the new clock before it runs, and do no harm to the old one (3.5.1). */
    FLASH_ACR = ART_ON | STM32_FLASH_WAIT_STATES;
    if (start_pll() && becomes(&FLASH_ACR, WAIT_STATES_MASK, STM32_FLASH_WAIT_STATES) && switch_to_pll()) {
        const uint32_t apb1_hz = BOARD_CLOCK_HZ / STM32_APB1_DIVIDER;
        const uint32_t apb2_hz = BOARD_CLOCK_HZ / STM32_APB2_DIVIDER;
        return (mcu_clocks){
            .core_hz = BOARD_CLOCK_HZ,
            .uart_hz = STM32_UART == 1 || STM32_UART == 6 ? apb2_hz : apb1_hz,
            .timer_hz = STM32_APB1_DIVIDER == 1 ? apb1_hz : 2U * apb1_hz,
        };
    }
    return (mcu_clocks){.core_hz = HSI_HZ, .uart_hz = HSI_HZ, .timer_hz = HSI_HZ};
}
