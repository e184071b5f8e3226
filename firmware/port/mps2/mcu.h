/* Arm MPS2 FPGA images AN385, AN386 and AN500: CMSDK UART 0 and timer 0. Register layout: Cortex-M System Design Kit
 * Technical Reference Manual (DDI 0479), sections 4.3 (UART) and 4.1 (timer); addresses: application notes, memory map.
 */
#ifndef MCU_H
#define MCU_H

#include "board.h"
#include "cortexm.h"

#define MCU_LINK_IRQ 0 /* UART 0 receive */

#define UART_DATA REG32(0x40004000U)
#define UART_STATE REG32(0x40004004U)
#define UART_CTRL REG32(0x40004008U)
#define UART_INTCLEAR REG32(0x4000400CU)
#define UART_BAUDDIV REG32(0x40004010U)

#define TIMER_CTRL REG32(0x40000000U)
#define TIMER_VALUE REG32(0x40000004U) /* counts down */
#define TIMER_RELOAD REG32(0x40000008U)

#endif
