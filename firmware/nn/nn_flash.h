/* Where constants lie. Everywhere but on AVR flash is part of the data memory and NN_FLASH is nothing. AVR reads its
 * flash with instructions of its own, so every pointer to a constant says that it is one (ISO/IEC TR 18037, named
 * address spaces; GCC: AVR Named Address Spaces); such an object lies in the lowest 64 KiB. */
#ifndef NN_FLASH_H
#define NN_FLASH_H

#include <stdint.h>

#ifdef __AVR__
#define NN_FLASH __flash
#else
#define NN_FLASH
#endif

/* `count` weights where loads reach them: the weights themselves; on AVR a copy in `buffer`, `count` bytes. */
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
