/* The rate of a UART that divides its clock: rate = clock * UART_DIVIDER_UNIT / divider. The file that includes this
 * defines UART_DIVIDER_UNIT, UART_DIVIDER_MIN and UART_DIVIDER_MAX. */
#ifndef BAUD_H
#define BAUD_H

#define UART_DIVIDER(hz) ((uint32_t)(((hz)*UART_DIVIDER_UNIT + BOARD_BAUD / 2U) / BOARD_BAUD))

/* Whether this clock gives BOARD_BAUD to within `permille` thousandths. */
#define UART_DISTANCE(a, b) ((a) > (b) ? (a) - (b) : (b) - (a))
#define UART_KEEPS_BAUD(hz, permille)                                                                                  \
    (UART_DIVIDER(hz) >= UART_DIVIDER_MIN && UART_DIVIDER(hz) <= UART_DIVIDER_MAX &&                                   \
     1000U * UART_DISTANCE((hz)*UART_DIVIDER_UNIT, 1ULL * UART_DIVIDER(hz) * BOARD_BAUD) <=                            \
         (permille)*1ULL * UART_DIVIDER(hz) * BOARD_BAUD)

#endif
