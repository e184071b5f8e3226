/* What the Arduino API leaves to the processor: besides the functions below, each processor's file implements the
 * ticks, the reset and the stack of port.h. */
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
