/* Frames: COBS(type u8, seq u8, payload, crc32 u32) and a zero byte, as pipeline/protocol/wire.py. Pure: no port. */
#ifndef FRAME_H
#define FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "board_config.h"

enum { FRAME_HEADER_BYTES = 2, FRAME_CRC_BYTES = 4, FRAME_OVERHEAD_BYTES = FRAME_HEADER_BYTES + FRAME_CRC_BYTES };

/* One frame, decoded or about to be encoded, with room for its CRC: the only frame buffer there is. */
typedef struct {
    uint8_t type, seq;
    uint8_t payload[BOARD_MAX_PAYLOAD + FRAME_CRC_BYTES];
} frame;

typedef struct {
    size_t size;      /* bytes decoded so far; above sizeof(frame) when the frame was too long */
    uint8_t block;    /* bytes left in the current COBS block */
    bool zero_due;    /* a further block is preceded by a zero */
    bool started;     /* any byte since the last delimiter */
    uint32_t good;    /* valid frames */
    uint32_t dropped; /* frames with a bad CRC, bad COBS or a wrong length */
} frame_decoder;

/* Takes one byte from the wire. True when it completed a valid frame, which then lies in f; *length: its payload bytes.
 * Consecutive delimiters are no frames. */
bool frame_decode(frame_decoder *d, frame *f, uint8_t byte, size_t *length);

typedef void (*frame_sink)(const uint8_t *data, size_t size);

/* Sends f with `length` payload bytes as wire bytes to the sink, delimiter included. Overwrites the CRC behind them. */
void frame_encode(frame *f, size_t length, frame_sink sink);

/* CRC-32 as in zlib and IEEE 802.3 (reflected, polynomial 0xEDB88320, initial value and final XOR 0xFFFFFFFF). */
uint32_t frame_crc32(const uint8_t *data, size_t size);

#endif
