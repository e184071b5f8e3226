"""Every register address and bit of the STM32 ports against the chip makers' register descriptions (SVD files).

pyOCD ships those of some STM32; a description says for its sister chips what they have in common. The rest is checked
where TRITMCU_SVD names a folder with the exact chip's description, STM32H743.svd for example; docs/PORTS.md says what
was checked so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest

from pipeline.config import board
from pipeline.core import paths
from tests.support.device_header import DeviceHeader
from tests.support.svd import Description, description, evaluate, evaluate_at_each

pytestmark = pytest.mark.toolchain
PORT = paths.shipped("firmware") / "port"

GPIO_V1 = {
    "&GPIO_CR(0, 0)": "GPIOA.CRL",
    "&GPIO_CR(0, 9)": "GPIOA.CRH",
    "&GPIO_CR(3, 8)": "GPIOD.CRH",
    "&GPIO_BSRR(1)": "GPIOB.BSRR",
}
GPIO_V2 = {
    "&GPIO_MODER(0)": "GPIOA.MODER",
    "&GPIO_MODER(1)": "GPIOB.MODER",
    "&GPIO_MODER(3)": "GPIOD.MODER",
    "&GPIO_PUPDR(1)": "GPIOB.PUPDR",
    "&GPIO_AFR(0, 0)": "GPIOA.AFRL",
    "&GPIO_AFR(0, 7)": "GPIOA.AFRL",
    "&GPIO_AFR(3, 8)": "GPIOD.AFRH",
}
TIM2 = {
    "&TIM2_CR1": "TIM2.CR1",
    "&TIM2_EGR": "TIM2.EGR",
    "&TIM2_CNT": "TIM2.CNT",
    "&TIM2_PSC": "TIM2.PSC",
    "&TIM2_ARR": "TIM2.ARR",
}
COMMON = {
    "&UART_BRR": "UART.BRR",
    "&UART_CR1": "UART.CR1",
    "RECEIVER_ON": "UART.CR1.RE",
    "TRANSMITTER_ON": "UART.CR1.TE",
    "RECEIVED_INTERRUPT": "UART.CR1.RXF?NEIE",
    "UART_ON": "UART.CR1.UE",
    "MCU_LINK_IRQ": "UART.interrupt",
    "&RCC_CR": "RCC.CR",
    "&RCC_CFGR": "RCC.CFGR",
    "PLL_ON": "RCC.CR.PLL1?ON",
    "PLL_READY": "RCC.CR.PLL1?RDY",
    "SWITCH_MASK": "RCC.CFGR.SW",
    "STATUS_MASK": "RCC.CFGR.SWS",
    "&FLASH_ACR": "FLASH.ACR",
    "LATENCY_MASK": "FLASH.ACR.LATENCY",
}
OVER8 = {"EIGHT_SAMPLES": "UART.CR1.OVER8"}
PLLCFGR = {"&RCC_PLLCFGR": "RCC.PLLCFGR"}
USUAL = {**COMMON, **GPIO_V2, **TIM2, **OVER8, **PLLCFGR}
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
    **USUAL,
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
STM32F13 = {
    **COMMON,
    **HSE,
    **OVER8,
    "&RCC_APB1ENR": "RCC.APB1ENR",
    "&RCC_APB2ENR": "RCC.APB2ENR",
    "&RCC_RESET_FLAGS": "RCC.CSR",
    "RMVF": "RCC.CSR.RMVF",
    "UART_ENABLE": "RCC.APB[12]ENR.UARTEN",
    "1U << PLLMUL": "RCC.CFGR.PLLMUL",
    "PLLSRC_HSE": "RCC.CFGR.PLLSRC",
    "1U << PPRE1": "RCC.CFGR.PPRE1",
    "1U << PPRE2": "RCC.CFGR.PPRE2",
}
STM32LG = {
    **USUAL,
    **USART_V2,
    "&RCC_PLLCFGR": "RCC.PLL(?:SYS)?CFGR",
    "&RCC_RESET_FLAGS": "RCC.CSR",
    "RMVF": "RCC.CSR.RMVF",
    "HSI_ON": "RCC.CR.HSION",
    "HSI_READY": "RCC.CR.HSIRDY",
    "HPRE_MASK": "RCC.CFGR.HPRE",
    "1U << PLLM": "RCC.PLL(?:SYS)?CFGR.PLLM",
    "1U << PLLN": "RCC.PLL(?:SYS)?CFGR.PLLN",
    "PLLR_ON": "RCC.PLL(?:SYS)?CFGR.PLLREN",
    "1U << PLLR": "RCC.PLL(?:SYS)?CFGR.PLLR",
}
TABLES: Mapping[str, dict[str, str]] = {
    "cortexm/stm32/f/f2": {**STM32F, **USART_V1, "MCU_FLASH_ACCELERATORS": "FLASH.ACR.PRFTEN|ICEN|DCEN"},
    "cortexm/stm32/f13/f1": {
        **STM32F13,
        **GPIO_V1,
        **USART_V1,
        "&RCC_GPIOENR": "RCC.APB2ENR",
        "1U << MCU_GPIO_ENABLE": "RCC.APB2ENR.IOPAEN",
    },
    "cortexm/stm32/f/f4": {**STM32F, **USART_V1, "MCU_FLASH_ACCELERATORS": "FLASH.ACR.PRFTEN|ICEN|DCEN"},
    "cortexm/stm32/f/f7": {**STM32F, **USART_V2},
    "cortexm/stm32/h7": {
        **USUAL,
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
    "cortexm/stm32/f13/f3": {
        **STM32F13,
        **GPIO_V2,
        **TIM2,
        **USART_V2,
        "&RCC_GPIOENR": "RCC.AHBENR",
        "1U << MCU_GPIO_ENABLE": "RCC.AHBENR.(IOPA|GPIOA)EN",
        "TIM2_ENABLE": "RCC.APB1ENR.TIM2EN",
    },
    "cortexm/stm32/lg/l4": {
        **STM32LG,
        "&RCC_GPIOENR": "RCC.AHB2ENR",
        "&RCC_APB1ENR": "RCC.APB1ENR1",
        "&RCC_APB1ENR2": "RCC.APB1ENR2",
        "&RCC_APB2ENR": "RCC.APB2ENR",
        "TIM2_ENABLE": "RCC.APB1ENR1.TIM2EN",
        "UART_ENABLE": "RCC.APB(1ENR1|1ENR2|2ENR).UARTEN",
        "POWER_ENABLE": "RCC.APB1ENR1.PWREN",
        "MSI_READY": "RCC.CR.MSIRDY",
        "MSI_RANGE_MASK": "RCC.CR.MSIRANGE|MSIRGSEL",
        "FLASH_ACCELERATORS": "FLASH.ACR.PRFTEN|ICEN|DCEN",
        "&PWR_CR2": "PWR.CR2",
        "&PWR_CR5": "PWR.CR5",
        "VDDIO2_VALID": "PWR.CR2.IOSV",
        "NOT_BOOSTED": "PWR.CR5.R1MODE",
    },
    "cortexm/stm32/lg/g4": {
        **STM32LG,
        "&RCC_GPIOENR": "RCC.AHB2ENR",
        "&RCC_APB1ENR": "RCC.APB1ENR1",
        "&RCC_APB2ENR": "RCC.APB2ENR",
        "TIM2_ENABLE": "RCC.APB1ENR1.TIM2EN",
        "UART_ENABLE": "RCC.APB(1ENR1|2ENR).UARTEN",
        "POWER_ENABLE": "RCC.APB1ENR1.PWREN",
        "FLASH_ACCELERATORS": "FLASH.ACR.PRFTEN|ICEN|DCEN",
        "&PWR_CR5": "PWR.CR5",
        "NOT_BOOSTED": "PWR.CR5.R1MODE",
    },
    "cortexm/stm32/lg/g0": {
        **STM32LG,
        "&RCC_GPIOENR": "RCC.IOPENR",
        "&RCC_APB1ENR": "RCC.APBENR1",
        "&RCC_APB2ENR": "RCC.APBENR2",
        "TIM2_ENABLE": "RCC.APBENR1.TIM2EN",
        "UART_ENABLE": "RCC.APBENR[12].UARTEN",
        "FLASH_ACCELERATORS": "FLASH.ACR.PRFTEN|ICEN",
    },
    "cortexm/stm32/lg/wb": {
        **STM32LG,
        "&RCC_GPIOENR": "RCC.AHB2ENR",
        "&RCC_APB1ENR": "RCC.APB1ENR1",
        "&RCC_APB2ENR": "RCC.APB2ENR",
        "TIM2_ENABLE": "RCC.APB1ENR1.TIM2EN",
        "UART_ENABLE": "RCC.APB2ENR.UARTEN",
        "MSI_READY": "RCC.CR.MSIRDY",
        "MSI_RANGE_MASK": "RCC.CR.MSIRANGE",
        "FLASH_ACCELERATORS": "FLASH.ACR.PRFTEN|ICEN|DCEN",
        "&RCC_EXTCFGR": "RCC.EXTCFGR",
        "RADIO_HPRE_MASK": "RCC.EXTCFGR.C2HPRE",
    },
    "cortexm/stm32/u5": {
        **COMMON,
        **GPIO_V2,
        **TIM2,
        **OVER8,
        **USART_V2,
        "&RCC_CFGR": "RCC.CFGR1",
        "SWITCH_MASK": "RCC.CFGR1.SW",
        "STATUS_MASK": "RCC.CFGR1.SWS",
        "&RCC_PLLCFGR": "RCC.PLL1CFGR",
        "&RCC_PLL1DIVR": "RCC.PLL1DIVR",
        "&RCC_GPIOENR": "RCC.AHB2ENR1",
        "&RCC_AHB3ENR": "RCC.AHB3ENR",
        "&RCC_APB1ENR": "RCC.APB1ENR1",
        "&RCC_APB2ENR": "RCC.APB2ENR",
        "&RCC_RESET_FLAGS": "RCC.CSR",
        "RMVF": "RCC.CSR.RMVF",
        "TIM2_ENABLE": "RCC.APB1ENR1.TIM2EN",
        "UART_ENABLE": "RCC.APB(1ENR1|2ENR).UARTEN",
        "POWER_ENABLE": "RCC.AHB3ENR.PWREN",
        "HSI_ON": "RCC.CR.HSION",
        "HSI_READY": "RCC.CR.HSIRDY",
        "INPUT_8_TO_16_MHZ": "RCC.PLL1CFGR.PLL1RGE",
        "1U << PLLM": "RCC.PLL1CFGR.PLL1M",
        "1U << PLLMBOOST": "RCC.PLL1CFGR.PLL1MBOOST",
        "PLLR_ON": "RCC.PLL1CFGR.PLL1REN",
        "1U << PLLN": "RCC.PLL1DIVR.PLL1N",
        "1U << PLLR": "RCC.PLL1DIVR.PLL1R",
        "PREFETCH": "FLASH.ACR.PRFTEN",
        "&ICACHE_CR": "ICACHE.CR",
        "&ICACHE_SR": "ICACHE.SR",
        "ICACHE_ON": "ICACHE.CR.EN",
        "ICACHE_BUSY": "ICACHE.SR.BUSYF",
        "&PWR_VOSR": "PWR.VOSR",
        "BOOST_READY": "PWR.VOSR.BOOSTRDY",
        "RANGE_READY": "PWR.VOSR.VOSRDY",
        "RANGE_MASK": "PWR.VOSR.VOS",
        "BOOST_ON": "PWR.VOSR.BOOSTEN",
    },
}
HSI_AND_PLL = {
    "SWITCH_HSI": ("SWITCH_MASK", 1),
    "SWITCH_PLL": ("SWITCH_MASK", 3),
    "STATUS_HSI": ("STATUS_MASK", 1),
    "STATUS_PLL": ("STATUS_MASK", 3),
}
VALUES: Mapping[str, Mapping[str, tuple[str, int]]] = {
    "cortexm/stm32/f13/f3": {"SWITCH_PLL": ("SWITCH_MASK", 2), "STATUS_PLL": ("STATUS_MASK", 2)},
    "cortexm/stm32/lg/g4": {**HSI_AND_PLL, "HPRE_2": ("HPRE_MASK", 8)},
    "cortexm/stm32/lg/g0": {
        "SWITCH_HSI": ("SWITCH_MASK", 0),
        "SWITCH_PLL": ("SWITCH_MASK", 2),
        "STATUS_HSI": ("STATUS_MASK", 0),
        "STATUS_PLL": ("STATUS_MASK", 2),
    },
    "cortexm/stm32/lg/wb": {**HSI_AND_PLL, "RADIO_HPRE_2": ("RADIO_HPRE_MASK", 8)},
    "cortexm/stm32/u5": {**HSI_AND_PLL, "RANGE_1": ("RANGE_MASK", 3)},
    "cortexm/stm32/f/f2": {"SWITCH_PLL": ("SWITCH_MASK", 2), "STATUS_PLL": ("STATUS_MASK", 2)},
    "cortexm/stm32/f13/f1": {"SWITCH_PLL": ("SWITCH_MASK", 2), "STATUS_PLL": ("STATUS_MASK", 2)},
    "cortexm/stm32/f/f4": {"SWITCH_PLL": ("SWITCH_MASK", 2), "STATUS_PLL": ("STATUS_MASK", 2)},
    "cortexm/stm32/f/f7": {"SWITCH_PLL": ("SWITCH_MASK", 2), "STATUS_PLL": ("STATUS_MASK", 2)},
    "cortexm/stm32/h7": {
        "SWITCH_PLL": ("SWITCH_MASK", 3),
        "STATUS_PLL": ("STATUS_MASK", 3),
        "VOLTAGE_SCALE_1": ("VOLTAGE_MASK", 3),
        "HPRE_2": ("HPRE_MASK", 8),
    },
    "cortexm/stm32/lg/l4": {**HSI_AND_PLL, "HPRE_2": ("HPRE_MASK", 8)},
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
NO_OVER_DRIVE = frozenset({"PWR.CR1?.ODEN", "PWR.CR1?.ODSWEN", "PWR.CSR1?.ODRDY", "PWR.CSR1?.ODSWRDY"})
NO_FIFO = frozenset({"UART.CR1.FIFOEN"})
CASES = (
    Case(
        "olimex-stm32-h405",
        "STM32F41x",
        EVERYTHING,
        NO_OVER_DRIVE | {"PWR.CR1?.VOS lowest"},
    ),
    Case("nucleo-f446re", "STM32F429x", EVERYTHING),
    Case("nucleo-f767zi", "STM32F429x", "RCC|PWR|GPIO|TIM2"),
    Case("netduino2", "STM32F41x", EVERYTHING, NO_OVER_DRIVE | {"PWR.CR1?.VOS lowest"}),
    Case("nucleo-f103rb", "STM32F103xx", EVERYTHING, frozenset({"UART.CR1.OVER8"})),
    Case("nucleo-f767zi", "STM32L4x5", "UART|TIM2", frozenset({"UART.CR1.FIFOEN"})),
    Case("nucleo-h743zi2", "STM32L4x5", "UART|TIM2", frozenset({"UART.CR1.FIFOEN"})),
    Case("nucleo-f303k8", "STM32L4x5", "UART|TIM2|GPIO", NO_FIFO),
    Case("nucleo-g474re", "STM32L4x5", "UART|TIM2|GPIO", NO_FIFO),
    Case("b-l475e-iot01a", "STM32L4x5", EVERYTHING, frozenset({"PWR.CR5", "PWR.CR5.R1MODE", "UART.CR1.FIFOEN"})),
)
"""By descriptions that pyOCD ships."""
EXACT_CASES = (
    Case("nucleo-f303k8", "STM32F3x8", EVERYTHING, NO_FIFO),
    Case("nucleo-g071rb", "STM32G071", EVERYTHING),
    Case("nucleo-g474re", "STM32G474", EVERYTHING),
    Case("nucleo-wb55rg", "STM32WB55_CM4", EVERYTHING),
    Case("nucleo-u575zi-q", "stm32u575xx.h", EVERYTHING),
    Case("netduino2", "STM32F215", EVERYTHING, NO_OVER_DRIVE | {"PWR.CR1?.VOS lowest"}),
    Case("stm32vldiscovery", "STM32F100", EVERYTHING, frozenset({"FLASH.ACR.LATENCY", "UART.CR1.OVER8"})),
    Case("nucleo-f446re", "STM32F446", EVERYTHING),
    Case("nucleo-f767zi", "STM32F767", EVERYTHING, frozenset({"UART.CR1.FIFOEN"})),
    Case("stm32f746g-disco", "STM32F746", EVERYTHING, frozenset({"UART.CR1.FIFOEN"})),
    Case("nucleo-h743zi2", "STM32H743", EVERYTHING),
    Case("nucleo-l4r5zi", "STM32L4P5", EVERYTHING, frozenset({"UART.CR1.OVER8"})),
)
"""By descriptions in the folder TRITMCU_SVD."""


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


def described(svd: Description | DeviceHeader, path: str, uart: str) -> int:
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
    assert check(case) > 35


@pytest.mark.parametrize(
    ("case", "uart"),
    [
        *((CASES[0], str(number)) for number in range(1, 7)),
        *((CASES[2], str(number)) for number in range(1, 7)),
        *((CASES[4], str(number)) for number in range(1, 6)),
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


def included(family: str, header: str = "mcu.h") -> set[Path]:
    """What the family's mcu.h includes of the folders around it, and itself."""
    folders = [PORT / family, *(PORT / family).parents][: len(Path(family).parts)]
    found = next((folder / header for folder in folders if (folder / header).exists()), None)
    if found is None or found.parent == PORT / "cortexm":
        return set()
    return {found}.union(*(included(family, name) for name in re.findall(r'#include "(.+)"', found.read_text())))


