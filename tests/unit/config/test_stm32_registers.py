"""Every register address and bit of the STM32 ports against the chip makers' register descriptions (SVD files).

pyOCD ships those of some STM32; a description says for its sister chips what they have in common. The rest is checked
where TRITMCU_SVD names a folder with the exact chip's description, STM32H743.svd for example; docs/PORTS.md says what
was checked so.
"""

from __future__ import annotations

import os
import re
import struct
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import util
from pathlib import Path
from xml.etree import ElementTree

import pytest
from elftools.elf.elffile import ELFFile

from pipeline.config import board
from pipeline.config.board import Board
from pipeline.core import paths, shell
from pipeline.stages import render
from tests.support import tiny

pytestmark = pytest.mark.toolchain
PORT = paths.shipped("firmware") / "port"

COMMON = {
    "&GPIO_MODER(0)": "GPIOA.MODER",
    "&GPIO_MODER(1)": "GPIOB.MODER",
    "&GPIO_MODER(3)": "GPIOD.MODER",
    "&GPIO_MODER(6)": "GPIOG.MODER",
    "&GPIO_PUPDR(1)": "GPIOB.PUPDR",
    "&GPIO_AFR(0, 0)": "GPIOA.AFRL",
    "&GPIO_AFR(0, 7)": "GPIOA.AFRL",
    "&GPIO_AFR(3, 8)": "GPIOD.AFRH",
    "&TIM2_CR1": "TIM2.CR1",
    "&TIM2_EGR": "TIM2.EGR",
    "&TIM2_CNT": "TIM2.CNT",
    "&TIM2_PSC": "TIM2.PSC",
    "&TIM2_ARR": "TIM2.ARR",
    "&UART_BRR": "UART.BRR",
    "&UART_CR1": "UART.CR1",
    "RECEIVER_ON": "UART.CR1.RE",
    "TRANSMITTER_ON": "UART.CR1.TE",
    "RECEIVED_INTERRUPT": "UART.CR1.RXF?NEIE",
    "EIGHT_SAMPLES": "UART.CR1.OVER8",
    "UART_ON": "UART.CR1.UE",
    "MCU_LINK_IRQ": "UART.interrupt",
    "&RCC_CR": "RCC.CR",
    "&RCC_CFGR": "RCC.CFGR",
    "&RCC_PLLCFGR": "RCC.PLLCFGR",
    "PLL_ON": "RCC.CR.PLL1?ON",
    "PLL_READY": "RCC.CR.PLL1?RDY",
    "SWITCH_MASK": "RCC.CFGR.SW",
    "STATUS_MASK": "RCC.CFGR.SWS",
    "&FLASH_ACR": "FLASH.ACR",
    "LATENCY_MASK": "FLASH.ACR.LATENCY",
}
"""C expression -> PERIPHERAL.REGISTER[.FIELD], patterns. A field's expression is its mask; "1U << X" is its first bit.
UART is the peripheral of the link."""
HSE = {"HSE_ON": "RCC.CR.HSEON", "HSE_READY": "RCC.CR.HSERDY", "HSE_BYPASS": "RCC.CR.HSEBYP"}
USART_V1 = {
    "&UART_STATUS": "UART.SR",
    "&UART_INPUT": "UART.DR",
    "&UART_OUTPUT": "UART.DR",
    "OVERRUN": "UART.SR.ORE",
    "RECEIVED": "UART.SR.RXNE",
    "SENT": "UART.SR.TC",
    "MAY_SEND": "UART.SR.TXE",
}
USART_V2 = {
    "&UART_STATUS": "UART.ISR",
    "&UART_ICR": "UART.ICR",
    "&UART_INPUT": "UART.RDR",
    "&UART_OUTPUT": "UART.TDR",
    "OVERRUN": "UART.ICR.ORECF",
    "RECEIVED": "UART.ISR.RXF?NE",
    "SENT": "UART.ISR.TC",
    "MAY_SEND": "UART.ISR.TXE|TXFNF",
    "FIFO_ON": "UART.CR1.FIFOEN",
}
STM32F = {
    **COMMON,
    **HSE,
    "&RCC_GPIOENR": "RCC.AHB1ENR",
    "&RCC_APB1ENR": "RCC.APB1ENR",
    "&RCC_APB2ENR": "RCC.APB2ENR",
    "&RCC_RESET_FLAGS": "RCC.CSR",
    "RMVF": "RCC.CSR.RMVF",
    "TIM2_ENABLE": "RCC.APB1ENR.TIM2EN",
    "UART_ENABLE": "RCC.APB[12]ENR.UARTEN",
    "POWER_ENABLE": "RCC.APB1ENR.PWREN",
    "1U << PLLM": "RCC.PLLCFGR.PLLM",
    "1U << PLLN": "RCC.PLLCFGR.PLLN",
    "1U << PLLP": "RCC.PLLCFGR.PLLP",
    "1U << PLLQ": "RCC.PLLCFGR.PLLQ",
    "PLLSRC_HSE": "RCC.PLLCFGR.PLLSRC",
    "1U << PPRE1": "RCC.CFGR.PPRE1",
    "1U << PPRE2": "RCC.CFGR.PPRE2",
    "&PWR_CR": "PWR.CR1?",
    "&PWR_CSR": "PWR.CSR1?",
    "OVER_DRIVE_ON": "PWR.CR1?.ODEN",
    "OVER_DRIVE_SWITCHED": "PWR.CR1?.ODSWEN",
    "OVER_DRIVE_READY": "PWR.CSR1?.ODRDY",
    "OVER_DRIVE_SWITCH_READY": "PWR.CSR1?.ODSWRDY",
    "VOLTAGE_SCALE_1": "PWR.CR1?.VOS lowest",
}
TABLES: Mapping[str, dict[str, str]] = {
    "cortexm/stm32/f/f4": {**STM32F, **USART_V1, "MCU_FLASH_ACCELERATORS": "FLASH.ACR.PRFTEN|ICEN|DCEN"},
    "cortexm/stm32/f/f7": {**STM32F, **USART_V2},
    "cortexm/stm32/h7": {
        **COMMON,
        **HSE,
        **USART_V2,
        "&RCC_D1CFGR": "RCC.D1CFGR",
        "&RCC_D2CFGR": "RCC.D2CFGR",
        "&RCC_D3CFGR": "RCC.D3CFGR",
        "&RCC_PLLCKSELR": "RCC.PLLCKSELR",
        "&RCC_PLL1DIVR": "RCC.PLL1DIVR",
        "&RCC_RESET_FLAGS": "RCC.RSR",
        "&RCC_GPIOENR": "RCC.AHB4ENR",
        "&RCC_APB1ENR": "RCC.APB1LENR",
        "&RCC_APB2ENR": "RCC.APB2ENR",
        "&RCC_APB4ENR": "RCC.APB4ENR",
        "RMVF": "RCC.RSR.RMVF",
        "TIM2_ENABLE": "RCC.APB1LENR.TIM2EN",
        "UART_ENABLE": "RCC.APB(1L|2)ENR.UARTEN",
        "SYSCFG_ENABLE": "RCC.APB4ENR.SYSCFGEN",
        "HPRE_MASK": "RCC.D1CFGR.HPRE",
        "1U << D1PPRE": "RCC.D1CFGR.D1PPRE",
        "1U << D2PPRE1": "RCC.D2CFGR.D2PPRE1",
        "1U << D2PPRE2": "RCC.D2CFGR.D2PPRE2",
        "1U << D3PPRE": "RCC.D3CFGR.D3PPRE",
        "1U << DIVM1": "RCC.PLLCKSELR.DIVM1",
        "1U << PLL1RGE": "RCC.PLLCFGR.PLL1RGE",
        "DIVP1_ON": "RCC.PLLCFGR.DIVP1EN",
        "1U << DIVN1": "RCC.PLL1DIVR.DIVN1",
        "1U << DIVP1": "RCC.PLL1DIVR.DIVP1",
        "&PWR_CSR1": "PWR.CSR1",
        "&PWR_CR3": "PWR.CR3",
        "&PWR_D3CR": "PWR.D3CR",
        "ACTIVE_VOLTAGE_READY": "PWR.CSR1.ACTVOSRDY",
        "SUPPLY_MASK": "PWR.CR3.SCUEN|LDOEN|BYPASS",
        "SUPPLY_LDO": "PWR.CR3.LDOEN",
        "VOLTAGE_MASK": "PWR.D3CR.VOS",
        "VOLTAGE_READY": "PWR.D3CR.VOSRDY",
        "&SYSCFG_PWRCR": "SYSCFG.PWRCR",
        "OVER_DRIVE_ON": "SYSCFG.PWRCR.ODEN lowest",
        "&DBGMCU_IDC": "DBGMCU.IDC",
        "&AXI_TARG7_FN_MOD": "AXI.AXI_TARG7_FN_MOD",
    },
    "cortexm/stm32/l4": {
        **COMMON,
        **USART_V2,
        "&RCC_GPIOENR": "RCC.AHB2ENR",
        "&RCC_APB1ENR": "RCC.APB1ENR1",
        "&RCC_APB1ENR2": "RCC.APB1ENR2",
        "&RCC_APB2ENR": "RCC.APB2ENR",
        "&RCC_RESET_FLAGS": "RCC.CSR",
        "RMVF": "RCC.CSR.RMVF",
        "TIM2_ENABLE": "RCC.APB1ENR1.TIM2EN",
        "UART_ENABLE": "RCC.APB(1ENR1|1ENR2|2ENR).UARTEN",
        "POWER_ENABLE": "RCC.APB1ENR1.PWREN",
        "MSI_READY": "RCC.CR.MSIRDY",
        "MSI_RANGE_MASK": "RCC.CR.MSIRANGE|MSIRGSEL",
        "HSI_ON": "RCC.CR.HSION",
        "HSI_READY": "RCC.CR.HSIRDY",
        "HPRE_MASK": "RCC.CFGR.HPRE",
        "1U << PLLM": "RCC.PLLCFGR.PLLM",
        "1U << PLLN": "RCC.PLLCFGR.PLLN",
        "PLLR_ON": "RCC.PLLCFGR.PLLREN",
        "1U << PLLR": "RCC.PLLCFGR.PLLR",
        "PREFETCH_AND_CACHES": "FLASH.ACR.PRFTEN|ICEN|DCEN",
        "&PWR_CR2": "PWR.CR2",
        "&PWR_CR5": "PWR.CR5",
        "VDDIO2_VALID": "PWR.CR2.IOSV",
        "NOT_BOOSTED": "PWR.CR5.R1MODE",
    },
}
VALUES: Mapping[str, Mapping[str, tuple[str, int]]] = {
    "cortexm/stm32/f/f4": {"SWITCH_PLL": ("SWITCH_MASK", 2), "STATUS_PLL": ("STATUS_MASK", 2)},
    "cortexm/stm32/f/f7": {"SWITCH_PLL": ("SWITCH_MASK", 2), "STATUS_PLL": ("STATUS_MASK", 2)},
    "cortexm/stm32/h7": {
        "SWITCH_PLL": ("SWITCH_MASK", 3),
        "STATUS_PLL": ("STATUS_MASK", 3),
        "VOLTAGE_SCALE_1": ("VOLTAGE_MASK", 3),
        "HPRE_2": ("HPRE_MASK", 8),
    },
    "cortexm/stm32/l4": {
        "SWITCH_HSI": ("SWITCH_MASK", 1),
        "SWITCH_PLL": ("SWITCH_MASK", 3),
        "STATUS_HSI": ("STATUS_MASK", 1),
        "STATUS_PLL": ("STATUS_MASK", 3),
        "HPRE_2": ("HPRE_MASK", 8),
    },
}
"""Codes of a field: macro -> (mask, code)."""
NEITHER = {"PLLR", "MSI_16_MHZ", "USART1_ENABLE"}
"""PLLR of an STM32F only keeps a reset value; MSI_16_MHZ has two fields (checked as written in tests/emulated);
USART1_ENABLE is UART_ENABLE when the link is USART1."""


