/* Level 1 caches of a Cortex-M7. Registers: Armv7-M Architecture Reference Manual B2.2.7 (maintenance) and B4.8
 * (identification); Cortex-M7 Technical Reference Manual (DDI 0489) chapter 5. */
#include "cortexm.h"

#define CCSIDR REG32(0xE000ED80U)
#define CSSELR REG32(0xE000ED84U)
#define ICIALLU REG32(0xE000EF50U)
#define DCISW REG32(0xE000EF60U)

#define DATA_CACHE_ON (1U << 16)                  /* SCB_CCR */
#define INSTRUCTION_CACHE_ON (1U << 17)           /* SCB_CCR */
enum { WAYS = 4, WAY_SHIFT = 30, SET_SHIFT = 5 }; /* of the data cache; lines of 32 bytes */

/* The core reads ahead speculatively, even where there is no memory: access to external memory, 0x60000000 to
 * 0xDFFFFFFF, is forbidden (ST AN4838, speculative accesses). Region 0 guards the stack. */
static void forbid_external_memory(void) {
    if ((MPU_TYPE >> 8 & 0xFFU) == 0) return; /* no regions: no MPU */
    MPU_RNR = 1;
    MPU_RBAR = 0;
    MPU_RASR = 1U << 28 | 0x87U << 8 | 31U << 1 | 1U; /* XN, no access; subregions 0, 1, 2, 7 disabled; 4 GB; ENABLE */
    MPU_CTRL = 1U << 2 | 1U;                          /* PRIVDEFENA, ENABLE */
    cortexm_barrier();
}

/* After power-on, the contents of the cache are not valid, but may be marked so. */
static void invalidate_data_cache(void) {
    CSSELR = 0; /* level 1, data */
    cortexm_barrier();
    const uint32_t last_set = CCSIDR >> 13 & 0x7FFFU;
    for (uint32_t set = 0; set <= last_set; set++) {
        for (uint32_t way = 0; way < WAYS; way++) DCISW = way << WAY_SHIFT | set << SET_SHIFT;
    }
    cortexm_barrier();
}

void cortexm_start_caches(void) {
    forbid_external_memory();
    if (!(SCB_CCR & INSTRUCTION_CACHE_ON)) {
        ICIALLU = 0;
        cortexm_barrier();
        SCB_CCR |= INSTRUCTION_CACHE_ON;
    }
    if (!(SCB_CCR & DATA_CACHE_ON)) { /* one that is already on may hold modified lines */
        invalidate_data_cache();
        SCB_CCR |= DATA_CACHE_ON;
    }
    cortexm_barrier();
}
