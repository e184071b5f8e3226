/* STM32L4 (RM0351) and STM32L4+ (RM0432). Chapters of both: 3 flash, 5 power, 6 reset and clocks; registers are cited
 * by name.
 *
 * A board defines: STM32_PLL_M, STM32_PLL_N, STM32_PLL_R (the PLL's input is HSI16), STM32_FLASH_WAIT_STATES; on an
 * STM32L4+ STM32_BOOST (1: above 80 MHz); STM32_VDDIO2 (1: the UART's pins are in PG2 to PG15). */
#ifndef MCU_H
#define MCU_H

#include "stm32.h"

#ifndef STM32_BOOST
#define STM32_BOOST 0
#endif
#ifndef STM32_VDDIO2
#define STM32_VDDIO2 0
#endif

/* Reset and clock control (chapter 6). */
#define RCC_CR REG32(0x40021000U)
#define RCC_CFGR REG32(0x40021008U)
#define RCC_PLLCFGR REG32(0x4002100CU)
#define RCC_GPIOENR REG32(0x4002104CU) /* AHB2ENR */
#define RCC_APB1ENR REG32(0x40021058U) /* APB1ENR1 */
#define RCC_APB1ENR2 REG32(0x4002105CU)
#define RCC_APB2ENR REG32(0x40021060U)
#define RCC_RESET_FLAGS REG32(0x40021094U) /* CSR */
/* RCC_CR */
#define MSI_READY (1U << 1)
#define MSI_RANGE_MASK (15U << 4 | 1U << 3) /* MSIRANGE, and MSIRGSEL: the range is the one in RCC_CR */
#define MSI_16_MHZ (8U << 4 | 1U << 3)
#define HSI_ON (1U << 8)
#define HSI_READY (1U << 10)
#define PLL_ON (1U << 24)
#define PLL_READY (1U << 25)
/* RCC_CFGR */
#define SWITCH_MASK 3U
#define SWITCH_HSI 1U
#define SWITCH_PLL 3U
#define STATUS_MASK (3U << 2)
#define STATUS_HSI (1U << 2)
#define STATUS_PLL (3U << 2)
#define HPRE_MASK (15U << 4)
#define HPRE_2 (8U << 4) /* divider 2 */
/* RCC_PLLCFGR: PLLSRC, first bits of PLLM, PLLN and PLLR, PLLREN */
#define PLLSRC_HSI 2U
#define PLLM 4
#define PLLN 8
#define PLLR_ON (1U << 24)
#define PLLR 25
/* RCC_APB1ENR1, RCC_CSR */
#define POWER_ENABLE (1U << 28)
#define RMVF (1U << 23)

/* FLASH_ACR: latency, prefetch, instruction and data cache of the ART accelerator */
#define FLASH_ACR REG32(0x40022000U)
#define LATENCY_MASK 7U
#define PREFETCH_AND_CACHES (1U << 8 | 1U << 9 | 1U << 10)

/* Power control (chapter 5). */
#define PWR_CR2 REG32(0x40007004U)
#define PWR_CR5 REG32(0x40007080U) /* STM32L4+ */
#define VDDIO2_VALID (1U << 9)     /* PWR_CR2: IOSV */
#define NOT_BOOSTED (1U << 8)      /* PWR_CR5: R1MODE */

#define GPIO_BASE 0x48000000U
#define MCU_GPIO_ENABLE 0
#define MCU_UARTS 5
#define USART1_BASE 0x40013800U
#define USART1_ENABLE (1U << 14)
#define MCU_HAS_LPUART

#define MCU_INTERNAL_HZ 16000000U /* HSI16, or MSI, which runs from reset on */
#define MCU_INTERNAL_UART_HZ MCU_INTERNAL_HZ
/* All buses run at the core's clock. */
#define MCU_UART_HZ BOARD_CLOCK_HZ
#define MCU_TIMER_HZ BOARD_CLOCK_HZ
#define MCU_HAS_CACHES 0
#define MCU_UART_HAS_FIFO STM32_BOOST /* USARTs and LPUART of the STM32L4+ */

#include "gpio_v2.h"
#include "tim2.h"
#include "uart.h"
#include "usart_v2.h"

#endif
