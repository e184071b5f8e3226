"""What `make bench-kernels` says of a wrong CMSIS_NN_ROOT or core."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import kernels
from pipeline.codegen import cmsis_nn
from pipeline.core import paths

pytestmark = pytest.mark.toolchain


def test_the_command_ends_with_one_line_and_exit_code_2(tmp_path: Path) -> None:
    env = {**os.environ, cmsis_nn.ENVIRONMENT: str(tmp_path)}
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
