/* docs/PROTOCOL.md as a program: what a device must answer, written from that document and not from the firmware. Its
 * network is that of tests/support/mirror.py: the first layer's output is the sample, the last one's its beginning. */
#ifndef PROTOCOL_MODEL_H
#define PROTOCOL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "board_config.h"
#include "build_id.h"
#include "model.h"

enum { TICKS_A_LAYER = 7, MOST_BODY = 2 + BOARD_MAX_PAYLOAD + 4, MOST_RIGHT = 4, PAINTED = 0xA5 };
enum { HELLO = 1, INPUT, RUN, TICKS, TENSOR, STATS, RESET, ECHO, DELTA, FAULT = 0x7E, ERROR };
enum { UNKNOWN_REQUEST = 1, BAD_LENGTH, BAD_OFFSET, INCOMPLETE, BAD_LAYER, NO_BASE, BAD_BITS };

typedef struct {
    uint8_t bytes[2 * MOST_BODY];
    size_t size;
} body;

/* A device as the document has it. right: every answer that the last request allows; where a request is wrong in
 * several ways, any of its errors is. */
typedef struct {
    uint32_t ticket, received, layers_run, base_ticket, good, dropped;
    bool was_run;
    uint8_t arena[MODEL_ARENA_BYTES], base[MODEL_INPUT_BYTES];
    uint8_t coded[4 * MOST_BODY]; /* since the last delimiter; a longer frame is too long in any case */
    size_t coded_size;
    body right[MOST_RIGHT];
    size_t rights;
    uint8_t type, seq;
} device;

static inline void device_start(device *d) {
    memset(d, 0, sizeof *d);
    memset(d->arena, PAINTED, sizeof d->arena);
}

static inline uint32_t crc32_bitwise(const uint8_t *data, size_t size) {
    uint32_t crc = 0xFFFFFFFFU;
    for (size_t i = 0; i < 8 * size; i++) {
        const uint32_t bit = (uint32_t)(data[i / 8] >> i % 8) & 1U;
        const bool carry = ((crc ^ bit) & 1U) != 0;
        crc = crc >> 1 ^ (carry ? 0xEDB88320U : 0U);
    }
    return ~crc;
}

static inline void put(body *b, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) b->bytes[b->size++] = (uint8_t)(value >> 8 * i);
}

static inline void put_bytes(body *b, const uint8_t *data, size_t size) {
    memcpy(b->bytes + b->size, data, size);
    b->size += size;
}

static inline uint32_t get(const uint8_t *bytes, size_t size) {
    uint32_t value = 0;
    for (size_t i = 0; i < size; i++) value |= (uint32_t)bytes[i] << 8 * i;
    return value;
}

/* Decodes coded bytes without a delimiter; false where they are no COBS or longer than any frame. */
static inline bool cobs_decode(const uint8_t *coded, size_t size, body *out) {
    out->size = 0;
    for (size_t i = 0; i < size;) {
        const size_t block = coded[i];
        if (i + block > size || out->size + block > sizeof out->bytes) return false;
        put_bytes(out, coded + i + 1, block - 1);
        i += block;
        if (block < 255 && i < size) put(out, 0, 1);
    }
    return true;
}

/* COBS of a body and its CRC, with the delimiter. to: room for 2 + size + size / 254. */
static inline size_t to_wire(const body *plain, uint8_t *to) {
    body b = *plain;
    put(&b, crc32_bitwise(b.bytes, b.size), 4);
    size_t size = 1, code = 0;
    for (size_t i = 0; i < b.size; i++) {
        if (size - code == 255) { /* a full block stands for no zero */
            to[code] = 255;
            code = size++;
        }
        if (b.bytes[i] != 0) {
            to[size++] = b.bytes[i];
        } else {
            to[code] = (uint8_t)(size - code);
            code = size++;
        }
    }
    to[code] = (uint8_t)(size - code);
    to[size++] = 0;
    return size;
}

/* A further answer that is right; its payload is to be appended. */
static inline body *answer(device *d, uint8_t type) {
    body *b = &d->right[d->rights++];
    b->size = 0;
    put(b, (uint64_t)(type | 0x80U), 1);
    put(b, d->seq, 1);
    return b;
}

static inline bool wrong(device *d, bool condition, uint8_t code, uint32_t detail) {
    if (!condition) return false;
    body *b = answer(d, ERROR);
    put(b, d->type, 1);
    put(b, code, 1);
    put(b, detail, 4);
    return true;
}

static inline size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

