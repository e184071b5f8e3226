/* Handles any unexpected exception: tells the host what happened, then halts. */
#include "cortexm.h"
#include "port.h"

extern uint32_t __stack_bottom[], __stack_top[];

enum { FRAME_WORDS = 8, FRAME_LR = 5, FRAME_PC = 6 }; /* basic exception frame: r0-r3, r12, lr, pc, xPSR (B1.5.6) */

noreturn void cortexm_fault(const uint32_t *exception_frame, uint32_t exc_return);

/* Keeps the stack pointer while there is room on the stack to report, 384 bytes: reporting takes 116 of them on a
 * Cortex-M4, without optimization 208 (-fstack-usage). After an overflow it restarts at the top, over the frames of
 * main(), which are no longer needed. */
__attribute__((naked)) void cortexm_fault_entry(void) {
    __asm volatile("cpsid i\n\t"
                   "mov r0, sp\n\t"
                   "mov r1, lr\n\t"
                   "ldr r2, =__stack_bottom + 384\n\t"
                   "ldr r3, =__stack_top\n\t"
                   "cmp r0, r2\n\t"
                   "blo 1f\n\t"
                   "cmp r0, r3\n\t"
                   "bls 2f\n"
                   "1:\n\t"
                   "mov sp, r3\n"
                   "2:\n\t"
                   "ldr r2, =cortexm_fault\n\t"
                   "bx r2\n\t");
}

/* Armv6-M has no fault status registers: every fault is a HardFault. */
#if __ARM_ARCH > 6
#define FAULT_STATUS .cfsr = SCB_CFSR, .hfsr = SCB_HFSR, .mmfar = SCB_MMFAR, .bfar = SCB_BFAR
#else
#define FAULT_STATUS .cfsr = 0, .hfsr = 0, .mmfar = 0, .bfar = 0
#endif

static int is_readable(const uint32_t *exception_frame) {
    return exception_frame >= __stack_bottom && exception_frame + FRAME_WORDS <= __stack_top;
}

noreturn void cortexm_fault(const uint32_t *exception_frame, uint32_t exc_return) {
    uint32_t ipsr;
    __asm volatile("mrs %0, ipsr" : "=r"(ipsr));
    const int readable = is_readable(exception_frame);
    const port_fault fault = {
        .ipsr = ipsr,
        FAULT_STATUS,
        .pc = readable ? exception_frame[FRAME_PC] : 0,
        .lr = readable ? exception_frame[FRAME_LR] : 0,
        .exc_return = exc_return,
    };
    port_on_fault(&fault);
    for (;;) cortexm_wait_for_irq();
}
