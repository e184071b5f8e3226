/* The UART that the board chooses for the link: address, interrupt number, clock enable, rate. Most of it is the same
 * in every family (RM0090 2.3, 12.2, 7.3.13, 30.6); a family's mcu.h says where USART1 is and, by MCU_UARTS,
 * how many UARTs there are, and defines USARTn_IRQ where interrupts are numbered differently; LPUART1 exists where
 * MCU_HAS_LPUART is defined. */
#ifndef UART_H
#define UART_H

#include "baud.h"
#include "stm32.h"

#define LPUART1 101 /* a value of STM32_UART */

#ifndef USART1_IRQ
#define USART1_IRQ 37
#define USART2_IRQ 38
#define USART3_IRQ 39
#define UART4_IRQ 52
#define UART5_IRQ 53
#endif

/* Whether eight samples per bit are possible: not on the STM32F1. */
#ifndef MCU_UART_HAS_OVER8
#define MCU_UART_HAS_OVER8 1
#endif

#if STM32_UART == 1
#define UART_BASE USART1_BASE
#define MCU_LINK_IRQ USART1_IRQ
#define UART_ON_APB2 1
#define UART_ENABLE USART1_ENABLE
#elif STM32_UART == 2 && MCU_UARTS >= 2
#define UART_BASE 0x40004400U
#define MCU_LINK_IRQ USART2_IRQ
#define UART_ON_APB2 0
#define UART_ENABLE (1U << 17)
#elif STM32_UART == 3 && MCU_UARTS >= 3
#define UART_BASE 0x40004800U
#define MCU_LINK_IRQ USART3_IRQ
#define UART_ON_APB2 0
#define UART_ENABLE (1U << 18)
#elif STM32_UART == 4 && MCU_UARTS >= 4
#define UART_BASE 0x40004C00U
#define MCU_LINK_IRQ UART4_IRQ
#define UART_ON_APB2 0
#define UART_ENABLE (1U << 19)
#elif STM32_UART == 5 && MCU_UARTS >= 5
#define UART_BASE 0x40005000U
#define MCU_LINK_IRQ UART5_IRQ
#define UART_ON_APB2 0
#define UART_ENABLE (1U << 20)
#elif STM32_UART == 6 && MCU_UARTS >= 6
#define UART_BASE 0x40011400U
#define MCU_LINK_IRQ 71
#define UART_ON_APB2 1
#define UART_ENABLE (1U << 5)
#elif STM32_UART == LPUART1 && defined(MCU_HAS_LPUART)
#define UART_BASE 0x40008000U
#define MCU_LINK_IRQ 70
#define UART_ON_APB2 0
#define UART_ENABLE (1U << 0)
#else
#error "STM32_UART: this family has no such UART"
#endif

#if STM32_UART == LPUART1
#define RCC_UARTENR RCC_APB1ENR2
#elif UART_ON_APB2
#define RCC_UARTENR RCC_APB2ENR
#else
#define RCC_UARTENR RCC_APB1ENR
#endif

/* Status register: the same bits in both versions of the peripheral. */
#define OVERRUN (1U << 3)
#define RECEIVED (1U << 5)
#define SENT (1U << 6)
#define MAY_SEND (1U << 7)
/* CR1 */
#define RECEIVER_ON (1U << 2)
#define TRANSMITTER_ON (1U << 3)
#define RECEIVED_INTERRUPT (1U << 5)
#define EIGHT_SAMPLES (1U << 15)

/* The rate is the clock over this number: clocks per bit (RM0090 30.3.4); for an LPUART in 256ths (RM0432, LPUART
 * baud rate generation). */
#if STM32_UART == LPUART1
#define UART_DIVIDER_UNIT 256ULL
#define UART_DIVIDER_MIN 0x300U
#define UART_DIVIDER_MAX 0xFFFFFU
#else
#define UART_DIVIDER_UNIT 1ULL
#define UART_DIVIDER_MIN (MCU_UART_HAS_OVER8 ? 8U : 16U)
#define UART_DIVIDER_MAX 0xFFFFU
#endif

#endif
