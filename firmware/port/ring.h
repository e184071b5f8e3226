/* Receive ring: filled by one interrupt handler, emptied by the main program, without locks. Both sides run on one
 * core, so only the compiler could reorder accesses: every field is volatile. */
#ifndef RING_H
#define RING_H

#include <stdbool.h>
#include <stdint.h>

#include "board_config.h"

enum { RING_SLOTS = BOARD_RX_BUFFER_BYTES + 1 }; /* one slot stays empty, to tell full from empty */

typedef struct {
    volatile uint8_t data[RING_SLOTS];
    volatile uint32_t head;    /* next slot to fill; written by the interrupt handler only */
    volatile uint32_t tail;    /* next slot to empty; written by the main program only */
    volatile uint32_t dropped; /* bytes that found the ring full */
} ring;

static inline uint32_t ring_next(uint32_t slot) {
    return slot + 1U == RING_SLOTS ? 0U : slot + 1U;
}

static inline bool ring_empty(const ring *r) {
    return r->head == r->tail;
}

static inline void ring_put(ring *r, uint8_t byte) {
    const uint32_t head = r->head;
    const uint32_t next = ring_next(head);
    if (next == r->tail) {
        r->dropped = r->dropped + 1U;
        return;
    }
    r->data[head] = byte;
    r->head = next;
}

/* The oldest byte; the ring must not be empty. */
static inline uint8_t ring_take(ring *r) {
    const uint32_t tail = r->tail;
    const uint8_t byte = r->data[tail];
    r->tail = ring_next(tail);
    return byte;
}

#endif
