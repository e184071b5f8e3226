/* STM32G4 (RM0440): 3 flash (of G471 to G484; 4 and 5 of others), 6 power, 7 reset and clocks; registers by name. */
#ifndef MCU_H
#define MCU_H

#include "lg.h"

/* Reset and clock control (chapter 7). */
#define RCC_CR REG32(0x40021000U)
#define RCC_CFGR REG32(0x40021008U)
#define RCC_PLLCFGR REG32(0x4002100CU)
#define RCC_GPIOENR REG32(0x4002104CU) /* AHB2ENR */
#define RCC_APB1ENR REG32(0x40021058U) /* APB1ENR1 */
#define RCC_APB2ENR REG32(0x40021060U)
#define RCC_RESET_FLAGS REG32(0x40021094U) /* CSR */
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

/* FLASH_ACR: prefetch, instruction and data cache */
#define FLASH_ACR REG32(0x40022000U)
#define LATENCY_MASK 15U
#define FLASH_ACCELERATORS (1U << 8 | 1U << 9 | 1U << 10)

#define PWR_CR5 REG32(0x40007080U)
#define NOT_BOOSTED (1U << 8) /* PWR_CR5: R1MODE */

#define GPIO_BASE 0x48000000U
#define MCU_UARTS 5
#define MCU_UART_HAS_FIFO 1

#define MCU_HAS_MSI 0
#define MCU_VCO_MIN_HZ 96000000U
/* Range 1, and its boost mode (6.1.5); wait states (3.3.3): 30 and 34 MHz each. */
#define MCU_MAX_HZ (STM32_BOOST ? 170000000U : 150000000U)
#define MCU_WAIT_STATE_HZ (STM32_BOOST ? 34000000U : 30000000U)

#include "gpio_v2.h"
#include "tim2.h"
#include "uart.h"
#include "usart_v2.h"

#endif
