/* What the port uses of the board's Arduino core, callable from C. */
#ifndef ARDUINO_CORE_H
#define ARDUINO_CORE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

void core_serial_begin(uint32_t baud);

/* Number of bytes that can be read. */
int core_serial_available(void);

/* The next byte, or -1 when there is none. */
int core_serial_read(void);

/* Returns when the last byte has been handed to the core. */
void core_serial_write(const uint8_t *data, size_t size);

/* Returns when everything written has been sent. */
void core_serial_flush(void);

/* Microseconds since start; wraps after 2^32. */
uint32_t core_micros(void);

#ifdef __cplusplus
}
#endif

#endif
