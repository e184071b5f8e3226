"""The STM32 ports, executed: the very image a board gets runs in Unicorn against a model of the chip's clock tree, and
those of the STM32F4 in QEMU too. What no model knows, the real chip, is left to `make hil`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pipeline.config import board
from pipeline.config.board import Emulator
from pipeline.core import registry
from pipeline.device.session import Session
from pipeline.network import twin
from pipeline.stages import build
from tests.conftest import Firmware
from tests.emulated.stm32_chips import M4, REVISION_Y, chip_of, f_chip, gate, h_chip
from tests.emulated.unicorn_mcu import SWITCH, Chip, Clocks, ForbiddenError, Mcu, UnicornLink
from tests.support import tiny

pytestmark = pytest.mark.toolchain
MODEL = tiny.qmodel()
REAL = [n for n in board.names() if board.load(n).port.startswith("cortexm/stm32/") and n != "netduinoplus2"]
"""Boards with an STM32; netduinoplus2 has that of the olimex-stm32-h405. Those that QEMU knows are here for the sake of
their clocks, which QEMU does not know."""
FAMILIES = sorted({board.load(n).port: n for n in reversed(REAL)}.values())
"""A board of each family."""


Builder = Callable[..., Firmware]


def start(built: Firmware, chip: Chip | None = None, broken: str = "") -> Mcu:
    """The image from reset until it waits for the host, on the board's chip unless another is given; broken: the part
    that never gets ready."""
    parts = frozenset({broken} if broken else ())
    return Mcu(chip or chip_of(built.board), built.board.memory, built.folder / build.ELF, parts)


def uart_hz(mcu: Mcu, is_lpuart: bool) -> float:
    """Bits a second that the UART's registers give."""
    cr1, brr = (mcu.registers[mcu.chip.uart.base + offset] for offset in RATE_REGISTERS[mcu.chip.uart.version])
    clock = mcu.clocks().uart
    if is_lpuart:
        return 256 * clock / brr
    return clock / (8 * (brr >> 4) + (brr & 7)) if cr1 >> 15 & 1 else clock / brr


RATE_REGISTERS = {1: (0x0C, 0x08), 2: (0x00, 0x0C)}
"""Offsets of CR1 and BRR."""
RATE_LIMIT, FALLBACK_RATE_LIMIT = 0.02, 0.033