def test_no_register_and_no_bit_is_left_out() -> None:
    """Every macro of the ports' headers that is a register or a bit of one is in a table above."""
    for family, table in TABLES.items():
        listed = set(re.findall(r"\w+", " ".join([*table, *VALUES[family], *NEITHER])))
        headers = included(family)
        assert len(headers) >= 5
        for header in sorted(headers):
            for macro, body in re.findall(r"#define (\w+)(?:\([\w, ]+\))? (.*)", header.read_text()):
                if "REG32(" in body or "1U <<" in body:
                    assert macro in listed, f"{header.parent.name}/{header.name}: {macro}"


def test_every_family_is_in_the_tables() -> None:
    families = {port for port in board.ports() if port.startswith("cortexm/stm32/")}
    assert families == set(TABLES) == set(VALUES)


def test_a_wrong_constant_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLES["cortexm/stm32/f/f4"], "HSE_ON", "RCC.CR.HSEBYP")
    with pytest.raises(AssertionError, match="HSE_ON"):
        check(CASES[1])


BOARDS = sorted({case.board for case in (*CASES, *EXACT_CASES)})
BAUDS = (9600, 57_600, 115_200, 460_800, 921_600, 1_000_000, 1_500_000, 2_000_000, 3_000_000)
OUT_OF_REACH = {
    "nucleo-f446re": {2_000_000},  # 45 MHz / 22 and / 23 are 2.3 % and 2.2 % off
    "nucleo-l4r5zi": {9600},  # the divider of its LPUART has 20 bits
    "nucleo-f303k8": {921_600, 1_500_000, 2_000_000},  # 32 MHz, and 8 MHz inside
    # More than an internal oscillator of 8 MHz gives with sixteen samples a bit.
    "nucleo-f103rb": {921_600, 1_000_000, 1_500_000, 2_000_000},
    "stm32vldiscovery": {921_600, 1_000_000, 1_500_000, 2_000_000},
}
REACHES_3_MBAUD = {"nucleo-h743zi2", "nucleo-l4r5zi"}
"""An internal oscillator of 16 MHz does not."""


@pytest.mark.parametrize("name", BOARDS)
def test_rates_that_a_board_may_have(name: str) -> None:
    """What the port's static assertions accept, and that the divider is the nearest."""
    fast, slow = "UART_KEEPS_BAUD(MCU_UART_HZ, 20)", "UART_KEEPS_BAUD(MCU_INTERNAL_UART_HZ, 33)"
    asked = [fast, slow, "UART_DIVIDER(MCU_UART_HZ)", "MCU_UART_HZ", "UART_DIVIDER_UNIT"]
    reached = set()
    for baud, values in zip(BAUDS, evaluate_at_each(board.load(name), BAUDS, asked), strict=True):
        accepted, possible, divider, clock, unit = values
        assert abs(clock * unit / baud - divider) <= 0.5
        assert not accepted or abs(clock * unit / divider - baud) <= 0.02 * baud
        reached |= {baud} if accepted and possible else set()
    too_fast = set() if name in REACHES_3_MBAUD else {3_000_000}
    assert reached == set(BAUDS) - OUT_OF_REACH.get(name, set()) - too_fast
