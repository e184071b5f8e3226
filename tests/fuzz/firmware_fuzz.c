/* The firmware's link and application beside protocol_model.h, under libFuzzer: the same bytes go to both, and every
 * answer of the firmware must be one that the document allows. An input is a script of requests, some damaged, and of
 * bytes that are none. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

/* Included: a restart has to clear what these files keep. */
#include "app.c"
#include "frame.c"
#include "link.c"
#include "protocol_model.h"

enum { MOST_SENT = 4096, MOST_SAID = 8 * MOST_BODY };

static jmp_buf starved;
static const uint8_t *unread;
static size_t unread_size;
static uint8_t said[MOST_SAID];
static size_t said_size;
static bool restarted;

void port_init(void) {}

uint8_t port_read(void) {
    if (unread_size == 0) longjmp(starved, 1);
    unread_size--;
    return *unread++;
}

void port_write(const uint8_t *data, size_t size) {
    if (size > sizeof said - said_size) abort();
    memcpy(said + said_size, data, size);
    said_size += size;
}

uint32_t port_rx_dropped(void) {
    return 0;
}

void port_ticks_start(void) {}

uint32_t port_ticks_stop(void) {
    return TICKS_A_LAYER;
}

port_tick port_tick_unit(void) {
    return PORT_TICK_US;
}

uint32_t port_tick_hz(void) {
    return 1000000;
}

noreturn void port_reset(void) {
    restarted = true;
    longjmp(starved, 1);
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

static void start(void) {
    memset(&state, 0, sizeof state);
    memset(&decoder, 0, sizeof decoder);
#if BOARD_KEEPS_BASE
    memset(&base, 0, sizeof base);
#endif
    restarted = false;
    app_start();
}

/* The firmware gets one byte; what it says lies in `said` then. */
static void firmware_take(uint8_t byte) {
    unread = &byte;
    unread_size = 1;
    said_size = 0;
    if (setjmp(starved) == 0) {
        for (;;) app_serve();
    }
    if (restarted) start();
}

static bool is_right(const device *d) {
    uint8_t coded[4 * MOST_BODY];
    for (size_t i = 0; i < d->rights; i++) {
        const size_t size = to_wire(&d->right[i], coded);
        if (size == said_size && memcmp(coded, said, size) == 0) return true;
    }
    return d->rights == 0 && said_size == 0;
}

static void both_take(device *d, uint8_t byte) {
    device_take(d, byte);
    firmware_take(byte);
    if (is_right(d)) return;
    fprintf(stderr, "request %u seq %u: %zu answers are allowed, the firmware's %zu bytes are none of them:\n", d->type,
            d->seq, d->rights, said_size);
    for (size_t i = 0; i < said_size; i++) fprintf(stderr, " %02x", said[i]);
    abort();
}

/* The input of the fuzzer, taken byte by byte; after its end zeros. */
typedef struct {
    const uint8_t *data;
    size_t size;
} script;

static uint8_t next(script *s) {
    if (s->size == 0) return 0;
    s->size--;
    return *s->data++;
}

/* Mostly small, sometimes at the end of the range. */
static uint32_t number(script *s) {
    const uint8_t value = next(s);
    return value < 0xF8U ? value & 0x7FU : 0xFFFFFFF8U | value;
}

static void put_fields(body *b, uint8_t type, script *s) {
    static const char *const fields[] = {
        [HELLO] = "1", [INPUT] = "44", [RUN] = "421", [TICKS] = "2",   [TENSOR] = "224",
        [STATS] = "",  [RESET] = "",   [ECHO] = "",   [DELTA] = "4441"};
    const char *sizes = type <= DELTA && fields[type] ? fields[type] : "";
    for (; *sizes; sizes++) put(b, number(s), (size_t)(*sizes - '0'));
}

/* A request; its tail is made from two bytes of the script, or is what follows there. */
static body request(script *s) {
    body b = {.size = 0};
    const uint8_t type = next(s);
    put(&b, type < 0xE0U ? type % 10U : type, 1);
    put(&b, next(s), 1);
    put_fields(&b, b.bytes[0], s);
    const size_t tail = next(s) % (BOARD_MAX_PAYLOAD + 3U);
    uint8_t pattern = next(s);
    for (size_t i = 0; i < tail; i++) {
        put(&b, pattern < 0x80U ? next(s) : pattern, 1);
        if (pattern >= 0x80U) pattern = (uint8_t)(pattern * 5U + 1U) | 0x80U;
    }
    return b;
}

static void play(script *s, device *d) {
    uint8_t coded[4 * MOST_BODY];
    for (size_t sent = 0; s->size > 0 && sent < MOST_SENT;) {
        const uint8_t kind = next(s);
        size_t size = kind % 32U;
        if (kind < 0x20U) {
            for (size_t i = 0; i < size; i++) coded[i] = next(s);
        } else {
            const body b = request(s);
            size = to_wire(&b, coded);
            if (kind < 0x40U) coded[next(s) % size] ^= (uint8_t)(1U << kind % 8U);
        }
        for (size_t i = 0; i < size; i++) both_take(d, coded[i]);
        sent += size;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static device model;
    device_start(&model);
    start();
    script s = {.data = data, .size = size};
    play(&s, &model);
    return 0;
}
