/* Packed weights to int8. */
#include "nn.h"

void nn_decode(const NN_FLASH uint8_t *packed, int32_t bits, int32_t count, int8_t *decoded) {
    const uint32_t mask = (1U << bits) - 1U;
    const int32_t sign = (int32_t)(1U << (bits - 1));
    uint32_t window = 0;
    int32_t have = 0;
    for (int32_t i = 0; i < count; i++) {
        if (have < bits) {
            window |= (uint32_t)*packed++ << have;
            have += 8;
        }
        decoded[i] = (int8_t)(((int32_t)(window & mask) ^ sign) - sign);
        window >>= bits;
        have -= bits;
    }
}
