/* Port of the STM32 families: link on a UART, ticks from the core's cycle counter or, where that does not count, from
 * TIM2. */
#include "port.h"

#include <assert.h>

#include "mcu.h"

static_assert(UART_KEEPS_BAUD(MCU_UART_HZ, 20), "link.baud: the UART's clock gives no rate within 2 % of it");
/* A receiver hears up to 3.3 % beside its rate (RM0090 30.3.5). */
static_assert(UART_KEEPS_BAUD(MCU_INTERNAL_UART_HZ, 33), "link.baud: out of reach of the internal oscillator");

enum {
    US_PER_S = 1000000,
    MODE_ALTERNATE = 2,
    PULL_UP = 1,
    /* A byte takes ten bits; a poll takes a clock or more. */
    MOST_UART_POLLS = 20U * (BOARD_CLOCK_HZ / BOARD_BAUD)
};

static ring received;
static uint32_t overruns;
static uint32_t reset_flags;
static port_tick tick_unit;
static uint32_t tick_hz;
static uint32_t ticks_started, ticks_overhead;

static void start_pin(uint32_t pin) {
    const uint32_t port = pin >> 4;
    const uint32_t number = pin & 15U;
    RCC_GPIOENR |= 1U << port;
    (void)RCC_GPIOENR; /* the clock runs two cycles after the write (errata of the STM32F4) */
    const uint32_t nibble = (number % 8U) * 4U;
    GPIO_AFR(port, number) = (GPIO_AFR(port, number) & ~(15U << nibble)) | (uint32_t)STM32_UART_AF << nibble;
    GPIO_PUPDR(port) = (GPIO_PUPDR(port) & ~(3U << 2U * number)) | (uint32_t)PULL_UP << 2U * number;
    GPIO_MODER(port) = (GPIO_MODER(port) & ~(3U << 2U * number)) | (uint32_t)MODE_ALTERNATE << 2U * number;
}

/* With fewer than sixteen clocks a bit eight samples must do; the register then holds the fraction in eighths. */
static void set_rate(uint32_t divider) {
    const bool is_slow = STM32_UART != LPUART1 && divider < 16U;
    UART_BRR = is_slow ? (divider & ~7U) << 1 | (divider & 7U) : divider;
    UART_CR1 = is_slow ? EIGHT_SAMPLES : 0U;
}

static void start_uart(uint32_t divider) {
    start_pin(STM32_UART_TX);
    start_pin(STM32_UART_RX);
    RCC_UARTENR |= UART_ENABLE;
    (void)RCC_UARTENR;
    set_rate(divider);
    UART_CR1 |= UART_FIFO_ON;
    UART_CR1 |= UART_ON | RECEIVED_INTERRUPT | TRANSMITTER_ON | RECEIVER_ON;
    cortexm_enable_link_irq();
}

/* Takes all that is there: a UART may hold several bytes, and QEMU's raises no second interrupt for a byte that it
 * delivers while the one before it is read. */
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

/* An emulator has no cycle counter. There TIM2, unscaled, counts one per instruction (qemu -icount shift=0); on silicon
 * that lacks one it counts microseconds. */
static void start_ticks(const mcu_clocks *clocks) {
    if (cortexm_start_cycle_counter()) {
        tick_unit = PORT_TICK_CYCLES;
        tick_hz = clocks->core_hz;
        return;
    }
    const int instructions = BOARD_TICK_UNIT == PORT_TICK_INSTRUCTIONS;
    tick_unit = instructions ? PORT_TICK_INSTRUCTIONS : PORT_TICK_US;
    tick_hz = instructions ? 0 : US_PER_S;
    RCC_APB1ENR |= TIM2_ENABLE;
    (void)RCC_APB1ENR;
    TIM2_PSC = instructions ? 0 : clocks->timer_hz / US_PER_S - 1U;
    TIM2_ARR = UINT32_MAX;
    TIM2_EGR = 1; /* loads the prescaler */
    TIM2_CR1 = 1;
}

void port_init(void) {
    reset_flags = RCC_RESET_FLAGS;
    RCC_RESET_FLAGS |= RMVF; /* the next reset shows its own flags only */
    if (MCU_HAS_CACHES) cortexm_start_caches();
    const mcu_clocks clocks = mcu_start_clocks();
    start_uart(clocks.uart_divider);
    start_ticks(&clocks);
    port_ticks_start();
    ticks_overhead = port_ticks_stop();
}

uint8_t port_read(void) {
    return cortexm_ring_wait(&received);
}

/* Bounded: a UART that stands still must not take the program with it. */
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

static uint32_t now(void) {
    return tick_unit == PORT_TICK_CYCLES ? cortexm_cycles() : TIM2_CNT;
}

NEVER_INLINE void port_ticks_start(void) {
    if (tick_unit == PORT_TICK_INSTRUCTIONS) cortexm_disable_irq();
    ticks_started = now();
}

NEVER_INLINE uint32_t port_ticks_stop(void) {
    const uint32_t ticks = now() - ticks_started;
    if (tick_unit == PORT_TICK_INSTRUCTIONS) cortexm_enable_irq();
    return ticks - ticks_overhead;
}

port_tick port_tick_unit(void) {
    return tick_unit;
}

uint32_t port_tick_hz(void) {
    return tick_hz;
}

noreturn void port_reset(void) {
    await_status(SENT);
    cortexm_reset_mcu();
}

uint32_t port_reset_cause(void) {
    return reset_flags;
}
