"""Processor cores: what GCC calls them, and what they can do."""

from __future__ import annotations

CORE_FLAGS = {
    "host": (),
    "cortex-m0": ("-mcpu=cortex-m0", "-mthumb"),
    "cortex-m0plus": ("-mcpu=cortex-m0plus", "-mthumb"),
    "cortex-m3": ("-mcpu=cortex-m3", "-mthumb"),
    "cortex-m4f": ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
    "cortex-m7": ("-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"),
    "cortex-m7d": ("-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-d16"),
    "cortex-m33f": ("-mcpu=cortex-m33", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"),
    "cortex-m55": ("-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard"),
    "atmega328p": ("-mmcu=atmega328p",),
    "atmega2560": ("-mmcu=atmega2560",),
}
"""GCC flags per core; the keys are what a board's `core` may be."""

AVR_CORES = frozenset(core for core in CORE_FLAGS if core.startswith("atmega"))

_KERNEL_FAMILIES = {
    "mve": frozenset({"cortex-m55"}),
    "dsp": frozenset({"cortex-m4f", "cortex-m7", "cortex-m7d", "cortex-m33f", "cortex-m55"}),
    "swar": frozenset(CORE_FLAGS) - AVR_CORES,
    "reference": frozenset(CORE_FLAGS),
}
"""Folders of firmware/nn, the fastest first, and the cores that execute their kernels: mve has the M-profile vector
extension (Helium), dsp the DSP instructions of Armv7E-M, swar registers of 32 bits or more."""


LINKED = "cmsis"
"""Folder of firmware/nn whose kernels pass calls on to CMSIS-NN, on every Cortex-M where that is linked."""


def kernel_families(core: str, linked: bool = False) -> tuple[str, ...]:
    """Folders of firmware/nn whose kernels the core executes, the fastest first; the last one is "reference". linked:
    CMSIS-NN is, its kernels come before ours."""
    ours = tuple(family for family, cores in _KERNEL_FAMILIES.items() if core in cores)
    return (LINKED, *ours) if linked else ours


def has_vectors(core: str) -> bool:
    """Whether the core has the M-profile vector extension."""
    return core in _KERNEL_FAMILIES["mve"]
