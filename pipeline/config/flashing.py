"""What each flashing tool must know about a board: the table [flashing] of a board file, one sub-table per runner."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.core.schema import Label, RelativePath, Strict, Word

UsbId = Annotated[str, Field(pattern=r"^[0-9a-f]{4}:[0-9a-f]{4}$")]
"""vendor:product, lower-case hexadecimal."""
Baud = Annotated[int, Field(ge=1200, le=4_000_000)]


class Openocd(Strict):
    """OpenOCD."""

    config: Annotated[tuple[RelativePath, ...], Field(min_length=1)]
    """Files of its script folders, in order: adapter before target."""
    commands: tuple[Label, ...] = ()
    """Further -c commands, after the files."""


class Pyocd(Strict):
    """pyOCD."""

    target: Word
    """As in `pyocd list --targets`."""
    pack: Label = ""
    """CMSIS pack file of a target that is not built in; "" for one that is."""


class StFlash(Strict):
    """st-flash."""

    connect_under_reset: bool = False
    """Hold the reset line while connecting, for firmware that disables the debug pins."""


class Stm32flash(Strict):
    """The UART bootloader (AN3155) through stm32flash."""

    baud: Baud = 115200
    """Bits per second."""
    mode: Literal["8e1", "8n1"] = "8e1"
    """Data bits, parity, stop bits."""
    gpio: Label = ""
    """Sequence on the serial signals that enters and leaves the bootloader, as in `stm32flash -h`; "" when a person
    sets BOOT0 and resets."""


class Stm32loader(Strict):
    """The UART bootloader (AN3155) through stm32loader."""

    family: Literal["F0", "F1", "F3", "F4", "F7", "H7", "L4", "L0", "G0", "NRG"]
    """As in `stm32loader --help`, for flash size and device id."""
    baud: Baud = 115200
    """Bits per second."""
    parity: Literal["even", "none"] = "even"
    """Of the line."""


class DfuUtil(Strict):
    """A USB bootloader through dfu-util."""

    usb_id: UsbId
    """Of the bootloader."""
    alt: Annotated[int, Field(ge=0, le=255)] = 0
    """Number of its interface for the flash."""
    dfuse: bool = True
    """Whether it takes addresses (ST's DfuSe); a plain DFU bootloader knows its own."""


class Bossac(Strict):
    """The SAM-BA bootloader through bossac."""

    native_usb: bool
    """Whether the port is the MCU's own USB."""
    offset: Annotated[int, Field(ge=0)] = 0
    """Bytes at the beginning of the flash that the bootloader keeps."""


class Avrdude(Strict):
    """An AVR bootloader through avrdude."""

    part: Word
    """As in avrdude's configuration."""
    programmer: Word = "arduino"
    """As in avrdude's configuration."""
    baud: Baud = 115200
    """Bits per second of the bootloader."""


class MassStorage(Strict):
    """The drive that a board's debug adapter shows."""

    volume: Word
    """Its label."""


class Uf2(Strict):
    """The drive of a UF2 bootloader."""

    family: Annotated[int, Field(gt=0, lt=1 << 32)]
    """Id of the MCU's family, as the UF2 format lists it: the bootloader ignores files of other families."""
    board_id: Label
    """As in the line Board-ID of INFO_UF2.TXT on the drive: no other drive is written to."""


class ArduinoCli(Strict):
    """arduino-cli."""

    fqbn: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+){2}(:[A-Za-z0-9_.,=-]+)?$")]
    """Fully qualified board name, "package:architecture:board[:options]"."""
    suffix: Literal["bin", "hex", "elf"] = "bin"
    """Of the firmware file that the board's core uploads."""


class Flashing(Strict):
    """Arguments of the flashing tools, by runner. None: this tool cannot flash the board."""

    touch_1200_baud: bool = False
    """Whether the board enters its bootloader when its port is opened at 1200 baud and closed again."""
    openocd: Openocd | None = None
    """For a debug probe."""
    pyocd: Pyocd | None = None
    """For a debug probe."""
    st_flash: StFlash = StFlash()
    """For an ST-LINK."""
    stm32flash: Stm32flash = Stm32flash()
    """For the UART bootloader."""
    stm32loader: Stm32loader | None = None
    """For the UART bootloader."""
    dfu_util: DfuUtil | None = None
    """For a USB bootloader."""
    bossac: Bossac | None = None
    """For a SAM-BA bootloader."""
    avrdude: Avrdude | None = None
    """For an AVR bootloader."""
    mass_storage: MassStorage | None = None
    """For a drive."""
    uf2: Uf2 | None = None
    """For the drive of a UF2 bootloader: the build then makes firmware.uf2 too."""
    arduino_cli: ArduinoCli | None = None
    """For any board with an Arduino core."""
