/* SAMD21 (SAM D21/DA1 Family Data Sheet, DS40001882: chapters are cited by name, registers have the names used there).
 *
 * A board defines SAMD21_DFLL_MUL, the core's clock divided by that of its 32768 Hz crystal; SAMD21_SERCOM, the serial
 * interface of the link, 0 to 5; its pins SAMD21_UART_TX and SAMD21_UART_RX as SAMD21_PIN(A or B, number);
 * SAMD21_UART_FUNCTION, the pins' multiplexer position (C is 2, D is 3); and the pads of the interface that the pins
 * are, SAMD21_UART_TX_PAD, 0 or 2, and SAMD21_UART_RX_PAD. */
#ifndef MCU_H
#define MCU_H

#include "board_config.h"
#include "cortexm.h"

#define REG8(address) (*(volatile uint8_t *)(uintptr_t)(address))
#define REG16(address) (*(volatile uint16_t *)(uintptr_t)(address))

/* SAMD21_PIN(B, 22) is pin PB22: port in the upper bits, number in the lower five. */
enum { SAMD21_PORT_A, SAMD21_PORT_B };
#define SAMD21_PIN(port, number) ((uint32_t)SAMD21_PORT_##port << 5 | (number))

/* PM, Power Manager */
#define PM_APBCMASK REG32(0x40000420U)
#define PM_RCAUSE REG8(0x40000438U)
#define APBC_SERCOM (1U << (2 + SAMD21_SERCOM))

/* SYSCTRL, System Controller */
#define SYSCTRL_PCLKSR REG32(0x4000080CU)
#define SYSCTRL_XOSC32K REG16(0x40000814U)
#define SYSCTRL_OSC8M REG32(0x40000820U)
#define SYSCTRL_DFLLCTRL REG16(0x40000824U)
#define SYSCTRL_DFLLMUL REG32(0x4000082CU)
#define CRYSTAL_READY (1U << 1)            /* PCLKSR: XOSC32KRDY */
#define DFLL_READY (1U << 4)               /* PCLKSR: DFLLRDY, to be awaited between two writes as well */
#define DFLL_LOCKED (1U << 6 | 1U << 7)    /* PCLKSR: DFLLLCKF, DFLLLCKC */
#define CRYSTAL_ON (1U << 1)               /* XOSC32K: ENABLE */
#define CRYSTAL_PINS (1U << 2)             /* XOSC32K: XTALEN */
#define CRYSTAL_OUTPUT (1U << 3)           /* XOSC32K: EN32K */
#define CRYSTAL_AFTER_32768 (5U << 8)      /* XOSC32K: STARTUP, periods until it is considered ready */
#define OSC8M_DIVIDER_MASK (3U << 8)       /* OSC8M: PRESC, 0 divides by 1 */
#define DFLL_ON (1U << 1)                  /* DFLLCTRL: ENABLE; without ONDEMAND */
#define DFLL_CLOSED_LOOP (1U << 2)         /* DFLLCTRL: MODE */
#define DFLL_NO_QUICK_LOCK (1U << 9)       /* DFLLCTRL: QLDIS */
#define DFLL_OUTPUT_WHEN_LOCKED (1U << 11) /* DFLLCTRL: WAITLOCK */
#define DFLL_COARSE_STEP (31U << 26)       /* DFLLMUL: CSTEP, half of the range */
#define DFLL_FINE_STEP (511U << 16)        /* DFLLMUL: FSTEP, half of the range */

/* GCLK, Generic Clock Controller */
#define GCLK_CTRL REG8(0x40000C00U)
#define GCLK_STATUS REG8(0x40000C01U)
#define GCLK_CLKCTRL REG16(0x40000C02U)
#define GCLK_GENCTRL REG32(0x40000C04U)
#define GCLK_GENDIV REG32(0x40000C08U)
#define GCLK_RESET (1U << 0)       /* CTRL: SWRST */
#define GCLK_BUSY (1U << 7)        /* STATUS: SYNCBUSY */
#define SOURCE_CRYSTAL (5U << 8)   /* GENCTRL: SRC */
#define SOURCE_DFLL (7U << 8)      /* GENCTRL: SRC */
#define GENERATOR_ON (1U << 16)    /* GENCTRL: GENEN */
#define EVEN_DUTY_CYCLE (1U << 17) /* GENCTRL: IDC */
#define GENERATOR(n) ((n) << 8)    /* CLKCTRL: GEN */
#define CLOCK_ON (1U << 14)        /* CLKCTRL: CLKEN */
#define CLOCK_OF_DFLL 0U           /* CLKCTRL: ID */
#define CLOCK_OF_SERCOM (0x14U + SAMD21_SERCOM)

