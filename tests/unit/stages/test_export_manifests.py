"""What other tools ask of the folders that `tritmcu export` writes: the Arduino library specification and the rules of
arduino-lint, PlatformIO's library.json, a Zephyr module."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import __version__
from pipeline.codegen import arduino, library
from pipeline.config import board
from pipeline.core import shell
from pipeline.network import twin
from pipeline.stages import export, render
from tests.support import tiny
from tests.unit.stages.test_export_library import BOTH, SAMPLES

MODEL, OTHER = tiny.qmodel(), replace(tiny.qmodel(5), name="Other-2")
LONG = replace(MODEL, name="a.very-long_name" * 4)
CATEGORIES = {"Display", "Communication", "Signal Input/Output", "Sensors", "Device Control", "Timing", "Data Storage",
              "Data Processing", "Other"}  # fmt: skip
FIELDS = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures",
          "depends", "dot_a_linkage", "includes", "precompiled", "ldflags", "license"}  # fmt: skip
SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
TAKEN = {"wire.h", "board.h", "core.h"}
"""Headers of Arduino cores, where case does not matter."""


def served(model, name: str) -> dict[str, str]:
    """The library that answers `tritmcu stream`."""
    target = board.load(name)
    return arduino.library(render.render(model, target), target, model.name)


ARDUINO_LIBRARIES = {
    "network": library.library(MODEL, board.load("uno")),
    "network of a bare board": library.library(LONG, board.load("netduinoplus2")),
    "firmware": served(MODEL, "uno"),
    "firmware of a long name": served(LONG, "due"),
}
EACH = pytest.mark.parametrize("files", ARDUINO_LIBRARIES.values(), ids=ARDUINO_LIBRARIES)


def properties(files: dict[str, str]) -> dict[str, str]:
    lines = files["library.properties"].splitlines()
    found = dict(line.split("=", 1) for line in lines)
    assert len(found) == len(lines), "a key per line, none twice"
    return found


@EACH
def test_library_properties(files: dict[str, str]) -> None:
    """Rules LP001 to LP058."""
    found = properties(files)
    assert set(found) <= FIELDS
    for key in FIELDS - {"depends", "precompiled", "ldflags"}:
        assert found[key].strip(), key
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9 _.-]*", found["name"]) and len(found["name"]) <= 63
    assert not re.search("arduino|library| ", found["name"], re.IGNORECASE)
    assert SEMVER.fullmatch(found["version"])
    assert "arduino" not in found["maintainer"].lower()
    assert found["sentence"] not in found["paragraph"]
    assert found["category"] in CATEGORIES
    assert found["url"] == uuid.UUID(found["url"]).urn, "a URI, as the field demands, until the library has an address"
    assert found["architectures"] == found["architectures"].lower()
    assert found["dot_a_linkage"] in {"true", "false"}
    assert all(f"src/{header}" in files for header in found["includes"].split(","))
    assert f"src/{found['name']}.h" in files, "LS008: a header of the library's name"


def test_the_address_tells_networks_apart() -> None:
    addresses = {properties(files)["url"] for files in ARDUINO_LIBRARIES.values()}
    assert len(addresses) == len(ARDUINO_LIBRARIES)


def test_the_architecture_is_that_of_the_boards_core() -> None:
    assert properties(ARDUINO_LIBRARIES["network"])["architectures"] == "avr"
    assert properties(ARDUINO_LIBRARIES["network of a bare board"])["architectures"] == "*"
    assert properties(ARDUINO_LIBRARIES["firmware of a long name"])["architectures"] == "sam"


@EACH
def test_the_folder_of_an_arduino_library(files: dict[str, str]) -> None:
    """Rules LS004 to LS012, LD001 to LD006, and those of keywords.txt."""
    assert {"README.md", "LICENSE", "keywords.txt"} <= set(files)
    assert "Apache License" in files["LICENSE"] and "LICENSE" in files["README.md"]
    tops = {path.split("/")[0] for path in files}
    assert not tops & {"utility", "Src", "SRC", "extra", "example", "Examples", ".development"}
    sketches = [Path(path) for path in files if path.endswith((".ino", ".pde"))]
    assert sketches and all(s.parts[0] == "examples" and s.parent.name == s.stem for s in sketches)
    assert not [path for path in files if path.endswith(".exe")]
    header = "".join(text for path, text in files.items() if path.endswith(".h"))
    words = [line.split("\t") for line in files["keywords.txt"].splitlines()]
    assert len({word for word, _ in words}) == len(words) > 1
    for word, kind in words:
        assert kind in {"KEYWORD1", "KEYWORD2", "KEYWORD3", "LITERAL1", "LITERAL2"}
        assert re.search(rf"\b{word}\b", header), word


@pytest.mark.parametrize("name", ["host", "uno", "nano33ble", "netduinoplus2"])
def test_no_header_is_taken_for_one_of_another(name: str) -> None:
    target = board.load(name)
    exports = [render.render(MODEL, target).files, library.library(MODEL, target)]
    exports += [served(MODEL, name)] if target.is_arduino else []
    for files in exports:
        headers = [Path(path).name.lower() for path in files if path.endswith(".h")]
        assert not TAKEN & set(headers)
        assert len(headers) == len(set(headers))


@pytest.mark.parametrize("model", [MODEL, LONG], ids=["short", "long"])
def test_library_json_is_what_platformio_takes(model) -> None:
    """Its fields, their lengths and the characters of a name (PlatformIO, library.json); files that it names exist."""
    files = library.library(model, board.load("netduinoplus2"))
    manifest = json.loads(files["library.json"])
    assert re.fullmatch(r"[^:;/,@<>]{1,50}", manifest["name"]) and SEMVER.fullmatch(manifest["version"])
    assert manifest["version"] == __version__ and 0 < len(manifest["description"]) <= 255
    assert f"src/{manifest['headers']}" in files and manifest["license"] == "Apache-2.0"
    for example in manifest["examples"]:
        assert all(f"{example['base']}/{file}" in files for file in example["files"])
    assert set(manifest["build"]) <= {"flags", "unflags", "srcDir", "includeDir", "srcFilter", "libArchive"}


ZEPHYR = """cmake_minimum_required(VERSION 3.20)
project(zephyr LANGUAGES C)
# What Zephyr's extensions.cmake does, as far as a module uses it.
add_library(zephyr_interface INTERFACE)
macro(zephyr_library_named name)
    set(ZEPHYR_CURRENT_LIBRARY ${{name}})
    add_library(${{name}} STATIC "")
    set_property(GLOBAL APPEND PROPERTY ZEPHYR_LIBS ${{name}})
    target_link_libraries(${{name}} PUBLIC zephyr_interface)
