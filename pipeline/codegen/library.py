"""A network as a library for other people's programs: inference without protocol.

One folder serves CMake, the Arduino tools, PlatformIO and Zephyr: src/<name>.h is all that a program includes, src/nn
holds the kernels. Every symbol and macro begins with the network's C identifier, so that one image may hold several.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pipeline import __version__
from pipeline.codegen import arduino, fit, mfcc, select, source
from pipeline.config.board import Board
from pipeline.config.cores import kernel_families
from pipeline.config.dataset import MfccConfig
from pipeline.config.job import FirmwareConfig
from pipeline.core import paths, templates
from pipeline.core.digest import digest_of
from pipeline.core.nouns import FLASH, RAM, QModel

LONGEST_PREFIX = 40
"""Characters: with "_model" within what PlatformIO takes as the name of a library, 50."""
NEEDS: Mapping[str, str] = {"mve": "defined(__ARM_FEATURE_MVE)", "dsp": "defined(__ARM_FEATURE_DSP)"}
"""How a compiler says that it executes the kernels of a family."""
NOT_AVR = "!defined(__AVR__)"
"""There weights take a buffer in the arena, which only an export for such a board has."""
TEMPLATES: Mapping[str, str] = {
    "src/{name}.h": "library.h.j2",
    "src/{name}.c": "library.c.j2",
    "CMakeLists.txt": "library_cmake.txt.j2",
    "README.md": "library_readme.md.j2",
    "examples/program/CMakeLists.txt": "library_program_cmake.txt.j2",
    "examples/sensor/sensor.ino": "library_sensor.ino.j2",
    "library.properties": "arduino_library.properties.j2",
    "keywords.txt": "arduino_keywords.txt.j2",
    "zephyr/module.yml": "library_module.yml.j2",
    "zephyr/Kconfig": "library_kconfig.j2",
    "zephyr/CMakeLists.txt": "library_zephyr_cmake.txt.j2",
}
"""Template of every generated file but the program, library.json and the licence."""
PROGRAM = "examples/program/main.c"
FUNCTIONS = ("predict", "input", "run", "quantize", "quantize_input", "class_name")
"""What the header declares, without the prefix."""
LITERALS = ("NAME", "DIGEST", "INPUT_SHAPE", "INPUT_SIZE", "INPUT_SCALE", "INPUT_ZERO_POINT", "INPUT_MIN", "INPUT_MAX",
            "OUTPUT_SIZE", "OUTPUT_SCALE", "OUTPUT_ZERO_POINT", "ARENA_BYTES", "TABLES_BYTES")  # fmt: skip
"""What the header defines, without the prefix."""


def prefix(model: str) -> str:
    """C identifier of a network: its name in lower case, where macros differ too, with underscores for all else.

    >>> prefix("Digits-2.1"), prefix("8bit"), prefix("_")
    ('digits_2_1', 'net_8bit', 'net')
    """
    text = re.sub(r"[^a-z0-9]+", "_", model.lower()).strip("_") or "net"
    text = text if text[0].isalpha() else f"net_{text}"
    return text if len(text) <= LONGEST_PREFIX else f"{text[: LONGEST_PREFIX - 9]}_{digest_of(model)[:8]}"


def name(model: str) -> str:
    """Name of the library, its header and its folder. With its ending it is no header of another's, such as time.h."""
    return f"{prefix(model)}_model"


