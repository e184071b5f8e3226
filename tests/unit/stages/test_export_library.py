"""A network as a library: a program of eight lines around it computes the twin's logits, in C and C++, two networks in
one image, for every core; and its folder is what CMake, the Arduino tools, PlatformIO and Zephyr take."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.codegen import library
from pipeline.config import board
from pipeline.config.job import FirmwareConfig
from pipeline.core import shell
from pipeline.core.errors import ConfigError, FitError
from pipeline.core.nouns import Quantization
from pipeline.network import twin
from pipeline.stages import export
from tests.support import tiny

HOST = board.load("host")
MODEL, OTHER = tiny.qmodel(), replace(tiny.qmodel(5), name="Other-2")
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow")
LOGITS = """#include <stdio.h>
#include "tiny_model.h"
int main(void) {
    int8_t sample[TINY_INPUT_SIZE], logits[TINY_OUTPUT_SIZE];
    while (fread(sample, 1, sizeof sample, stdin) == sizeof sample) {
        putchar(tiny_predict(sample, logits)), fwrite(logits, 1, sizeof logits, stdout);
    }
}
"""
BOTH = """#include <stdio.h>
#include "tiny_model.h"
#include "other_2_model.h"
int main(void) {
    int8_t sample[TINY_INPUT_SIZE], logits[2][TINY_OUTPUT_SIZE];
    while (fread(sample, 1, sizeof sample, stdin) == sizeof sample) {
        tiny_predict(sample, logits[0]), other_2_predict(sample, logits[1]), fwrite(logits, 1, sizeof logits, stdout);
    }
}
"""
QUANTIZED = """#include <stdio.h>
#include "tiny_model.h"
int main(void) {
    float real[TINY_INPUT_SIZE];
    while (fread(real, sizeof *real, TINY_INPUT_SIZE, stdin) == TINY_INPUT_SIZE) {
        tiny_quantize_input(real, tiny_input()), fwrite(tiny_input(), 1, TINY_INPUT_SIZE, stdout);
    }
}
"""
SAMPLES = tiny.samples(MODEL, 20)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both networks' libraries for the host, side by side."""
    folder = tmp_path_factory.mktemp("libraries")
    for model in (MODEL, OTHER):
        export.export_library(model, HOST, folder / library.name(model.name))
    return folder


@pytest.fixture(scope="module")
def objects(exported: Path) -> Path:
    """The objects of both, of the kernels once, compiled as strictly as C11 allows."""
    out = exported / "objects"
    out.mkdir()
    networks = [exported / name / "src" / f"{name}.c" for name in ("tiny_model", "other_2_model")]
    kernels = sorted((exported / "tiny_model" / "src" / "nn").glob("*.c"))
    shell.run(["gcc", "-std=c11", *WARNINGS, "-c", *networks, *kernels], cwd=out)
    return out


def output(objects: Path, program: str, data: np.ndarray, name: str, compiler: str = "gcc") -> np.ndarray:
    """What the program, linked with the objects of the named libraries, answers to the data."""
    folder = objects.parent
    source = objects / f"main{len(list(objects.glob('main*')))}.{'c' if compiler == 'gcc' else 'cpp'}"
    source.write_text(program)
    standard = "-std=c11" if compiler == "gcc" else "-std=c++11"
    names = [library.name(model.name) for model in (MODEL, OTHER)] if name == "both" else [name]
    found = [objects / f"{network}.o" for network in names] + sorted(objects.glob("nn_*.o"))
    includes = [f"-I{folder / network / 'src'}" for network in names]
    command = [compiler, standard, *WARNINGS, *includes, source, *found, "-o", source.with_suffix(".elf")]
    shell.run(command, cwd=objects)
    done = subprocess.run([source.with_suffix(".elf")], input=data.tobytes(), capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.int8)


@pytest.mark.parametrize("compiler", ["gcc", "g++"])
def test_a_program_of_eight_lines_computes_the_twins_logits(objects: Path, compiler: str) -> None:
    assert LOGITS.count("\n") == 8
    answers = output(objects, LOGITS, SAMPLES, "tiny_model", compiler).reshape(len(SAMPLES), 11)
    logits = twin.specification(MODEL, SAMPLES)[-1]
    assert np.array_equal(answers[:, 1:], logits)
    assert np.array_equal(answers[:, 0], logits.argmax(axis=1)), "the first of the largest"


