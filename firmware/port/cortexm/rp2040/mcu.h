/* RP2040 (RP2040 Datasheet: chapters are cited by name, registers have the names used there).
 *
 * A board defines RP2040_XOSC_HZ, its crystal; RP2040_PLL_REFDIV, RP2040_PLL_FBDIV, RP2040_PLL_POSTDIV1 and
 * RP2040_PLL_POSTDIV2; RP2040_FLASH_DIVIDER, the core's clock divided by that of the flash; RP2040_UART, 0 or 1, and
 * its GPIO numbers RP2040_UART_TX and RP2040_UART_RX. */
#ifndef MCU_H
#define MCU_H

#include "board_config.h"
#include "cortexm.h"

/* Subsystem Resets: a set bit keeps the peripheral in reset. */
#define RESETS_RESET REG32(0x4000C000U)
#define RESETS_DONE REG32(0x4000C008U)
#define RESET_IO_BANK0 (1U << 5)
#define RESET_PADS_BANK0 (1U << 8)
#define RESET_PLL_SYS (1U << 12)
#define RESET_UART (RP2040_UART ? 1U << 23 : 1U << 22)

/* Crystal Oscillator */
#define XOSC_CTRL REG32(0x40024000U)
#define XOSC_STATUS REG32(0x40024004U)
#define XOSC_STARTUP REG32(0x4002400CU)
#define XOSC_CTRL_MASK 0xFFFFFFU  /* ENABLE, FREQ_RANGE */
#define XOSC_1_TO_15_MHZ 0xAA0U   /* FREQ_RANGE */
#define XOSC_ON (0xFABU << 12)    /* ENABLE */
#define XOSC_STABLE (1U << 31)    /* STATUS */
#define XOSC_STARTUP_MASK 0x3FFFU /* DELAY, in units of 256 periods */

/* Clocks. SELECTED has one bit for each source. */
#define CLK_REF_CTRL REG32(0x40008030U)
#define CLK_REF_SELECTED REG32(0x40008038U)
#define CLK_SYS_CTRL REG32(0x4000803CU)
#define CLK_SYS_SELECTED REG32(0x40008044U)
#define CLK_PERI_CTRL REG32(0x40008048U)
#define REF_SRC_MASK 3U
#define REF_FROM_XOSC 2U
#define SYS_SRC_MASK 1U
#define SYS_FROM_REF 0U
#define SYS_FROM_AUX 1U
#define AUXSRC_MASK (7U << 5) /* CLK_SYS_CTRL, CLK_PERI_CTRL */
#define SYS_AUX_PLL (0U << 5)
#define PERI_FROM_SYS (0U << 5)
#define PERI_ON (1U << 11)

/* PLL, that of the system */
#define PLL_CS REG32(0x40028000U)
#define PLL_PWR REG32(0x40028004U)
#define PLL_FBDIV_INT REG32(0x40028008U)
#define PLL_PRIM REG32(0x4002800CU)
#define PLL_LOCKED (1U << 31)     /* CS */
#define PLL_REFDIV_MASK 63U       /* CS */
#define PLL_FBDIV_MASK 0xFFFU     /* FBDIV_INT */
#define PLL_OFF (1U << 5 | 1U)    /* PWR: VCOPD, PD */
#define PLL_POSTDIV_OFF (1U << 3) /* PWR */
#define PLL_POSTDIV1 16           /* PRIM, first bit of three */
#define PLL_POSTDIV2 12           /* PRIM, first bit of three */
#define PLL_PRIM_MASK (0x77U << 12)

/* GPIO: function and pad of each pin */
#define GPIO_CTRL(pin) REG32(0x40014004U + 8U * (pin))
#define PADS_GPIO(pin) REG32(0x4001C004U + 4U * (pin))
#define FUNCTION_UART 2U        /* CTRL: FUNCSEL */
#define PAD_INPUT (1U << 6)     /* IE */
#define PAD_4_MA (1U << 4)      /* DRIVE */
#define PAD_PULLED_UP (1U << 3) /* PUE */
#define PAD_SCHMITT (1U << 1)   /* SCHMITT */

