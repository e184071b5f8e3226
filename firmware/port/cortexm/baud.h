/* The rate of a UART whose clock is divided: a rate of 1 takes UART_DIVIDER_UNIT of the divider per Hz of the clock.
 * What includes this defines UART_DIVIDER_UNIT, UART_DIVIDER_MIN and UART_DIVIDER_MAX. */
#ifndef BAUD_H
#define BAUD_H

#define UART_DIVIDER(hz) ((uint32_t)(((hz)*UART_DIVIDER_UNIT + BOARD_BAUD / 2U) / BOARD_BAUD))

/* Whether the rate from this clock is BOARD_BAUD within so many thousandths. */
#define UART_DISTANCE(a, b) ((a) > (b) ? (a) - (b) : (b) - (a))
#define UART_KEEPS_BAUD(hz, permille)                                                                                  \
    (UART_DIVIDER(hz) >= UART_DIVIDER_MIN && UART_DIVIDER(hz) <= UART_DIVIDER_MAX &&                                   \
     1000U * UART_DISTANCE((hz)*UART_DIVIDER_UNIT, 1ULL * UART_DIVIDER(hz) * BOARD_BAUD) <=                            \
         (permille)*1ULL * UART_DIVIDER(hz) * BOARD_BAUD)

#endif