def test_two_networks_live_in_one_program(objects: Path) -> None:
    answers = output(objects, BOTH, SAMPLES, "both").reshape(len(SAMPLES), 2, 10)
    for place, model in enumerate((MODEL, OTHER)):
        assert np.array_equal(answers[:, place], twin.specification(model, SAMPLES)[-1])


def test_every_symbol_and_macro_of_a_network_begins_with_its_name(objects: Path) -> None:
    for network, prefix in (("tiny_model", "tiny_"), ("other_2_model", "other_2_")):
        listed = shell.run(["nm", "--defined-only", objects / f"{network}.o"]).output.splitlines()
        names = {line.split()[-1] for line in listed} - {"memory"} - {f"names.{i}" for i in range(10)}
        assert {name for name in names if not name.startswith((prefix, "nn_", "."))} == set()
        shared = [line.split()[-1] for line in listed if " T " in line]
        assert sorted(shared) == sorted(f"{prefix}{function}" for function in library.FUNCTIONS)
        header = (objects.parent / network / "src" / f"{network}.h").read_text()
        defined = set(re.findall(r"^#define (\w+)", header, re.MULTILINE))
        assert defined == {f"{prefix.upper()}{literal}" for literal in (*library.LITERALS, "MODEL_H")}


def quantized_by_twin(real: np.ndarray) -> np.ndarray:
    return MODEL.input.quantization.quantize(real)


def test_real_values_become_the_elements_that_the_twin_takes(objects: Path) -> None:
    """All lattice points, halfway between them to even, far outside, NaN; and random ones, of which only those may
    differ that lie halfway up to single precision: two roundings of a quotient below 256."""
    scale, zero_point = MODEL.input.quantization.scale, MODEL.input.quantization.zero_point
    lattice = (np.arange(-128, 128) - zero_point) * scale
    random = np.random.default_rng(0).uniform(-0.2, 1.2, 64 * 250)
    real = np.concatenate([lattice, [-1e30, 1e30, np.inf, -np.inf], np.zeros(60), random]).astype(np.float32)
    got, wanted = output(objects, QUANTIZED, real, "tiny_model"), quantized_by_twin(real)
    steps = real.astype(np.float64) / scale
    with np.errstate(invalid="ignore"):
        halfway = np.abs(np.abs(steps - np.floor(steps)) - 0.5) < 256 * 2 * 2.0**-24
    assert np.array_equal(got[~halfway], wanted[~halfway])
    assert np.max(np.abs(got.astype(int) - wanted)) <= 1
    assert output(objects, QUANTIZED, np.full(64, np.nan, np.float32), "tiny_model")[0] == -128


def test_halves_go_to_the_even_step(tmp_path: Path) -> None:
    """With a scale that is a power of two every half is exact."""
    spec = replace(MODEL.input, quantization=Quantization(0.25, 3, 8))
    model = replace(MODEL, input=spec)
    text = library.library(model, HOST)["src/tiny_model.c"]
    body = text[text.index("int8_t tiny_quantize(") : text.index("void tiny_quantize_input")]
    macros = library.library(model, HOST)["src/tiny_model.h"].replace("TINY_INPUT_SIZE 64", "TINY_INPUT_SIZE 1")
    (tmp_path / "tiny_model.h").write_text(macros)
    main = "int main(void) { float x; while (fread(&x, 4, 1, stdin)) putchar(tiny_quantize(x)); }\n"
    (tmp_path / "main.c").write_text(f'#include <stdio.h>\n#include "tiny_model.h"\n{body}{main}')
    shell.run(["gcc", "-std=c11", *WARNINGS, "main.c", "-o", "main"], cwd=tmp_path)
    real = (np.arange(-600, 600) / 8 * 0.25 * 2).astype(np.float32)
    done = subprocess.run([tmp_path / "main"], input=real.tobytes(), capture_output=True, check=True)
    assert np.array_equal(np.frombuffer(done.stdout, np.int8), spec.quantization.quantize(real))


def test_the_example_is_in_the_readme_and_says_the_class(exported: Path, tmp_path: Path) -> None:
    example = exported / "tiny_model" / "examples" / "program"
    program = (example / "main.c").read_text()
    assert program.count("\n") == 8 and f"```c\n{program}```" in (exported / "tiny_model" / "README.md").read_text()
    shell.run(["cmake", "-G", "Ninja", "-S", example, "-B", tmp_path, "-DCMAKE_C_FLAGS=-Werror"])
    shell.run(["cmake", "--build", tmp_path])
    done = subprocess.run([tmp_path / "program"], input=SAMPLES.tobytes(), capture_output=True, check=True)
    best = twin.specification(MODEL, SAMPLES)[-1].argmax(axis=1)
    assert done.stdout.decode().split() == [MODEL.classes[i] for i in best]


