/* What the ports of all STM32 families share. A family's mcu.h defines what differs from family to family:
 *
 *   RCC_GPIOENR, RCC_APB1ENR, RCC_APB2ENR   clock enables of the GPIO ports, of APB1 (TIM2, UARTs) and of APB2
 *   GPIO_BASE, MCU_GPIO_ENABLE              of port A, the others follow 1 KB apart; its bit in RCC_GPIOENR
 *   MCU_UARTS                               the last one of USART1 to UART6 that exists
 *   USART1_BASE, USART1_ENABLE              address and bit in RCC_APB2ENR
 *   RCC_RESET_FLAGS, RMVF                   register of the reset flags; its bit that clears them
 *   MCU_INTERNAL_HZ, MCU_INTERNAL_UART_HZ   oscillator in use if the PLL does not start; the UART's clock then
 *   MCU_UART_HZ, MCU_TIMER_HZ               clocks of the link's UART and of TIM2 when the PLL runs
 *   MCU_HAS_CACHES                          1 on Cortex-M7
 *
 * It ends by including the versions of the peripherals: uart.h and usart_v1.h or usart_v2.h, gpio_v1.h or gpio_v2.h,
 * and tim2.h or tim2_16.h. The family implements mcu_start_clocks(). A board defines STM32_UART (1 to 6, or LPUART1),
 * its pins STM32_UART_TX and STM32_UART_RX as STM32_PIN(port letter, number), STM32_UART_AF, their alternate function,
 * and the clock tree of its family. */
#ifndef STM32_H
#define STM32_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "board_config.h"
#include "cortexm.h"

/* STM32_PIN(A, 9) is pin PA9: port in the upper, number in the lower four bits. */
enum { STM32_PORT_A, STM32_PORT_B, STM32_PORT_C, STM32_PORT_D, STM32_PORT_E, STM32_PORT_F, STM32_PORT_G, STM32_PORT_H };
#define STM32_PIN(port, number) ((uint32_t)STM32_PORT_##port << 4 | (number))

/* The clocks that actually run. */
typedef struct {
    uint32_t core_hz;
    uint32_t uart_divider; /* of the link's UART (uart.h) */
    uint32_t timer_hz;     /* of the counter (tim2.h) */
} mcu_clocks;

/* Starts the PLL and returns the resulting clocks; if anything does not start in time, the MCU stays on its internal
 * oscillator. Never hangs. */
mcu_clocks mcu_start_clocks(void);

#endif
