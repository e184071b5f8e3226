/* Where TIM2 has only 16 bits, as in the STM32F1, the core's SysTick is the counter. */
#ifndef TIM2_H
#define TIM2_H

#include "stm32.h"

#define MCU_COUNTER cortexm_systick()
#define MCU_USES_SYSTICK 1
#define MCU_EMULATED_COUNTER_HZ BOARD_CLOCK_HZ

static inline void mcu_start_counter(void) {
    cortexm_start_systick();
}

#endif
