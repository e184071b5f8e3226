/* Registers that the STM32F2, STM32F4 and STM32F7 have at the same addresses. Sections are those of RM0090, in its
 * chapters for the STM32F405/407; for power control and over-drive those of RM0390 (STM32F446), RM0410 and RM0385
 * (STM32F7). RM0033 (STM32F2) has the same registers in its chapters 5 (reset and clocks) and 24 (USART).
 *
 * A board defines: STM32_HSE_HZ, STM32_HSE_BYPASS (1: external clock, 0: crystal), STM32_PLL_M, STM32_PLL_N,
 * STM32_PLL_P, STM32_FLASH_WAIT_STATES, STM32_APB1_DIVIDER, STM32_APB2_DIVIDER; STM32_OVER_DRIVE (1: the core needs it
 * at this clock; optional, 0 by default). */
#ifndef STM32F_H
#define STM32F_H

#include "stm32.h"

#ifndef STM32_OVER_DRIVE
#define STM32_OVER_DRIVE 0
#endif

/* Reset and clock control (7.3). */
#define RCC_CR REG32(0x40023800U)
#define RCC_PLLCFGR REG32(0x40023804U)
#define RCC_CFGR REG32(0x40023808U)
#define RCC_GPIOENR REG32(0x40023830U) /* AHB1ENR */
#define RCC_APB1ENR REG32(0x40023840U)
#define RCC_APB2ENR REG32(0x40023844U)
#define RCC_RESET_FLAGS REG32(0x40023874U) /* CSR */
/* RCC_CR (7.3.1) */
#define HSE_ON (1U << 16)
#define HSE_READY (1U << 17)
#define HSE_BYPASS (1U << 18)
#define PLL_ON (1U << 24)
#define PLL_READY (1U << 25)
/* RCC_PLLCFGR (7.3.2): first bits of the fields */
#define PLLM 0
#define PLLN 6
#define PLLP 16
#define PLLSRC_HSE (1U << 22)
#define PLLQ 24
#define PLLR 28
/* RCC_CFGR (7.3.3) */
#define SWITCH_MASK 3U
#define SWITCH_PLL 2U
#define STATUS_MASK (3U << 2)
#define STATUS_PLL (2U << 2)
#define PPRE1 10
#define PPRE2 13
/* RCC_APB1ENR (7.3.13), RCC_CSR (7.3.21) */
#define POWER_ENABLE (1U << 28)
#define RMVF (1U << 24)

#define FLASH_ACR REG32(0x40023C00U) /* 3.9.1 */

/* Power control (RM0390, RM0410 and RM0385: registers PWR_CR and PWR_CSR, or PWR_CR1 and PWR_CSR1). */
#define PWR_CR REG32(0x40007000U)
#define PWR_CSR REG32(0x40007004U)
#define VOLTAGE_SCALE_1 (1U << 14) /* PWR_CR: VOS, its lower or only bit; the upper one, if any, is set after reset */
#define OVER_DRIVE_ON (1U << 16)   /* PWR_CR: ODEN */
#define OVER_DRIVE_SWITCHED (1U << 17)     /* PWR_CR: ODSWEN */
#define OVER_DRIVE_READY (1U << 16)        /* PWR_CSR: ODRDY */
#define OVER_DRIVE_SWITCH_READY (1U << 17) /* PWR_CSR: ODSWRDY */

#define GPIO_BASE 0x40020000U
#define MCU_GPIO_ENABLE 0
#define MCU_UARTS 6
#define USART1_BASE 0x40011000U
#define USART1_ENABLE (1U << 4)

#define MCU_INTERNAL_HZ 16000000U /* HSI */
#define MCU_INTERNAL_UART_HZ MCU_INTERNAL_HZ
#define APB1_HZ (BOARD_CLOCK_HZ / STM32_APB1_DIVIDER)
#define APB2_HZ (BOARD_CLOCK_HZ / STM32_APB2_DIVIDER)
#define MCU_UART_HZ (UART_ON_APB2 ? APB2_HZ : APB1_HZ)
#define MCU_TIMER_HZ (STM32_APB1_DIVIDER == 1 ? APB1_HZ : 2U * APB1_HZ)

#include "gpio_v2.h"
#include "tim2.h"
#include "uart.h"

#endif