def library(
    model: QModel,
    board: Board,
    kernels: select.Kernels = "auto",
    firmware: FirmwareConfig = select.DEFAULT,
    front_end: MfccConfig | None = None,
) -> dict[str, str]:
    """Text by path in the library's folder. UnsupportedError names a layer that no kernel serves; FitError: the board's
    memory is too small for its tables or its arena.

    kernels: "auto" takes the fastest kernels of the board's core, "reference" the portable ones. front_end: how the
    network's samples are made from sound; not for AVR boards, whose memory holds none.
    """
    families = kernel_families(board.core) if kernels == "auto" else ("reference",)
    files = {path.name: text for path, text in source.hand_written("nn") if source.is_kernel_of(path, families)}
    sound = mfcc.sound(front_end) if front_end is not None and not board.is_avr else None
    heard = dict(source.hand_written("sound")) if sound is not None else {}
    network = _of_network(model, select.program(model, board, kernels, firmware))
    tables = fit.tables({layer.name: layer.tables_bytes for layer in network["code"]})
    fit.require({FLASH: tables, RAM: {"the activation arena": network["arena_bytes"]}}, board)
    context = {
        **network,
        **_of_files(files),
        "core": board.core,
        "compilers": _compilers(board),
        "stack_bytes": 0 if board.is_host else board.memory.stack_bytes,
        "needs": [NEEDS[family] for family in families if family in NEEDS] + ([] if board.is_avr else [NOT_AVR]),
        "architectures": arduino.architectures(board),
        "version": __version__,
        "sound": sound,
    }
    if sound is not None:
        context["functions"].append(f"{context['prefix']}_features")
        context["literals"] += [f"{context['macro']}_{literal}" for literal in ("SOUND_HZ", "SOUND_SAMPLES")]
    environment = templates.environment()
    program = environment.get_template("library_program.c.j2").render(context)
    texts = {
        path.format(name=context["name"]): environment.get_template(template).render(context, program=program)
        for path, template in TEMPLATES.items()
    }
    return {
        **{f"src/nn/{file}": text for file, text in files.items()},
        **{f"src/{path}": text for path, text in heard.items()},
        **texts,
        PROGRAM: program,
        "library.json": _platformio(context),
        "LICENSE": paths.license_text(),
    }


def _compilers(board: Board) -> str:
    """What compiles a library for the board."""
    if board.is_avr:
        return "avr-gcc (`-std=gnu11`)"
    return "GCC or Clang" if board.is_host else "GCC or Clang (tested with 12 and 14)"


def _of_network(model: QModel, program: select.Program) -> dict[str, Any]:
    """What the templates know of the network."""
    memory, code, own = program.memory, source.code(model, program), prefix(model.name)
    return {
        "qmodel": model,
        "prefix": own,
        "macro": own.upper(),
        "name": name(model.name),
        "layers": source.layers(model, program, f"{own}_"),
        "code": code,
        "arena_bytes": memory.arena_bytes,
        "input_offset": memory.tensor_offsets[0],
        "weights_bytes": sum(layer.weights_bytes for layer in code),
        "tables_bytes": sum(layer.tables_bytes for layer in code),
        "functions": [f"{own}_{function}" for function in FUNCTIONS],
        "literals": [f"{own.upper()}_{literal}" for literal in LITERALS],
        "sentence": f'The ternary network "{model.name}": give it a sample, it answers logits and the class.',
        "paragraph": "Generated by tritmcu. No heap, weights packed in flash, the same bits on every processor.",
        "urn": arduino.urn(name(model.name), model.digest),
    }


def _of_files(files: Mapping[str, str]) -> dict[str, Any]:
    """What the templates know of the kernels' files."""
    return {
        "headers": sorted(file for file in files if file.endswith(".h")),
        "sources": sorted(f"src/nn/{file}" for file in files if not file.endswith(".h")),
        "languages": "C ASM" if any(file.endswith(".S") for file in files) else "C",
        "digest": digest_of(files)[:16],
    }


def _platformio(context: Mapping[str, Any]) -> str:
    """library.json."""
    manifest = {
        "name": context["name"],
        "version": context["version"],
        "description": templates.line(context["sentence"])[:255],
        "keywords": ["neural network", "ternary", "inference"],
        "authors": [{"name": "tritmcu", "maintainer": True}],
        "license": "Apache-2.0",
        "frameworks": "*",
        "platforms": "*",
        "headers": f"{context['name']}.h",
        "examples": [{"name": "sensor", "base": "examples/sensor", "files": ["sensor.ino"]}],
        "build": {"unflags": "-Os", "flags": "-O2"},
    }
    return json.dumps(manifest, indent=2) + "\n"
