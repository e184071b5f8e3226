/* Port of the STM32 families: link on a UART, ticks from the core's cycle counter or, where that does not advance, from
 * a timer. */
#include "port.h"

#include <assert.h>

#include "mcu.h"

static_assert(UART_KEEPS_BAUD(MCU_UART_HZ, 20), "link.baud: the UART's clock gives no rate within 2 % of it");
/* A receiver tolerates a rate that is off by up to 3.3 % (RM0090 30.3.5). */
static_assert(UART_KEEPS_BAUD(MCU_INTERNAL_UART_HZ, 33), "link.baud: out of reach of the internal oscillator");

enum {
    /* A byte takes ten bits; a poll takes at least one cycle. */
    MOST_UART_POLLS = 20U * (BOARD_CLOCK_HZ / BOARD_BAUD)
};

static ring received;
static uint32_t overruns;
static uint32_t reset_flags;

/* With fewer than sixteen clocks per bit, eight samples must suffice; the register then holds the fraction in eighths.
 */
static void set_rate(uint32_t divider) {
    const bool is_slow = MCU_UART_HAS_OVER8 && STM32_UART != LPUART1 && divider < 16U;
    UART_BRR = is_slow ? (divider & ~7U) << 1 | (divider & 7U) : divider;
    UART_CR1 = is_slow ? EIGHT_SAMPLES : 0U;
}

static void start_uart(uint32_t divider) {
    stm32_start_uart_pins();
    RCC_UARTENR |= UART_ENABLE;
    (void)RCC_UARTENR;
    set_rate(divider);
    UART_CR1 |= UART_FIFO_ON;
    UART_CR1 |= UART_ON | RECEIVED_INTERRUPT | TRANSMITTER_ON | RECEIVER_ON;
    cortexm_enable_link_irq();
}

/* Takes all bytes that are there: a UART may hold several, and QEMU's does not interrupt again for a byte that it
 * delivers while the one before it is being read. */
void mcu_link_isr(void) {
    for (uint32_t status = UART_STATUS; status & (RECEIVED | OVERRUN); status = UART_STATUS) {
        if (status & OVERRUN) {
            overruns++;
            UART_CLEAR_OVERRUN;
        }
        const uint8_t byte = (uint8_t)UART_INPUT;
        if (status & RECEIVED) ring_put(&received, byte);
    }
}

/* Emulated cores and the Cortex-M0+ have no cycle counter: there, a timer on the core's clock replaces it. */
static void start_ticks(const mcu_clocks *clocks) {
    const port_tick silicon = __ARM_ARCH > 6 ? PORT_TICK_US : PORT_TICK_CYCLES;
    const port_tick counted = BOARD_TICK_UNIT == PORT_TICK_INSTRUCTIONS ? PORT_TICK_INSTRUCTIONS : silicon;
    mcu_start_counter();
    cortexm_start_ticks(clocks->core_hz, counted, clocks->timer_hz);
}

void port_init(void) {
    reset_flags = RCC_RESET_FLAGS;
    RCC_RESET_FLAGS |= RMVF; /* so that the next reset shows only its own flags */
    if (MCU_HAS_CACHES) cortexm_start_caches();
    const mcu_clocks clocks = mcu_start_clocks();
    start_uart(clocks.uart_divider);
    start_ticks(&clocks);
}

uint8_t port_read(void) {
    return cortexm_ring_wait(&received);
}

/* Bounded: a UART that has stopped must not hang the program. */
static void await_status(uint32_t flag) {
    for (uint32_t i = 0; i < MOST_UART_POLLS && !(UART_STATUS & flag); i++) {
    }
}

void port_write(const uint8_t *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        await_status(MAY_SEND);
        UART_OUTPUT = data[i];
    }
}

uint32_t port_rx_dropped(void) {
    return received.dropped + overruns;
}

noreturn void port_reset(void) {
    await_status(SENT);
    cortexm_reset_mcu();
}

uint32_t port_reset_cause(void) {
    return reset_flags;
}