F_RCC, F_GPIO, F_ACR, F_PWR_CR, USART1, USART2, USART3 = (
    *(0x40023800, 0x40020000, 0x40023C00, 0x40007000),
    *(0x40011000, 0x40004400, 0x40004800),
)
H_RCC, H_GPIO, L_RCC, L_GPIO = 0x58024400, 0x58020000, 0x40021000, 0x48000000
F13_RCC, F13_ACR, F1_GPIO, F13_USART1 = 0x40021000, 0x40022000, 0x40010800, 0x40013800
EXPECTED: dict[str, dict[int, int]] = {
    "nucleo-f303k8": {
        F13_RCC + 0x00: 0x0300_0083,
        F13_RCC + 0x04: 0x0038_040A,  # CFGR: 16 times half of HSI, APB1 / 2, PLL
        F13_ACR: 0x32,
        L_GPIO + 0x00: 0xA800_0020 | 0x8000_0000,  # GPIOA MODER: PA2, PA15 alternate
        L_GPIO + 0x20: 0x0000_0700,
        L_GPIO + 0x24: 0x7000_0000,
        USART2 + 0x0C: 69,  # 32 MHz / 460800
        USART2 + 0x00: 0x2D,
    },
    "nucleo-g071rb": {
        L_RCC + 0x00: 0x0300_0500,
        L_RCC + 0x0C: 0x3000_0802,  # PLLCFGR: R 2 and on, N 8, M 1, from HSI16
        L_RCC + 0x08: 0x0000_0012,  # CFGR: PLL
        0x4002_2000: 0x4_0702,  # FLASH_ACR: cache, prefetch, 2 wait states; bits of reset stay
        0x5000_0000: 0xABFF_FFAF,  # GPIOA MODER: PA2, PA3 alternate
        0x5000_0020: 0x0000_1100,
        USART2 + 0x0C: 69,  # 64 MHz / 921600
        USART2 + 0x00: 0x2000_002D,
    },
    "nucleo-g474re": {
        L_RCC + 0x00: 0x0300_0500,
        L_RCC + 0x0C: 0x0100_5532,  # R 2 and on, N 85, M 4, from HSI16
        L_RCC + 0x08: 0x0000_000F,
        0x4002_2000: 0x4_0704,
        0x4000_7080: 0x0000_0000,  # PWR_CR5: boost
        L_GPIO + 0x00: 0xABFF_FFAF,
        L_GPIO + 0x20: 0x0000_7700,
        USART2 + 0x0C: 184,  # 170 MHz / 921600
        USART2 + 0x00: 0x2000_002D,
    },
    "nucleo-wb55rg": {
        0x5800_0000: 0x0300_0583,
        0x5800_000C: 0x3000_0802,
        0x5800_0008: 0x0000_000F,
        0x5800_0108: 0x0000_0080,  # EXTCFGR: the radio's core at half the clock
        0x5800_4000: 0x4_0703,
        L_GPIO + 0x400: 0xFFFF_AEBF,
        L_GPIO + 0x420: 0x7700_0000,
        0x4001_380C: 69,
        0x4001_3800: 0x2000_002D,
    },
    "nucleo-u575zi-q": {
        0x4602_0C28: 0x0004_000E,  # PLL1CFGR: output R, input 8 to 16 MHz, M 1, booster undivided, from HSI16
        0x4602_0C34: 0x0100_0013,  # PLL1DIVR: R 2, N 20
        0x4602_0C1C: 0x0000_000F,
        0x4002_2000: 0x104,  # prefetch, 4 wait states
        0x4602_080C: 0x0007_C000,  # PWR_VOSR: booster and range 1, on and ready
        0x4003_0400: 0x0000_0001,  # instruction cache
        0x4202_0000: 0xABEB_FFFF,  # GPIOA MODER: PA9, PA10 alternate
        0x4202_0024: 0x0000_0770,
        0x4001_380C: 174,  # 160 MHz / 921600
        0x4001_3800: 0x2000_002D,
    },
    "netduino2": {
        F_RCC + 0x00: 0x0303_0083,
        F_RCC + 0x04: 0x2740_3C19,  # N 240, M 25
        F_RCC + 0x08: 0x0000_940A,
        F_ACR: 0x703,  # 3 wait states
        F_GPIO + 0x00: 0xA828_0000,  # GPIOA MODER: PA9, PA10 alternate
        F_GPIO + 0x24: 0x0000_0770,
        USART1 + 0x08: 521,  # 60 MHz / 115200
        USART1 + 0x0C: 0x202C,
    },
    "stm32vldiscovery": {
        F13_RCC + 0x00: 0x0303_0083,
        F13_RCC + 0x04: 0x0005_000A,  # CFGR: 3 times HSE, PLL
        F1_GPIO + 0x04: 0x4444_48B4,  # CRH: PA9 alternate, PA10 input with pull
        F13_USART1 + 0x08: 208,  # 24 MHz / 115200
        F13_USART1 + 0x0C: 0x202C,
    },
    "bluepill": {
        F13_RCC + 0x00: 0x0303_0083,
        F13_RCC + 0x04: 0x001D_040A,  # CFGR: 9 times HSE, APB1 / 2, PLL
        F13_ACR: 0x32,  # prefetch, 2 wait states
        F1_GPIO + 0x04: 0x4444_48B4,
        F13_USART1 + 0x08: 625,  # 72 MHz / 115200
        F13_USART1 + 0x0C: 0x202C,
    },
    "nucleo-f103rb": {
        F13_RCC + 0x00: 0x0307_0083,
        F13_RCC + 0x04: 0x001D_040A,
        F13_ACR: 0x32,
        F1_GPIO + 0x00: 0x4444_8B44,  # CRL: PA2 alternate, PA3 input with pull
        F1_GPIO + 0x10: 0x0000_0008,  # BSRR, last written: PA3 pulled up
        USART2 + 0x08: 78,  # 36 MHz / 460800
        USART2 + 0x0C: 0x202C,
    },
    "nucleo-f446re": {
        F_RCC + 0x00: 0x0307_0083,  # CR: HSE bypassed, on, ready; PLL on, ready
        F_RCC + 0x04: 0x2740_2D04,  # PLLCFGR: R 2, Q 7, from HSE, P 2, N 180, M 4
        F_RCC + 0x08: 0x0000_940A,  # CFGR: APB2 / 2, APB1 / 4, PLL
        F_ACR: 0x705,  # data and instruction cache, prefetch, 5 wait states
        F_PWR_CR: 0x0003_C000,  # over-drive on and switched, scale 1
        F_GPIO + 0x00: 0xA800_00A0,  # GPIOA MODER: PA2, PA3 alternate
        F_GPIO + 0x0C: 0x0000_0050,  # PUPDR: pulled up
        F_GPIO + 0x20: 0x0000_7700,  # AFRL: 7
        USART2 + 0x08: 49,  # BRR: 45 MHz / 921600
        USART2 + 0x0C: 0x202C,  # CR1: on, receive interrupt, transmitter, receiver
    },
    "olimex-stm32-h405": {
        F_RCC + 0x00: 0x0303_0083,  # HSE from its crystal
        F_RCC + 0x04: 0x2740_5408,  # N 336, M 8
        F_RCC + 0x08: 0x0000_940A,
        F_ACR: 0x705,
        F_GPIO + 0x00: 0xA800_00A0,
        F_GPIO + 0x20: 0x0000_7700,
        USART2 + 0x08: 365,  # 42 MHz / 115200
        USART2 + 0x0C: 0x202C,
    },
    "nucleo-f767zi": {
        F_RCC + 0x00: 0x0307_0083,
        F_RCC + 0x04: 0x2740_3604,  # N 216, M 4
        F_RCC + 0x08: 0x0000_940A,
        F_ACR: 0x007,  # 7 wait states
        F_PWR_CR: 0x0003_C000,
        F_GPIO + 0xC00: 0x000A_0000,  # GPIOD MODER: PD8, PD9 alternate
        F_GPIO + 0xC0C: 0x0005_0000,
        F_GPIO + 0xC24: 0x0000_0077,  # AFRH: 7
        USART3 + 0x0C: 59,  # 54 MHz / 921600
        USART3 + 0x00: 0x2D,  # CR1: receive interrupt, transmitter, receiver, on
    },
    "stm32f746g-disco": {
        F_RCC + 0x00: 0x0303_0083,
        F_RCC + 0x04: 0x2740_6C19,  # N 432, M 25
        F_RCC + 0x08: 0x0000_940A,
        F_ACR: 0x007,
        F_PWR_CR: 0x0003_C000,
        F_GPIO + 0x000: 0xA808_0000,  # GPIOA MODER: PA9 alternate
        F_GPIO + 0x024: 0x0000_0070,  # AFRH: 7
        F_GPIO + 0x400: 0x0000_8280,  # GPIOB MODER: PB7 alternate
        F_GPIO + 0x420: 0x7000_0000,  # AFRL: 7
        USART1 + 0x0C: 117,  # 108 MHz / 921600
        USART1 + 0x00: 0x2D,
    },
    "nucleo-h743zi2": {
        H_RCC + 0x00: 0x0307_0083,
        H_RCC + 0x28: 0x0000_0022,  # PLLCKSELR: M 2, from HSE
        H_RCC + 0x2C: 0x0001_0004,  # PLLCFGR: output P, input 2 to 4 MHz
        H_RCC + 0x30: 0x0000_02EF,  # PLL1DIVR: P 2, N 240
        H_RCC + 0x10: 0x0000_001B,  # CFGR: PLL1
        H_RCC + 0x18: 0x0000_0048,  # D1CFGR: APB3 / 2, AHB / 2
        H_RCC + 0x1C: 0x0000_0440,  # D2CFGR: APB2 / 2, APB1 / 2
        H_RCC + 0x20: 0x0000_0040,  # D3CFGR: APB4 / 2
        0x5200_2000: 0x34,  # FLASH_ACR: 4 wait states
        0x5802_480C: 0x0000_0002,  # PWR_CR3: LDO
        0x5802_4818: 0x0000_E000,  # PWR_D3CR: scale 1, ready
        0x5800_042C: 0x0000_0001,  # SYSCFG_PWRCR: over-drive, so scale 0
        H_GPIO + 0xC00: 0xFFFA_FFFF,  # GPIOD MODER: PD8, PD9 alternate
        H_GPIO + 0xC24: 0x0000_0077,
        USART3 + 0x0C: 130,  # 120 MHz / 921600
        USART3 + 0x00: 0x2000_002D,  # CR1: FIFO too
    },
    "b-l475e-iot01a": {
        L_RCC + 0x00: 0x0300_058B,  # CR: PLL and HSI16 on, ready; MSI at 16 MHz
        L_RCC + 0x0C: 0x0100_1412,  # PLLCFGR: R 2 and on, N 20, M 2, from HSI16
        L_RCC + 0x08: 0x0000_000F,  # CFGR: PLL
        0x4002_2000: 0x704,  # FLASH_ACR: caches, prefetch, 4 wait states
        L_GPIO + 0x400: 0xFFFF_AEBF,  # GPIOB MODER: PB6, PB7 alternate
        L_GPIO + 0x420: 0x7700_0000,
        0x4001_380C: 87,  # 80 MHz / 921600
        0x4001_3800: 0x2D,
    },
    "nucleo-l4r5zi": {
        L_RCC + 0x00: 0x0300_058B,
        L_RCC + 0x0C: 0x0100_1E12,  # N 30
        L_RCC + 0x08: 0x0000_000F,
        0x4002_2000: 0x705,
        0x4000_7004: 0x0000_0200,  # PWR_CR2: VDDIO2 valid
        0x4000_7080: 0x0000_0000,  # PWR_CR5: boost
        L_GPIO + 0x1800: 0xFFFE_BFFF,  # GPIOG MODER: PG7, PG8 alternate
        L_GPIO + 0x1820: 0x8000_0000,  # AFRL: PG7 8
        L_GPIO + 0x1824: 0x0000_0008,  # AFRH: PG8 8
        0x4000_800C: 33333,  # LPUART1 BRR: 256 * 120 MHz / 921600
        0x4000_8000: 0x2000_002D,
    },
}
"""Final register values as the reference manuals have them, by address; a comment once for each meaning."""