static inline void expect_hello(device *d) {
    d->ticket = d->received = d->base_ticket = 0;
    d->was_run = false;
    static const uint8_t digest[16] = BUILD_DIGEST;
    char name[32] = {0};
    memcpy(name, BOARD_NAME, sizeof BOARD_NAME - 1);
    body *b = answer(d, HELLO);
    put(b, 2, 1); /* protocol */
    put(b, 2, 1); /* microseconds */
    put(b, BOARD_MAX_PAYLOAD, 2);
    put(b, BOARD_RX_BUFFER_BYTES, 2);
    put(b, MODEL_LAYERS, 2);
    put(b, 1000000, 4);
    put(b, MODEL_ARENA_BYTES, 4);
    put(b, MODEL_INPUT_BYTES, 4);
    put(b, MODEL_OUTPUT_BYTES, 4);
    put(b, BOARD_KEEPS_BASE ? MODEL_INPUT_BYTES : 0, 4);
    put_bytes(b, digest, sizeof digest);
    put_bytes(b, (const uint8_t *)name, sizeof name);
}

static inline void expect_received(device *d) {
    body *b = answer(d, d->type);
    put(b, d->ticket, 4);
    put(b, d->received, 4);
}

/* A piece of a ticket that is over is answered and ignored. */
static inline bool is_late(const device *d, uint32_t ticket) {
    return ticket == 0 || ticket < d->ticket || (ticket == d->ticket && d->was_run);
}

static inline uint32_t received_of(const device *d, uint32_t ticket) {
    return ticket == d->ticket ? d->received : 0;
}

static inline void take(device *d, uint32_t ticket, uint32_t offset, size_t count, const uint8_t *elements) {
    d->received = received_of(d, ticket);
    if (ticket != d->ticket) d->was_run = false;
    d->ticket = ticket;
    memcpy(d->arena + MODEL_INPUT_OFFSET + offset, elements, count);
    if (offset + count > d->received) d->received = offset + (uint32_t)count;
}

static inline void expect_input(device *d, const uint8_t *p, size_t size) {
    const uint32_t ticket = get(p, 4), offset = get(p + 4, 4);
    if (!is_late(d, ticket)) {
        const uint32_t received = received_of(d, ticket);
        const bool fits = offset <= received && size - 8 <= MODEL_INPUT_BYTES - offset;
        if (wrong(d, !fits, BAD_OFFSET, received)) return;
        take(d, ticket, offset, size - 8, p + 8);
    }
    expect_received(d);
}

/* The i-th field of that width, sign and all. */
static inline int field_at(const uint8_t *packed, size_t i, uint32_t bits) {
    int value = 0;
    for (size_t bit = 0; bit < bits; bit++) {
        const size_t at = i * bits + bit;
        value |= (packed[at / 8] >> at % 8 & 1) << bit;
    }
    return value >= 1 << (bits - 1) ? value - (1 << bits) : value;
}

static inline void expect_delta(device *d, const uint8_t *p, size_t size) {
    const uint32_t ticket = get(p, 4), base = get(p + 4, 4), offset = get(p + 8, 4), bits = p[12];
    if (!is_late(d, ticket)) {
        const uint32_t received = received_of(d, ticket);
        const bool no_width = bits < 2 || bits > 7;
        const size_t left = offset < MODEL_INPUT_BYTES ? MODEL_INPUT_BYTES - offset : 0;
        const size_t count = no_width ? 0 : least(left, 8 * (size - 13) / bits);
        bool refused = wrong(d, no_width, BAD_BITS, bits);
        refused |= wrong(d, base == 0 || base != d->base_ticket, NO_BASE, d->base_ticket);
        refused |= wrong(d, offset > received, BAD_OFFSET, received);
        refused |= !no_width && wrong(d, size - 13 != (count * bits + 7) / 8, BAD_LENGTH, (uint32_t)size);
        if (refused) return;
        uint8_t elements[MODEL_INPUT_BYTES];
        for (size_t i = 0; i < count; i++) elements[i] = (uint8_t)(d->base[offset + i] + field_at(p + 13, i, bits));
        take(d, ticket, offset, count, elements);
    }
    expect_received(d);
}

static inline size_t output_bytes(uint32_t layer) {
    return layer == 0 ? MODEL_INPUT_BYTES : MODEL_OUTPUT_BYTES;
}

static inline void put_ticks(const device *d, body *b, uint32_t first) {
    for (uint32_t i = first; i < d->layers_run && b->size + 4 <= 2 + BOARD_MAX_PAYLOAD; i++) put(b, TICKS_A_LAYER, 4);
}

