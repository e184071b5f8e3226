/* Decodes packed weights to int8. */
#include "nn.h"

void nn_decode(const NN_FLASH uint8_t *packed, int bits, int count, int8_t *decoded) {
    const unsigned mask = (1U << bits) - 1U;
    const int sign = 1 << (bits - 1);
    unsigned window = 0; /* never holds more than 15 bits */
    int have = 0;
    for (int i = 0; i < count; i++) {
        if (have < bits) {
            window |= (unsigned)*packed++ << have;
            have += 8;
        }
        decoded[i] = (int8_t)(((int)(window & mask) ^ sign) - sign);
        window >>= bits;
        have -= bits;
    }
}
