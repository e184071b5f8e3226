/* STM32F4 registers and what the board says of them. Sections are those of RM0090, chapters for STM32F405/407.
 *
 * A board defines: STM32_HSE_HZ, STM32_HSE_BYPASS (1: external clock, 0: crystal), STM32_PLL_M, STM32_PLL_N,
 * STM32_PLL_P, STM32_FLASH_WAIT_STATES, STM32_APB1_DIVIDER, STM32_APB2_DIVIDER; STM32_UART (1 to 6), its pins
 * STM32_UART_TX and STM32_UART_RX as STM32_PIN(port letter, number), and STM32_UART_AF, their alternate function. */
#ifndef MCU_H
#define MCU_H

#include "board.h"
#include "cortexm.h"

/* Reset and clock control (7.3). */
#define RCC_CR REG32(0x40023800U)
#define RCC_PLLCFGR REG32(0x40023804U)
#define RCC_CFGR REG32(0x40023808U)
#define RCC_AHB1ENR REG32(0x40023830U)
#define RCC_APB1ENR REG32(0x40023840U)
#define RCC_APB2ENR REG32(0x40023844U)
#define RCC_CSR REG32(0x40023874U)

#define FLASH_ACR REG32(0x40023C00U) /* 3.9.1 */

/* General-purpose I/O (8.4); port 0 is A. */
#define GPIO_MODER(port) REG32(0x40020000U + 0x400U * (port))
#define GPIO_PUPDR(port) REG32(0x4002000CU + 0x400U * (port))
#define GPIO_AFR(port, pin) REG32(0x40020020U + 0x400U * (port) + ((pin) / 8U) * 4U)

/* General-purpose timer 2, 32 bits wide (18.4). */
#define TIM2_CR1 REG32(0x40000000U)
#define TIM2_EGR REG32(0x40000014U)
#define TIM2_CNT REG32(0x40000024U)
#define TIM2_PSC REG32(0x40000028U)
#define TIM2_ARR REG32(0x4000002CU)

/* The UART of the link (30.6; addresses 2.3, interrupt numbers 12.2, clock enables 7.3.13 and 7.3.14). */
#if STM32_UART == 1
#define UART_BASE 0x40011000U
#define MCU_LINK_IRQ 37
#define UART_ENABLE (RCC_APB2ENR |= 1U << 4)
#elif STM32_UART == 2
#define UART_BASE 0x40004400U
#define MCU_LINK_IRQ 38
#define UART_ENABLE (RCC_APB1ENR |= 1U << 17)
#elif STM32_UART == 3
#define UART_BASE 0x40004800U
#define MCU_LINK_IRQ 39
#define UART_ENABLE (RCC_APB1ENR |= 1U << 18)
#elif STM32_UART == 4
#define UART_BASE 0x40004C00U
#define MCU_LINK_IRQ 52
#define UART_ENABLE (RCC_APB1ENR |= 1U << 19)
#elif STM32_UART == 5
#define UART_BASE 0x40005000U
#define MCU_LINK_IRQ 53
#define UART_ENABLE (RCC_APB1ENR |= 1U << 20)
#elif STM32_UART == 6
#define UART_BASE 0x40011400U
#define MCU_LINK_IRQ 71
#define UART_ENABLE (RCC_APB2ENR |= 1U << 5)
#else
#error "STM32_UART must be 1 to 6"
#endif

#define UART_SR REG32(UART_BASE + 0x00U)
#define UART_DR REG32(UART_BASE + 0x04U)
#define UART_BRR REG32(UART_BASE + 0x08U)
#define UART_CR1 REG32(UART_BASE + 0x0CU)

/* STM32_PIN(A, 9) is pin PA9: port in the upper, number in the lower four bits. */
enum { STM32_PORT_A, STM32_PORT_B, STM32_PORT_C, STM32_PORT_D, STM32_PORT_E, STM32_PORT_F, STM32_PORT_G };
#define STM32_PIN(port, number) ((uint32_t)STM32_PORT_##port << 4 | (number))

/* Frequencies that the clock tree really runs at. */
typedef struct {
    uint32_t core_hz;
    uint32_t uart_hz;  /* of the link's UART */
    uint32_t timer_hz; /* of TIM2 */
} mcu_clocks;

/* Starts the PLL from the board's external clock; when that does not start in time the MCU stays on its internal one.
 */
mcu_clocks mcu_start_clocks(void);

#endif
