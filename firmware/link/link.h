/* Requests and replies in frames; of the hardware it knows only port.h. */
#ifndef LINK_H
#define LINK_H

#include <stddef.h>
#include <stdint.h>

#include "nn_flash.h"

/* The outcome of a handler: an error (`code` other than 0, with its detail), or a reply of `length` payload bytes. */
typedef struct {
    size_t length;
    uint32_t detail;
    uint8_t code;
} link_answer;

static inline link_answer link_reply(size_t length) {
    return (link_answer){.length = length};
}

static inline link_answer link_error(uint8_t code, uint32_t detail) {
    return (link_answer){.code = code, .detail = detail};
}

/* Returns from the handler with an error reply: for bad input from outside. */
#define VERIFY(condition, code, detail)                                                                                \
    do {                                                                                                               \
        if (!(condition)) return link_error((code), (detail));                                                         \
    } while (0)

/* Stops in the fault handler: for bugs of the firmware itself. */
#define ASSERT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) __builtin_trap();                                                                            \
    } while (0)

/* Serves one request type. The payload holds `length` request bytes, never fewer than `fixed`, and more only with
 * `tail`; the handler overwrites it with the reply, at most BOARD_MAX_PAYLOAD bytes. */
typedef struct {
    uint8_t type;
    uint8_t fixed; /* bytes of the request's fixed fields */
    uint8_t tail;  /* 1: more bytes may follow them */
    link_answer (*handle)(uint8_t *payload, size_t length);
} NN_FLASH link_handler;

/* Waits for one valid frame and answers it. Damaged frames are counted and dropped: the host sends them again. */
void link_serve(const link_handler *handlers, size_t count);

/* Sends an unsolicited message, whatever the link was doing. */
void link_send_unasked(uint8_t type, const void *payload, size_t length);

/* Valid and damaged frames received since reset. */
uint32_t link_frames(void);
uint32_t link_frame_errors(void);

#endif