/* UART: a PL011 (PrimeCell UART Technical Reference Manual, DDI 0183) with FIFOs of 32 bytes */
#define UART_BASE (0x40034000U + 0x4000U * RP2040_UART)
#define MCU_LINK_IRQ (20 + RP2040_UART)
#define UART_DATA REG32(UART_BASE)
#define UART_FLAGS REG32(UART_BASE + 0x18U)
#define UART_IBRD REG32(UART_BASE + 0x24U)
#define UART_FBRD REG32(UART_BASE + 0x28U)
#define UART_LCR_H REG32(UART_BASE + 0x2CU)
#define UART_CR REG32(UART_BASE + 0x30U)
#define UART_IFLS REG32(UART_BASE + 0x34U)
#define UART_IMSC REG32(UART_BASE + 0x38U)
#define OVERRUN (1U << 11)           /* DATA: bytes before this one are lost */
#define SENDING (1U << 3)            /* FLAGS: BUSY */
#define RX_EMPTY (1U << 4)           /* FLAGS */
#define TX_FULL (1U << 5)            /* FLAGS */
#define EIGHT_BITS (3U << 5)         /* LCR_H: WLEN */
#define FIFOS_ON (1U << 4)           /* LCR_H */
#define UART_ON (1U << 0)            /* CR */
#define TRANSMITTER_ON (1U << 8)     /* CR */
#define RECEIVER_ON (1U << 9)        /* CR */
#define AT_FOUR_BYTES 0U             /* IFLS: RXIFLSEL and TXIFLSEL, an eighth */
#define RECEIVED_INTERRUPT (1U << 4) /* IMSC: the FIFO is that full */
#define TIMEOUT_INTERRUPT (1U << 6)  /* IMSC: fewer bytes wait, and the line is idle */
#define UART_DIVIDER_UNIT 4ULL       /* in 64ths of a sixteenth of a bit */
#define UART_DIVIDER_MIN 64U
#define UART_DIVIDER_MAX (0xFFFFU * 64U)
#include "baud.h"

/* Watchdog, Power-On State Machine, Chip-Level Reset */
#define WATCHDOG_CTRL REG32(0x40058000U)
#define WATCHDOG_REASON REG32(0x40058008U)
#define WATCHDOG_TRIGGER (1U << 31)
#define PSM_WDSEL REG32(0x40010008U)
#define ALL_BUT_OSCILLATORS 0x1FFFCU
#define CHIP_RESET REG32(0x40064008U)

/* SSI: the flash, executed in place */
#define SSI_CTRLR0 REG32(0x18000000U)
#define SSI_CTRLR1 REG32(0x18000004U)
#define SSI_ENABLE REG32(0x18000008U) /* SSIENR */
#define SSI_SER REG32(0x18000010U)
#define SSI_BAUDR REG32(0x18000014U)
#define SSI_RX_SAMPLE_DLY REG32(0x180000F0U)
#define SSI_SPI_CTRLR0 REG32(0x180000F4U)
#define FRAME_OF_32_BITS (31U << 16)    /* CTRLR0: DFS_32 */
#define DATA_ON_TWO_WIRES (1U << 21)    /* CTRLR0: SPI_FRF */
#define SEND_THEN_READ (3U << 8)        /* CTRLR0: TMOD, "EEPROM read" */
#define COMMAND(code) ((code) << 24)    /* SPI_CTRLR0: XIP_CMD */
#define WAIT_CYCLES(n) ((n) << 11)      /* SPI_CTRLR0 */
#define COMMAND_OF_8_BITS (2U << 8)     /* SPI_CTRLR0: INST_L */
#define ADDRESS_BITS(n) ((n) / 4U << 2) /* SPI_CTRLR0: ADDR_L */

/* The clock that the core wakes up on, nominally; the actual rate differs from chip to chip. */
#define RING_OSCILLATOR_HZ 6500000U

#define MCU_COUNTER cortexm_systick()
#define MCU_USES_SYSTICK 1
#define MCU_EMULATED_COUNTER_HZ BOARD_CLOCK_HZ

typedef struct {
    uint32_t core_hz;
    uint32_t uart_divider; /* baud.h */
} mcu_clocks;

/* Starts the crystal and the PLL and returns the resulting clocks; what does not start in time is not used. Never
 * hangs. */
mcu_clocks mcu_start_clocks(void);

#endif
