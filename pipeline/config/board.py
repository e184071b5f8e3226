"""Board: a board as data (boards/<name>.toml). rig.toml says which unit is connected to which port."""

from __future__ import annotations

import itertools
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config import clocks
from pipeline.config.cores import AVR_CORES, CORE_FLAGS
from pipeline.config.flashing import Flashing, UsbId
from pipeline.core import paths, registry, schema
from pipeline.core.errors import ConfigError
from pipeline.core.registry import unknown
from pipeline.core.schema import Label, Name, RelativePath, Strict
from pipeline.protocol import wire

LARGEST_FIXED_REPLY = max(sum(field.size for field in message.reply) for message in wire.MESSAGES)
"""Bytes that every firmware must be able to send in one frame."""

STACK_ALIGNMENT = 8
"""Bytes, as the Arm procedure call standard demands of the stack pointer."""

Bytes = Annotated[int, Field(gt=0)]


class Region(Strict):
    """A memory region."""

    origin: Annotated[int, Field(ge=0, lt=1 << 32)]
    """First address, 32 bits."""
    length: Bytes
    """Bytes."""

    @property
    def end(self) -> int:
        """The address after its last byte."""
        return self.origin + self.length

    @model_validator(mode="after")
    def _is_addressable(self) -> Region:
        if self.end > 1 << 32:
            raise ValueError(f"ends at 0x{self.end:x}, beyond 32 bits: origin + length is at most 0x{1 << 32:x}")
        return self


class Memory(Strict):
    """What the linker may use."""

    flash: Region
    """Code and constants, the vector table first."""
    ram: Region
    """Data, the activation arena and the stack."""
    boot: Region | None = None
    """What the MCU's ROM checks and starts, which then starts the vector table; None where the core does that itself.
    Its last word is the checksum."""
    stack_bytes: Annotated[int, Field(ge=256)] = 2048
    """Bytes of the reserved stack, at least 256, at the bottom of the RAM; on AVR, what must be left at its top."""

    @property
    def first(self) -> int:
        """Address of the first byte of the image: of firmware.bin."""
        return (self.boot or self.flash).origin


class LinkConfig(Strict):
    """How the host communicates with the board."""

    kind: Literal["serial", "tcp", "pipe"]
    """Module of device/links: "serial" port, "tcp" socket or "pipe" of a process."""
    baud: Annotated[int, Field(gt=0)] = 115200
    """Bits per second of a serial port."""
    rx_buffer_bytes: Annotated[int, Field(ge=48, le=65535)] = 1024
    """Bytes of the firmware's receive buffer, which is the host's credit, 48 to 65535."""
    max_payload: Annotated[int, Field(ge=LARGEST_FIXED_REPLY, le=4096)] = 256
    """Largest payload of a frame, bytes, up to 4096."""
    buffers: Literal["piece", "sample"] = "piece"
    """ "sample": if there is enough RAM, the receive buffer holds the whole next sample, and one clean sample is kept
    as the base of DELTAs (codegen/buffers.py); "piece": neither."""


Macro = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Expression = Annotated[str, Field(pattern=r"^[A-Za-z0-9_ (),+*/%|&<>~-]+$", max_length=200)]
"""C text of a constant: no quotes, braces, semicolons or comments."""


class Emulator(Strict):
    """How the board is emulated."""

    machine: Label
    """Name of the machine, or of the MCU, in the emulator."""
    arguments: tuple[Label, ...] = ()
    """Further arguments of the command line."""
    serial_index: Annotated[int, Field(ge=0, le=7)] = 0
    """Which emulated UART is the link, from 0."""


PlatformIOName = Annotated[str, Field(pattern=r"^[A-Za-z0-9@^~<>=.,:/_#+-]+$", max_length=200)]


class PlatformIO(Strict):
    """The board in PlatformIO, as in platformio.ini."""

    platform: PlatformIOName
    """Name of the platform."""
    board: PlatformIOName
    """Name of the board."""


