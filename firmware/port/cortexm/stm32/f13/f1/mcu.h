/* STM32F1: F101, F102, F103 (RM0008) and F100 (RM0041); not the connectivity line (F105, F107), whose PLL differs. */
#ifndef MCU_H
#define MCU_H

#include "stm32f13.h"

/* GPIO ports are on APB2 (RM0008 7.3.7). */
#define RCC_GPIOENR RCC_APB2ENR
#define MCU_GPIO_ENABLE 2
#define GPIO_BASE 0x40010800U
#define MCU_UARTS 5
#define MCU_UART_HAS_OVER8 0

/* FLASH_ACR (RM0008 3.3.3): latency, and the prefetch buffer, which is on after reset. An STM32F100 has neither and
 * needs no wait state. */
#define LATENCY_MASK 7U
/* The STM32F103; the smaller members of the family reach 24, 36 or 48 MHz (pipeline/config/clocks.py). */
#define MCU_MAX_HZ 72000000U
#define MCU_UART_HZ (UART_ON_APB2 ? APB2_HZ : APB1_HZ)
#define MCU_TIMER_HZ BOARD_CLOCK_HZ /* SysTick */

#include "gpio_v1.h"
#include "tim2_16.h"
#include "uart.h"
#include "usart_v1.h"

#endif
