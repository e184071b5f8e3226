/* STM32U5 (RM0456). Chapters: 7 flash, 8 instruction cache, 10 power, 11 reset and clocks; registers are cited by name.
 * Addresses are those without TrustZone (option TZEN = 0, the factory setting).
 *
 * A board defines: STM32_PLL_M, STM32_PLL_N, STM32_PLL_R (the PLL's input is HSI16), STM32_FLASH_WAIT_STATES. */
#ifndef MCU_H
#define MCU_H

#include "stm32.h"

/* Reset and clock control (chapter 11). */
#define RCC_CR REG32(0x46020C00U)
#define RCC_CFGR REG32(0x46020C1CU)    /* CFGR1 */
#define RCC_PLLCFGR REG32(0x46020C28U) /* PLL1CFGR */
#define RCC_PLL1DIVR REG32(0x46020C34U)
#define RCC_GPIOENR REG32(0x46020C8CU) /* AHB2ENR1 */
#define RCC_AHB3ENR REG32(0x46020C94U)
#define RCC_APB1ENR REG32(0x46020C9CU) /* APB1ENR1 */
#define RCC_APB2ENR REG32(0x46020CA4U)
#define RCC_RESET_FLAGS REG32(0x46020CF4U) /* CSR */
/* RCC_CR */
#define HSI_ON (1U << 8)
#define HSI_READY (1U << 10)
#define PLL_ON (1U << 24)
#define PLL_READY (1U << 25)
/* RCC_CFGR1 */
#define SWITCH_MASK 3U
#define SWITCH_HSI 1U
#define SWITCH_PLL 3U
#define STATUS_MASK (3U << 2)
#define STATUS_HSI (1U << 2)
#define STATUS_PLL (3U << 2)
/* RCC_PLL1CFGR: PLL1SRC, PLL1RGE for an input of 8 to 16 MHz, first bits of PLL1M and PLL1MBOOST, PLL1REN */
#define PLLSRC_HSI 2U
#define INPUT_8_TO_16_MHZ (3U << 2)
#define PLLM 8
#define PLLMBOOST 12
#define PLLR_ON (1U << 18)
/* RCC_PLL1DIVR: first bits of PLL1N and PLL1R */
#define PLLN 0
#define PLLR 24
/* RCC_AHB3ENR, RCC_CSR */
#define POWER_ENABLE (1U << 2)
#define RMVF (1U << 23)

/* FLASH_ACR: latency, prefetch */
#define FLASH_ACR REG32(0x40022000U)
#define LATENCY_MASK 15U
#define PREFETCH (1U << 8)

/* Instruction cache (chapter 8): invalidated after reset, and busy until that is done. */
#define ICACHE_CR REG32(0x40030400U)
#define ICACHE_SR REG32(0x40030404U)
#define ICACHE_ON (1U << 0)
#define ICACHE_BUSY (1U << 0)

/* Power control (chapter 10): PWR_VOSR with range and booster. */
#define PWR_VOSR REG32(0x4602080CU)
#define BOOST_READY (1U << 14)
#define RANGE_READY (1U << 15)
#define RANGE_MASK (3U << 16)
#define RANGE_1 (3U << 16)
#define BOOST_ON (1U << 18)

#define GPIO_BASE 0x42020000U
#define MCU_GPIO_ENABLE 0
#define USART1_BASE 0x40013800U
#define USART1_ENABLE (1U << 14)
#define USART1_IRQ 61
#define USART2_IRQ 62
#define USART3_IRQ 63
#define UART4_IRQ 64
#define UART5_IRQ 65
#define MCU_UARTS 5
#define MCU_UART_HAS_FIFO 1

#define MCU_INTERNAL_HZ 16000000U /* HSI16 */
#define MCU_INTERNAL_UART_HZ MCU_INTERNAL_HZ
/* All buses run at the core's clock. */
#define MCU_UART_HZ BOARD_CLOCK_HZ
#define MCU_TIMER_HZ BOARD_CLOCK_HZ
#define MCU_HAS_CACHES 0

#include "gpio_v2.h"
#include "tim2.h"
#include "uart.h"
#include "usart_v2.h"

#endif
