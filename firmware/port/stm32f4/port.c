/* STM32F4 port: link on a UART (RM0090 chapter 30), ticks from the core's cycle counter or, where that does not count,
 * from TIM2 (chapter 18). */
#include "port.h"

#include "mcu.h"

/* USART_SR (30.6.1) */
#define OVERRUN (1U << 3)
#define RECEIVED (1U << 5)
#define SENT (1U << 6)
#define MAY_SEND (1U << 7)

enum { US_PER_S = 1000000, MODE_ALTERNATE = 2, PULL_UP = 1 };

static ring received;
static uint32_t overruns;
static uint32_t reset_flags;
static port_tick tick_unit;
static uint32_t tick_hz;
static uint32_t ticks_started, ticks_overhead;

static void start_pin(uint32_t pin) {
    const uint32_t port = pin >> 4;
    const uint32_t number = pin & 15U;
    RCC_AHB1ENR |= 1U << port;
    (void)RCC_AHB1ENR; /* the clock runs two cycles after the write (7.2, errata of STM32F405) */
    const uint32_t nibble = (number % 8U) * 4U;
    GPIO_AFR(port, number) = (GPIO_AFR(port, number) & ~(15U << nibble)) | (uint32_t)STM32_UART_AF << nibble;
    GPIO_PUPDR(port) = (GPIO_PUPDR(port) & ~(3U << 2U * number)) | (uint32_t)PULL_UP << 2U * number;
    GPIO_MODER(port) = (GPIO_MODER(port) & ~(3U << 2U * number)) | (uint32_t)MODE_ALTERNATE << 2U * number;
}

static void start_uart(uint32_t uart_hz) {
    start_pin(STM32_UART_TX);
    start_pin(STM32_UART_RX);
    UART_ENABLE;
    UART_BRR = (uart_hz + BOARD_BAUD / 2U) / BOARD_BAUD; /* 16 samples a bit: BRR is the divider itself (30.3.4) */
    UART_CR1 = 1U << 13 | 1U << 5 | 1U << 3 | 1U << 2;   /* UE, RXNEIE, TE, RE (30.6.4) */
    cortexm_enable_link_irq();
}

void mcu_link_isr(void) {
    const uint32_t status = UART_SR;
    if (status & OVERRUN) overruns++; /* cleared by reading SR, then DR */
    if (status & (RECEIVED | OVERRUN)) {
        const uint8_t byte = (uint8_t)UART_DR;
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
    RCC_APB1ENR |= 1U;
    (void)RCC_APB1ENR;
    TIM2_PSC = instructions ? 0 : clocks->timer_hz / US_PER_S - 1U;
    TIM2_ARR = UINT32_MAX;
    TIM2_EGR = 1; /* loads the prescaler */
    TIM2_CR1 = 1;
}

void port_init(void) {
    reset_flags = RCC_CSR;
    RCC_CSR |= 1U << 24; /* RMVF: the next reset shows its own flags only (7.3.21) */
    const mcu_clocks clocks = mcu_start_clocks();
    start_uart(clocks.uart_hz);
    start_ticks(&clocks);
    port_ticks_start();
    ticks_overhead = port_ticks_stop();
}

uint8_t port_read(void) {
    return cortexm_ring_wait(&received);
}

void port_write(const uint8_t *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        while (!(UART_SR & MAY_SEND)) {
        }
        UART_DR = data[i];
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
    while (!(UART_SR & SENT)) {
    }
    cortexm_reset_mcu();
}

uint32_t port_reset_cause(void) {
    return reset_flags;
}