FASTEST = {
    "nucleo-f303k8": Clocks(core=64e6, flash=64e6, uart=32e6, timer=64e6),
    "nucleo-g071rb": Clocks(core=64e6, flash=64e6, uart=64e6, timer=64e6),
    "nucleo-g474re": Clocks(core=170e6, flash=170e6, uart=170e6, timer=170e6),
    "nucleo-wb55rg": Clocks(core=64e6, flash=64e6, uart=64e6, timer=64e6),
    "nucleo-u575zi-q": Clocks(core=160e6, flash=160e6, uart=160e6, timer=160e6),
    "netduino2": Clocks(core=120e6, flash=120e6, uart=60e6, timer=60e6),
    "stm32vldiscovery": Clocks(core=24e6, flash=24e6, uart=24e6, timer=24e6),
    "bluepill": Clocks(core=72e6, flash=72e6, uart=72e6, timer=72e6),
    "nucleo-f103rb": Clocks(core=72e6, flash=72e6, uart=36e6, timer=72e6),
    "nucleo-f446re": Clocks(core=180e6, flash=180e6, uart=45e6, timer=90e6),
    "olimex-stm32-h405": Clocks(core=168e6, flash=168e6, uart=42e6, timer=84e6),
    "nucleo-f767zi": Clocks(core=216e6, flash=216e6, uart=54e6, timer=108e6),
    "stm32f746g-disco": Clocks(core=216e6, flash=216e6, uart=108e6, timer=108e6),
    "nucleo-h743zi2": Clocks(core=480e6, flash=240e6, uart=120e6, timer=240e6),
    "b-l475e-iot01a": Clocks(core=80e6, flash=80e6, uart=80e6, timer=80e6),
    "nucleo-l4r5zi": Clocks(core=120e6, flash=120e6, uart=120e6, timer=120e6),
}
"""What the data sheets promise."""


