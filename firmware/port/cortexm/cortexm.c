#include "cortexm.h"

#include "mcu.h"
#include "port.h"

extern uint32_t __stack_bottom[], __stack_top[];

uint32_t port_stack_size(void) {
    return (uint32_t)((uintptr_t)__stack_top - (uintptr_t)__stack_bottom);
}

uint32_t port_stack_high_water(void) {
    const uint32_t *word = __stack_bottom;
    while (word < __stack_top && *word == CORTEXM_STACK_PAINT) word++;
    return (uint32_t)((uintptr_t)__stack_top - (uintptr_t)word);
}

void cortexm_enable_link_irq(void) {
    NVIC_ISER(MCU_LINK_IRQ / 32U) = 1U << (MCU_LINK_IRQ % 32U);
}

void cortexm_disable_link_irq(void) {
    NVIC_ICER(MCU_LINK_IRQ / 32U) = 1U << (MCU_LINK_IRQ % 32U);
    cortexm_barrier();
}

uint8_t cortexm_ring_wait(ring *r) {
    /* Interrupts are masked between the test and the sleep, so that no byte slips in between; a pending interrupt ends
     * WFI nevertheless (B1.5.19). */
    cortexm_disable_irq();
    while (ring_empty(r)) {
        cortexm_wait_for_irq();
        cortexm_enable_irq();
        cortexm_barrier();
        cortexm_disable_irq();
    }
    cortexm_enable_irq();
    return ring_take(r);
}

noreturn void cortexm_reset_mcu(void) {
    cortexm_barrier();
    SCB_AIRCR = 0x05FAU << 16 | 1U << 2; /* VECTKEY, SYSRESETREQ (B3.2.6) */
    for (;;) cortexm_barrier();
}
