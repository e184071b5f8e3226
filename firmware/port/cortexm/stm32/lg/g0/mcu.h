/* STM32G0 with TIM2 and a PLL: G071, G081, G0B1, G0C1 (RM0444). Chapters: 3 flash, 5 reset and clocks; registers are
 * cited by name. A Cortex-M0+ has no cycle counter; TIM2 runs on the same clock. */
#ifndef MCU_H
#define MCU_H

#include "lg.h"

/* Reset and clock control (chapter 5). */
#define RCC_CR REG32(0x40021000U)
#define RCC_CFGR REG32(0x40021008U)
#define RCC_PLLCFGR REG32(0x4002100CU)
#define RCC_GPIOENR REG32(0x40021034U)     /* IOPENR */
#define RCC_APB1ENR REG32(0x4002103CU)     /* APBENR1 */
#define RCC_APB2ENR REG32(0x40021040U)     /* APBENR2 */
#define RCC_RESET_FLAGS REG32(0x40021060U) /* CSR */
/* RCC_CFGR; HSISYS is HSI16 undivided */
#define SWITCH_MASK 7U
#define SWITCH_HSI 0U
#define SWITCH_PLL 2U
#define STATUS_MASK (7U << 3)
#define STATUS_HSI 0U
#define STATUS_PLL (2U << 3)
#define HPRE_MASK (15U << 8)
/* RCC_PLLCFGR: divides by 2 to 8 */
#define PLLR_ON (1U << 28)
#define PLLR 29
#define PLLR_CODE(divider) ((divider)-1U)

/* FLASH_ACR: prefetch and instruction cache */
#define FLASH_ACR REG32(0x40022000U)
#define LATENCY_MASK 7U
#define FLASH_ACCELERATORS (1U << 8 | 1U << 9)

#define GPIO_BASE 0x50000000U
#define USART1_IRQ 27
#define USART2_IRQ 28
#define MCU_UARTS 2
#define MCU_UART_HAS_FIFO 1

#define MCU_HAS_MSI 0
#define MCU_VCO_MIN_HZ 64000000U
/* Range 1 (4.1.4); wait states (chapter 3, read access latency). */
#define MCU_MAX_HZ 64000000U
#define MCU_WAIT_STATE_HZ 24000000U

#include "gpio_v2.h"
#include "tim2.h"
#include "uart.h"
#include "usart_v2.h"

#endif
