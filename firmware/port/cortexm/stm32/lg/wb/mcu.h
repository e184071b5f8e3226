/* STM32WB55 and WB35 (RM0434), the application core. Chapters: 3 flash, 8 reset and clocks; registers are cited by
 * name. */
#ifndef MCU_H
#define MCU_H

#include "lg.h"

/* Reset and clock control (chapter 8). */
#define RCC_CR REG32(0x58000000U)
#define RCC_CFGR REG32(0x58000008U)
#define RCC_PLLCFGR REG32(0x5800000CU)
#define RCC_GPIOENR REG32(0x5800004CU) /* AHB2ENR */
#define RCC_APB1ENR REG32(0x58000058U) /* APB1ENR1 */
#define RCC_APB2ENR REG32(0x58000060U)
#define RCC_RESET_FLAGS REG32(0x58000094U) /* CSR */
#define RCC_EXTCFGR REG32(0x58000108U)
/* RCC_CR */
#define MSI_READY (1U << 1)
#define MSI_RANGE_MASK (15U << 4)
#define MSI_16_MHZ (8U << 4)
/* RCC_CFGR */
#define SWITCH_MASK 3U
#define SWITCH_HSI 1U
#define SWITCH_PLL 3U
#define STATUS_MASK (3U << 2)
#define STATUS_HSI (1U << 2)
#define STATUS_PLL (3U << 2)
#define HPRE_MASK (15U << 4)
/* RCC_PLLCFGR: divides by 2 to 8 */
#define PLLR_ON (1U << 28)
#define PLLR 29
#define PLLR_CODE(divider) ((divider)-1U)
/* RCC_EXTCFGR: the radio's core runs at 32 MHz at most, hence at half the clock. */
#define RADIO_HPRE_MASK (15U << 4)
#define RADIO_HPRE_2 (8U << 4)
#define MCU_HAS_RADIO_CORE

/* FLASH_ACR: prefetch, instruction and data cache of the ART accelerator */
#define FLASH_ACR REG32(0x58004000U)
#define LATENCY_MASK 7U
#define FLASH_ACCELERATORS (1U << 8 | 1U << 9 | 1U << 10)

#define GPIO_BASE 0x48000000U
#define USART1_IRQ 36
#define MCU_UARTS 1
#define MCU_UART_HAS_FIFO 1

#define MCU_HAS_MSI 1
#define MCU_VCO_MIN_HZ 96000000U
/* Range 1 (6.1.5); wait states (chapter 3, read access latency). */
#define MCU_MAX_HZ 64000000U
#define MCU_WAIT_STATE_HZ 18000000U

#include "gpio_v2.h"
#include "tim2.h"
#include "uart.h"
#include "usart_v2.h"

#endif
