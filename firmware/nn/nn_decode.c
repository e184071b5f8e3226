/* Packed weights to int8. */
#include "nn.h"

void nn_decode_t2(const uint8_t *packed, int32_t count, int8_t *decoded) {
    for (int32_t i = 0; i < count; i++) {
        const int32_t code = (packed[i / 4] >> (2 * (i % 4))) & 3;
        decoded[i] = (int8_t)(code - ((code & 2) << 1)); /* sign extension of two bits */
    }
}
