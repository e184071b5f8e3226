"""Names that are code in every language a template writes: none gets out of its string, comment or line.

A name is checked wherever it is loaded; these tests go around those checks, as somebody will.
"""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.codegen import library
from pipeline.config import board
from pipeline.config.board import Board, PlatformIO
from pipeline.core import paths
from pipeline.core.nouns import QModel
from pipeline.stages import export, render
from tests.support import tiny

HOSTILE = (
    'x"; int evil = 1; //\n#define evil 1\nevil() {} */ int evil = 2; /* \\\n evil ??/\n evil ${evil} $ENV{evil} '
    "`evil` | evil <b>evil</b> \r evil \x7f\x1b\u2028 evil é ' \\"
)
BOARDS = ("host", "netduinoplus2", "mega2560", "uno", "due", "nucleo-g0b1re")


def hostile_model() -> QModel:
    model = tiny.qmodel()
    layers = tuple(replace(layer, name=f"{HOSTILE}{i}", keras_name=HOSTILE) for i, layer in enumerate(model.layers))
    return replace(model, name=HOSTILE, classes=(HOSTILE,) * 10, layers=layers)


def hostile_board(name: str) -> Board:
    plain = board.load(name)
    names = {"name": HOSTILE, "description": HOSTILE, "mcu": HOSTILE}
    flashing = plain.flashing
    if flashing.arduino_cli is not None:
        fqbn = ":".join(f"{part}{HOSTILE.replace(':', '')}" for part in plain.fqbn.split(":"))
        cli = flashing.arduino_cli.model_copy(update={"fqbn": fqbn})
        flashing = flashing.model_copy(update={"arduino_cli": cli})
    platformio = PlatformIO.model_construct(platform=HOSTILE, board=HOSTILE)
    return plain.model_copy(update={**names, "flashing": flashing, "platformio": platformio})


def rendered() -> dict[str, str]:
    """Every text the templates of projects write, by board, format and path."""
    texts: dict[str, str] = {}
    for name in BOARDS:
        made = hostile_board(name)
        sources = render.render(hostile_model(), made, "reference")
        for form in ("cmake", "arduino", "platformio"):
            if (form == "cmake" and not made.build_programs) or (form == "arduino" and not made.is_arduino):
                continue
            writers = {"cmake": export._cmake, "arduino": export._arduino, "platformio": export._platformio}
            files, _ = writers[form](sources, made, HOSTILE)
            texts |= {f"{name}/{form}/{path}": text for path, text in files.items()}
        files = library.library(hostile_model(), made, "reference")
        texts |= {f"{name}/library/{path}": text for path, text in files.items()}
    return texts


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return {path: text for path, text in rendered().items() if "evil" in text}


def c_code(text: str) -> str:
    """What is left of C text without comments and strings; gcc takes the comments out."""
    command = ["gcc", "-std=c11", "-trigraphs", "-fpreprocessed", "-dD", "-E", "-P", "-xc", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, encoding="utf-8", check=True)
    return re.sub(r'"(\\.|[^"\\\n])*"', "", done.stdout)


def linker_code(text: str) -> str:
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


def cmake_code(text: str) -> str:
    """What is left of CMake text without comments and quoted arguments, and the variables in these."""
    text = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
    variables = re.findall(r"(?<!\\)\$(?:ENV)?\{(\w+)", text)
    return " ".join((re.sub(r'"(\\.|[^"\\])*"', "", text, flags=re.DOTALL), *variables))


def ini_code(text: str) -> str:
    read = configparser.RawConfigParser()
    read.read_string(text)
    assert len(read.sections()) == 1
    return " ".join(read[read.sections()[0]])


def lines_code(text: str) -> str:
    """Keys of name=value lines."""
    return " ".join(line.partition("=")[0] for line in text.splitlines())


def markdown_code(text: str) -> str:
    return " ".join(line for line in text.splitlines() if line.lstrip().startswith(("evil", "#define")))


def json_code(text: str) -> str:
    return " ".join(json.loads(text))


LANGUAGES = {
    ".c": c_code,
    ".h": c_code,
    ".ld": linker_code,
    ".cpp": c_code,
    ".ino": c_code,
    ".cmake": cmake_code,
    ".txt": cmake_code,
    ".ini": ini_code,
    ".json": json_code,
    ".yml": str,
    "": str,
    ".properties": lines_code,
    ".md": markdown_code,
}


def test_no_name_becomes_code(texts):
    for path, text in texts.items():
        assert not re.search(r"\bevil", LANGUAGES[Path(path).suffix](text)), path


def test_every_template_that_prints_a_name_was_tried(texts):
    """A template that prints another's name is in one of these files, or in the report."""
    tried = {Path(path).name for path in texts}
    printing = set()
    for path in (paths.RESOURCES / "templates").glob("*.j2"):
        if re.search(r"\.name|\.mcu|\.description|model }}|model \|", path.read_text(encoding="utf-8")):
            printing.add(path.name.removesuffix(".j2"))
    renamed = {"arduino_library.properties": "library.properties", "arduino_readme.md": "README.md"}
    renamed |= {"library.h": "", "library.c": "", "library_sound.c": "", "library_readme.md": "README.md"}
    renamed |= {"library_cmake.txt": "CMakeLists.txt"}
    renamed |= {"layers.c": "model.c", "link_arm.ld": "link.ld", "link_avr.ld": "link.ld", "arduino_header.h": ""}
    reports = {"report.html", "report.md", "size.html"}
    of_ours = {"wire_protocol.h", "page.css"}  # names of the protocol, of classes
    assert {renamed.get(name, name) for name in printing} - {""} <= tried | reports | of_ours


def test_other_texts_are_those_of_harmless_names():
    """What a hostile name does not appear in does not depend on it."""
    plain = render.render(tiny.qmodel(), board.load("netduinoplus2"), "reference").files
    hostile = render.render(hostile_model(), hostile_board("netduinoplus2"), "reference").files
    assert plain.keys() == hostile.keys()
    assert all(plain[path].count("\n") == hostile[path].count("\n") for path in plain)


def test_the_strings_are_the_names(tmp_path):
    """A C string holds the very bytes of the name, on a compiler that knows trigraphs and refuses every warning."""
    sources = render.render(hostile_model(), hostile_board("host"), "reference")
    for name in ("model.h", "board_config.h"):
        (tmp_path / name).write_text(sources.files[f"generated/{name}"], encoding="utf-8")
    shutil.copy(paths.RESOURCES / "firmware" / "nn" / "nn_flash.h", tmp_path)
    headers = '#include <stdio.h>\n#include "model.h"\n#include "board_config.h"\n'
    program = f"{headers}int main(void) {{ fputs(MODEL_NAME BOARD_NAME, stdout); }}\n"
    (tmp_path / "main.c").write_text(program, encoding="utf-8")
    flags = ["-std=c11", "-trigraphs", "-Wall", "-Wextra", "-Werror", "-Wno-trigraphs"]
    subprocess.run(["gcc", *flags, "-o", tmp_path / "main", tmp_path / "main.c"], check=True)
    assert subprocess.run([tmp_path / "main"], capture_output=True, check=True).stdout == (HOSTILE * 2).encode()
