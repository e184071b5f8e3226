/* Port of Nordic's nRF51 and nRF52: link on the UART without DMA, ticks from the core's cycle counter or timer 0. */
#include "port.h"

#include <assert.h>

#include "mcu.h"

/* The rate in steps of 16 MHz / 2^20; the manual lists rates up to 1 Mbaud (chapter 29, BAUDRATE). */
#define BAUD_SETTING ((uint32_t)((((uint64_t)BOARD_BAUD << 32) / TIMER_HZ + 0x800U) & 0xFFFFF000U))
static_assert(BOARD_BAUD >= 1200 && BOARD_BAUD <= 1000000, "link.baud: 1200 to 1000000");

enum {
    /* The crystal starts within a few milliseconds; this many polls take at least 10 ms at 64 MHz. */
    MOST_CLOCK_POLLS = 200000,
    /* A byte takes ten bits; a poll takes at least one cycle. */
    MOST_UART_POLLS = 20U * (BOARD_CLOCK_HZ / BOARD_BAUD)
};

static ring received;
static uint32_t overruns;
static uint32_t reset_flags;

void mcu_link_isr(void) {
    while (UART_RXDRDY) {
        UART_RXDRDY = 0;
        (void)UART_RXDRDY; /* makes sure it is cleared before the next byte moves up, whose event must not be lost */
        ring_put(&received, (uint8_t)UART_RXD);
    }
    if (UART_ERRORSRC & OVERRUN) {
        overruns++;
        UART_ERRORSRC = OVERRUN;
    }
}

/* Switches from the internal oscillator to the crystal, which the UART's rate needs; if that does not start, the core
 * stays as it is. */
static void start_crystal(void) {
    CLOCK_HFCLKSTARTED = 0;
    CLOCK_HFCLKSTART = 1;
    for (int i = 0; i < MOST_CLOCK_POLLS && !CLOCK_HFCLKSTARTED; i++) {
    }
}

static void start_uart(void) {
    GPIO_OUTSET(NRF_UART_TX) = 1U << NRF_UART_TX % 32U;
    GPIO_CNF(NRF_UART_TX) = OUTPUT;
    GPIO_CNF(NRF_UART_RX) = INPUT_PULLED_UP;
    UART_PSELTXD = NRF_UART_TX;
    UART_PSELRXD = NRF_UART_RX;
    UART_BAUDRATE = BAUD_SETTING;
    UART_ENABLE = UART_ON;
    UART_RXDRDY = 0;
    UART_INTENSET = RECEIVED_INTERRUPT;
    UART_STARTTX = 1;
    UART_STARTRX = 1;
    cortexm_enable_link_irq();
}

static void start_timer(void) {
    TIMER_BITMODE = BITS_32;
    TIMER_PRESCALER = 0;
    TIMER_START = 1;
}

void port_init(void) {
    reset_flags = POWER_RESETREAS;
    POWER_RESETREAS = reset_flags; /* so that the next reset shows only its own flags */
    start_crystal();
    mcu_start_cache();
    start_uart();
    start_timer();
    cortexm_start_ticks(BOARD_CLOCK_HZ, mcu_counted(), TIMER_HZ);
}

uint8_t port_read(void) {
    return cortexm_ring_wait(&received);
}

/* Bounded: a UART that has stopped must not hang the program. */
void port_write(const uint8_t *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        UART_TXDRDY = 0;
        UART_TXD = data[i];
        for (uint32_t polls = 0; polls < MOST_UART_POLLS && !UART_TXDRDY; polls++) {
        }
    }
}

uint32_t port_rx_dropped(void) {
    return received.dropped + overruns;
}

noreturn void port_reset(void) {
    cortexm_reset_mcu(); /* port_write() has waited until every byte was sent */
}

uint32_t port_reset_cause(void) {
    return reset_flags;
}
