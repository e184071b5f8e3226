/* What the STM32L4, G0, G4 and WB share: HSI16 -> PLL -> core. Besides what stm32.h lists, each mcu.h defines where the
 * registers and their fields are:
 *
 *   RCC_CR, RCC_CFGR, RCC_PLLCFGR, FLASH_ACR
 *   SWITCH_MASK, SWITCH_HSI, SWITCH_PLL     of RCC_CFGR, and STATUS_MASK, STATUS_HSI, STATUS_PLL
 *   HPRE_MASK, HPRE_2                       divider of the core's clock; its value for 2
 *   PLLR, PLLR_ON, PLLR_CODE(divider)       of RCC_PLLCFGR: first bit, enable and code of the output divider
 *   LATENCY_MASK, FLASH_ACCELERATORS        bits of FLASH_ACR
 *   MCU_MAX_HZ, MCU_WAIT_STATE_HZ           highest core clock; what each wait state adds
 *   MCU_VCO_MIN_HZ                          of the PLL, up to 344 MHz
 *   MCU_HAS_MSI                             1 where the core wakes up on MSI, not on HSI16
 *
 * A board defines: STM32_PLL_M, STM32_PLL_N, STM32_PLL_R (the PLL's input is HSI16), STM32_FLASH_WAIT_STATES; on
 * STM32L4+ and STM32G4 STM32_BOOST (1: above 80 and 150 MHz); on STM32L4 STM32_VDDIO2 (1: the UART's pins are among PG2
 * to PG15). */
#ifndef LG_H
#define LG_H

#include "stm32.h"

#ifndef STM32_BOOST
#define STM32_BOOST 0
#endif
#ifndef STM32_VDDIO2
#define STM32_VDDIO2 0
#endif

/* RCC_CR */
#define HSI_ON (1U << 8)
#define HSI_READY (1U << 10)
#define PLL_ON (1U << 24)
#define PLL_READY (1U << 25)
/* RCC_PLLCFGR: PLLSRC, first bits of PLLM and PLLN */
#define PLLSRC_HSI 2U
#define PLLM 4
#define PLLN 8
/* RCC_CSR */
#define RMVF (1U << 23)

#define USART1_BASE 0x40013800U
#define USART1_ENABLE (1U << 14)
#define MCU_GPIO_ENABLE 0

#define MCU_INTERNAL_HZ 16000000U /* HSI16, or MSI, which runs after reset */
#define MCU_INTERNAL_UART_HZ MCU_INTERNAL_HZ
/* All buses run at the core's clock. */
#define MCU_UART_HZ BOARD_CLOCK_HZ
#define MCU_TIMER_HZ BOARD_CLOCK_HZ
#define MCU_HAS_CACHES 0

#endif