TWO_IN_CMAKE = """cmake_minimum_required(VERSION 3.20)
project(two LANGUAGES C)
add_subdirectory({folder}/tiny_model tiny_model)
add_subdirectory({folder}/other_2_model other_2_model)
add_executable(two main.c)
target_link_libraries(two PRIVATE tiny_model other_2_model)
"""


def test_two_libraries_in_one_cmake_project_share_the_kernels(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(TWO_IN_CMAKE.format(folder=exported))
    (tmp_path / "main.c").write_text(BOTH)
    shell.run(["cmake", "-G", "Ninja", "-S", tmp_path, "-B", tmp_path / "build"])
    plan = (tmp_path / "build" / "build.ninja").read_text()
    objects = [line.split()[1] for line in plan.splitlines() if line.startswith("build ") and ".c.o:" in line]
    assert sum("nn_dense.c.o" in name for name in objects) == 1
    assert sum("_model.c.o" in name for name in objects) == 2


def test_kernels_of_another_version_are_refused(exported: Path, tmp_path: Path) -> None:
    for model in (MODEL, OTHER):
        kernels = "auto" if model is MODEL else "reference"
        export.export_library(model, HOST, tmp_path / library.name(model.name), kernels)  # type: ignore[arg-type]
    (tmp_path / "CMakeLists.txt").write_text(TWO_IN_CMAKE.format(folder=tmp_path))
    done = shell.run(["cmake", "-G", "Ninja", "-S", tmp_path, "-B", tmp_path / "build"], check=False)
    assert done.returncode != 0 and "brought other kernels" in done.output


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("name", "files"), [("netduinoplus2", "*_m*.c"), ("mps3-an547", "*_m[ov]*.c"), ("uno", "*_m*.c")]
)
def test_it_compiles_for_every_kind_of_core(name: str, files: str, tmp_path: Path) -> None:
    """In C as strict as on the host, the header in C++ too; all of a Cortex-M4's is compiled where it runs
    (tests/emulated/test_library_arm.py), of what another core has as well not everything again."""
    target = board.load(name)
    export.export_library(MODEL, target, tmp_path / "l")
    compiler = "avr-gcc" if target.is_avr else "arm-none-eabi-gcc"
    sources = sorted((tmp_path / "l" / "src").rglob(files))
    assert tmp_path / "l" / "src" / "tiny_model.c" in sources
    standard = "-std=gnu11" if target.is_avr else "-std=c11"
    warnings = [w for w in WARNINGS if w != "-pedantic" or not target.is_avr]  # __flash is no C11
    shell.run([compiler, standard, "-O1", *target.core_flags, *warnings, "-c", *sources], cwd=tmp_path)
    main = tmp_path / "main.cpp"
    main.write_text('#include "tiny_model.h"\nint f(const int8_t *x) { return tiny_predict(x, 0); }\n')
    plus = compiler.replace("gcc", "g++")
    shell.run([plus, "-std=c++11", *target.core_flags, *WARNINGS, "-Il/src", "-c", main], cwd=tmp_path)


@pytest.mark.toolchain
@pytest.mark.parametrize("optimization", ["-O0", "-Og"])
def test_a_debug_build_of_the_vector_kernels_compiles(optimization: str, tmp_path: Path) -> None:
    """Other cores' debug builds run in tests/emulated/test_library_arm.py."""
    target = board.load("mps3-an547")
    export.export_library(MODEL, target, tmp_path / "l")
    kernels = sorted((tmp_path / "l" / "src" / "nn").glob("*_mve.c"))
    flags = ["-std=c11", optimization, *target.core_flags, *WARNINGS]
    shell.run(["arm-none-eabi-gcc", *flags, "-c", *kernels], cwd=tmp_path)


@pytest.mark.toolchain
def test_an_avr_library_asks_for_gnu_c_and_its_cmake_project_brings_it(tmp_path: Path) -> None:
    command = export.export_library(MODEL, board.load("uno"), tmp_path / "l")
    strict = ["avr-gcc", "-std=c11", "-mmcu=atmega328p", "-c", "src/tiny_model.c"]
    done = shell.run(strict, cwd=tmp_path / "l", check=False)
    assert "compile with avr-gcc -std=gnu11" in done.output and done.returncode != 0
    assert "avr-gcc (`-std=gnu11`)" in (tmp_path / "l" / "README.md").read_text()
    configured = command.replace("cmake -B", "cmake -DCMAKE_C_EXTENSIONS=OFF -B")
    built = shell.run(["sh", "-c", configured], cwd=tmp_path / "l")
    assert "not used by the project" not in built.output, "the printed command sets nothing in vain"


