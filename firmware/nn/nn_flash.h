/* Where constants are stored. Except on AVR, flash is part of the address space of data, and NN_FLASH is empty. AVR
 * reads its flash with instructions of its own, so a pointer to a constant must say that it is one (ISO/IEC TR 18037,
 * named address spaces; GCC: AVR Named Address Spaces); such objects lie in the lowest 64 KiB of flash. */
#ifndef NN_FLASH_H
#define NN_FLASH_H

#include <stdint.h>

#ifdef __AVR__
#ifdef __STRICT_ANSI__
#error "named address spaces are an extension of GNU C: compile with avr-gcc -std=gnu11"
#endif
#define NN_FLASH __flash
#else
#define NN_FLASH
#endif

/* `count` weights where ordinary loads reach them: the weights themselves; on AVR a copy in `buffer`, `count` bytes. */
static inline const int8_t *nn_loadable(const NN_FLASH int8_t *weights, int count, int8_t *buffer) {
#ifdef __AVR__
    for (int i = 0; i < count; i++) buffer[i] = weights[i];
    return buffer;
#else
    (void)count;
    (void)buffer;
    return weights;
#endif
}

#endif
