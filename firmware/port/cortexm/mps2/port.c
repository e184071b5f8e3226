/* Port of the Arm MPS2 and MPS3 FPGA images: link on CMSDK UART 0, ticks from a counter of the core clock. */
#include "port.h"

#include "mcu.h"

/* UART STATE and CTRL */
#define TX_FULL (1U << 0)
#define RX_FULL (1U << 1)
#define RX_OVERRUN (1U << 3)
#define TX_ENABLE (1U << 0)
#define RX_ENABLE (1U << 1)
#define RX_INTERRUPT_ENABLE (1U << 3)
/* INTCLEAR */
#define RX_INTERRUPT (1U << 1)

static ring received;
static uint32_t overruns;

void mcu_link_isr(void) {
    if (UART_STATE & RX_OVERRUN) {
        overruns++;
        UART_STATE = RX_OVERRUN;
    }
    UART_INTCLEAR = RX_INTERRUPT;
    while (UART_STATE & RX_FULL) ring_put(&received, (uint8_t)UART_DATA);
}

static void start_uart(void) {
    UART_BAUDDIV = BOARD_CLOCK_HZ / BOARD_BAUD;
    UART_CTRL = TX_ENABLE | RX_ENABLE | RX_INTERRUPT_ENABLE;
    cortexm_enable_link_irq();
}

/* The core of the FPGA has a cycle counter, that of the emulator has none: there the counter runs at a fixed ratio to
 * instructions. */
void port_init(void) {
    start_uart();
    mcu_start_counter();
    cortexm_start_ticks(BOARD_CLOCK_HZ, PORT_TICK_INSTRUCTIONS, BOARD_CLOCK_HZ);
}

uint8_t port_read(void) {
    return cortexm_ring_wait(&received);
}

void port_write(const uint8_t *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        while (UART_STATE & TX_FULL) {
        }
        UART_DATA = data[i];
    }
}

uint32_t port_rx_dropped(void) {
    return received.dropped + overruns;
}

noreturn void port_reset(void) {
    cortexm_reset_mcu();
}

uint32_t port_reset_cause(void) {
    return 0;
}
