/* Boot stage (second-stage bootloader) of the RP2040 (datasheet, Bootrom): the ROM copies the first 256 bytes of the
 * flash into RAM and jumps there if the last four are the checksum of the others. At that point the flash is still a
 * serial device; this maps it into memory and starts the firmware in it. boot.cmake computes the checksum.
 *
 * The flash sends on two wires, by the command 3Bh, "fast read dual output", which all recent SPI flash chips have and
 * which, unlike reads on four wires, does not depend on any setting of the flash. */
#include <assert.h>

#include "mcu.h"

static_assert(RP2040_FLASH_DIVIDER >= 2 && RP2040_FLASH_DIVIDER % 2 == 0, "the SSI divides its clock by even numbers");
static_assert(BOARD_CLOCK_HZ / RP2040_FLASH_DIVIDER <= 104000000U, "flash clock of the command 3Bh");

#define FAST_READ_DUAL_OUTPUT 0x3BU

extern const uint32_t __vectors[];

/* Executed where the ROM has copied it, so anything outside must be called by its absolute address. */
__attribute__((used, section(".boot"))) noreturn void rp2040_boot(void);
noreturn void rp2040_boot(void) {
    SSI_ENABLE = 0;
    SSI_BAUDR = RP2040_FLASH_DIVIDER;
    SSI_RX_SAMPLE_DLY = 1; /* data from the flash arrives late, by about half a period at the smallest divider */
    SSI_SER = 1;
    SSI_CTRLR0 = DATA_ON_TWO_WIRES | FRAME_OF_32_BITS | SEND_THEN_READ;
    SSI_CTRLR1 = 0; /* one frame per read */
    SSI_SPI_CTRLR0 = COMMAND(FAST_READ_DUAL_OUTPUT) | WAIT_CYCLES(8U) | COMMAND_OF_8_BITS | ADDRESS_BITS(24U);
    SSI_ENABLE = 1;
    ((void (*)(void))(uintptr_t)__vectors[1])(); /* the flash is memory now */
    for (;;) cortexm_barrier();
}