@pytest.mark.parametrize("name", REAL)
def test_reaches_its_top_speed(name: str, firmware: Builder) -> None:
    """By the registers' final values, and by what they mean; the model forbids every step that the manual forbids."""
    built = firmware(name)
    mcu = start(built)
    wrong = {
        f"{a:#x}": f"{mcu.registers.get(a, 0):#x}" for a, v in EXPECTED[name].items() if mcu.registers.get(a, 0) != v
    }
    assert not wrong
    assert mcu.clocks() == FASTEST[name]
    assert built.board.clock_hz == FASTEST[name].core
    assert built.board.tick_hz == (0 if built.board.emulator else FASTEST[name].core)
    baud = uart_hz(mcu, built.board.defines["STM32_UART"] == "LPUART1")
    assert baud == pytest.approx(built.board.link.baud, rel=RATE_LIMIT)


FAULTS = {
    "cortexm/stm32/f13/f3": ("PLL", SWITCH),
    "cortexm/stm32/lg/g0": ("PLL", SWITCH),
    "cortexm/stm32/lg/g4": ("PLL", SWITCH),
    "cortexm/stm32/lg/wb": ("HSI", "PLL", SWITCH),
    "cortexm/stm32/u5": ("range", "booster", "PLL", SWITCH),
    "cortexm/stm32/f/f2": ("HSE", "PLL", SWITCH),
    "cortexm/stm32/f13/f1": ("HSE", "PLL", SWITCH),
    "cortexm/stm32/f/f4": ("HSE", "PLL", SWITCH),
    "cortexm/stm32/f/f7": ("HSE", "PLL", "over-drive", "over-drive switch", SWITCH),
    "cortexm/stm32/h7": ("supply", "supply level", "HSE", "PLL", SWITCH),
    "cortexm/stm32/lg/l4": ("HSI", "PLL", SWITCH),
}
INTERNAL_HZ = {
    "cortexm/stm32/f13/f3": 8_000_000,
    "cortexm/stm32/lg/g0": 16_000_000,
    "cortexm/stm32/lg/g4": 16_000_000,
    "cortexm/stm32/lg/wb": 16_000_000,
    "cortexm/stm32/u5": 16_000_000,
    "cortexm/stm32/f/f2": 16_000_000,
    "cortexm/stm32/f13/f1": 8_000_000,
    "cortexm/stm32/f/f4": 16_000_000,
    "cortexm/stm32/f/f7": 16_000_000,
    "cortexm/stm32/h7": 64_000_000,
    "cortexm/stm32/lg/l4": 16_000_000,
}
INTERNAL_UART_HZ = {**INTERNAL_HZ, "cortexm/stm32/h7": 32_000_000}
CASES = [(name, part) for name in FAMILIES for part in FAULTS[board.load(name).port]]
CASES += [("nucleo-f446re", "over-drive"), ("nucleo-f446re", "over-drive switch")]


