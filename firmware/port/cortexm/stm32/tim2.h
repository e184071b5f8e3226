/* General-purpose timer 2, 32 bits wide, at the same address in every family but the STM32F1 (RM0090 18.4). It counts
 * its clock. In QEMU it has none: a count is a nanosecond there, and with -icount shift=0 an instruction. */
#ifndef TIM2_H
#define TIM2_H

#include "stm32.h"

#define TIM2_ENABLE (1U << 0) /* in RCC_APB1ENR */
#define TIM2_CR1 REG32(0x40000000U)
#define TIM2_EGR REG32(0x40000014U)
#define TIM2_CNT REG32(0x40000024U)
#define TIM2_PSC REG32(0x40000028U)
#define TIM2_ARR REG32(0x4000002CU)

#define MCU_COUNTER TIM2_CNT
#define MCU_USES_SYSTICK 0
#define MCU_EMULATED_COUNTER_HZ 1000000000U

static inline void mcu_start_counter(void) {
    RCC_APB1ENR |= TIM2_ENABLE;
    (void)RCC_APB1ENR;
    TIM2_PSC = 0;
    TIM2_ARR = UINT32_MAX;
    TIM2_EGR = 1; /* loads the prescaler */
    TIM2_CR1 = 1;
}

#endif
