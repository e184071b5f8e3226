/* General-purpose I/O of every STM32 but the STM32F1 (RM0090 8.4, RM0410 6.4, RM0433 11.4, RM0351 8.5); port 0 is A.
 * A board defines STM32_UART_AF, the alternate function of its UART's pins. */
#ifndef GPIO_H
#define GPIO_H

#include "stm32.h"

#define GPIO_MODER(port) REG32(GPIO_BASE + 0x400U * (port))
#define GPIO_PUPDR(port) REG32(GPIO_BASE + 0x0CU + 0x400U * (port))
#define GPIO_AFR(port, pin) REG32(GPIO_BASE + 0x20U + 0x400U * (port) + ((pin) / 8U) * 4U)

enum { MODE_ALTERNATE = 2, PULL_UP = 1 };

static inline void stm32_start_uart_pin(uint32_t pin) {
    const uint32_t port = pin >> 4;
    const uint32_t number = pin & 15U;
    RCC_GPIOENR |= 1U << (MCU_GPIO_ENABLE + port);
    (void)RCC_GPIOENR; /* the clock starts two cycles after the write (errata of the STM32F4) */
    const uint32_t nibble = (number % 8U) * 4U;
    GPIO_AFR(port, number) = (GPIO_AFR(port, number) & ~(15U << nibble)) | (uint32_t)STM32_UART_AF << nibble;
    GPIO_PUPDR(port) = (GPIO_PUPDR(port) & ~(3U << 2U * number)) | (uint32_t)PULL_UP << 2U * number;
    GPIO_MODER(port) = (GPIO_MODER(port) & ~(3U << 2U * number)) | (uint32_t)MODE_ALTERNATE << 2U * number;
}

static inline void stm32_start_uart_pins(void) {
    stm32_start_uart_pin(STM32_UART_TX);
    stm32_start_uart_pin(STM32_UART_RX);
}

#endif
