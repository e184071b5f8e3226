/* What a sketch of this project uses of Arduino's interface. mps2.cpp implements it on the machines that QEMU emulates.
 */
#ifndef ARDUINO_H
#define ARDUINO_H

#include <stddef.h>
#include <stdint.h>

class UartSerial {
  public:
    void begin(unsigned long baud);
    int available();
    int read();
    size_t write(const uint8_t *data, size_t size);
    void flush();
};

extern UartSerial Serial;

unsigned long micros();

/* The sketch's. */
void setup();
void loop();

#endif
