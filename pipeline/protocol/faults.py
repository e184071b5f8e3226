"""Words for the fault registers of Armv7-M and Armv8-M (Armv7-M Architecture Reference Manual, B3.2.15 and B3.2.16)."""

from __future__ import annotations

from collections.abc import Mapping

_CFSR = (
    (0, "IACCVIOL", "instruction fetch from a forbidden address"),
    (1, "DACCVIOL", "data access to a forbidden address"),
    (3, "MUNSTKERR", "forbidden address while unstacking"),
    (4, "MSTKERR", "forbidden address while stacking: the stack has overflowed"),
    (5, "MLSPERR", "forbidden address while saving floating-point registers"),
    (8, "IBUSERR", "instruction fetch from an address without memory"),
    (9, "PRECISERR", "data access to an address without memory"),
    (10, "IMPRECISERR", "earlier data write to an address without memory"),
    (11, "UNSTKERR", "bus error while unstacking"),
    (12, "STKERR", "bus error while stacking: the stack has overflowed"),
    (13, "LSPERR", "bus error while saving floating-point registers"),
    (16, "UNDEFINSTR", "undefined instruction"),
    (17, "INVSTATE", "jump to a non-Thumb address"),
    (18, "INVPC", "invalid exception return"),
    (19, "NOCP", "coprocessor or floating-point unit is disabled"),
    (20, "STKOF", "stack limit exceeded"),
    (24, "UNALIGNED", "unaligned access"),
    (25, "DIVBYZERO", "division by zero"),
)
_MMARVALID, _BFARVALID = 1 << 7, 1 << 15
_HFSR = ((1, "VECTTBL", "vector table could not be read"), (31, "DEBUGEVT", "debug event without a debugger"))


def describe(registers: Mapping[str, int]) -> str:
    """One line for a FAULT frame's fields: what happened in words, where (pc), on which address where it is known."""
    cfsr, hfsr = registers["cfsr"], registers["hfsr"]
    causes = [f"{text} ({name})" for bit, name, text in _CFSR if cfsr >> bit & 1]
    causes += [f"{text} ({name})" for bit, name, text in _HFSR if hfsr >> bit & 1]
    where = [f"pc 0x{registers['pc']:08x}", f"lr 0x{registers['lr']:08x}"]
    if cfsr & _MMARVALID:
        where.append(f"address 0x{registers['mmfar']:08x}")
    if cfsr & _BFARVALID:
        where.append(f"address 0x{registers['bfar']:08x}")
    what = "; ".join(causes) or f"exception {registers['ipsr']} without a fault flag"
    return f"{what}; {', '.join(where)} [cfsr {cfsr:08x} hfsr {hfsr:08x} exc_return {registers['exc_return']:08x}]"
