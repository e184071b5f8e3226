"""A Cortex-M in Unicorn with the few registers an STM32 port touches: clock tree, power, flash, pins, one UART.

A Chip (stm32_chips.py) says which flag follows which bit, which clocks the register values give, and what the manual
forbids, which is checked after every write. A peripheral behaves only while its clock is on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from elftools.elf.elffile import ELFFile
from unicorn import UC_ARCH_ARM, UC_MODE_MCLASS, UC_MODE_THUMB, Uc
from unicorn import arm_const as arm

from pipeline.config.board import Memory

PERIPHERALS, SYSTEM = (0x40000000, 0x20000000), (0xE0000000, 0x100000)
CYCCNT, AIRCR, NVIC_ISER = 0xE0001004, 0xE000ED0C, 0xE000E100
UART_IDLE, RECEIVED, OVERRUN = 0xC0, 0x20, 0x08
"""Status bits: sent and may send; received; overrun."""
SWITCH = "switch"
"""The part of every chip that switches the core to the PLL."""

Registers = dict[int, int]


class ForbiddenError(AssertionError):
    """The firmware did what the reference manual forbids."""


def allow(condition: bool, what: str) -> None:
    if not condition:
        raise ForbiddenError(what)


@dataclass(frozen=True)
class Clocks:
    """Frequencies in Hz: core, flash interface, UART of the link, TIM2."""

    core: float
    flash: float
    uart: float
    timer: float


@dataclass(frozen=True)
class Flag:
    """The bit `flag` (register, mask) is set while the bits `cause` are and the part `needs` is ready, unless the part
    itself is broken."""

    part: str
    cause: tuple[int, int]
    flag: tuple[int, int]
    needs: str = ""


@dataclass(frozen=True)
class Switch:
    """Selection of the system clock: a field of `width` bits at the bottom of a register, its status field above it.
    sources: the part each code needs, "" for none."""

    register: int
    width: int
    sources: Mapping[int, str]


@dataclass(frozen=True)
class Gate:
    """The addresses from first to last behave while this bit of the enable register is set."""

    first: int
    last: int
    enable: int
    bit: int


@dataclass(frozen=True)
class Uart:
    """Base address of the link's UART; version of the peripheral, 1 or 2."""

    base: int
    version: int

    @property
    def status(self) -> int:
        return self.base + (0x00 if self.version == 1 else 0x1C)

    @property
    def input(self) -> int:
        return self.base + (0x04 if self.version == 1 else 0x24)

    @property
    def output(self) -> int:
        return self.base + (0x04 if self.version == 1 else 0x28)

    @property
    def clear(self) -> int:
        """Register that clears the overrun flag; version 1 has none, reading its data does."""
        return -1 if self.version == 1 else self.base + 0x20


@dataclass(frozen=True)
class Chip:
    """cpu: Unicorn's model of the core; reset: register values that are not 0 after reset; clocks: what the register
    values give; check: raises ForbiddenError."""

    cpu: int
    reset: Mapping[int, int]
    flags: tuple[Flag, ...]
    switch: Switch
    gates: tuple[Gate, ...]
    uart: Uart
    clocks: Callable[[Registers], Clocks]
    check: Callable[[Registers, Clocks], None]


def bits(value: int, first: int, width: int) -> int:
    return value >> first & ((1 << width) - 1)