@pytest.mark.toolchain
def test_kernels_of_another_core_are_refused_by_name(tmp_path: Path) -> None:
    """A Cortex-M4's kernels would give a page of errors on a Cortex-M3; an AVR would compute noise."""
    for name, compiler in (
        ("netduinoplus2", ["arm-none-eabi-gcc", "-mcpu=cortex-m3", "-mthumb"]),
        ("mps2-an385", ["avr-gcc", "-mmcu=atmega328p"]),
    ):
        export.export_library(MODEL, board.load(name), tmp_path / name)
        done = shell.run([*compiler, "-c", "tiny_model.c"], cwd=tmp_path / name / "src", check=False)
        assert "exported for the core" in done.output and done.returncode != 0


@pytest.mark.toolchain
def test_the_printed_command_builds_it(tmp_path: Path) -> None:
    command = export.export_library(MODEL, board.load("uno"), tmp_path / "l")
    shell.run(["sh", "-c", command], cwd=tmp_path / "l")
    assert (tmp_path / "l" / "build" / "libtiny_model.a").exists()


def test_the_readme_says_what_compiles_it_and_how_much_stack_to_have() -> None:
    text = {name: library.library(MODEL, board.load(name))["README.md"] for name in ("netduinoplus2", "host")}
    assert ".S files too, as C11 with GCC or Clang (tested with 12 and 14);" in text["netduinoplus2"]
    assert "reserves 2048 bytes for kernels" in text["netduinoplus2"] and "Stack" not in text["host"]


def test_trits_and_names_of_a_job_are_kept(tmp_path: Path) -> None:
    files = library.library(MODEL, board.load("netduinoplus2"), firmware=FirmwareConfig(trits_per_byte=5))
    assert "nn_expand_trits(" in files["src/tiny_model.c"]


def test_a_table_is_at_most_100_columns_wide() -> None:
    text = library.library(MODEL, HOST)["src/tiny_model.c"]
    tables = re.findall(r"= \{\n((?:    [-\d, ]+\n)+)\};", text)
    assert len(tables) > 10
    widths = [len(line) for table in tables for line in table.splitlines()]
    assert max(widths) <= 100
    assert max(widths) > 90


def test_sizes_are_those_of_the_compiled_library(objects: Path) -> None:
    header = (objects.parent / "tiny_model" / "src" / "tiny_model.h").read_text()
    arena, tables = (int(n) for n in re.findall(r"_(?:ARENA|TABLES)_BYTES (\d+)", header))
    listed = shell.run(["nm", "-S", objects / "tiny_model.o"]).output
    sizes = {line.split()[3]: int(line.split()[1], 16) for line in listed.splitlines() if len(line.split()) == 4}
    assert sizes["memory"] == arena
    ends = ("_filter", "_bias", "_multiplier", "_shift")
    assert sum(size for name, size in sizes.items() if name.endswith(ends)) == tables
    readme = (objects.parent / "tiny_model" / "README.md").read_text()
    assert f"{arena} bytes of arena" in readme and f"| {tables} |\n" in readme


def test_names_become_identifiers() -> None:
    longest = library.prefix("x" * 64)
    assert len(longest) == library.LONGEST_PREFIX and longest != library.prefix("x" * 63)
    assert library.name("time") == "time_model", "never the name of a header of the C library"


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(ConfigError, match="not empty"):
        export.export_library(MODEL, HOST, tmp_path)


@pytest.mark.parametrize(
    ("region", "length", "words"),
    [
        ("ram", 900, "needs at least .* RAM, has 900 bytes; largest part: the activation arena"),
        ("flash", 500, "needs at least .* flash, has 500 bytes; largest part: the tables of layer 'logits'"),
    ],
)
def test_a_board_that_cannot_hold_the_network_is_refused(tmp_path: Path, region: str, length: int, words: str) -> None:
    small = getattr(HOST.memory, region).model_copy(update={"length": length})
    chosen = HOST.model_copy(update={"memory": HOST.memory.model_copy(update={region: small})})
    with pytest.raises(FitError, match=f"board 'host': {words}"):
        export.export_library(MODEL, chosen, tmp_path / "made")
    assert not (tmp_path / "made").exists()