static inline void expect_run(device *d, const uint8_t *p) {
    const uint32_t ticket = get(p, 4), asked = get(p + 4, 2);
    const uint32_t layers = asked == 65535 ? MODEL_LAYERS : asked;
    const bool known = ticket != 0 && ticket == d->ticket;
    bool refused = wrong(d, layers < 1 || layers > MODEL_LAYERS, BAD_LAYER, MODEL_LAYERS);
    refused |= wrong(d, !known || (d->was_run && layers != d->layers_run), INCOMPLETE, 0);
    refused |= known && wrong(d, !d->was_run && d->received < MODEL_INPUT_BYTES, INCOMPLETE, d->received);
    if (refused) return;
    if (BOARD_KEEPS_BASE && !d->was_run && p[6] != 0) {
        d->base_ticket = ticket;
        memcpy(d->base, d->arena + MODEL_INPUT_OFFSET, MODEL_INPUT_BYTES);
    }
    d->was_run = true;
    d->layers_run = layers;
    body *b = answer(d, RUN);
    put(b, ticket, 4);
    put(b, TICKS_A_LAYER * layers, 4);
    put_bytes(b, d->arena + MODEL_INPUT_OFFSET, least(output_bytes(layers - 1), BOARD_MAX_PAYLOAD - 8));
    put_ticks(d, b, 0);
}

static inline void expect_ticks(device *d, const uint8_t *p) {
    const uint32_t first = get(p, 2);
    if (wrong(d, first > d->layers_run, BAD_LAYER, MODEL_LAYERS)) return;
    body *b = answer(d, TICKS);
    put(b, first, 2);
    put_ticks(d, b, first);
}

static inline void expect_tensor(device *d, const uint8_t *p) {
    const uint32_t layer = get(p, 2), length = get(p + 2, 2), offset = get(p + 4, 4);
    if (wrong(d, layer >= MODEL_LAYERS, BAD_LAYER, MODEL_LAYERS)) return;
    const size_t output = output_bytes(layer);
    if (wrong(d, offset > output, BAD_OFFSET, (uint32_t)output)) return;
    const size_t size = least(least(length, output - offset), BOARD_MAX_PAYLOAD - 8);
    body *b = answer(d, TENSOR);
    put(b, layer, 2);
    put(b, size, 2);
    put(b, offset, 4);
    put_bytes(b, d->arena + MODEL_INPUT_OFFSET + offset, size);
}

static inline void expect_stats(device *d) {
    uint32_t touched = MODEL_ARENA_BYTES;
    while (touched > 0 && d->arena[touched - 1] == PAINTED) touched--;
    body *b = answer(d, STATS);
    put(b, 0, 8); /* the stack is not the port's to measure */
    put(b, touched, 4);
    put(b, 1, 4);
    put(b, 0, 4);
    put(b, d->dropped, 4);
    put(b, d->good, 4);
    put(b, 0, 4);
}

/* Whether the payload has the request's length; a tail may follow INPUT, ECHO and DELTA. */
static inline bool has_length(uint8_t type, size_t size) {
    static const uint8_t fixed[] = {[HELLO] = 1, [INPUT] = 8, [RUN] = 7, [TICKS] = 2, [TENSOR] = 8, [DELTA] = 13};
    const bool tail = type == INPUT || type == ECHO || type == DELTA;
    return size == fixed[type] || (tail && size > fixed[type]);
}

static inline void serve(device *d, const uint8_t *payload, size_t size) {
    const bool is_known = d->type >= HELLO && d->type <= (BOARD_KEEPS_BASE ? DELTA : ECHO);
    if (wrong(d, !is_known, UNKNOWN_REQUEST, d->type)) return;
    if (wrong(d, !has_length(d->type, size), BAD_LENGTH, (uint32_t)size)) return;
    switch (d->type) {
    case HELLO: expect_hello(d); break;
    case INPUT: expect_input(d, payload, size); break;
    case RUN: expect_run(d, payload); break;
    case TICKS: expect_ticks(d, payload); break;
    case TENSOR: expect_tensor(d, payload); break;
    case STATS: expect_stats(d); break;
    case RESET: answer(d, RESET); break;
    case ECHO: put_bytes(answer(d, ECHO), payload, size); break;
    default: expect_delta(d, payload, size); break;
    }
}

/* Takes a byte from the wire. d->rights: 0 unless it completed a request. */
static inline void device_take(device *d, uint8_t byte) {
    d->rights = 0;
    if (byte != 0) {
        if (d->coded_size < sizeof d->coded) d->coded[d->coded_size++] = byte;
        return;
    }
    const size_t size = d->coded_size;
    d->coded_size = 0;
    if (size == 0) return;
    body b;
    const bool whole = cobs_decode(d->coded, size, &b) && b.size >= 6 && b.size <= MOST_BODY;
    if (!whole || crc32_bitwise(b.bytes, b.size - 4) != get(b.bytes + b.size - 4, 4)) {
        d->dropped++;
        return;
    }
    d->good++;
    d->type = b.bytes[0];
    d->seq = b.bytes[1];
    serve(d, b.bytes + 2, b.size - 6);
    if (d->type == RESET && b.size == 6) {
        const body said = d->right[0];
        device_start(d);
        d->type = RESET;
        d->right[0] = said;
        d->rights = 1;
    }
}

#endif
