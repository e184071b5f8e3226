"""What each flashing tool must know about a board: the table [flashing] of a board file, one sub-table per runner."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.core.schema import Strict

UsbId = Annotated[str, Field(pattern=r"^[0-9a-f]{4}:[0-9a-f]{4}$")]
"""vendor:product, lower-case hexadecimal."""
Baud = Annotated[int, Field(ge=1200, le=4_000_000)]
Word = Annotated[str, Field(min_length=1, pattern=r"^\S+$")]


class Openocd(Strict):
    """config: files of OpenOCD's script folders, in order (adapter before target); commands: further -c commands that
    follow them."""

    config: Annotated[tuple[Word, ...], Field(min_length=1)]
    commands: tuple[str, ...] = ()


class Pyocd(Strict):
    """target: as in `pyocd list --targets`; pack: CMSIS pack file of a target that is not built in."""

    target: Word
    pack: str = ""


class StFlash(Strict):
    """connect_under_reset: hold the reset line while connecting, for firmware that disables the debug pins."""

    connect_under_reset: bool = False


class Stm32flash(Strict):
    """UART bootloader (AN3155). mode: data bits, parity, stop bits; gpio: sequence on the serial signals that enters
    and leaves the bootloader, as in `stm32flash -h`; "" when a person sets BOOT0 and resets."""

    baud: Baud = 115200
    mode: Literal["8e1", "8n1"] = "8e1"
    gpio: str = ""


class Stm32loader(Strict):
    """UART bootloader (AN3155). family: as in `stm32loader --help`, for flash size and device id."""

    family: Literal["F0", "F1", "F3", "F4", "F7", "H7", "L4", "L0", "G0", "NRG"]
    baud: Baud = 115200
    parity: Literal["even", "none"] = "even"


class DfuUtil(Strict):
    """usb_id: of the bootloader; alt: its interface for the flash; dfuse: whether it takes addresses (ST's DfuSe);
    a plain DFU bootloader knows its own."""

    usb_id: UsbId
    alt: Annotated[int, Field(ge=0, le=255)] = 0
    dfuse: bool = True


class Bossac(Strict):
    """SAM-BA bootloader. native_usb: the port is the MCU's own USB; offset: flash the bootloader keeps, bytes."""

    native_usb: bool
    offset: Annotated[int, Field(ge=0)] = 0


class Avrdude(Strict):
    """part and programmer: as in avrdude's configuration; baud: of the bootloader."""

    part: Word
    programmer: Word = "arduino"
    baud: Baud = 115200


class MassStorage(Strict):
    """volume: label of the drive the board's debug adapter shows."""

    volume: Word


class ArduinoCli(Strict):
    """fqbn: "package:architecture:board"; suffix: of the firmware file its core uploads."""

    fqbn: Annotated[str, Field(pattern=r"^[^\s:]+:[^\s:]+:[^\s]+$")]
    suffix: Literal["bin", "hex", "elf"] = "bin"


class Flashing(Strict):
    """Arguments of the flashing tools, by runner. None: this tool cannot flash the board.

    touch_1200_baud: the board enters its bootloader when its port is opened at 1200 baud and closed again.
    """

    touch_1200_baud: bool = False
    openocd: Openocd | None = None
    pyocd: Pyocd | None = None
    st_flash: StFlash = StFlash()
    stm32flash: Stm32flash = Stm32flash()
    stm32loader: Stm32loader | None = None
    dfu_util: DfuUtil | None = None
    bossac: Bossac | None = None
    avrdude: Avrdude | None = None
    mass_storage: MassStorage | None = None
    arduino_cli: ArduinoCli | None = None
