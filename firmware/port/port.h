/* What a port provides. One port is linked; nothing above this header knows which one.
 *
 * To write a port, implement everything below except port_on_fault(). A port in a folder below port/cortexm shares the
 * files there (start-up, fault entry, stack measurement, cycle counter) and provides the header mcu.h for them.
 * docs/PORTING.md is the checklist.
 */
#ifndef PORT_H
#define PORT_H

#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

/* What one tick counts. */
typedef enum { PORT_TICK_INSTRUCTIONS = 0, PORT_TICK_CYCLES = 1, PORT_TICK_US = 2 } port_tick;

/* Starts clocks, link and tick counter. Called once, before anything else. Never hangs: if a clock does not start, the
 * MCU stays on one that runs from reset. */
void port_init(void);

/* The next byte from the host; sleeps until there is one. At least BOARD_RX_BUFFER_BYTES are buffered until read. */
uint8_t port_read(void);

/* Sends bytes to the host; returns when the last one has been handed to the link. */
void port_write(const uint8_t *data, size_t size);

/* Bytes lost since reset because the receive buffer was full or the link's hardware overran. */
uint32_t port_rx_dropped(void);

/* port_ticks_stop() returns the ticks since port_ticks_start(), at most 2^32 - 1; with nothing in between it returns 0.
 * Where a tick is an instruction, interrupts do not count, so that the ticks are those of the code alone. */
void port_ticks_start(void);
uint32_t port_ticks_stop(void);

/* What a tick counts, and ticks per second (0 when a tick is an instruction); valid after port_init(). */
port_tick port_tick_unit(void);
uint32_t port_tick_hz(void);

/* Restarts the MCU once everything written has been sent. */
noreturn void port_reset(void);

/* Raw reset flags of the MCU as they were at start-up, 0 if unknown. */
uint32_t port_reset_cause(void);

/* Reserved stack and its deepest use since reset, in bytes; both 0 where the port cannot measure the stack. */
uint32_t port_stack_size(void);
uint32_t port_stack_high_water(void);

/* Registers of a Cortex-M at a fault (Armv7-M Architecture Reference Manual, B3.2); pc and lr are 0 when the exception
 * frame is unreadable. */
typedef struct {
    uint32_t ipsr, cfsr, hfsr, mmfar, bfar, pc, lr, exc_return;
} port_fault;

/* Implemented by the application. Called once, with interrupts masked, on a usable stack; the port halts when it
 * returns. Of the port, it may call port_write() only. */
void port_on_fault(const port_fault *fault);

#endif