@dataclass
class Mcu:
    """A chip with a firmware in the flash of `memory`, run from reset until it first sleeps. broken: parts that never
    get ready. transmitted: what the UART has sent; written: every (register, value), in order; core_hz: every frequency
    the core ran at, in order."""

    chip: Chip
    memory: Memory
    elf: Path
    broken: frozenset[str] = frozenset()
    registers: Registers = field(default_factory=dict)
    received: deque[int] = field(default_factory=deque)
    transmitted: bytearray = field(default_factory=bytearray)
    written: list[tuple[int, int]] = field(default_factory=list)
    core_hz: list[float] = field(default_factory=list)
    reset_requested: bool = False
    overrun: bool = False
    _error: BaseException | None = None

    def __post_init__(self) -> None:
        self.registers.update(self.chip.reset)
        self.core_hz.append(self.clocks().core)
        self.uc = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS)
        self.uc.ctl_set_cpu_model(self.chip.cpu)
        for region in (self.memory.flash, self.memory.ram):
            self.uc.mem_map(region.origin, region.length)
        for base, size in (PERIPHERALS, SYSTEM):
            self.uc.mmio_map(base, size, self._guarded(self._read), base, self._guarded(self._write), base)
        with self.elf.open("rb") as file:
            for segment in ELFFile(file).iter_segments("PT_LOAD"):
                if segment["p_filesz"]:
                    self.uc.mem_write(segment["p_paddr"], segment.data())
        # Unicorn's own switch for the FPU: it does not see the write to CPACR.
        self.uc.reg_write(arm.UC_ARM_REG_C1_C0_2, 0xF << 20)
        self.uc.reg_write(arm.UC_ARM_REG_FPEXC, 1 << 30)
        self.uc.reg_write(arm.UC_ARM_REG_SP, self._vector(0))
        self._resume(self._vector(1))

    def clocks(self) -> Clocks:
        """What the register values give now."""
        return self.chip.clocks(self.registers)

    def receive(self, data: bytes) -> None:
        """The bytes arrive at the UART, each with its interrupt; the program then runs until it sleeps again."""
        for byte in data:
            self.received.append(byte)
            self._interrupt()
        self._resume(self.uc.reg_read(arm.UC_ARM_REG_PC))

    def _vector(self, number: int) -> int:
        """Entry of the vector table."""
        return int.from_bytes(self.uc.mem_read(self.memory.flash.origin + 4 * number, 4), "little")

    def _resume(self, address: int) -> None:
        """Runs until WFI or a reset request."""
        self.uc.emu_start(address | 1, 0)
        self._raise()

    def _interrupt(self) -> None:
        """The handler of the link as the vector table names it; registers are saved and restored around it."""
        state = self.uc.context_save()
        back = self.memory.flash.origin + self.memory.flash.length - 4
        self.uc.reg_write(arm.UC_ARM_REG_LR, back | 1)
        self.uc.emu_start(self._vector(16 + self.interrupt_number), back)
        self.uc.context_restore(state)
        self._raise()

    @property
    def interrupt_number(self) -> int:
        """The one interrupt that is enabled in the NVIC."""
        enabled = [
            32 * word + bit
            for word in range(16)
            for bit in range(32)
            if self.registers.get(NVIC_ISER + 4 * word, 0) >> bit & 1
        ]
        (number,) = enabled
        return number

    def _guarded(self, callback: Callable[..., int | None]) -> Callable[..., int]:
        """An exception must not pass through Unicorn: it stops the run, then is raised."""

        def call(uc: Uc, offset: int, size: int, *rest: int) -> int:
            try:
                return callback(rest[-1] + offset, *rest[:-1]) or 0
            except BaseException as error:
                self._error = self._error or error
                uc.emu_stop()
                return 0

        return call

    def _raise(self) -> None:
        if self._error:
            raise self._error

    def _is_on(self, address: int) -> bool:
        gates = (gate for gate in self.chip.gates if gate.first <= address <= gate.last)
        return all(self.registers.get(gate.enable, 0) >> gate.bit & 1 for gate in gates)

    def _read(self, address: int) -> int:
        if not self._is_on(address):
            return 0
        if address == self.chip.uart.status:
            return UART_IDLE | (RECEIVED if self.received else 0) | (OVERRUN if self.overrun else 0)
        if address == self.chip.uart.input:
            self.overrun = self.overrun and self.chip.uart.version != 1
            return self.received.popleft() if self.received else 0
        if address == CYCCNT:
            self.registers[CYCCNT] = self.registers.get(CYCCNT, 0) + 10
        return self.registers.get(address, 0)

    def _write(self, address: int, value: int) -> None:
        allow(self._is_on(address), f"write to {address:#x}, whose clock is off")
        self.written.append((address, value))
        if address == self.chip.uart.output:
            self.transmitted.append(value & 0xFF)
        elif address == self.chip.uart.clear:
            self.overrun = self.overrun and not value & OVERRUN
        elif address == AIRCR:
            allow(value >> 16 == 0x05FA, "AIRCR without its key")
            self.reset_requested = bool(value & 4)
            self.uc.emu_stop()
        else:
            self.registers[address] = value
            self._switch(self._raise_flags())
            self.chip.check(self.registers, self.clocks())
            if self.clocks().core != self.core_hz[-1]:
                self.core_hz.append(self.clocks().core)

    def _raise_flags(self) -> set[str]:
        """Parts that are ready."""
        ready = {""}
        for flag in self.chip.flags:
            (cause, wanted), (register, mask) = flag.cause, flag.flag
            is_on = self.registers.get(cause, 0) & wanted == wanted and flag.needs in ready
            self.registers[register] = self.registers.get(register, 0) & ~mask
            if is_on and flag.part not in self.broken:
                self.registers[register] |= mask
                ready.add(flag.part)
        return ready

    def _switch(self, ready: set[str]) -> None:
        """The system clock follows its selection when the source is ready."""
        register, width = self.chip.switch.register, self.chip.switch.width
        value = self.registers.get(register, 0)
        wanted = bits(value, 0, width)
        source = self.chip.switch.sources.get(wanted, "no such source")
        if source in ready and not (source == "PLL" and SWITCH in self.broken):
            self.registers[register] = value & ~(((1 << width) - 1) << width) | wanted << width


class UnicornLink:
    """The UART of an Mcu as a link; every write is answered before it returns."""

    name = "unicorn"

    def __init__(self, mcu: Mcu) -> None:
        self.mcu = mcu

    def read(self, timeout_s: float, least: int = 1) -> bytes:
        data = bytes(self.mcu.transmitted)
        self.mcu.transmitted.clear()
        return data

    def write(self, data: bytes) -> None:
        self.mcu.receive(data)

    def close(self) -> None:
        """Nothing to release."""
