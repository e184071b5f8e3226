/* What a board port provides. One port is linked; nothing above this header knows which.
 *
 * To write a port: implement everything below except port_on_fault(). A port in a folder below port/cortexm shares what
 * lies there (start-up, fault entry, stack measurement, cycle counter) and brings a header mcu.h for it.
 * docs/PORTING.md is the checklist.
 */
#ifndef PORT_H
#define PORT_H

#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

/* What one tick counts. */
typedef enum { PORT_TICK_INSTRUCTIONS = 0, PORT_TICK_CYCLES = 1, PORT_TICK_US = 2 } port_tick;

/* Clocks, link and tick counter. Called once, first. Never hangs: a clock that does not start is replaced by the one
 * the MCU woke up with. */
void port_init(void);

/* The next byte from the host; sleeps until there is one. At least BOARD_RX_BUFFER_BYTES may wait unread. */
uint8_t port_read(void);

/* Sends bytes to the host; returns when the last one has been handed to the link. */
void port_write(const uint8_t *data, size_t size);

/* Bytes lost since reset because the receive buffer was full or the link hardware overran. */
uint32_t port_rx_dropped(void);

/* port_ticks_stop() returns the ticks since port_ticks_start(), at most 2^32 - 1; two calls with nothing in between
 * give 0. Where a tick is an instruction no interrupt is served in between, so that the count is that of the code
 * alone. */
void port_ticks_start(void);
uint32_t port_ticks_stop(void);

/* What a tick is, and ticks per second (0 when a tick is an instruction); valid after port_init(). */
port_tick port_tick_unit(void);
uint32_t port_tick_hz(void);

/* Restarts the MCU after everything written has left. */
noreturn void port_reset(void);

/* Raw reset flags of the MCU as they were at start, 0 if unknown. */
uint32_t port_reset_cause(void);

/* Reserved stack and its deepest use since reset, bytes; both 0 where the stack is not ours to measure. */
uint32_t port_stack_size(void);
uint32_t port_stack_high_water(void);

/* Registers of a Cortex-M at a fault (Armv7-M Architecture Reference Manual, B3.2); pc and lr are 0 when the exception
 * frame is unreadable. */
typedef struct {
    uint32_t ipsr, cfsr, hfsr, mmfar, bfar, pc, lr, exc_return;
} port_fault;

/* Implemented by the application: called once, interrupts masked, on a usable stack; the port stops when it returns.
 * It may call port_write() and nothing else of the port. */
void port_on_fault(const port_fault *fault);

#endif
