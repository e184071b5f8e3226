/* What the Arduino API does not cover. Besides the functions below, the file of each processor implements the ticks,
 * the reset and the stack functions of port.h. */
#ifndef CPU_H
#define CPU_H

#if !defined(__AVR__) && !defined(__arm__)
#error "this port knows AVR and Arm Cortex-M"
#endif

/* Starts the tick counter. */
void cpu_start(void);

/* Sleeps until a byte may have arrived, or returns at once. */
void cpu_idle(void);

#endif
