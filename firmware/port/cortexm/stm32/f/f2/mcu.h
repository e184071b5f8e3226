/* STM32F2 (RM0033): where it differs from the STM32F4, its successor. */
#ifndef MCU_H
#define MCU_H

#include "stm32f.h"
#include "usart_v1.h"

/* FLASH_ACR (RM0033 3.6): latency; prefetch, instruction and data cache of the ART accelerator. */
#define LATENCY_MASK 7U
#define MCU_FLASH_ACCELERATORS (1U << 8 | 1U << 9 | 1U << 10)
/* RM0033 5.2: 120 MHz, a quarter of it on APB1, half of it on APB2; its regulator has a single run-mode level. */
#define MCU_MAX_HZ 120000000U
#define MCU_APB1_MAX_HZ (MCU_MAX_HZ / 4U)
#define MCU_VCO_MIN_HZ 192000000U /* RM0033 5.3.2 */
#define MCU_HAS_VOLTAGE_SCALES 0
#define MCU_HAS_CACHES 0

#endif
