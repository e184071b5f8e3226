/* UART registers of all other families, such as STM32F7, H7 and L4 (RM0410 34.8, RM0433 48.7, RM0351 40.8), and of
 * LPUART1 (RM0432 48.7). */
#ifndef USART_H
#define USART_H

#define UART_CR1 REG32(UART_BASE + 0x00U)
#define UART_BRR REG32(UART_BASE + 0x0CU)
#define UART_STATUS REG32(UART_BASE + 0x1CU) /* ISR */
#define UART_ICR REG32(UART_BASE + 0x20U)
#define UART_INPUT REG32(UART_BASE + 0x24U)  /* RDR */
#define UART_OUTPUT REG32(UART_BASE + 0x28U) /* TDR */

#define UART_ON (1U << 0)
#define FIFO_ON (1U << 29) /* CR1 */
#define UART_FIFO_ON (MCU_UART_HAS_FIFO ? FIFO_ON : 0U)
#define UART_CLEAR_OVERRUN (UART_ICR = OVERRUN)

#endif
