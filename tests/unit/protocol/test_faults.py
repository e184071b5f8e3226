"""faults: every flag of the fault registers by its name in the Armv7-M and Armv8-M Architecture Reference Manuals."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.protocol import faults

# Masks of the manuals' register summaries; CMSIS-Core names them SCB_CFSR_<name>_Msk and SCB_HFSR_<name>_Msk.
CFSR = {
    "IACCVIOL": 0x0000_0001,
    "DACCVIOL": 0x0000_0002,
    "MUNSTKERR": 0x0000_0008,
    "MSTKERR": 0x0000_0010,
    "MLSPERR": 0x0000_0020,
    "IBUSERR": 0x0000_0100,
    "PRECISERR": 0x0000_0200,
    "IMPRECISERR": 0x0000_0400,
    "UNSTKERR": 0x0000_0800,
    "STKERR": 0x0000_1000,
    "LSPERR": 0x0000_2000,
    "UNDEFINSTR": 0x0001_0000,
    "INVSTATE": 0x0002_0000,
    "INVPC": 0x0004_0000,
    "NOCP": 0x0008_0000,
    "STKOF": 0x0010_0000,
    "UNALIGNED": 0x0100_0000,
    "DIVBYZERO": 0x0200_0000,
}
HFSR = {"VECTTBL": 0x0000_0002, "DEBUGEVT": 0x8000_0000}
MMARVALID, BFARVALID, FORCED = 0x0000_0080, 0x0000_8000, 0x4000_0000
NOTHING = {"cfsr": 0, "hfsr": 0, "mmfar": 0x11, "bfar": 0x22, "pc": 0x800_0123, "lr": 0x800_0457, "ipsr": 3}


def described(**registers: Any) -> str:
    return faults.describe({**NOTHING, "exc_return": 0xFFFF_FFE9, **registers})


@pytest.mark.parametrize(("register", "flags"), [("cfsr", CFSR), ("hfsr", HFSR)])
def test_every_flag_is_named_and_no_other(register, flags):
    for name, mask in flags.items():
        text = described(**{register: mask})
        assert [other for other in (*CFSR, *HFSR) if f"({other})" in text] == [name]


def test_several_flags_are_all_named():
    text = described(cfsr=CFSR["STKERR"] | CFSR["PRECISERR"], hfsr=HFSR["VECTTBL"] | FORCED)
    assert all(f"({name})" in text for name in ("STKERR", "PRECISERR", "VECTTBL"))


def test_an_address_is_told_where_its_register_holds_one():
    assert "address 0x" not in described(cfsr=CFSR["INVSTATE"])
    assert "address 0x00000011" in described(cfsr=CFSR["DACCVIOL"] | MMARVALID)
    assert "address 0x00000022" in described(cfsr=CFSR["PRECISERR"] | BFARVALID)


def test_a_fault_without_a_flag_names_the_exception_and_the_registers():
    assert described() == (
        "exception 3 without a fault flag; pc 0x08000123, lr 0x08000457 "
        "[cfsr 00000000 hfsr 00000000 exc_return ffffffe9]"
    )