endmacro()
macro(zephyr_library_sources)
    target_sources(${{ZEPHYR_CURRENT_LIBRARY}} PRIVATE ${{ARGN}})
endmacro()
macro(zephyr_library_compile_options)
endmacro()
function(zephyr_include_directories)
    foreach(folder ${{ARGN}})
        get_filename_component(path ${{folder}} ABSOLUTE)
        target_include_directories(zephyr_interface INTERFACE ${{path}})
    endforeach()
endfunction()
set(CONFIG_TINY_MODEL y)
set(CONFIG_OTHER_2_MODEL y)
add_subdirectory({tiny}/zephyr tiny)
add_subdirectory({other}/zephyr other)
add_executable(app main.c)
get_property(libraries GLOBAL PROPERTY ZEPHYR_LIBS)
target_link_libraries(app -Wl,--whole-archive ${{libraries}} -Wl,--no-whole-archive)
"""


def test_two_zephyr_modules_are_built_into_one_image(tmp_path: Path) -> None:
    """As Zephyr links: whole archives, so a kernel that came twice would be an error."""
    folders = {}
    for name, model in (("tiny", MODEL), ("other", OTHER)):
        folders[name] = tmp_path / name
        export.export_library(model, board.load("host"), folders[name])
        module = (folders[name] / "zephyr" / "module.yml").read_text()
        assert re.fullmatch(r"name: (\w+)\nbuild:\n  cmake: zephyr\n  kconfig: zephyr/Kconfig\n", module)
        option = re.match(r"config (\w+)\n\tbool \"", (folders[name] / "zephyr" / "Kconfig").read_text())
        assert option is not None
        assert f"CONFIG_{option[1]})" in (folders[name] / "zephyr" / "CMakeLists.txt").read_text()
    (tmp_path / "CMakeLists.txt").write_text(ZEPHYR.format(**folders))
    (tmp_path / "main.c").write_text(BOTH)
    shell.run(["cmake", "-G", "Ninja", "-B", "build", "-DCMAKE_C_STANDARD=11"], cwd=tmp_path)
    shell.run(["cmake", "--build", "build"], cwd=tmp_path)
    (tmp_path / "samples").write_bytes(SAMPLES.tobytes())
    shell.run(["sh", "-c", "build/app < samples > answers"], cwd=tmp_path)
    answers = np.frombuffer((tmp_path / "answers").read_bytes(), np.int8).reshape(len(SAMPLES), 2, 10)
    for place, model in enumerate((MODEL, OTHER)):
        assert np.array_equal(answers[:, place], twin.specification(model, SAMPLES)[-1])
