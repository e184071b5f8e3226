/* Host port: the firmware as a process that reads requests from standard input and writes replies to standard output.
 * It exits at the end of its input. */
#define _POSIX_C_SOURCE 200809L

#include "port.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

static uint8_t received[4096];
static size_t filled, taken;
static uint8_t unsent[4096]; /* flushed before waiting for input and before an inference */
static size_t waiting;
static uint64_t ticks_started_us;

void port_init(void) {}

static void flush(void) {
    for (size_t sent = 0; sent < waiting;) {
        const ssize_t count = write(STDOUT_FILENO, unsent + sent, waiting - sent);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) _exit(1);
        sent += (size_t)count;
    }
    waiting = 0;
}

uint8_t port_read(void) {
    while (taken == filled) {
        flush();
        const ssize_t count = read(STDIN_FILENO, received, sizeof received);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) _exit(count < 0);
        filled = (size_t)count;
        taken = 0;
    }
    return received[taken++];
}

void port_write(const uint8_t *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (waiting == sizeof unsent) flush();
        unsent[waiting++] = data[i];
    }
}

uint32_t port_rx_dropped(void) {
    return 0;
}

static uint64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000U + (uint64_t)now.tv_nsec / 1000U;
}

/* Flushes first: unsent bytes would otherwise wait for the end of the inference. */
void port_ticks_start(void) {
    flush();
    ticks_started_us = now_us();
}

uint32_t port_ticks_stop(void) {
    return (uint32_t)(now_us() - ticks_started_us);
}

port_tick port_tick_unit(void) {
    return PORT_TICK_US;
}

uint32_t port_tick_hz(void) {
    return 1000000;
}

noreturn void port_reset(void) {
    /* Bytes still in the pipe survive the exec; those already read are lost, as in a UART's buffer. */
    flush();
    char *const argv[] = {"firmware", NULL};
    execv("/proc/self/exe", argv);
    _exit(1);
}

uint32_t port_reset_cause(void) {
    return 0;
}

uint32_t port_stack_size(void) {
    return 0;
}

uint32_t port_stack_high_water(void) {
    return 0;
}
