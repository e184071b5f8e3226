/* Offers link/frame.c to a test over standard input and output: a command byte, a u16 length, so many bytes.
 * 'E' type seq payload: answers u16 length and the wire bytes.
 * 'D' wire bytes: answers every decoded frame as u16 length, type, seq, payload; then 0xFFFF and the two u32 counters.
 * 'C' bytes: answers their CRC-32. */
#include <stdio.h>
#include <string.h>

#include "frame.h"

static uint8_t input[65536], output[65536];
static size_t written;

static void collect(const uint8_t *data, size_t size) {
    memcpy(output + written, data, size);
    written += size;
}

static void put_u16(size_t value) {
    putchar((int)(value & 255U));
    putchar((int)(value >> 8));
}

static void put_u32(uint32_t value) {
    put_u16(value & 0xFFFFU);
    put_u16(value >> 16);
}

static void encode(size_t size) {
    frame f;
    memcpy(&f, input, size);
    written = 0;
    frame_encode(&f, size - FRAME_HEADER_BYTES, collect);
    put_u16(written);
    fwrite(output, 1, written, stdout);
}

static void decode(size_t size) {
    frame_decoder d = {0};
    frame f;
    for (size_t i = 0; i < size; i++) {
        size_t length = 0;
        if (!frame_decode(&d, &f, input[i], &length)) continue;
        put_u16(FRAME_HEADER_BYTES + length);
        fwrite(&f, 1, FRAME_HEADER_BYTES + length, stdout);
    }
    put_u16(0xFFFFU);
    put_u32(d.good);
    put_u32(d.dropped);
}

int main(void) {
    for (int command; (command = getchar()) != EOF;) {
        const int low = getchar();
        const size_t size = (size_t)low | (size_t)getchar() << 8;
        if (fread(input, 1, size, stdin) != size) return 1;
        if (command == 'E') encode(size);
        if (command == 'D') decode(size);
        if (command == 'C') put_u32(frame_crc32(input, size));
        fflush(stdout);
    }
    return 0;
}