@pytest.mark.parametrize(("name", "part"), CASES)
def test_a_part_that_never_gets_ready_costs_speed_only(name: str, part: str, firmware: Builder) -> None:
    """The core stays on the internal oscillator, and the UART keeps its rate, so the host gets its answer."""
    built = firmware(name)
    mcu = start(built, broken=part)
    internal_hz = INTERNAL_HZ[built.board.port]
    assert (mcu.clocks().core, mcu.clocks().uart) == (internal_hz, INTERNAL_UART_HZ[built.board.port])
    assert max(mcu.core_hz) == internal_hz, "it never ran faster"
    baud = uart_hz(mcu, built.board.defines["STM32_UART"] == "LPUART1")
    assert baud == pytest.approx(built.board.link.baud, rel=FALLBACK_RATE_LIMIT)
    info = Session(UnicornLink(mcu)).hello()
    assert (info.tick_unit, info.tick_hz) == ("cycles", internal_hz)


def test_old_silicon_stays_slow_and_gets_its_workaround(firmware: Builder) -> None:
    """STM32H743 up to revision Y: no 480 MHz, and AXI_TARG7_FN_MOD set for reads of the AXI SRAM."""
    built = firmware("nucleo-h743zi2")
    mcu = start(built, h_chip(built.board, REVISION_Y))
    assert mcu.registers[0x5100_8108] == 1
    assert mcu.core_hz == [64e6]
    assert Session(UnicornLink(mcu)).hello().tick_hz == 64_000_000
    assert 0x5100_8108 not in start(built).registers


