/* Port of the SAMD21: link on a SERCOM as UART, ticks from SysTick on the core's clock. */
#include "port.h"

#include <assert.h>

#include "mcu.h"

/* Rate divided by clock, in units of 2^-20 (data sheet, SERCOM, asynchronous arithmetic mode: BAUD is 65536 minus it).
 */
#define RATE(hz) ((uint32_t)((((uint64_t)BOARD_BAUD << 20) + (hz) / 2U) / (hz)))
#define DISTANCE(a, b) ((a) > (b) ? (a) - (b) : (b) - (a))
#define KEEPS_BAUD(hz, permille)                                                                                       \
    (RATE(hz) <= 65536U && 1000U * DISTANCE((uint64_t)RATE(hz) * (hz), (uint64_t)BOARD_BAUD << 20) <=                  \
                               (permille) * ((uint64_t)BOARD_BAUD << 20))
static_assert(KEEPS_BAUD(BOARD_CLOCK_HZ, 20), "link.baud: the UART's clock gives no rate within 2 % of it");
static_assert(KEEPS_BAUD(MCU_INTERNAL_HZ, 20), "link.baud: out of reach of the internal oscillator");

static_assert(SAMD21_SERCOM >= 0 && SAMD21_SERCOM <= 5, "SAMD21_SERCOM");
static_assert(SAMD21_UART_TX_PAD == 0 || SAMD21_UART_TX_PAD == 2, "SAMD21_UART_TX_PAD");
static_assert(SAMD21_UART_RX_PAD >= 0 && SAMD21_UART_RX_PAD <= 3, "SAMD21_UART_RX_PAD");
static_assert(SAMD21_UART_FUNCTION == 2 || SAMD21_UART_FUNCTION == 3, "SAMD21_UART_FUNCTION: C or D");

enum {
    /* A byte takes ten bits; a poll takes at least one cycle. */
    MOST_UART_POLLS = 20U * (BOARD_CLOCK_HZ / BOARD_BAUD)
};

static ring received;
static uint32_t overruns;
static uint32_t reset_flags;

void mcu_link_isr(void) {
    while (UART_INTFLAG & RECEIVED) {
        if (UART_STATUS & OVERRUN) {
            overruns++;
            UART_STATUS = OVERRUN;
        }
        ring_put(&received, (uint8_t)UART_DATA);
    }
}

static void give_pin(uint32_t pin, uint32_t configuration) {
    const uint32_t shift = pin % 2U * 4U;
    PORT_PMUX(pin) = (uint8_t)((PORT_PMUX(pin) & ~(15U << shift)) | SAMD21_UART_FUNCTION << shift);
    PORT_PINCFG(pin) = (uint8_t)(configuration | PIN_OF_PERIPHERAL);
}

static void start_uart(uint32_t core_hz) {
    PM_APBCMASK |= APBC_SERCOM;
    mcu_connect_clock(CLOCK_OF_SERCOM, 0);
    UART_CTRLA = UART_RESET;
    mcu_await_end_of(&UART_SYNCBUSY, UART_RESET);
    const uint32_t mode = UART_ON_INTERNAL_CLOCK | LEAST_BIT_FIRST | UART_TX_ON_PAD(SAMD21_UART_TX_PAD) |
                          UART_RX_ON_PAD(SAMD21_UART_RX_PAD);
    UART_CTRLA = mode;
    UART_BAUD = (uint16_t)(65536U - (core_hz == BOARD_CLOCK_HZ ? RATE(BOARD_CLOCK_HZ) : RATE(MCU_INTERNAL_HZ)));
    UART_CTRLB = TRANSMITTER_ON | RECEIVER_ON;
    mcu_await_end_of(&UART_SYNCBUSY, UINT32_MAX);
    UART_CTRLA = mode | UART_ON;
    mcu_await_end_of(&UART_SYNCBUSY, UINT32_MAX);
    UART_INTENSET = RECEIVED;
    PORT_OUTSET(SAMD21_UART_RX) = 1U << SAMD21_UART_RX % 32U;
    give_pin(SAMD21_UART_TX, 0);
    give_pin(SAMD21_UART_RX, PIN_INPUT | PIN_PULLED);
    cortexm_enable_link_irq();
}

void port_init(void) {
    reset_flags = PM_RCAUSE; /* flags of the last reset only */
    const uint32_t core_hz = mcu_start_clock();
    start_uart(core_hz);
    cortexm_start_systick();
    cortexm_start_ticks(core_hz, PORT_TICK_CYCLES, core_hz);
}

uint8_t port_read(void) {
    return cortexm_ring_wait(&received);
}

/* Bounded: a UART that has stopped must not hang the program. */
static void await_flag(uint32_t flag) {
    for (uint32_t i = 0; i < MOST_UART_POLLS && !(UART_INTFLAG & flag); i++) {
    }
}

void port_write(const uint8_t *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        await_flag(MAY_SEND);
        UART_DATA = data[i];
    }
}

uint32_t port_rx_dropped(void) {
    return received.dropped + overruns;
}

noreturn void port_reset(void) {
    await_flag(SENT);
    cortexm_reset_mcu();
}

uint32_t port_reset_cause(void) {
    return reset_flags;
}