/* NVMCTRL, Nonvolatile Memory Controller */
#define NVMCTRL_CTRLB REG32(0x41004004U)
#define WAIT_STATES_MASK (15U << 1) /* RWS */
#define ONE_WAIT_STATE (1U << 1)

/* PORT, two groups of 32 pins */
#define PORT_BASE(pin) (0x41004400U + 0x80U * ((pin) / 32U))
#define PORT_OUTSET(pin) REG32(PORT_BASE(pin) + 0x18U)
#define PORT_PMUX(pin) REG8(PORT_BASE(pin) + 0x30U + (pin) % 32U / 2U)
#define PORT_PINCFG(pin) REG8(PORT_BASE(pin) + 0x40U + (pin) % 32U)
#define PIN_OF_PERIPHERAL (1U << 0) /* PINCFG: PMUXEN */
#define PIN_INPUT (1U << 1)         /* PINCFG: INEN */
#define PIN_PULLED (1U << 2)        /* PINCFG: PULLEN, up where OUT is set */

/* SERCOM USART */
#define UART_BASE (0x42000800U + 0x400U * SAMD21_SERCOM)
#define MCU_LINK_IRQ (9 + SAMD21_SERCOM)
#define UART_CTRLA REG32(UART_BASE)
#define UART_CTRLB REG32(UART_BASE + 0x04U)
#define UART_BAUD REG16(UART_BASE + 0x0CU)
#define UART_INTENSET REG8(UART_BASE + 0x16U)
#define UART_INTFLAG REG8(UART_BASE + 0x18U)
#define UART_STATUS REG16(UART_BASE + 0x1AU)
#define UART_SYNCBUSY REG32(UART_BASE + 0x1CU)
#define UART_DATA REG16(UART_BASE + 0x28U)
#define UART_RESET (1U << 0)                        /* CTRLA: SWRST */
#define UART_ON (1U << 1)                           /* CTRLA: ENABLE */
#define UART_ON_INTERNAL_CLOCK (1U << 2)            /* CTRLA: MODE */
#define UART_TX_ON_PAD(pad) ((pad) / 2U << 16)      /* CTRLA: TXPO */
#define UART_RX_ON_PAD(pad) ((uint32_t)(pad) << 20) /* CTRLA: RXPO */
#define LEAST_BIT_FIRST (1U << 30)                  /* CTRLA: DORD */
#define TRANSMITTER_ON (1U << 16)                   /* CTRLB: TXEN */
#define RECEIVER_ON (1U << 17)                      /* CTRLB: RXEN */
#define MAY_SEND (1U << 0)                          /* INTFLAG: DRE */
#define SENT (1U << 1)                              /* INTFLAG: TXC */
#define RECEIVED (1U << 2)                          /* INTFLAG, INTENSET: RXC */
#define OVERRUN (1U << 2)                           /* STATUS: BUFOVF */

/* The core wakes up at an eighth of this. */
#define MCU_INTERNAL_HZ 8000000U
#define CRYSTAL_HZ 32768U

#define MCU_COUNTER cortexm_systick()
#define MCU_USES_SYSTICK 1
#define MCU_EMULATED_COUNTER_HZ BOARD_CLOCK_HZ

/* Starts the crystal and the frequency-locked loop and returns the resulting core clock, Hz: that of the internal
 * oscillator if either does not start. Never hangs. */
uint32_t mcu_start_clock(void);

/* Waits until bits of a synchronization register are clear, for a limited time. */
void mcu_await_end_of(volatile const uint32_t *reg, uint32_t bits);

/* Clocks a peripheral from a generator (CLKCTRL). */
void mcu_connect_clock(uint32_t peripheral, uint32_t generator);

#endif
