/* General-purpose I/O of the STM32F1 (RM0008 9.2): four bits per pin; alternate functions can only be remapped by AFIO,
 * which is left in its reset state. */
#ifndef GPIO_H
#define GPIO_H

#include "stm32.h"

#define GPIO_CR(port, pin) REG32(GPIO_BASE + 0x400U * (port) + ((pin) / 8U) * 4U) /* CRL, CRH */
#define GPIO_BSRR(port) REG32(GPIO_BASE + 0x10U + 0x400U * (port))

enum { ALTERNATE_PUSH_PULL_50_MHZ = 11, INPUT_WITH_PULL = 8 }; /* CNF and MODE (RM0008 table 20) */

static inline void stm32_start_uart_pin(uint32_t pin, uint32_t mode) {
    const uint32_t port = pin >> 4;
    const uint32_t number = pin & 15U;
    RCC_GPIOENR |= 1U << (MCU_GPIO_ENABLE + port);
    (void)RCC_GPIOENR;
    const uint32_t nibble = (number % 8U) * 4U;
    GPIO_BSRR(port) = 1U << number; /* for an input: pull up */
    GPIO_CR(port, number) = (GPIO_CR(port, number) & ~(15U << nibble)) | mode << nibble;
}

static inline void stm32_start_uart_pins(void) {
    stm32_start_uart_pin(STM32_UART_TX, ALTERNATE_PUSH_PULL_50_MHZ);
    stm32_start_uart_pin(STM32_UART_RX, INPUT_WITH_PULL);
}

#endif