@dataclass(frozen=True)
class Case:
    """A board's MCU and a register description that speaks of it: of these peripherals, but for the fields `lacks`."""

    board: str
    svd: str
    peripherals: str
    lacks: frozenset[str] = frozenset()


EVERYTHING = ""
CASES = (
    Case(
        "olimex-stm32-h405",
        "STM32F41x",
        EVERYTHING,
        frozenset({"PWR.CR1?.ODEN", "PWR.CR1?.ODSWEN", "PWR.CSR1?.ODRDY", "PWR.CSR1?.ODSWRDY", "PWR.CR1?.VOS lowest"}),
    ),
    Case("nucleo-f446re", "STM32F429x", EVERYTHING),
    Case("nucleo-f767zi", "STM32F429x", "RCC|PWR|GPIO|TIM2"),
    Case("nucleo-f767zi", "STM32L4x5", "UART|TIM2", frozenset({"UART.CR1.FIFOEN"})),
    Case("nucleo-h743zi2", "STM32L4x5", "UART|TIM2", frozenset({"UART.CR1.FIFOEN"})),
    Case("b-l475e-iot01a", "STM32L4x5", EVERYTHING, frozenset({"PWR.CR5", "PWR.CR5.R1MODE", "UART.CR1.FIFOEN"})),
)
"""By descriptions that pyOCD ships."""
EXACT_CASES = (
    Case("nucleo-f446re", "STM32F446", EVERYTHING),
    Case("nucleo-f767zi", "STM32F767", EVERYTHING, frozenset({"UART.CR1.FIFOEN"})),
    Case("stm32f746g-disco", "STM32F746", EVERYTHING, frozenset({"UART.CR1.FIFOEN"})),
    Case("nucleo-h743zi2", "STM32H743", EVERYTHING),
    Case("nucleo-l4r5zi", "STM32L4P5", EVERYTHING, frozenset({"UART.CR1.OVER8"})),
)
"""By descriptions in the folder TRITMCU_SVD."""


