/* The only file that knows Arduino's C++ interface. */
#include "arduino_core.h"

#include <Arduino.h>

#include "board_config.h"

void core_serial_begin(uint32_t baud) {
    Serial.begin(baud);
}

int core_serial_available(void) {
    return Serial.available();
}

int core_serial_read(void) {
    return Serial.read();
}

void core_serial_write(const uint8_t *data, size_t size) {
    Serial.write(data, size);
}

void core_serial_flush(void) {
#ifndef ARDUINO_QEMU /* its UART never reports that everything has been sent */
    Serial.flush();
#endif
}

uint32_t core_micros(void) {
    return static_cast<uint32_t>(micros());
}
