/* Trits to fields of 2 bits. */
#include "nn.h"

enum { GROUP_BYTES = 16, GROUP_WORDS = 5 };

/* The five fields of 2 bits that a byte stands for, the first one lowest; byte = d0 + 3 d1 + 9 d2 + 27 d3 + 81 d4. */
#define D0(x) (x), (x) + 1, (x) + 2
#define D1(x) D0(x), D0((x) + (1 << 2)), D0((x) + (2 << 2))
#define D2(x) D1(x), D1((x) + (1 << 4)), D1((x) + (2 << 4))
#define D3(x) D2(x), D2((x) + (1 << 6)), D2((x) + (2 << 6))
#define D4(x) D3(x), D3((x) + (1 << 8)), D3((x) + (2 << 8))
static const NN_FLASH uint16_t fields[243] = {D4(0)};

static inline uint32_t field(const NN_FLASH uint8_t *bytes, int i) {
    return fields[bytes[i]];
}

/* 16 bytes are 80 digits, exactly five words: the fields of byte i begin at bit 10 i. */
void nn_expand_trits(const NN_FLASH uint8_t *trits, int groups, uint32_t threes, void *words) {
    uint32_t *out = words;
    for (; groups > 0; groups--, trits += GROUP_BYTES, out += GROUP_WORDS) {
        const uint32_t split[] = {field(trits, 3), field(trits, 6), field(trits, 9), field(trits, 12)};
        out[0] = field(trits, 0) | field(trits, 1) << 10 | field(trits, 2) << 20 | split[0] << 30;
        out[1] = split[0] >> 2 | field(trits, 4) << 8 | field(trits, 5) << 18 | split[1] << 28;
        out[2] = split[1] >> 4 | field(trits, 7) << 6 | field(trits, 8) << 16 | split[2] << 26;
        out[3] = split[2] >> 6 | field(trits, 10) << 4 | field(trits, 11) << 14 | split[3] << 24;
        out[4] = split[3] >> 8 | field(trits, 13) << 2 | field(trits, 14) << 12 | field(trits, 15) << 22;
        for (int i = 0; i < GROUP_WORDS; i++) out[i] |= out[i] >> 1 & threes;
    }
}
