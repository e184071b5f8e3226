/* STM32L4 (RM0351) and STM32L4+ (RM0432). Chapters of both: 3 flash, 5 power, 6 reset and clocks; registers are cited
 * by name. */
#ifndef MCU_H
#define MCU_H

#include "lg.h"

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
/* RCC_CFGR */
#define SWITCH_MASK 3U
#define SWITCH_HSI 1U
#define SWITCH_PLL 3U
#define STATUS_MASK (3U << 2)
#define STATUS_HSI (1U << 2)
#define STATUS_PLL (3U << 2)
#define HPRE_MASK (15U << 4)
#define HPRE_2 (8U << 4) /* divider 2 */
/* RCC_PLLCFGR: divides by 2, 4, 6 or 8 */
#define PLLR_ON (1U << 24)
#define PLLR 25
#define PLLR_CODE(divider) ((divider) / 2U - 1U)
/* RCC_APB1ENR1 */
#define POWER_ENABLE (1U << 28)

/* FLASH_ACR: prefetch, instruction and data cache of the ART accelerator */
#define FLASH_ACR REG32(0x40022000U)
#define LATENCY_MASK 7U
#define FLASH_ACCELERATORS (1U << 8 | 1U << 9 | 1U << 10)

/* Power control (chapter 5). */
#define PWR_CR2 REG32(0x40007004U)
#define PWR_CR5 REG32(0x40007080U) /* STM32L4+ */
#define VDDIO2_VALID (1U << 9)     /* PWR_CR2: IOSV */
#define NOT_BOOSTED (1U << 8)      /* PWR_CR5: R1MODE */

#define GPIO_BASE 0x48000000U
#define MCU_UARTS 5
#define MCU_HAS_LPUART
#define MCU_UART_HAS_FIFO STM32_BOOST /* USARTs and LPUART of the STM32L4+ */

#define MCU_HAS_MSI 1
#define MCU_VCO_MIN_HZ 64000000U
/* Range 1, and its boost mode (RM0432 5.1.8); wait states in range 1 (RM0351 3.3.3, RM0432 3.3.3). */
#define MCU_MAX_HZ (STM32_BOOST ? 120000000U : 80000000U)
#define MCU_WAIT_STATE_HZ (STM32_BOOST ? 20000000U : 16000000U)

#include "gpio_v2.h"
#include "tim2.h"
#include "uart.h"
#include "usart_v2.h"

#endif
