/* Port on top of any Arduino core: the link is Serial. The core's receive buffer does not count lost bytes: a loss
 * shows as a damaged frame. */
#include "port.h"

#include "arduino_core.h"
#include "board_config.h"
#include "cpu.h"

void port_init(void) {
    core_serial_begin(BOARD_BAUD);
    cpu_start();
}

uint8_t port_read(void) {
    int byte;
    while ((byte = core_serial_read()) < 0) cpu_idle();
    return (uint8_t)byte;
}

void port_write(const uint8_t *data, size_t size) {
    core_serial_write(data, size);
}

uint32_t port_rx_dropped(void) {
    return 0;
}
