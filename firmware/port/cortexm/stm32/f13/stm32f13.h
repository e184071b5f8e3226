/* Registers that the STM32F1 and the STM32F3 have at the same addresses. Sections are those of RM0008 (STM32F101, F102
 * and F103); RM0041 (STM32F100) and RM0316 (STM32F303) have the same in their chapters on flash and on reset and
 * clocks.
 *
 * A board defines: STM32_HSE_HZ (0: the PLL runs on half of HSI), STM32_HSE_BYPASS (1: external clock, 0: crystal),
 * STM32_PLL_MUL, STM32_FLASH_WAIT_STATES, STM32_APB1_DIVIDER, STM32_APB2_DIVIDER. */
#ifndef STM32F13_H
#define STM32F13_H

#include "stm32.h"

/* Reset and clock control (7.3). */
#define RCC_CR REG32(0x40021000U)
#define RCC_CFGR REG32(0x40021004U)
#define RCC_APB2ENR REG32(0x40021018U)
#define RCC_APB1ENR REG32(0x4002101CU)
#define RCC_RESET_FLAGS REG32(0x40021024U) /* CSR */
/* RCC_CR (7.3.1) */
#define HSE_ON (1U << 16)
#define HSE_READY (1U << 17)
#define HSE_BYPASS (1U << 18)
#define PLL_ON (1U << 24)
#define PLL_READY (1U << 25)
/* RCC_CFGR (7.3.2): first bits of the fields */
#define SWITCH_MASK 3U
#define SWITCH_PLL 2U
#define STATUS_MASK (3U << 2)
#define STATUS_PLL (2U << 2)
#define PPRE1 8
#define PPRE2 11
#define PLLSRC_HSE (1U << 16)
#define PLLMUL 18
/* RCC_CSR (7.3.10) */
#define RMVF (1U << 24)

#define FLASH_ACR REG32(0x40022000U) /* 3.3.3 */

#define USART1_BASE 0x40013800U
#define USART1_ENABLE (1U << 14)

#define MCU_INTERNAL_HZ 8000000U /* HSI */
#define MCU_INTERNAL_UART_HZ MCU_INTERNAL_HZ
#define APB1_HZ (BOARD_CLOCK_HZ / STM32_APB1_DIVIDER)
#define APB2_HZ (BOARD_CLOCK_HZ / STM32_APB2_DIVIDER)
#define MCU_HAS_CACHES 0

#endif
