"""Every register address and bit of the nRF ports against the maker's register descriptions, which pyOCD ships."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from pipeline.config import board
from pipeline.core import paths
from tests.support.svd import description, evaluate, register_macros

pytestmark = pytest.mark.toolchain
PORT = paths.shipped("firmware") / "port" / "cortexm" / "nrf"

BOTH = {
    "&CLOCK_HFCLKSTART": "CLOCK.TASKS_HFCLKSTART",
    "&CLOCK_HFCLKSTARTED": "CLOCK.EVENTS_HFCLKSTARTED",
    "&CLOCK_HFCLKSTAT": "CLOCK.HFCLKSTAT",
    "&POWER_RESETREAS": "POWER.RESETREAS",
    "&UART_STARTRX": "UART0.TASKS_STARTRX",
    "&UART_STARTTX": "UART0.TASKS_STARTTX",
    "&UART_RXDRDY": "UART0.EVENTS_RXDRDY",
    "&UART_TXDRDY": "UART0.EVENTS_TXDRDY",
    "&UART_INTENSET": "UART0.INTENSET",
    "&UART_ERRORSRC": "UART0.ERRORSRC",
    "&UART_ENABLE": "UART0.ENABLE",
    "&UART_BAUDRATE": "UART0.BAUDRATE",
    "&TIMER_START": "TIMER0.TASKS_START",
    "&TIMER_CAPTURE": r"TIMER0.TASKS_CAPTURE\[%S\]",
    "&TIMER_BITMODE": "TIMER0.BITMODE",
    "&TIMER_PRESCALER": "TIMER0.PRESCALER",
    "&TIMER_CC": r"TIMER0.CC\[%S\]",
}
TABLES: Mapping[str, Mapping[str, str]] = {
    "nrf51": {
        **BOTH,
        "&UART_PSELTXD": "UART0.PSELTXD",
        "&UART_PSELRXD": "UART0.PSELRXD",
        "&UART_RXD": "UART0.RXD",
        "&UART_TXD": "UART0.TXD",
        "&GPIO_OUTSET(24U)": "GPIO.OUTSET",
        "&GPIO_CNF(0U)": r"GPIO.PIN_CNF\[%S\]",
    },
    "nrf52840": {
        **BOTH,
        "&GPIO_OUTSET(31U)": "P0.OUTSET",
        "&GPIO_CNF(0U)": r"P0.PIN_CNF\[%S\]",
        "&GPIO_OUTSET(NRF_PIN(1U, 3U))": "P1.OUTSET",
        "&GPIO_CNF(NRF_PIN(1U, 0U))": r"P1.PIN_CNF\[%S\]",
        "&NVMC_ICACHECNF": "NVMC.ICACHECNF",
    },
}
"""C expression -> PERIPHERAL.REGISTER. The nRF52840's description has the UART's pins and data in groups whose names
come twice: they are at the nRF51's places."""
FIELDS = {
    "RECEIVED_INTERRUPT": 1 << 2,  # INTENSET.RXDRDY
    "OVERRUN": 1 << 0,
    "UART_ON": 4,
    "OUTPUT": 0b11,  # PIN_CNF: DIR output, INPUT disconnected
    "INPUT_PULLED_UP": 3 << 2,
    "BITS_32": 3,
    "MCU_LINK_IRQ": 2,
}
BOARDS = {"nrf51": "microbit", "nrf52840": "nano33ble-bare"}


@pytest.mark.parametrize("chip", TABLES)
def test_registers_are_where_the_description_has_them(chip: str) -> None:
    svd, table = description(chip), TABLES[chip]
    values = evaluate(board.load(BOARDS[chip]), [*table, *FIELDS])
    for expression, path in table.items():
        peripheral, register = path.split(".")
        assert values[expression] == svd.register(peripheral, register)[0], expression
    assert {name: values[name] for name in FIELDS} == FIELDS
    assert svd.interrupt("UART0" if chip == "nrf51" else "UARTE0_UART0") == FIELDS["MCU_LINK_IRQ"]
    assert svd.mask("UART0", "INTENSET", "RXDRDY") == FIELDS["RECEIVED_INTERRUPT"]
    assert svd.mask("UART0", "ERRORSRC", "OVERRUN") == FIELDS["OVERRUN"]


def test_no_register_is_left_out() -> None:
    listed = set(re.findall(r"\w+", " ".join([*TABLES["nrf51"], *TABLES["nrf52840"]])))
    assert set(register_macros(PORT)) <= listed


def test_the_rate_is_that_of_the_makers_list() -> None:
    """The listed values are rounded to a 4096th part of a byte; ours are the nearest or the next."""
    listed = {9600: 0x0027_5000, 115_200: 0x01D7_E000, 921_600: 0x0EBE_D000, 1_000_000: 0x1000_0000}
    chosen = board.load("nano33ble-bare")
    setting = "(uint32_t)((((uint64_t)BOARD_BAUD << 32) / TIMER_HZ + 0x800U) & 0xFFFFF000U)"
    assert setting in (PORT / "port.c").read_text().replace("\\\n", "")
    for baud, value in listed.items():
        link = chosen.link.model_copy(update={"baud": baud})
        (found,) = evaluate(chosen.model_copy(update={"link": link}), [setting]).values()
        assert abs(found - value) <= 0x1000
