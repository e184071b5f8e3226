/* STM32F303x6 and x8, F328 (RM0316): USART1 and USART2 on the clock of APB1 (9.4.13, RCC_CFGR3). In
 * larger members of the family USART1 is on that of APB2. */
#ifndef MCU_H
#define MCU_H

#include "stm32f13.h"

/* GPIO ports are on AHB (RM0316 9.4.6). */
#define RCC_GPIOENR REG32(0x40021014U) /* AHBENR */
#define MCU_GPIO_ENABLE 17
#define GPIO_BASE 0x48000000U
#define MCU_UARTS 3
#define MCU_UART_HAS_FIFO 0

/* FLASH_ACR (RM0316 4.5.1): latency; the prefetch buffer is on after reset. */
#define LATENCY_MASK 7U
#define MCU_MAX_HZ 72000000U
#define MCU_UART_HZ APB1_HZ
#define MCU_TIMER_HZ (STM32_APB1_DIVIDER == 1 ? APB1_HZ : 2U * APB1_HZ)

#include "gpio_v2.h"
#include "tim2.h"
#include "uart.h"
#include "usart_v2.h"

#endif
