"""Board: what a board is, as data (boards/<name>.toml). Which unit hangs on which port is a rig's business."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.cores import AVR_CORES, CORE_FLAGS, CORES_WITH_DSP
from pipeline.config.flashing import Flashing, UsbId
from pipeline.core import registry, schema
from pipeline.core.errors import ConfigError
from pipeline.core.registry import unknown
from pipeline.core.schema import Strict
from pipeline.protocol import wire

LARGEST_FIXED_REPLY = max(sum(field.size for field in message.reply) for message in wire.MESSAGES)
"""Bytes; what every firmware must be able to answer in one frame."""

Bytes = Annotated[int, Field(gt=0)]


class Region(Strict):
    """A memory region: first address and length in bytes."""

    origin: Annotated[int, Field(ge=0, lt=1 << 32)]
    length: Bytes


class Memory(Strict):
    """flash holds code and constants; ram holds data, the activation arena and the stack: at its bottom, or on AVR what
    is left at its top, at least stack_bytes."""

    flash: Region
    ram: Region
    stack_bytes: Annotated[int, Field(ge=256)] = 2048


class LinkConfig(Strict):
    """How the host talks to the board. rx_buffer_bytes: receive buffer of the firmware, the sender's credit;
    max_payload: largest frame payload; buffers: "sample" where the receive buffer shall hold the whole next sample and
    one more be kept as the base of DELTAs, as far as the RAM allows (pipeline/buffers.py)."""

    kind: Literal["serial", "tcp", "pipe"]
    baud: Annotated[int, Field(gt=0)] = 115200
    rx_buffer_bytes: Annotated[int, Field(ge=48, le=65535)] = 1024
    max_payload: Annotated[int, Field(ge=LARGEST_FIXED_REPLY, le=4096)] = 256
    buffers: Literal["piece", "sample"] = "piece"


class Emulator(Strict):
    """machine: QEMU machine; arguments: further command line; serial_index: which emulated UART is the link."""

    machine: str
    arguments: tuple[str, ...] = ()
    serial_index: Annotated[int, Field(ge=0, le=7)] = 0


class PlatformIO(Strict):
    """The board in PlatformIO: its platform and board names, as in platformio.ini."""

    platform: Annotated[str, Field(pattern=r"^\S+$")]
    board: Annotated[str, Field(pattern=r"^\S+$")]


class Board(Strict):
    """One board. port: folder under firmware/port; defines: constants of that port (C macros): pins, clock tree;
    tick: what the port's counter counts; runner: preferred flashing tool, fallback_runners: further ones in order of
    preference, flashing: their arguments; usb_ids: of the board's serial port; platformio: what PlatformIO calls it."""

    name: str
    description: str
    mcu: str
    core: str
    port: str
    clock_hz: Annotated[int, Field(ge=0)]
    tick: Literal["instructions", "cycles", "us"]
    tick_hz: Annotated[int, Field(ge=0)]
    memory: Memory
    link: LinkConfig
    runner: str
    fallback_runners: tuple[str, ...] = ()
    flashing: Flashing = Flashing()
    usb_ids: tuple[UsbId, ...] = ()
    platformio: PlatformIO | None = None
    emulator: Emulator | None = None
    defines: dict[str, int | str] = Field(default_factory=dict)
    silicon_tested: bool = False

    @field_validator("core")
    @classmethod
    def _known_core(cls, core: str) -> str:
        if core not in CORE_FLAGS:
            raise ValueError("; ".join(unknown("core", core, CORE_FLAGS)))
        return core

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
        for runner in self.flashing.model_fields_set - {"touch_1200_baud"}:
            if runner not in self.runners:
                raise ValueError(f"table [flashing.{runner}]: {runner!r} is neither runner nor fallback_runners")
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
        """Programs that building for it takes, the C compiler last; none where only an Arduino tool can build."""
        if self.is_arduino:
            return ("cmake", "ninja", "avr-gcc") if self.is_avr and self.fqbn else ()
        return ("cmake", "ninja", "gcc" if self.is_host else "arm-none-eabi-gcc")

    @property
    def has_dsp(self) -> bool:
        """Whether the core has the Armv7E-M DSP instructions."""
        return self.core in CORES_WITH_DSP

    @property
    def has_mve(self) -> bool:
        """Whether the core has the M-profile vector extension (Helium)."""
        return self.core == "cortex-m55"

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
