/* An AVR board on a pseudo terminal: simavr runs the firmware cycle by cycle; what its first UART sends and receives
 * passes through the terminal, at the rate of the line in simulated time. The simulation runs as fast as it can and
 * rests while the firmware sleeps and the line is idle.
 *
 *   simavr MCU HZ BAUD FIRMWARE.BIN     prints "pty: PATH" once the terminal is open
 */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { FLASH_MOST = 1 << 18, BITS_PER_BYTE = 10, QUIET_BYTES = 64 };

/* The line: bytes from the terminal wait in `ahead` until the UART takes them; times are in CPU cycles. */
static struct {
    int terminal;
    avr_irq_t *input;
    avr_cycle_count_t byte_time, next, last_byte;
    uint8_t ahead[4096];
    size_t filled, taken;
} line;

static void fail(const char *what) {
    fprintf(stderr, "simavr: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* A byte has left the UART. If nobody reads it, it is lost, as on a wire. */
static void sent(struct avr_irq_t *irq, uint32_t value, void *context) {
    (void)irq;
    const avr_t *avr = context;
    const uint8_t byte = (uint8_t)value;
    if (write(line.terminal, &byte, 1) < 0 && errno != EAGAIN) fail("write");
    line.last_byte = avr->cycle;
}

static void refill(void) {
    const ssize_t count = read(line.terminal, line.ahead, sizeof line.ahead);
    if (count < 0 && errno != EAGAIN && errno != EINTR) fail("read");
    line.filled = count > 0 ? (size_t)count : 0;
    line.taken = 0;
}

/* Called at least once per byte time: passes the UART its next byte when that is due. */
static void step(const avr_t *avr) {
    if (avr->cycle < line.next) return;
    line.next = avr->cycle + line.byte_time;
    if (line.taken == line.filled) refill();
    if (line.taken == line.filled) return;
    avr_raise_irq(line.input, line.ahead[line.taken++]);
    line.last_byte = avr->cycle;
}

/* Called when the CPU sleeps for `cycles`: rests for that time if the line is idle. */
static void rest(avr_t *avr, avr_cycle_count_t cycles) {
    const int busy = line.taken < line.filled || avr->cycle - line.last_byte < QUIET_BYTES * line.byte_time;
    if (busy) return;
    const struct timespec time = {.tv_nsec = (long)(cycles * 1000000000U / avr->frequency)};
    struct pollfd ready = {.fd = line.terminal, .events = POLLIN};
    if (ppoll(&ready, 1, &time, NULL) < 0 && errno != EINTR) fail("poll");
}

/* Opens the terminal and keeps its other end open as well, so that a host may connect and disconnect. */
static void open_terminal(void) {
    line.terminal = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (line.terminal < 0 || grantpt(line.terminal) < 0 || unlockpt(line.terminal) < 0) fail("pseudo terminal");
    const char *name = ptsname(line.terminal);
    const int other_end = name ? open(name, O_RDWR | O_NOCTTY) : -1;
    struct termios mode;
    if (other_end < 0 || tcgetattr(other_end, &mode) < 0) fail("pseudo terminal");
    cfmakeraw(&mode);
    if (tcsetattr(other_end, TCSANOW, &mode) < 0) fail("pseudo terminal");
    printf("pty: %s\n", name);
    fflush(stdout);
}

static void load(avr_t *avr, const char *path) {
    static uint8_t code[FLASH_MOST];
    FILE *file = fopen(path, "rb");
    const size_t size = file ? fread(code, 1, sizeof code, file) : 0;
    if (size == 0) fail(path);
    fclose(file);
    avr_loadcode(avr, code, (uint32_t)size, 0);
}

static avr_t *start(const char *mcu, const char *hz, const char *baud) {
    avr_t *avr = avr_make_mcu_by_name(mcu);
    if (!avr) {
        fprintf(stderr, "simavr: unknown MCU %s\n", mcu);
        exit(1);
    }
    avr_init(avr);
    avr->frequency = (uint32_t)strtoul(hz, NULL, 10);
    line.byte_time = avr->frequency * (avr_cycle_count_t)BITS_PER_BYTE / strtoul(baud, NULL, 10);
    avr->run_cycle_limit = line.byte_time;
    avr->sleep = rest;
    uint32_t quiet = 0; /* no copy of the output on the console, no sleep of its own */
    avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &quiet);
    line.input = avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), sent, avr);
    return avr;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: simavr MCU HZ BAUD FIRMWARE.BIN\n");
        return 2;
    }
    avr_t *avr = start(argv[1], argv[2], argv[3]);
    load(avr, argv[4]);
    open_terminal();
    for (;;) {
        const int state = avr_run(avr);
        if (state == cpu_Done || state == cpu_Crashed) {
            fprintf(stderr, "simavr: the CPU %s at byte address 0x%x\n",
                    state == cpu_Done ? "slept with interrupts masked" : "crashed", avr->pc);
            return 3;
        }
        step(avr);
    }
}