class Board(Strict):
    """One board."""

    name: Name
    """Name of its file without .toml."""
    description: Label
    """One line for people."""
    mcu: Label
    """Part number of the microcontroller."""
    core: Name
    """Processor core, a key of cores.CORE_FLAGS."""
    port: RelativePath
    """Innermost folder of its port under firmware/port: the files of all folders around it belong to the port too."""
    clock_hz: Annotated[int, Field(ge=0, lt=1 << 32)]
    """Core clock in Hz; 0 where unknown."""
    tick: Literal["instructions", "cycles", "us"]
    """What the port counts: executed instructions, core cycles or microseconds."""
    tick_hz: Annotated[int, Field(ge=0, lt=1 << 32)]
    """Ticks per second; 0 for instructions, which have no fixed duration."""
    memory: Memory
    """What the linker may use."""
    link: LinkConfig
    """How the host communicates with it."""
    runner: Name
    """Preferred flashing tool or emulator, a module of device/runners."""
    fallback_runners: tuple[Name, ...] = ()
    """Other flashing tools, in order of preference."""
    flashing: Flashing = Flashing()
    """Settings of each flashing tool."""
    usb_ids: tuple[UsbId, ...] = ()
    """USB ids (vendor:product) of the board's serial port."""
    platformio: PlatformIO | None = None
    """Its names in PlatformIO; None if PlatformIO does not support it."""
    emulator: Emulator | None = None
    """How it is emulated; None: it is not."""
    defines: dict[Macro, int | Expression] = Field(default_factory=dict)
    """Constants for its port, C macros by name: pins, clock tree."""
    silicon_tested: bool = False
    """Whether `make hil` has passed on a real board."""

    @field_validator("core")
    @classmethod
    def _known_core(cls, core: str) -> str:
        if core not in CORE_FLAGS:
            raise ValueError("; ".join(unknown("core", core, CORE_FLAGS)))
        return core

    @field_validator("port")
    @classmethod
    def _known_port(cls, port: str) -> str:
        if port not in ports():
            raise ValueError("; ".join(unknown("port", port, ports())))
        return port

    @model_validator(mode="after")
    def _port_is_for_the_core(self) -> Board:
        around = ("host",) if self.is_host else ("arduino",) if self.is_avr else ("arduino", "cortexm")
        if self.port.partition("/")[0] not in around:
            allowed = ", ".join(port for port in ports() if port.startswith(around))
            raise ValueError(f"port = {self.port!r}: not for core {self.core!r}; its ports: {allowed}")
        return self

    @model_validator(mode="after")
    def _ticks_last(self) -> Board:
        if (self.tick == "instructions") != (self.tick_hz == 0):
            what = "must be 0" if self.tick_hz else "must be above 0"
            raise ValueError(f"tick_hz = {self.tick_hz}: {what} where tick = {self.tick!r}")
        return self

    @model_validator(mode="after")
    def _regions_are_apart(self) -> Board:
        """Of one address space: an AVR has one for the flash, this computer has none of its own."""
        if self.is_avr or self.is_host:
            return self
        regions = sorted(((name, found) for name, found in self.memory if isinstance(found, Region)), key=_origin)
        for (first, below), (second, above) in itertools.pairwise(regions):
            if below.end > above.origin:
                raise ValueError(
                    f"memory.{first} ends at 0x{below.end:x}, memory.{second} begins at 0x{above.origin:x}"
                )
        if self.memory.ram.origin % STACK_ALIGNMENT:
            what = f"must be a multiple of {STACK_ALIGNMENT}, for the stack begins there"
            raise ValueError(f"memory.ram.origin = 0x{self.memory.ram.origin:x}: {what}")
        return self

    @model_validator(mode="after")
    def _clock_is_allowed(self) -> Board:
        limit = clocks.max_hz(self.mcu)
        if limit is not None and self.clock_hz > limit:
            raise ValueError(f"clock_hz = {self.clock_hz}: above what the {self.mcu} may run at, {limit} Hz")
        return self

    @model_validator(mode="after")
    def _credit_holds_a_frame(self) -> Board:
        # An Arduino core has its own buffer, often of 64 bytes: a longer frame is only sent while the device waits.
        if not self.is_arduino and self.link.rx_buffer_bytes < self.link.max_payload + 16:
            raise ValueError("link.rx_buffer_bytes must be at least link.max_payload + 16")
        return self

    @model_validator(mode="after")
    def _buffers_are_ours(self) -> Board:
        if self.is_arduino and self.link.buffers != "piece":
            raise ValueError('link.buffers must be "piece": an Arduino core has its own receive buffer')
        return self

    @model_validator(mode="after")
    def _runners_know_enough(self) -> Board:
        known = registry.names("runners")
        for runner in self.runners:
            if runner not in known:
                raise ValueError("; ".join(unknown("runner", runner, known)))
            if getattr(self.flashing, runner, "") is None:
                raise ValueError(f"runner {runner!r} needs the table [flashing.{runner}]")
        for runner, is_met, what in (
            ("qemu", self.emulator is not None, "the table [emulator] (machine, arguments)"),
            ("simavr", self.is_avr, f"an AVR core ({', '.join(sorted(AVR_CORES))})"),
            ("host", self.is_host, 'core = "host"'),
        ):
            if runner in self.runners and not is_met:
                raise ValueError(f"runner {runner!r} needs {what}")
        for runner in self.flashing.model_fields_set - {"touch_1200_baud"}:
            if runner not in self.runners:
                raise ValueError(f"table [flashing.{runner}]: {runner!r} is neither runner nor fallback_runners")
        return self

    @model_validator(mode="after")
    def _uf2_starts_a_page(self) -> Board:
        if self.flashing.uf2 and self.memory.first % 256:
            what = f"the first address, 0x{self.memory.first:x}, must be a multiple of 256"
            raise ValueError(f"table [flashing.uf2]: {what}")
        return self

    @property
    def runners(self) -> tuple[str, ...]:
        """Flashing tools in order of preference."""
        return (self.runner, *self.fallback_runners)

    @cached_property
    def core_flags(self) -> tuple[str, ...]:
        return CORE_FLAGS[self.core]

    @property
    def build_programs(self) -> tuple[str, ...]:
        """Programs needed to build for it, the C compiler last; none if only an Arduino tool can build."""
        if self.is_arduino:
            return ("cmake", "ninja", "avr-gcc") if self.is_avr and self.fqbn else ()
        return ("cmake", "ninja", "gcc" if self.is_host else "arm-none-eabi-gcc")

    @property
    def is_avr(self) -> bool:
        """Whether the MCU is an AVR: 16-bit int, constants in an address space of their own."""
        return self.core in AVR_CORES

    @property
    def is_arduino(self) -> bool:
        """Whether the firmware runs on top of the board's Arduino core."""
        return self.port == "arduino"

    @property
    def fqbn(self) -> str:
        """Fully qualified board name of the Arduino tools, "package:architecture:board[:options]"; "" when unknown."""
        return self.flashing.arduino_cli.fqbn if self.flashing.arduino_cli else ""

    @property
    def is_host(self) -> bool:
        return self.core == "host"


def _origin(region: tuple[str, Region]) -> int:
    return region[1].origin


def ports() -> tuple[str, ...]:
    """What a board's `port` may be, sorted: the folders under firmware/port that contain no further folder."""
    root = paths.shipped("firmware") / "port"
    folders = [folder for folder in root.rglob("*") if folder.is_dir()]
    around = {parent for folder in folders for parent in folder.parents}
    return tuple(sorted(folder.relative_to(root).as_posix() for folder in folders if folder not in around))


def names() -> tuple[str, ...]:
    """Names of all boards, sorted; reads no file."""
    return registry.names("boards")


def load(name: str) -> Board:
    """The board of that name, or of that TOML file when `name` ends in .toml. Unknown: ConfigError that lists all."""
    path = Path(name) if name.endswith(".toml") else registry.path("boards", name)
    board = schema.load(Board, path)
    if board.name != path.stem:
        raise ConfigError(f"{path}: key 'name' = {board.name!r}: must be the file's name {path.stem!r}")
    return board
