"""How fast microcontrollers may run, from their makers' data sheets."""

from __future__ import annotations

from collections.abc import Mapping

_MHZ = 1_000_000
_MAX_MHZ: Mapping[str, int] = {
    "ATMEGA": 20,
    "ATMEGA2560": 16,
    "SAM3X": 84,
    "AT91SAM3X": 84,
    "SAMD21": 48,
    "SAMD51": 120,
    "NRF51": 16,
    "NRF52": 64,
    "RP2040": 133,
    "RA4M1": 48,
    "R7FA4M1": 48,
    "STM32C0": 48,
    "STM32F0": 48,
    "STM32F100": 24,
    "STM32F101": 36,
    "STM32F102": 48,
    "STM32F103": 72,
    "STM32F105": 72,
    "STM32F107": 72,
    "STM32F2": 120,
    "STM32F3": 72,
    "STM32F401": 84,
    "STM32F405": 168,
    "STM32F407": 168,
    "STM32F410": 100,
    "STM32F411": 100,
    "STM32F412": 100,
    "STM32F413": 100,
    "STM32F415": 168,
    "STM32F417": 168,
    "STM32F423": 100,
    "STM32F4": 180,
    "STM32F7": 216,
    "STM32G0": 64,
    "STM32G4": 170,
    "STM32H5": 250,
    "STM32H72": 550,
    "STM32H73": 550,
    "STM32H74": 480,
    "STM32H75": 480,
    "STM32H7A": 280,
    "STM32H7B": 280,
    "STM32L0": 32,
    "STM32L1": 32,
    "STM32L4": 80,
    "STM32L4P": 120,
    "STM32L4Q": 120,
    "STM32L4R": 120,
    "STM32L4S": 120,
    "STM32L5": 110,
    "STM32U5": 160,
    "STM32WB": 64,
    "STM32WL": 48,
}
"""MHz of the core, by how the part number begins; the longest that fits counts. Members of one family differ: the port
of the STM32F4 reaches 180 MHz, an STM32F411 does not."""


def max_hz(mcu: str) -> int | None:
    """The fastest core clock of a part, Hz; None where it is not known here."""
    name = mcu.upper()
    known = [prefix for prefix in _MAX_MHZ if name.startswith(prefix)]
    return _MAX_MHZ[max(known, key=len)] * _MHZ if known else None
