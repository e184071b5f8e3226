#include "frame.h"

#include <assert.h>

#include "nn_flash.h"

enum { COBS_LONGEST_BLOCK = 254, DELIMITER = 0 };

static_assert(sizeof(frame) == FRAME_HEADER_BYTES + BOARD_MAX_PAYLOAD + FRAME_CRC_BYTES, "a frame is contiguous bytes");

uint32_t frame_crc32(const uint8_t *data, size_t size) {
    /* Four bits at a time: table[i] is what shifting nibble i out of the CRC register XORs into it. */
    static const NN_FLASH uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t crc = 0xFFFFFFFFU;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        crc = table[crc & 15U] ^ (crc >> 4);
        crc = table[crc & 15U] ^ (crc >> 4);
    }
    return ~crc;
}

static uint32_t load_u32(const uint8_t *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static void store_u32(uint8_t *bytes, uint32_t value) {
    for (unsigned i = 0; i < 4; i++) bytes[i] = (uint8_t)(value >> (8U * i));
}

static void append(frame_decoder *d, frame *f, uint8_t byte) {
    if (d->size < sizeof(frame)) ((uint8_t *)f)[d->size] = byte;
    if (d->size <= sizeof(frame)) d->size++;
}

/* True when the bytes up to the delimiter are a complete frame with the right CRC. */
static bool is_valid(const frame_decoder *d, const frame *f) {
    if (d->block != 0 || d->size < FRAME_OVERHEAD_BYTES || d->size > sizeof(frame)) return false;
    const uint8_t *bytes = (const uint8_t *)f;
    const size_t covered = d->size - FRAME_CRC_BYTES;
    return frame_crc32(bytes, covered) == load_u32(bytes + covered);
}

static bool finish(frame_decoder *d, const frame *f, size_t *length) {
    const bool any = d->started;
    const bool valid = any && is_valid(d, f);
    *length = valid ? d->size - FRAME_OVERHEAD_BYTES : 0;
    d->good += valid;
    d->dropped += any && !valid;
    d->size = 0;
    d->block = 0;
    d->zero_due = false;
    d->started = false;
    return valid;
}

bool frame_decode(frame_decoder *d, frame *f, uint8_t byte, size_t *length) {
    if (byte == DELIMITER) return finish(d, f, length);
    if (d->block > 0) {
        append(d, f, byte);
        d->block--;
        return false;
    }
    if (d->started && d->zero_due) append(d, f, 0);
    d->block = (uint8_t)(byte - 1U);
    d->zero_due = byte <= COBS_LONGEST_BLOCK;
    d->started = true;
    return false;
}

void frame_encode(frame *f, size_t length, frame_sink sink) {
    const uint8_t *bytes = (const uint8_t *)f;
    const size_t covered = FRAME_HEADER_BYTES + length;
    store_u32(f->payload + length, frame_crc32(bytes, covered));
    const size_t size = covered + FRAME_CRC_BYTES;
    size_t start = 0;
    bool more = true;
    while (more) {
        size_t run = 0;
        while (start + run < size && run < COBS_LONGEST_BLOCK && bytes[start + run] != 0) run++;
        const uint8_t code = (uint8_t)(run + 1U);
        sink(&code, 1);
        sink(bytes + start, run);
        start += run;
        more = start < size;
        if (more && run < COBS_LONGEST_BLOCK) start++; /* the zero this block stands for */
    }
    const uint8_t delimiter = DELIMITER;
    sink(&delimiter, 1);
}