@pytest.mark.parametrize("name", REAL)
def test_serves_and_runs_the_model(name: str, firmware: Builder) -> None:
    """Identity, logits equal to the twin's, statistics, echo: over the port's own UART driver."""
    built = firmware(name)
    mcu = start(built)
    session = Session(UnicornLink(mcu))
    info = session.hello()
    assert (info.board, info.digest) == (name, built.image.digest)
    assert (info.tick_unit, info.tick_hz) == ("cycles", built.board.clock_hz)
    samples = tiny.samples(MODEL, 2)
    for sample, logits in zip(samples, twin.run(MODEL, samples), strict=True):
        np.testing.assert_array_equal(session.run_sample(sample.tobytes()).output, logits.ravel())
    whole = bytes(range(256))[: info.max_payload]
    assert session.echo(whole) == whole
    stats = session.stats()
    assert (stats["canaries_ok"], stats["rx_dropped"], stats["crc_errors"]) == (1, 0, 0)
    assert 0 < stats["stack_high_water"] < built.board.memory.stack_bytes


@pytest.mark.parametrize("name", FAMILIES)
def test_a_lost_byte_is_counted_and_costs_its_frame(name: str, firmware: Builder) -> None:
    mcu = start(firmware(name))
    session = Session(UnicornLink(mcu))
    session.hello()
    mcu.overrun = True
    assert session.echo(b"after") == b"after"
    assert session.stats()["rx_dropped"] == 1
    assert not mcu.overrun, "the flag is cleared, else no byte would ever come again"


@pytest.mark.parametrize("name", FAMILIES)
def test_resets_when_asked_and_tells_why_it_started(name: str, firmware: Builder) -> None:
    built = firmware(name)
    chip = chip_of(built.board)
    register, clear = RESET_FLAGS[built.board.port]
    cause = 1 << 31 | 1 << 26
    mcu = start(built, replace(chip, reset={**chip.reset, register: cause}))
    assert mcu.registers[register] >> clear & 1, "cleared for the next start"
    session = Session(UnicornLink(mcu))
    session.hello()
    assert session.stats()["reset_cause"] == cause
    session.reset()
    assert mcu.reset_requested


RESET_FLAGS = {
    "cortexm/stm32/f13/f3": (F13_RCC + 0x24, 24),
    "cortexm/stm32/lg/g0": (L_RCC + 0x60, 23),
    "cortexm/stm32/lg/g4": (L_RCC + 0x94, 23),
    "cortexm/stm32/lg/wb": (0x5800_0094, 23),
    "cortexm/stm32/u5": (0x4602_0CF4, 23),
    "cortexm/stm32/f/f2": (F_RCC + 0x74, 24),
    "cortexm/stm32/f13/f1": (F13_RCC + 0x24, 24),
    "cortexm/stm32/f/f4": (F_RCC + 0x74, 24),
    "cortexm/stm32/f/f7": (F_RCC + 0x74, 24),
    "cortexm/stm32/h7": (H_RCC + 0xD0, 16),
    "cortexm/stm32/lg/l4": (L_RCC + 0x94, 23),
}
"""Register of the reset flags and its bit RMVF."""

