/* STM32H742/743/753, one core and no step-down converter. Chapters of RM0433: 4 flash, 6 power, 8 reset and clocks, 12
 * system configuration; registers are cited by name.
 *
 * A board defines: STM32_HSE_HZ, STM32_HSE_BYPASS (1: external clock, 0: crystal), STM32_PLL_M, STM32_PLL_N,
 * STM32_PLL_P, STM32_FLASH_WAIT_STATES. */
#ifndef MCU_H
#define MCU_H

#include "stm32.h"

/* Reset and clock control (chapter 8). */
#define RCC_CR REG32(0x58024400U)
#define RCC_CFGR REG32(0x58024410U)
#define RCC_D1CFGR REG32(0x58024418U)
#define RCC_D2CFGR REG32(0x5802441CU)
#define RCC_D3CFGR REG32(0x58024420U)
#define RCC_PLLCKSELR REG32(0x58024428U)
#define RCC_PLLCFGR REG32(0x5802442CU)
#define RCC_PLL1DIVR REG32(0x58024430U)
#define RCC_RESET_FLAGS REG32(0x580244D0U) /* RSR */
#define RCC_GPIOENR REG32(0x580244E0U)     /* AHB4ENR */
#define RCC_APB1ENR REG32(0x580244E8U)     /* APB1LENR */
#define RCC_APB2ENR REG32(0x580244F0U)
#define RCC_APB4ENR REG32(0x580244F4U)
/* RCC_CR */
#define HSE_ON (1U << 16)
#define HSE_READY (1U << 17)
#define HSE_BYPASS (1U << 18)
#define PLL_ON (1U << 24)
#define PLL_READY (1U << 25)
/* RCC_CFGR */
#define SWITCH_MASK 7U
#define SWITCH_PLL 3U
#define STATUS_MASK (7U << 3)
#define STATUS_PLL (3U << 3)
/* RCC_D1CFGR, RCC_D2CFGR, RCC_D3CFGR: AHB divider of 2; first bits of the APB dividers, and their value for 2 */
#define HPRE_MASK 15U
#define HPRE_2 8U
#define D1PPRE 4
#define D2PPRE1 4
#define D2PPRE2 8
#define D3PPRE 4
#define PPRE_2 4U
/* RCC_PLLCKSELR */
#define PLLSRC_HSE 2U
#define DIVM1 4
/* RCC_PLLCFGR */
#define PLL1RGE 2 /* first bit; 1: input of 2 to 4 MHz */
#define DIVP1_ON (1U << 16)
/* RCC_PLL1DIVR: first bits of the fields */
#define DIVN1 0
#define DIVP1 9
/* RCC_RSR, RCC_APB4ENR */
#define RMVF (1U << 16)
#define SYSCFG_ENABLE (1U << 1)

#define FLASH_ACR REG32(0x52002000U) /* 4.9.1 */
#define LATENCY_MASK 15U

/* Power control (chapter 6). */
#define PWR_CSR1 REG32(0x58024804U)
#define PWR_CR3 REG32(0x5802480CU)
#define PWR_D3CR REG32(0x58024818U)
#define ACTIVE_VOLTAGE_READY (1U << 13) /* PWR_CSR1: ACTVOSRDY */
#define SUPPLY_MASK 7U                  /* PWR_CR3: SCUEN, LDOEN, BYPASS */
#define SUPPLY_LDO 2U
#define VOLTAGE_MASK (3U << 14) /* PWR_D3CR: VOS */
#define VOLTAGE_SCALE_1 (3U << 14)
#define VOLTAGE_READY (1U << 13) /* PWR_D3CR: VOSRDY */

#define SYSCFG_PWRCR REG32(0x5800042CU)
#define OVER_DRIVE_ON (1U << 0) /* SYSCFG_PWRCR: ODEN */

#define DBGMCU_IDC REG32(0x5C001000U)
#define AXI_TARG7_FN_MOD REG32(0x51008108U)

#define GPIO_BASE 0x58020000U
#define MCU_GPIO_ENABLE 0
#define MCU_UARTS 6
#define USART1_BASE 0x40011000U
#define USART1_ENABLE (1U << 4)

#define MCU_INTERNAL_HZ 64000000U /* HSI */
#define MCU_INTERNAL_UART_HZ (MCU_INTERNAL_HZ / 2U)
/* On the PLL, the AHB runs at half the core's clock, the peripheral buses at half of that, TIM2 at the clock of the AHB
 * (TIMPRE). */
#define AHB_HZ (BOARD_CLOCK_HZ / 2U)
#define MCU_UART_HZ (AHB_HZ / 2U)
#define MCU_TIMER_HZ AHB_HZ
#define MCU_HAS_CACHES 1
#define MCU_UART_HAS_FIFO 1

#include "gpio_v2.h"
#include "tim2.h"
#include "uart.h"
#include "usart_v2.h"

#endif