class Description:
    """Registers, fields and interrupts of one SVD file."""

    def __init__(self, text: bytes) -> None:
        self.peripherals = {p.findtext("name", "").upper(): p for p in ElementTree.fromstring(text).iter("peripheral")}

    def _source(self, name: str) -> ElementTree.Element:
        peripheral = self.peripherals[name]
        return self.peripherals[peripheral.get("derivedFrom", name).upper()]

    @staticmethod
    def _named(peripheral: str, register: str) -> str:
        """Pattern of a register's name: some descriptions write PWR_CR5 for CR5."""
        return rf"(?:{peripheral.rstrip('0123456789')}\d*_)?(?:{register})"

    def base(self, peripheral: str) -> int:
        return int(self.peripherals[peripheral].findtext("baseAddress", ""), 0)

    def interrupt(self, peripheral: str) -> int:
        for candidate in self.peripherals.values():
            for interrupt in candidate.iter("interrupt"):
                if interrupt.findtext("name", "").removesuffix("_IRQ") == peripheral:
                    return int(interrupt.findtext("value", ""))
        raise LookupError(f"no interrupt of {peripheral}")

    def register(self, peripheral: str, pattern: str) -> tuple[int, ElementTree.Element]:
        """(address, element)."""
        for register in self._source(peripheral).iter("register"):
            if re.fullmatch(self._named(peripheral, pattern), register.findtext("name", "").upper()):
                return self.base(peripheral) + int(register.findtext("addressOffset", ""), 0), register
        raise LookupError(f"no register {peripheral}.{pattern}")

    def mask(self, peripheral: str, register: str, pattern: str) -> int:
        """Mask of the fields whose names match; older descriptions list a field's bits one by one, as SW0 and SW1."""
        mask = 0
        for element in self._source(peripheral).iter("register"):
            if re.fullmatch(self._named(peripheral, register), element.findtext("name", "").upper()):
                for field in element.iter("field"):
                    if re.fullmatch(rf"(?:{pattern})\d*", field.findtext("name", "").upper()):
                        offset, width = (int(field.findtext(key, "")) for key in ("bitOffset", "bitWidth"))
                        mask |= ((1 << width) - 1) << offset
        if not mask:
            raise LookupError(f"no field {peripheral}.{register}.{pattern}")
        return mask


