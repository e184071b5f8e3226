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
static port_tick tick_unit;
static uint32_t ticks_started, ticks_overhead;

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

/* The FPGA has a cycle counter, its emulator has not: there the counter's clock stands in a fixed ratio to
 * instructions.
 */
static void start_ticks(void) {
    tick_unit = cortexm_start_cycle_counter() ? PORT_TICK_CYCLES : PORT_TICK_INSTRUCTIONS;
    mcu_start_counter();
}

void port_init(void) {
    start_uart();
    start_ticks();
    port_ticks_start();
    ticks_overhead = port_ticks_stop();
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

NEVER_INLINE void port_ticks_start(void) {
    if (tick_unit == PORT_TICK_INSTRUCTIONS) cortexm_disable_irq();
    ticks_started = tick_unit == PORT_TICK_CYCLES ? cortexm_cycles() : mcu_counter();
}

/* Instructions, rounded to the nearest. The difference is that of two truncated times, so it is off by less than one
 * count; with more than two counts an instruction that is less than half an instruction, and rounding is exact. */
static uint32_t instructions(uint32_t counts) {
    const uint64_t ns_a_second = 1000000000U, clocks = (uint64_t)BOARD_CLOCK_HZ * MPS2_INSTRUCTION_NS;
    _Static_assert((uint64_t)BOARD_CLOCK_HZ * MPS2_INSTRUCTION_NS > 2000000000U, "too slow to tell instructions apart");
    return (uint32_t)((counts * ns_a_second + clocks / 2) / clocks);
}

NEVER_INLINE uint32_t port_ticks_stop(void) {
    if (tick_unit == PORT_TICK_CYCLES) return cortexm_cycles() - ticks_started - ticks_overhead;
    const uint32_t ticks = instructions(mcu_counter() - ticks_started);
    cortexm_enable_irq();
    return ticks - ticks_overhead;
}

port_tick port_tick_unit(void) {
    return tick_unit;
}

uint32_t port_tick_hz(void) {
    return tick_unit == PORT_TICK_CYCLES ? BOARD_CLOCK_HZ : 0;
}

noreturn void port_reset(void) {
    cortexm_reset_mcu();
}

uint32_t port_reset_cause(void) {
    return 0;
}
