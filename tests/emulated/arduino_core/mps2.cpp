/* An Arduino core as small as can be, on Arm's MPS2 images: CMSDK UART 0, CMSDK timer 0. Like the smallest real one it
 * buffers 63 received bytes and drops the next. */
#include "Arduino.h"

#define REGISTER(address) (*reinterpret_cast<volatile uint32_t *>(address))
#define UART_DATA REGISTER(MPS2_UART)
#define UART_STATE REGISTER(MPS2_UART + 0x04U)
#define UART_CTRL REGISTER(MPS2_UART + 0x08U)
#define UART_INTCLEAR REGISTER(MPS2_UART + 0x0CU)
#define UART_BAUDDIV REGISTER(MPS2_UART + 0x10U)
#define TIMER_CTRL REGISTER(MPS2_TIMER)
#define TIMER_VALUE REGISTER(MPS2_TIMER + 0x04U)
#define TIMER_RELOAD REGISTER(MPS2_TIMER + 0x08U)
#define NVIC_ISER REGISTER(0xE000E100U + 4U * (MPS2_IRQ / 32U))
#define CPACR REGISTER(0xE000ED88U)

static const uint32_t TX_FULL = 1U << 0, RX_FULL = 1U << 1;
static const uint32_t TX_ENABLE = 1U << 0, RX_ENABLE = 1U << 1, RX_INTERRUPT_ENABLE = 1U << 3, RX_INTERRUPT = 1U << 1;
static const unsigned BUFFER_BYTES = 64;

extern "C" {
extern uint32_t stack_top[], data_start[], data_end[], bss_start[], bss_end[];
extern const uint32_t data_load[];
void reset();
void receive();
}

static volatile uint8_t buffer[BUFFER_BYTES];
static volatile unsigned head, tail;

UartSerial Serial;

void receive() {
    UART_INTCLEAR = RX_INTERRUPT;
    while (UART_STATE & RX_FULL) {
        const uint8_t byte = static_cast<uint8_t>(UART_DATA);
        const unsigned next = (head + 1U) % BUFFER_BYTES;
        if (next == tail) continue;
        buffer[head] = byte;
        head = next;
    }
}

void UartSerial::begin(unsigned long baud) {
    UART_BAUDDIV = static_cast<uint32_t>(MPS2_CLOCK_HZ / baud);
    UART_CTRL = TX_ENABLE | RX_ENABLE | RX_INTERRUPT_ENABLE;
    NVIC_ISER = 1U << (MPS2_IRQ % 32U);
}

int UartSerial::available() {
    return static_cast<int>((head + BUFFER_BYTES - tail) % BUFFER_BYTES);
}

int UartSerial::read() {
    if (head == tail) return -1;
    const int byte = buffer[tail];
    tail = (tail + 1U) % BUFFER_BYTES;
    return byte;
}

size_t UartSerial::write(const uint8_t *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        while (UART_STATE & TX_FULL) {
        }
        UART_DATA = data[i];
    }
    return size;
}

void UartSerial::flush() {
    while (UART_STATE & TX_FULL) {
    }
}

unsigned long micros() {
    static uint32_t last;
    static uint64_t counts;
    const uint32_t now = ~TIMER_VALUE; /* it counts down */
    counts += now - last;
    last = now;
    return static_cast<unsigned long>(counts / (MPS2_CLOCK_HZ / 1000000U));
}

void reset() {
#ifdef __ARM_FP
    CPACR |= 0xFU << 20;
    __asm volatile("dsb\n\tisb" ::: "memory");
#endif
    const uint32_t *from = data_load;
    for (uint32_t *to = data_start; to != data_end;) *to++ = *from++;
    for (uint32_t *to = bss_start; to != bss_end;) *to++ = 0;
    TIMER_RELOAD = 0xFFFFFFFFU;
    TIMER_VALUE = 0xFFFFFFFFU;
    TIMER_CTRL = 1;
    setup();
    for (;;) loop();
}

static void unexpected() {
    for (;;) {
    }
}

union Vector {
    uint32_t *stack;
    void (*handler)();
    constexpr Vector(uint32_t *top) : stack(top) {}
    constexpr Vector(void (*function)() = unexpected) : handler(function) {}
};

struct Vectors {
    Vector stack{stack_top}, start{reset}, before[16 + MPS2_IRQ - 2], uart{receive};
};

extern "C" __attribute__((used, section(".vectors"))) const Vectors vectors{};
