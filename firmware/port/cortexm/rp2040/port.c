/* Port of the RP2040: link on a UART, ticks from SysTick on the core's clock. The second core sleeps in the ROM. */
#include "port.h"

#include <assert.h>

#include "mcu.h"

static_assert(UART_KEEPS_BAUD(BOARD_CLOCK_HZ, 20), "link.baud: the UART's clock gives no rate within 2 % of it");
static_assert(UART_KEEPS_BAUD(RP2040_XOSC_HZ, 33), "link.baud: out of reach of the crystal without the PLL");
/* Function 2 of the pins (datasheet, GPIO): TX and RX of UART 0 or 1, which alternate every eight pins from pin 4 on.
 */
static_assert(RP2040_UART_TX % 4 == 0 && (RP2040_UART_TX + 4) / 8 % 2 == RP2040_UART, "RP2040_UART_TX: no TX of it");
static_assert(RP2040_UART_RX % 4 == 1 && (RP2040_UART_RX + 4) / 8 % 2 == RP2040_UART, "RP2040_UART_RX: no RX of it");
static_assert(RP2040_UART_TX <= 28 && RP2040_UART_RX <= 29, "GPIO 0 to 29");

enum {
    UART_FIFO_BYTES = 32,
    /* A byte takes ten bits; a poll takes at least one cycle. */
    MOST_UART_POLLS = 20U * (BOARD_CLOCK_HZ / BOARD_BAUD)
};

static ring received;
static uint32_t overruns;
static uint32_t reset_flags;

void mcu_link_isr(void) {
    while (!(UART_FLAGS & RX_EMPTY)) {
        const uint32_t entry = UART_DATA;
        if (entry & OVERRUN) overruns++;
        ring_put(&received, (uint8_t)entry);
    }
}

static const cortexm_step start_peripherals[] = {
    {CORTEXM_SET, &RESETS_RESET, RESET_UART, RESET_UART},
    {CORTEXM_SET, &RESETS_RESET, RESET_IO_BANK0 | RESET_PADS_BANK0 | RESET_UART, 0},
    {CORTEXM_AWAIT, &RESETS_DONE, RESET_IO_BANK0 | RESET_PADS_BANK0 | RESET_UART,
     RESET_IO_BANK0 | RESET_PADS_BANK0 | RESET_UART},
};

static void start_uart(uint32_t divider) {
    (void)CORTEXM_TAKE_STEPS(start_peripherals);
    UART_IBRD = divider / 64U;
    UART_FBRD = divider % 64U;
    UART_LCR_H = EIGHT_BITS | FIFOS_ON; /* latches the rate as well */
    UART_IFLS = AT_FOUR_BYTES;
    UART_IMSC = RECEIVED_INTERRUPT | TIMEOUT_INTERRUPT;
    UART_CR = UART_ON | TRANSMITTER_ON | RECEIVER_ON;
    PADS_GPIO(RP2040_UART_TX) = PAD_INPUT | PAD_4_MA | PAD_SCHMITT;
    PADS_GPIO(RP2040_UART_RX) = PAD_INPUT | PAD_4_MA | PAD_SCHMITT | PAD_PULLED_UP;
    GPIO_CTRL(RP2040_UART_TX) = FUNCTION_UART;
    GPIO_CTRL(RP2040_UART_RX) = FUNCTION_UART;
    cortexm_enable_link_irq();
}

void port_init(void) {
    reset_flags = CHIP_RESET | WATCHDOG_REASON;
    const mcu_clocks clocks = mcu_start_clocks();
    start_uart(clocks.uart_divider);
    cortexm_start_systick();
    cortexm_start_ticks(clocks.core_hz, PORT_TICK_CYCLES, clocks.core_hz);
}

uint8_t port_read(void) {
    return cortexm_ring_wait(&received);
}

/* Bounded: a UART that has stopped must not hang the program. */
static void await_end_of(uint32_t flag, uint32_t polls) {
    for (uint32_t i = 0; i < polls && UART_FLAGS & flag; i++) {
    }
}

void port_write(const uint8_t *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        await_end_of(TX_FULL, MOST_UART_POLLS);
        UART_DATA = data[i];
    }
}

uint32_t port_rx_dropped(void) {
    return received.dropped + overruns;
}

/* By the watchdog, which resets all that the reset pin does, except the oscillators; AIRCR would reset one core only.
 */
noreturn void port_reset(void) {
    await_end_of(SENDING, (UART_FIFO_BYTES + 1) * MOST_UART_POLLS);
    PSM_WDSEL = ALL_BUT_OSCILLATORS;
    WATCHDOG_CTRL |= WATCHDOG_TRIGGER;
    cortexm_reset_mcu();
}

/* CHIP_RESET tells what reset the whole chip, the lowest two bits of REASON how the watchdog has fired since. */
uint32_t port_reset_cause(void) {
    return reset_flags;
}