CCR, DCISW, ICIALLU, MPU_RNR, MPU_RBAR, MPU_RASR = (
    0xE000ED14,
    0xE000EF60,
    0xE000EF50,
    0xE000ED98,
    0xE000ED9C,
    0xE000EDA0,
)


@pytest.mark.parametrize(("name", "sets"), [("stm32f746g-disco", 32), ("nucleo-f767zi", 128), ("nucleo-h743zi2", 128)])
def test_caches_of_a_cortex_m7(name: str, sets: int, firmware: Builder) -> None:
    """Every line is invalidated once before the data cache goes on; external memory is out of bounds."""
    mcu = start(firmware(name))
    lines = [value for address, value in mcu.written if address == DCISW]
    assert sorted(lines) == sorted(way << 30 | line << 5 for way in range(4) for line in range(sets))
    assert mcu.registers[CCR] >> 16 & 3 == 3
    order = [address for address, _ in mcu.written if address in (CCR, DCISW, ICIALLU)]
    assert order.index(ICIALLU) < len(order) - 1 - order[::-1].index(DCISW) < len(order) - 1 - order[::-1].index(CCR)
    regions = [mcu.written[i : i + 3] for i, (address, _) in enumerate(mcu.written) if address == MPU_RNR]
    assert [(MPU_RNR, 1), (MPU_RBAR, 0), (MPU_RASR, 0x1000_873F)] in regions


@pytest.mark.parametrize("name", ["nucleo-f767zi", "nucleo-h743zi2", "b-l475e-iot01a", "nucleo-l4r5zi"])
def test_two_megabaud(name: str, firmware: Builder) -> None:
    """The fastest rate of the ST-LINK's virtual COM port, also from an internal oscillator of 16 MHz, where eight
    samples a bit must do."""
    built = firmware(name, baud=2_000_000)
    is_lpuart = built.board.defines["STM32_UART"] == "LPUART1"
    for part in ("", "PLL"):
        mcu = start(built, broken=part)
        assert uart_hz(mcu, is_lpuart) == pytest.approx(2_000_000, rel=1e-3)
        assert Session(UnicornLink(mcu)).hello().board == name


def test_the_model_objects(firmware: Builder) -> None:
    """It can say no: to a clock beyond the chip's limit, to a peripheral whose clock is off."""
    built = firmware("nucleo-f446re")
    chip = chip_of(built.board)
    with pytest.raises(ForbiddenError, match=r"180.0 MHz without over-drive"):
        start(built, f_chip(M4, normal_hz=168e6, over_drive_hz=168e6)(built.board))
    elsewhere = replace(chip, gates=(*chip.gates, gate(chip.uart.base, F_RCC + 0x44, 4)))
    with pytest.raises(ForbiddenError, match="0x40004408, whose clock is off"):
        start(built, elsewhere)


@pytest.mark.emulator
@pytest.mark.parametrize("name", ["olimex-stm32-h405", "nucleo-f446re"])
def test_runs_in_qemu(name: str, firmware: Builder) -> None:
    """QEMU's STM32F405 has the UART but no clock control: the same image falls back to HSI and serves."""
    built = firmware(name)
    machine = Emulator(machine="netduinoplus2", arguments=("-icount", "shift=0,sleep=off"), serial_index=1)
    link = built.board.link.model_copy(update={"kind": "tcp"})
    emulated = built.board.model_copy(update={"emulator": machine, "link": link})
    runner, links = registry.load("runners", "qemu"), registry.load("links", "tcp")
    with (
        runner.attach(emulated, built.folder, None) as place,
        contextlib.closing(links.open_link(emulated, place)) as opened,
    ):
        session = Session(opened)
        info = session.hello()
        assert (info.digest, info.tick_unit, info.tick_hz) == (built.image.digest, "us", 1_000_000)
        samples = tiny.samples(MODEL, 3)
        for sample, logits in zip(samples, twin.run(MODEL, samples), strict=True):
            np.testing.assert_array_equal(session.run_sample(sample.tobytes()).output, logits.ravel())