@cache
def description(name: str) -> Description:
    """Of pyOCD, else of the folder TRITMCU_SVD; skips the test where neither has it."""
    package = util.find_spec("pyocd")
    assert package is not None and package.origin, "make setup installs pyocd"
    with zipfile.ZipFile(Path(package.origin).parent / "debug" / "svd" / "svd_data.zip") as shipped:
        if f"{name}.svd" in shipped.namelist():
            return Description(shipped.read(f"{name}.svd"))
    path = Path(os.environ.get("TRITMCU_SVD", "")) / f"{name}.svd"
    if "TRITMCU_SVD" not in os.environ or not path.exists():
        pytest.skip(f"TRITMCU_SVD names no folder with {name}.svd")
    return Description(path.read_bytes())


def evaluate(chosen: Board, expressions: Sequence[str]) -> dict[str, int]:
    """Value of every C expression as the compiler sees it behind the port's mcu.h."""
    values = ", ".join(f"(uint32_t)(uintptr_t)({expression})" for expression in expressions)
    check = f'#include "mcu.h"\nconst uint32_t values[] = {{{values}}};'
    sources = render.render(tiny.qmodel(), chosen)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for path, text in {**sources.files, "check.c": check}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        headers = {(folder / path).parent for path in sources.files if path.endswith(".h")}
        command = ["arm-none-eabi-gcc", *chosen.core_flags, "-std=c11", "-Werror", *(f"-I{h}" for h in sorted(headers))]
        shell.run([*command, "-c", "check.c", "-o", "check.o"], cwd=folder)
        with (folder / "check.o").open("rb") as file:
            data = ELFFile(file).get_section_by_name(".rodata").data()
    return dict(zip(expressions, struct.unpack(f"<{len(expressions)}I", data), strict=True))


