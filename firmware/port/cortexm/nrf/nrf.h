/* Registers that the nRF51 and nRF52 have at the same addresses. Chapters of the nRF51 Series Reference Manual 3.0: 12
 * power, 13 clock, 14 GPIO, 18 timer, 29 UART; the nRF52840 Product Specification has the same UART in 6.33.
 *
 * A board defines NRF_UART_TX and NRF_UART_RX as NRF_PIN(port, number). */
#ifndef NRF_H
#define NRF_H

#include "board_config.h"
#include "cortexm.h"

#define NRF_PIN(port, number) ((port)*32U + (number))

/* Power and clock: tasks are started by writing 1, events are cleared by writing 0. */
#define CLOCK_HFCLKSTART REG32(0x40000000U)
#define CLOCK_HFCLKSTARTED REG32(0x40000100U)
#define CLOCK_HFCLKSTAT REG32(0x4000040CU)
#define POWER_RESETREAS REG32(0x40000400U) /* a bit is cleared by writing 1 to it */

#define MCU_LINK_IRQ 2
#define UART_STARTRX REG32(0x40002000U)
#define UART_STARTTX REG32(0x40002008U)
#define UART_RXDRDY REG32(0x40002108U)
#define UART_TXDRDY REG32(0x4000211CU)
#define UART_INTENSET REG32(0x40002304U)
#define UART_ERRORSRC REG32(0x40002480U)
#define UART_ENABLE REG32(0x40002500U)
#define UART_PSELTXD REG32(0x4000250CU)
#define UART_PSELRXD REG32(0x40002514U)
#define UART_RXD REG32(0x40002518U)
#define UART_TXD REG32(0x4000251CU)
#define UART_BAUDRATE REG32(0x40002524U)
#define RECEIVED_INTERRUPT (1U << 2) /* INTENSET: RXDRDY */
#define OVERRUN (1U << 0)            /* ERRORSRC */
#define UART_ON 4U                   /* ENABLE */

/* The GPIO ports are 768 bytes apart. */
#define GPIO_OUTSET(pin) REG32(0x50000508U + 0x300U * ((pin) / 32U))
#define GPIO_CNF(pin) REG32(0x50000700U + 0x300U * ((pin) / 32U) + 4U * ((pin) % 32U))
#define OUTPUT 3U                 /* PIN_CNF: DIR, input buffer disconnected */
#define INPUT_PULLED_UP (3U << 2) /* PIN_CNF: PULL */

/* Timer 0, 32 bits wide, unscaled. */
#define TIMER_START REG32(0x40008000U)
#define TIMER_CAPTURE REG32(0x40008040U) /* to CC */
#define TIMER_BITMODE REG32(0x40008508U)
#define TIMER_PRESCALER REG32(0x40008510U)
#define TIMER_CC REG32(0x40008540U)
#define BITS_32 3U /* BITMODE */
#define TIMER_HZ 16000000U

static inline uint32_t nrf_timer(void) {
    TIMER_CAPTURE = 1;
    return TIMER_CC;
}

#define MCU_COUNTER nrf_timer()
#define MCU_USES_SYSTICK 0
#define MCU_EMULATED_COUNTER_HZ TIMER_HZ

#endif
