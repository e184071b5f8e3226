"""Registers, fields and interrupts of a chip maker's C header in the CMSIS layout, where there is no SVD file."""

from __future__ import annotations

import re


class DeviceHeader:
    """What `svd.Description` says of an SVD file, of a header such as stm32u575xx.h: peripherals at the addresses
    without TrustZone, registers at the offsets that the comments in their structures state, fields by their masks."""

    def __init__(self, text: str) -> None:
        self._defines = dict(re.findall(r"^#define (\w+) +([^\n]*?)(?: */\*.*)?$", text, re.MULTILINE))
        self._interrupts = dict(re.findall(r"^ *(\w+)_IRQn += (\d+)", text, re.MULTILINE))
        structures = re.findall(r"typedef struct\s*\{([^}]*)\}\s*(\w+)_TypeDef;", text)
        self._registers = {name: dict(_registers(body)) for body, name in structures}

    def base(self, peripheral: str) -> int:
        name = {"FLASH": "FLASH_R"}.get(peripheral, peripheral)
        return self._value(f"{name}_BASE_NS")

    def interrupt(self, peripheral: str) -> int:
        if peripheral not in self._interrupts:
            raise LookupError(f"no interrupt of {peripheral}")
        return int(self._interrupts[peripheral])

    def register(self, peripheral: str, pattern: str) -> tuple[int, str]:
        """(address, name)."""
        for name, offset in self._registers[_kind(peripheral)].items():
            if re.fullmatch(pattern, name):
                return self.base(peripheral) + offset, name
        raise LookupError(f"no register {peripheral}.{pattern}")

    def mask(self, peripheral: str, register: str, pattern: str) -> int:
        """Mask of the fields whose names match."""
        masks = re.compile(rf"{_kind(peripheral)}_(?:{register})_(?:{pattern})_Msk")
        mask = 0
        for name in filter(masks.fullmatch, self._defines):
            mask |= self._value(name)
        if not mask:
            raise LookupError(f"no field {peripheral}.{register}.{pattern}")
        return mask

    def _value(self, expression: str) -> int:
        """Of a macro, or of a sum or shift of two numbers or macros."""
        text = self._defines.get(expression, expression).strip("() ")
        if found := re.fullmatch(r"(\w+) *(\+|<<) *(\w+)", text):
            left, right = self._value(found[1]), self._value(found[3])
            return left + right if found[2] == "+" else left << right
        return self._value(text) if text in self._defines else int(text.rstrip("UL"), 0)


def _kind(peripheral: str) -> str:
    """Whose structure it has: GPIO of GPIOA, USART of USART1 and UART4."""
    kind = re.sub(r"(?<=GPIO)[A-Z]$|\d+$", "", peripheral)
    return "USART" if kind == "UART" else kind


def _registers(body: str) -> list[tuple[str, int]]:
    """(name, offset) of a structure; those of an array of two are called low and high, as in AFRL and AFRH."""
    found = re.findall(r"(\w+)(\[2\])?; */\*!<[^*]*Address offset: *(0x[0-9A-Fa-f]+)", body)
    return [
        (f"{name}{half}", int(offset, 0) + 4 * place)
        for name, pair, offset in found
        for place, half in enumerate("LH" if pair else [""])
    ]