@cache
def constants(name: str, uart: str = "") -> Mapping[str, int]:
    """The expressions of the family's tables on this board; uart: another STM32_UART than the board's."""
    chosen = board.load(name)
    if uart:
        chosen = chosen.model_copy(update={"defines": {**chosen.defines, "STM32_UART": uart}})
    return evaluate(chosen, [*TABLES[chosen.port], *VALUES[chosen.port]])


def peripheral(uart: str) -> str:
    """Name of the peripheral behind STM32_UART."""
    return f"UART{uart}" if uart in {"4", "5"} else f"USART{uart}" if uart.isdigit() else uart


def described(svd: Description, path: str, uart: str) -> int:
    """What the description says at PERIPHERAL.REGISTER[.FIELD]: address, mask or (lowest) first bit of it."""
    name, register, field = [*path.removesuffix(" lowest").split("."), ""][:3]
    name = uart if name == "UART" else name
    if register == "interrupt":
        return svd.interrupt(name)
    if not field:
        return svd.register(name, register)[0]
    mask = svd.mask(name, register, f"{uart}EN" if field == "UARTEN" else field)
    return mask & -mask if path.endswith(" lowest") else mask


def check(case: Case, uart: str = "") -> int:
    """Compares what the case speaks of; returns how many constants that were."""
    chosen = board.load(case.board)
    svd = description(case.svd)
    values = constants(case.board, uart)
    name = peripheral(uart or str(chosen.defines["STM32_UART"]))
    compared = 0
    for expression, path in TABLES[chosen.port].items():
        if not re.match(rf"(?:{case.peripherals})\w*\.", path):
            continue
        if path in case.lacks:
            with pytest.raises(LookupError):
                described(svd, path, name)
            continue
        expected = described(svd, path, name)
        if expression.startswith("1U <<"):
            expected &= -expected
        assert values[expression] == expected, f"{expression} = {values[expression]:#x}, {path} = {expected:#x}"
        compared += 1
    return compared


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.board}-{case.svd}")
def test_registers_are_where_the_description_has_them(case: Case) -> None:
    assert check(case) > 10


