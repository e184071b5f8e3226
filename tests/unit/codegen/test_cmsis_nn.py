"""What CMSIS_NN_ROOT may name, what is said when it names something else, and that generated calls are those that
CMSIS-NN publishes. None of it needs a library."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import measure
from pipeline.cli import main, runs
from pipeline.codegen import cmsis_nn, select
from pipeline.config import board
from pipeline.config.job import FirmwareConfig
from pipeline.core import paths, shell
from pipeline.core.errors import ConfigError, ToolError, UnsupportedError
from pipeline.core.nouns import QModel
from pipeline.stages import export, render
from pipeline.workflow import subjects
from tests.support import cmsis_nn as published
from tests.support import networks, single
from tests.support.cmsis_nn import library

pytestmark = pytest.mark.toolchain
M4 = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
M3 = ("-mcpu=cortex-m3", "-mthumb")


def refusal(folder: Path, core: str = "cortex-m4f") -> str:
    with pytest.raises(ToolError) as caught:
        cmsis_nn.libraries(folder, {core: measure.target(core)})
    assert str(folder) in str(caught.value)
    assert caught.value.hint
    return str(caught.value)


def test_a_library_for_the_core_is_found(tmp_path: Path) -> None:
    library(tmp_path, *M4)
    found = cmsis_nn.libraries(tmp_path, {core: measure.target(core) for core in measure.BOARDS})
    assert list(found) == ["cortex-m4f", "cortex-m7"], "one architecture and float ABI"
    assert found["cortex-m4f"].archive == tmp_path / "libcmsis-nn.a"


def test_no_such_folder(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "nothing")


def test_an_empty_folder(tmp_path: Path) -> None:
    assert "no Include/arm_nnfunctions.h; found nothing" in refusal(tmp_path)


def test_headers_without_a_library(tmp_path: Path) -> None:
    library(tmp_path, *M4)
    (tmp_path / "libcmsis-nn.a").unlink()
    assert "no static library (*.a); found Include, a.c, a.o" in refusal(tmp_path)


def test_a_library_for_another_core(tmp_path: Path) -> None:
    message = refusal(library(tmp_path, *M3))
    assert "libcmsis-nn.a is for Armv7-M, soft float; cortex-m4f is Armv7E-M, hard float" in message


def test_a_library_for_another_float_abi(tmp_path: Path) -> None:
    message = refusal(library(tmp_path, "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=soft"))
    assert "libcmsis-nn.a is for Armv7E-M, soft float; cortex-m4f is Armv7E-M, hard float" in message


def test_a_library_without_vectors_is_not_for_helium(tmp_path: Path) -> None:
    message = refusal(library(tmp_path, "-mcpu=cortex-m55+nomve", "-mthumb", "-mfloat-abi=hard"), "cortex-m55")
    assert "is for Armv8.1-M mainline, hard float; cortex-m55 is Armv8.1-M mainline, vectors, hard float" in message


def test_a_library_for_this_computer(tmp_path: Path) -> None:
    assert "another machine than Arm" in refusal(library(tmp_path, compiler="gcc"))


def test_a_file_that_is_no_library(tmp_path: Path) -> None:
    (library(tmp_path, *M4) / "libcmsis-nn.a").write_bytes(b"!<arch>\nnonsense")
    assert "no static library with ELF objects in it" in refusal(tmp_path)


def test_headers_of_another_version(tmp_path: Path) -> None:
    library(tmp_path, *M4)
    older = {name: types for name, types in cmsis_nn.PROTOTYPES.items() if name != "arm_convolve_wrapper_s4"}
    published.headers(tmp_path / "Include", older, "V.12.0.0")
    assert "revision V.12.0.0 does not declare arm_convolve_wrapper_s4" in refusal(tmp_path)
    sums = cmsis_nn.PROTOTYPES["arm_vector_sum_s8"]
    published.headers(tmp_path / "Include", {**cmsis_nn.PROTOTYPES, "arm_vector_sum_s8": sums[:-1]})
    assert "declares with other parameters arm_vector_sum_s8" in refusal(tmp_path)


def test_a_board_that_it_cannot_be_linked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cmsis_nn.ENVIRONMENT, str(library(tmp_path, *M4)))
    for name in ("host", "uno"):
        with pytest.raises(UnsupportedError, match=f"board '{name}': CMSIS-NN is linked for boards with a Cortex-M"):
            cmsis_nn.library(board.load(name))


def test_a_folder_that_cmake_cannot_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cmsis_nn.ENVIRONMENT, str(library(tmp_path / "a;b", *M4)))
    with pytest.raises(ToolError, match="CMake takes a character of this path for syntax"):
        cmsis_nn.cmake_options(F405)


@pytest.mark.parametrize("kernels", ["cmsis-nn", "best"])
def test_the_command_without_a_library(
    kernels: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(cmsis_nn.ENVIRONMENT, raising=False)
    words = ["build", "--model", "digits_stq_jr", "--board", "netduinoplus2", "--kernels", kernels]
    assert main.main(words) == ToolError.EXIT_CODE
    error, hint = capsys.readouterr().err.splitlines()[-2:]
    assert error == "error: --kernels cmsis-nn, best: CMSIS_NN_ROOT is not set"
    assert hint.startswith("hint: CMSIS_NN_ROOT=FOLDER: a folder with Include/arm_nnfunctions.h and libcmsis-nn.a")


F405 = board.load("netduinoplus2")
LIBRARY = cmsis_nn.Library(Path("include"), Path("libcmsis-nn.a"), published.REVISION, "0" * 64)
CHECK = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-fsyntax-only")


def wide(seed: int) -> QModel:
    """A network with every kind of layer, its weights of 8 bits or, every other one, of 4."""
    model = networks.every_kind(seed)
    bits = [8 if number % 2 else 4 for number in range(len(model.layers))]
    layers = (
        replace(layer, weight_bits=width, weights=layer.weights.clip(-7, 7)) if layer.weights is not None else layer
        for layer, width in zip(model.layers, bits, strict=True)
    )
    return replace(model, layers=tuple(layers))


def compiled(folder: Path, headers: Path) -> str:
    """What the compiler says of every file with calls of CMSIS-NN."""
    folders = [f"-I{folder / name}" for name in ("generated", "nn", *(f"nn/{family}" for family in FAMILIES))]
    files = [folder / "generated" / "model.c", *sorted((folder / "nn" / "cmsis").glob("*.c"))]
    command = ["arm-none-eabi-gcc", *F405.core_flags, *CHECK, *folders, "-isystem", headers, *files]
    return shell.run(command, check=False).output


FAMILIES = ("cmsis", "dsp", "swar", "reference")


@pytest.mark.parametrize("seed", [1, 2])
def test_calls_are_those_that_are_published(seed: int, tmp_path: Path) -> None:
    sources = render.render(wide(seed), F405, "cmsis-nn", library=LIBRARY)
    for name, text in sources.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    published.headers(tmp_path / "published")
    assert compiled(tmp_path, tmp_path / "published") == ""
    called = [name for name in cmsis_nn.PROTOTYPES if name in sources.files["generated/model.c"]]
    assert called, "the network calls some of them"
    status, *types = cmsis_nn.PROTOTYPES[called[0]]
    published.headers(tmp_path / "other", {**cmsis_nn.PROTOTYPES, called[0]: (status, "int8_t", *types)})
    assert called[0] in compiled(tmp_path, tmp_path / "other"), "a call that differs is noticed"


def test_layers_of_8_and_4_bits_are_its_and_all_others_ours() -> None:
    model = networks.stored("cifar10_resnet8_laq")
    ours, linked = select.calls(model, F405), select.calls(model, F405, "cmsis-nn")
    for layer, mine, its in zip(model.layers, ours, linked, strict=True):
        if its is None or mine is None:
            continue
        served = layer.weights is None or layer.weight_bits in (8, 4)
        assert its.function.endswith("_cmsis") == served, layer.name
        assert served or its.function == mine.function


def test_what_it_would_compute_otherwise_is_left_to_ours() -> None:
    """Of 4 bits: depthwise layers with a multiplier, or where there are vectors; dense layers of several scales."""
    shape = (5, 5, 3)
    dense, doubled, plain = (
        single.layer(g, np.random.default_rng(0), bits=4)
        for g in (
            single.Geometry("dense", shape, 7),
            single.Geometry("depthwise_conv2d", shape, 6, (3, 3)),
            single.Geometry("depthwise_conv2d", shape, 3, (3, 3)),
        )
    )
    spec = single.model([plain], shape, 0).input
    m55 = board.load("mps3-an547")
    for layer, target, served in (
        (dense, F405, False),
        (doubled, F405, False),
        (plain, F405, True),
        (plain, m55, False),
    ):
        call = select.kernel(layer, [spec], target, "cmsis-nn")
        assert call is not None and call.function.endswith("_cmsis") == served


def test_an_image_knows_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another library is another firmware; the linker gets it from CMake's variables, not from the sources."""
    model = networks.stored("digits_stq_jr")
    one, other = (render.render(model, F405, "cmsis-nn", library=replace(LIBRARY, digest=digit * 64)) for digit in "01")
    assert one.digest != other.digest
    assert "libcmsis-nn.a" not in one.files["CMakeLists.txt"]
    monkeypatch.setenv(cmsis_nn.ENVIRONMENT, str(library(tmp_path / "built", *M4)))
    command = export.export(one, F405, model.name, tmp_path / "out")
    assert f"-DCMSIS_NN_LIBRARY={tmp_path / 'built' / 'libcmsis-nn.a'}" in command
    for form in ("arduino", "platformio"):
        with pytest.raises(ConfigError, match=f"--kernels cmsis-nn, best: not for --format {form}"):
            export.export(one, F405, model.name, tmp_path / form, form)
    with pytest.raises(ConfigError, match="not for --format library"):
        export.export_library(model, F405, tmp_path / "library", "cmsis-nn")


def test_a_job_may_name_the_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert FirmwareConfig().kernels == "auto"
    text = (paths.shipped("jobs") / "digits.toml").read_text() + '\n[firmware]\nkernels = "cmsis-nn"\n'
    (tmp_path / "own.toml").write_text(text.replace('name = "digits"', 'name = "own"', 1))
    assert subjects.plan("own.toml", None, tmp_path).kernels == "cmsis-nn"
    assert runs.plan(main.parse(["run", "own.toml", "--kernels", "reference"])).kernels == "reference"
    assert runs.plan(main.parse(["run", "own.toml"])).kernels == "cmsis-nn"
