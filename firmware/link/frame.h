/* Frames: COBS(type u8, seq u8, payload, crc32 u32) and a zero byte, as in pipeline/protocol/wire.py. Pure: uses no
 * port. */
#ifndef FRAME_H
#define FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "board_config.h"

enum { FRAME_HEADER_BYTES = 2, FRAME_CRC_BYTES = 4, FRAME_OVERHEAD_BYTES = FRAME_HEADER_BYTES + FRAME_CRC_BYTES };

/* One frame, decoded or about to be encoded, with room for its CRC: the firmware has a single one. */
typedef struct {
    uint8_t type, seq;
    uint8_t payload[BOARD_MAX_PAYLOAD + FRAME_CRC_BYTES];
} frame;

typedef struct {
    size_t size;      /* bytes decoded so far; above sizeof(frame) when the frame was too long */
    uint8_t block;    /* bytes left in the current COBS block */
    bool zero_due;    /* the next block, if any, is preceded by a zero */
    bool started;     /* a byte has arrived since the last delimiter */
    uint32_t good;    /* valid frames */
    uint32_t dropped; /* frames with a bad CRC, bad COBS or a wrong length */
} frame_decoder;

/* Takes one byte from the wire. True when it completed a valid frame, which is then in f, with *length payload bytes.
 * Nothing between two delimiters is not a frame, and no error. */
bool frame_decode(frame_decoder *d, frame *f, uint8_t byte, size_t *length);

typedef void (*frame_sink)(const uint8_t *data, size_t size);

/* Encodes f with `length` payload bytes and passes the wire bytes, delimiter included, to the sink. Writes the CRC into
 * f, after the payload. */
void frame_encode(frame *f, size_t length, frame_sink sink);

/* CRC-32 as in zlib and IEEE 802.3 (reflected, polynomial 0xEDB88320, initial value and final XOR 0xFFFFFFFF). */
uint32_t frame_crc32(const uint8_t *data, size_t size);

#endif
