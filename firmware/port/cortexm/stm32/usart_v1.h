/* UART registers of the STM32F1, F2 and F4 (RM0090 30.6; the same in RM0008 and RM0033). */
#ifndef USART_H
#define USART_H

#define UART_STATUS REG32(UART_BASE + 0x00U) /* SR */
#define UART_INPUT REG32(UART_BASE + 0x04U)  /* DR */
#define UART_OUTPUT REG32(UART_BASE + 0x04U) /* DR */
#define UART_BRR REG32(UART_BASE + 0x08U)
#define UART_CR1 REG32(UART_BASE + 0x0CU)

#define UART_ON (1U << 13)
#define UART_FIFO_ON 0U
#define UART_CLEAR_OVERRUN ((void)0) /* cleared by reading SR, then DR */

#endif
