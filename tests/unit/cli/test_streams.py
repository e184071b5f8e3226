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


REPORT = """
import resource, sys
from pathlib import Path
from pipeline.cli import main
from pipeline.stages import report
from tests.unit.stages import test_report
inputs = test_report.example()
report.report(inputs, Path("warm"))  # what the drawing library caches is written without the limit
main.COMMANDS["zoo"].invoke = lambda _: report.report(inputs, Path("out")) and 0
if sys.argv[1:]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.exit(main.main(["zoo"]))
"""


def test_a_report_is_written_in_any_locale_and_whole_or_not_at_all(tmp_path):
    """The limit of the size of files lies between the Markdown and the HTML."""
    (tmp_path / "report.py").write_text(REPORT, encoding="utf-8")
    done = shell(f"{sys.executable} report.py && rm out/* && {sys.executable} report.py 20000", tmp_path, **LATIN)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert (done.returncode, errors) == (2, ["error: out/report.html: File too large"]), done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.md", "samples.npz"}
    assert "\u2013" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_a_working_folder_that_is_gone_is_one_line(tmp_path):
    (tmp_path / "gone").mkdir()
    done = shell("rmdir ../gone; $tritmcu run digits --epochs 1 --board nobody", tmp_path / "gone")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and done.stderr.startswith("error: ")
