#include "link.h"

#include <string.h>

#include "frame.h"
#include "port.h"
#include "wire_protocol.h"

static frame buffer;
static frame_decoder decoder;

static size_t receive(void) {
    size_t length = 0;
    while (!frame_decode(&decoder, &buffer, port_read(), &length)) {
    }
    return length;
}

static void send(uint8_t type, size_t length) {
    ASSERT(length <= BOARD_MAX_PAYLOAD);
    buffer.type = (uint8_t)(type | WIRE_REPLY);
    frame_encode(&buffer, length, port_write);
}

static void send_error(uint8_t request, uint8_t code, uint32_t detail) {
    const wire_error_reply error = {.request = request, .code = code, .detail = detail};
    memcpy(buffer.payload, &error, sizeof error);
    send(WIRE_MESSAGE_ERROR, sizeof error);
}

static link_answer dispatch(const link_handler *handlers, size_t count, size_t length) {
    for (size_t i = 0; i < count; i++) {
        const link_handler *h = &handlers[i];
        if (h->type != buffer.type) continue;
        VERIFY(length >= h->fixed && (h->tail || length == h->fixed), WIRE_ERROR_BAD_LENGTH, (uint32_t)length);
        return h->handle(buffer.payload, length);
    }
    return link_error(WIRE_ERROR_UNKNOWN_REQUEST, buffer.type);
}

void link_serve(const link_handler *handlers, size_t count) {
    const size_t length = receive();
    const uint8_t type = buffer.type;
    const link_answer answer = dispatch(handlers, count, length);
    if (answer.code != 0) {
        send_error(type, answer.code, answer.detail);
    } else {
        send(type, answer.length);
    }
}

void link_send_unasked(uint8_t type, const void *payload, size_t length) {
    const uint8_t delimiter = 0; /* ends a frame that may be half sent */
    port_write(&delimiter, 1);
    buffer.seq = 0;
    ASSERT(length <= BOARD_MAX_PAYLOAD);
    memcpy(buffer.payload, payload, length);
    send(type, length);
}

uint32_t link_frames(void) {
    return decoder.good;
}

uint32_t link_frame_errors(void) {
    return decoder.dropped;
}
