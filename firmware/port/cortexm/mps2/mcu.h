/* Arm MPS2 FPGA images AN385, AN386 and AN500, and MPS3 image AN547: CMSDK UART 0 and a counter of the core clock.
 * Register layout: Cortex-M System Design Kit Technical Reference Manual (DDI 0479), sections 4.3 (UART) and 4.1
 * (timer); SSE-300 Technical Reference Manual (101773), system counter; addresses: application notes, memory map. */
#ifndef MCU_H
#define MCU_H

#include "board_config.h"
#include "cortexm.h"

#if MPS2_IMAGE == 547
#define MCU_LINK_IRQ 33 /* UART 0 receive */
#define UART_BASE 0x59303000U
#define COUNTER_CONTROL REG32(0x58100000U)
#define COUNTER_LOW REG32(0x58101000U) /* counts up */
#else
#define MCU_LINK_IRQ 0
#define UART_BASE 0x40004000U
#define TIMER_CTRL REG32(0x40000000U)
#define TIMER_VALUE REG32(0x40000004U) /* counts down */
#define TIMER_RELOAD REG32(0x40000008U)
#endif

#define UART_DATA REG32(UART_BASE)
#define UART_STATE REG32(UART_BASE + 0x04U)
#define UART_CTRL REG32(UART_BASE + 0x08U)
#define UART_INTCLEAR REG32(UART_BASE + 0x0CU)
#define UART_BAUDDIV REG32(UART_BASE + 0x10U)

static inline void mcu_start_counter(void) {
#if MPS2_IMAGE == 547
    COUNTER_CONTROL = 1;
#else
    TIMER_RELOAD = UINT32_MAX;
    TIMER_VALUE = UINT32_MAX;
    TIMER_CTRL = 1;
#endif
}

/* Cycles of the core clock, modulo 2^32. */
#if MPS2_IMAGE == 547
#define MCU_COUNTER COUNTER_LOW
#else
#define MCU_COUNTER (~TIMER_VALUE)
#endif
#define MCU_USES_SYSTICK 0
#define MCU_EMULATED_COUNTER_HZ BOARD_CLOCK_HZ

#endif
