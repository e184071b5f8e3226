"""Headers as CMSIS-NN publishes them, from facts: names and types of the functions that are called, fields of their
structs. No code of CMSIS-NN; with a library of any object, what CMSIS_NN_ROOT may name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.codegen.cmsis_nn import HEADERS, PROTOTYPES
from pipeline.core import shell

REVISION = "V.19.1.0"
_TILE = {"w": "int32_t", "h": "int32_t"}
_LIMITS = {"min": "int32_t", "max": "int32_t"}
_WINDOW = {"stride": "cmsis_nn_tile", "padding": "cmsis_nn_tile"}
_OFFSETS = {"input_offset": "int32_t", "output_offset": "int32_t"}
_DILATED = {**_WINDOW, "dilation": "cmsis_nn_tile", "activation": "cmsis_nn_activation"}
STRUCTS: Mapping[str, Mapping[str, str]] = {
    "cmsis_nn_context": {"buf": "void *", "size": "int32_t"},
    "cmsis_nn_dims": dict.fromkeys("nhwc", "int32_t"),
    "cmsis_nn_tile": _TILE,
    "cmsis_nn_activation": _LIMITS,
    "cmsis_nn_per_channel_quant_params": {"multiplier": "int32_t *", "shift": "int32_t *"},
    "cmsis_nn_per_tensor_quant_params": {"multiplier": "int32_t", "shift": "int32_t"},
    "cmsis_nn_conv_params": {**_OFFSETS, **_DILATED},
    "cmsis_nn_dw_conv_params": {**_OFFSETS, "ch_mult": "int32_t", **_DILATED},
    "cmsis_nn_pool_params": {**_WINDOW, "activation": "cmsis_nn_activation"},
    "cmsis_nn_fc_params": {
        "input_offset": "int32_t", "filter_offset": "int32_t", "output_offset": "int32_t",
        "activation": "cmsis_nn_activation",
    },
}  # fmt: skip
"""Fields by struct."""


def headers(folder: Path, prototypes: Mapping[str, tuple[str, ...]] = PROTOTYPES, revision: str = REVISION) -> None:
    """Writes HEADERS into the folder, all that is declared in the first."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["#pragma once", f"/* $Revision:    {revision} */", "#include <stdint.h>"]
    lines.append("typedef enum { ARM_CMSIS_NN_SUCCESS = 0, ARM_CMSIS_NN_ARG_ERROR = -1 } arm_cmsis_nn_status;")
    for name, fields in STRUCTS.items():
        members = " ".join(f"{ctype} {field};" for field, ctype in fields.items())
        lines.append(f"typedef struct {{ {members} }} {name};")
    for name, (result, *types) in prototypes.items():
        lines.append(f"{result} {name}({', '.join(f'{ctype} p{i}' for i, ctype in enumerate(types))});")
    (folder / HEADERS[0]).write_text("\n".join(lines) + "\n")
    for name in HEADERS[1:]:
        (folder / name).write_text(f'#include "{HEADERS[0]}"\n')


def library(folder: Path, *flags: str, compiler: str = "arm-none-eabi-gcc") -> Path:
    """A folder like that of a built CMSIS-NN, with a library for these compiler flags; nothing that is called is in
    it."""
    headers(folder / "Include")
    (folder / "a.c").write_text("int number(void) { return 1; }\n")
    shell.run([compiler, *flags, "-c", folder / "a.c", "-o", folder / "a.o"])
    shell.run([compiler.replace("gcc", "ar"), "rcs", folder / "libcmsis-nn.a", folder / "a.o"])
    return folder
