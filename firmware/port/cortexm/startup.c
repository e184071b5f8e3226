/* From reset to main(): vector table, painted stack, FPU, variables. */
#include "cortexm.h"
#include "mcu.h"

extern uint32_t __stack_bottom[], __stack_top[], __data_start[], __data_end[], __bss_start[], __bss_end[];
extern const uint32_t __data_load[];

int main(void);
void cortexm_reset(void);
void cortexm_fault_entry(void);
noreturn void cortexm_start(void);

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

/* Every exception but the link's and SysTick's is unexpected and handled as a fault; no interrupt after the link's is
 * ever enabled. */
typedef union {
    uint32_t *stack;
    void (*handler)(void);
} vector;

__attribute__((used, section(".vectors"))) static const vector vectors[16 + MCU_LINK_IRQ + 1] = {
    {.stack = __stack_top},
    {.handler = cortexm_reset},
#if MCU_USES_SYSTICK
    [2 ... 14] = {.handler = cortexm_fault_entry},
    [15] = {.handler = cortexm_systick_isr},
    [16 ... 15 + MCU_LINK_IRQ] = {.handler = cortexm_fault_entry},
#else
    [2 ... 15 + MCU_LINK_IRQ] = {.handler = cortexm_fault_entry},
#endif
    [16 + MCU_LINK_IRQ] = {.handler = mcu_link_isr},
};

/* Paints the whole stack before anything uses it, so that its deepest use can be measured. Thumb-1 instructions only.
 */
__attribute__((naked)) void cortexm_reset(void) {
    __asm volatile(".syntax unified\n\t"
                   "ldr r0, =__stack_bottom\n\t"
                   "ldr r1, =__stack_top\n\t"
                   "mov sp, r1\n\t"
                   "ldr r2, =" TEXT(CORTEXM_STACK_PAINT) "\n"
                                                         "1:\n\t"
                                                         "str r2, [r0]\n\t"
                                                         "adds r0, r0, #4\n\t"
                                                         "cmp r0, r1\n\t"
                                                         "blo 1b\n\t"
                                                         "ldr r0, =cortexm_start\n\t"
                                                         "bx r0\n\t");
}

static void enable_fpu(void) {
#ifdef __ARM_FP
    SCB_CPACR |= 0xFU << 20; /* full access to CP10 and CP11 (B3.2.20) */
    cortexm_barrier();
#endif
}

/* Forbids access to the memory below the stack: by the MPU of Armv7-M (B3.5), which Armv6-M cores have as well, if any;
 * by the limit register of Armv8-M (DDI 0553, MSPLIM). Some MCUs have memory there, and where others raise a bus fault
 * a large frame could jump over it. The region is as large as the alignment of the stack's address, at most 1 MB. */
static void guard_stack(void) {
#if __ARM_ARCH <= 7
    if ((MPU_TYPE >> 8 & 0xFFU) == 0) return; /* no regions: no MPU */
    const uint32_t bottom = (uint32_t)(uintptr_t)__stack_bottom;
    uint32_t log2_size = 5;
    while (log2_size < 20 && (bottom & (1U << log2_size)) == 0) log2_size++;
    MPU_RNR = 0;
    MPU_RBAR = bottom - (1U << log2_size);
    MPU_RASR = 1U << 28 | (log2_size - 1U) << 1 | 1U; /* XN, no access, SIZE, ENABLE */
    MPU_CTRL = 1U << 2 | 1U; /* PRIVDEFENA, ENABLE: without HFNMIENA it is off in the fault handler */
    cortexm_barrier();
#elif __ARM_ARCH >= 8
    __asm volatile("msr msplim, %0" : : "r"(__stack_bottom));
#endif
}

noreturn void cortexm_start(void) {
    enable_fpu();
    guard_stack();
    SCB_VTOR = (uint32_t)(uintptr_t)vectors;
#if __ARM_ARCH > 6
    SCB_CCR |= 1U << 4; /* DIV_0_TRP (B3.2.8): a division by zero is a bug, not a zero */
#endif
    const uint32_t *from = __data_load;
    for (uint32_t *to = __data_start; to < __data_end; to++) *to = *from++;
    for (uint32_t *to = __bss_start; to < __bss_end; to++) *to = 0;
    (void)main();
    __builtin_trap();
}
