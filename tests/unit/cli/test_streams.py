"""The command line under every locale, with streams that are closed or know ASCII only, in places that are gone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pipeline.core import paths

LATIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def shell(script: str, cwd, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script in a shell where `$tritmcu` is the command."""
    command = f"{sys.executable} -m pipeline.cli"
    env = {**os.environ, "PYTHONPATH": str(paths.PACKAGE.parent), "tritmcu": command, **environment}
    return subprocess.run(["bash", "-c", script], cwd=cwd, env=env, capture_output=True, text=True, encoding="utf-8")


@pytest.mark.parametrize("environment", [LATIN, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}])
def test_a_table_is_printed_in_any_encoding(tmp_path, environment):
    done = shell("$tritmcu zoo", tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert "digits_stq_jr" in done.stdout


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_stream_is_no_failure(tmp_path, closed):
    done = shell(f"$tritmcu zoo --json {closed}", tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)


def test_a_reader_that_leaves_is_no_traceback(tmp_path):
    done = shell("set -o pipefail; $tritmcu zoo --json | true", tmp_path)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_control_characters_of_an_argument_do_not_reach_the_terminal(tmp_path):
    done = shell("$tritmcu run $'\\x1b[2Jx\\x7f'", tmp_path)
    assert done.returncode == 2
    assert "\x1b" not in done.stderr and "\x7f" not in done.stderr


def test_a_working_folder_that_is_gone_is_one_line(tmp_path):
    (tmp_path / "gone").mkdir()
    done = shell("rmdir ../gone; $tritmcu run digits --epochs 1 --board nobody", tmp_path / "gone")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and done.stderr.startswith("error: ")
