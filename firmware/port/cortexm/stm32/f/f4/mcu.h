/* STM32F4 (RM0090, RM0390): where it differs from the STM32F7. */
#ifndef MCU_H
#define MCU_H

#include "stm32f.h"
#include "usart_v1.h"

/* FLASH_ACR (RM0090 3.9.1): latency; prefetch, instruction and data cache of the ART accelerator. */
#define LATENCY_MASK 7U
#define MCU_FLASH_ACCELERATORS (1U << 8 | 1U << 9 | 1U << 10)
/* Without and with over-drive, which the STM32F405 lacks (RM0090 7.2, RM0390 6.2); APB2 may be twice as fast as
 * APB1. */
#define MCU_MAX_HZ (STM32_OVER_DRIVE ? 180000000U : 168000000U)
#define MCU_APB1_MAX_HZ (MCU_MAX_HZ / 4U)
#define MCU_VCO_MIN_HZ 100000000U /* RM0090 7.3.2, RM0410 5.3.2 */
#define MCU_HAS_VOLTAGE_SCALES 1
#define MCU_HAS_CACHES 0

#endif
