"""What CMSIS_NN_ROOT may name, and what the bench says when it names something else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import cmsis, kernels, measure
from pipeline.core import paths, shell
from pipeline.core.errors import ToolError

pytestmark = pytest.mark.toolchain
M4 = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
M3 = ("-mcpu=cortex-m3", "-mthumb")


def library(folder: Path, *flags: str, compiler: str = "arm-none-eabi-gcc") -> Path:
    """A folder like an installed CMSIS-NN, with a library for these compiler flags."""
    (folder / "Include").mkdir(parents=True)
    (folder / "Include" / "arm_nnfunctions.h").write_text("")
    (folder / "a.c").write_text("int number(void) { return 1; }\n")
    shell.run([compiler, *flags, "-c", folder / "a.c", "-o", folder / "a.o"])
    shell.run([compiler.replace("gcc", "ar"), "rcs", folder / "libcmsis-nn.a", folder / "a.o"])
    return folder


def refusal(folder: Path, core: str = "cortex-m4f") -> str:
    with pytest.raises(ToolError) as caught:
        cmsis.libraries(folder, {core: measure.target(core)})
    assert str(folder) in str(caught.value)
    assert caught.value.hint
    return str(caught.value)


def test_a_library_for_the_core_is_found(tmp_path: Path) -> None:
    library(tmp_path, *M4)
    found = cmsis.libraries(tmp_path, {core: measure.target(core) for core in measure.BOARDS})
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


def test_the_command_ends_with_one_line_and_exit_code_2(tmp_path: Path) -> None:
    env = {**os.environ, cmsis.ENVIRONMENT: str(tmp_path)}
    command = [sys.executable, "-m", "bench.kernels", "--core", "cortex-m4f"]
    done = subprocess.run(command, cwd=paths.RESOURCES, env=env, capture_output=True, text=True)
    assert done.returncode == kernels.EXPECTED_FAILURE
    assert done.stdout == ""
    error, hint = done.stderr.splitlines()
    assert error == f"error: CMSIS_NN_ROOT={tmp_path}: no Include/arm_nnfunctions.h; found nothing"
    assert hint.startswith("hint: CMSIS_NN_ROOT must name a folder")


def test_an_unknown_core_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert kernels.main(["--core", "cortex-m4"]) == kernels.EXPECTED_FAILURE
    assert "did you mean 'cortex-m4f'?" in capsys.readouterr().err