@pytest.mark.parametrize("case", EXACT_CASES, ids=lambda case: f"{case.board}-{case.svd}")
def test_registers_are_where_the_exact_description_has_them(case: Case) -> None:
    assert check(case) > 50


@pytest.mark.parametrize(
    ("case", "uart"),
    [
        *((CASES[0], str(number)) for number in range(1, 7)),
        *((CASES[2], str(number)) for number in range(1, 7)),
        *((CASES[-1], str(number)) for number in range(1, 6)),
        (replace(CASES[-1], lacks=CASES[-1].lacks | {"UART.CR1.OVER8", "UART.interrupt"}), "LPUART1"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.board,
)
def test_every_uart_a_board_may_choose(case: Case, uart: str) -> None:
    """Address, interrupt number and clock enable."""
    assert check(case, uart) > 10


@pytest.mark.parametrize("name", sorted({case.board for case in (*CASES, *EXACT_CASES)}))
def test_codes_lie_in_their_fields(name: str) -> None:
    values = constants(name)
    for macro, (mask, code) in VALUES[board.load(name).port].items():
        assert values[macro] == code * (values[mask] & -values[mask]), macro
        assert values[macro] & ~values[mask] == 0, macro


def test_no_register_and_no_bit_is_left_out() -> None:
    """Every macro of the ports' headers that is a register or a bit of one is in a table above."""
    for family, table in TABLES.items():
        listed = set(re.findall(r"\w+", " ".join([*table, *VALUES[family], *NEITHER])))
        other_uart = "usart_v2.h" if family == "cortexm/stm32/f/f4" else "usart_v1.h"
        for header in sorted((PORT / "cortexm" / "stm32").rglob("*.h")):
            if not (PORT / family).is_relative_to(header.parent) or header.name == other_uart:
                continue
            for macro, body in re.findall(r"#define (\w+)(?:\([\w, ]+\))? (.*)", header.read_text()):
                if "REG32(" in body or "1U <<" in body:
                    assert macro in listed, f"{header.parent.name}/{header.name}: {macro}"


def test_a_wrong_constant_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLES["cortexm/stm32/f/f4"], "HSE_ON", "RCC.CR.HSEBYP")
    with pytest.raises(AssertionError, match="HSE_ON"):
        check(CASES[1])


BOARDS = sorted({case.board for case in (*CASES, *EXACT_CASES)})
OUT_OF_REACH = {
    ("nucleo-f446re", 2_000_000): "45 MHz / 22 and / 23 are 2.3 % and 2.2 % off",
    ("nucleo-f446re", 3_000_000): "more than its internal oscillator can do",
    ("nucleo-f767zi", 3_000_000): "the same",
    ("olimex-stm32-h405", 3_000_000): "the same",
    ("stm32f746g-disco", 3_000_000): "the same",
    ("b-l475e-iot01a", 3_000_000): "the same",
    ("nucleo-l4r5zi", 9600): "the divider of its LPUART has 20 bits",
}


@pytest.mark.parametrize("baud", [9600, 57_600, 115_200, 460_800, 921_600, 1_000_000, 1_500_000, 2_000_000, 3_000_000])
@pytest.mark.parametrize("name", BOARDS)
def test_rates_that_a_board_may_have(name: str, baud: int) -> None:
    """What the port's static assertions accept, and that the divider is the nearest."""
    chosen = board.load(name)
    chosen = chosen.model_copy(update={"link": chosen.link.model_copy(update={"baud": baud})})
    fast, slow = "UART_KEEPS_BAUD(MCU_UART_HZ, 20)", "UART_KEEPS_BAUD(MCU_INTERNAL_UART_HZ, 33)"
    values = evaluate(chosen, [fast, slow, "UART_DIVIDER(MCU_UART_HZ)", "MCU_UART_HZ", "UART_DIVIDER_UNIT"])
    accepted, possible, divider, clock, unit = values.values()
    assert abs(clock * unit / baud - divider) <= 0.5
    assert not accepted or abs(clock * unit / divider - baud) <= 0.02 * baud
    assert bool(accepted and possible) == ((name, baud) not in OUT_OF_REACH)
