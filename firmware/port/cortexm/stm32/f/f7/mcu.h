/* STM32F7 (RM0410 for STM32F76x, RM0385 for STM32F74x): where it differs from the STM32F4. */
#ifndef MCU_H
#define MCU_H

#include "stm32f.h"
#include "usart_v2.h"

/* FLASH_ACR (RM0410 3.7.1): latency. The ART accelerator serves fetches at 0x00200000 only (RM0410 3.3.2); this
 * firmware runs at 0x08000000, through the core's caches. */
#define LATENCY_MASK 15U
#define MCU_FLASH_ACCELERATORS 0U
/* Without and with over-drive (RM0410 4.1.4, 5.2); APB2 may be twice as fast as APB1. */
#define MCU_MAX_HZ (STM32_OVER_DRIVE ? 216000000U : 180000000U)
#define MCU_APB1_MAX_HZ (MCU_MAX_HZ / 4U)
#define MCU_VCO_MIN_HZ 100000000U /* RM0090 7.3.2, RM0410 5.3.2 */
#define MCU_HAS_VOLTAGE_SCALES 1
#define MCU_HAS_CACHES 1
#define MCU_UART_HAS_FIFO 0

#endif
