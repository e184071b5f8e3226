"""scripts/setup.sh where a release lacks one of the packages; apt is played by two scripts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pipeline.core import paths

PROGRAMS = {
    "apt-cache": '[ "$2" = absent ] && exit\n[ "$2" = empty ] && c="(none)"\necho "$2:\n  Candidate: ${c:-1.0}"',
    "apt-get": 'echo "apt-get $*"\ncase "$*" in *broken*) exit 100 ;; esac',
    "sudo": 'exec "$@"',
}


def install(folder: Path, *packages: str) -> tuple[int, list[str], str]:
    """Exit code, what apt-get was asked to install, what was said, of the script's own function."""
    for name, text in PROGRAMS.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    script = (paths.RESOURCES / "scripts" / "setup.sh").read_text(encoding="utf-8")
    functions = script[: script.index("\nsystem_packages\n")].replace('cd "$(dirname "$0")/.."', "")
    command = ["bash", "-c", f"{functions}\ninstall_packages {' '.join(packages)} || exit"]
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    asked = [line.split("recommends ")[1] for line in done.stderr.splitlines() if "install -y" in line]
    return done.returncode, asked, done.stderr


@pytest.mark.parametrize("lacking", ["absent", "empty"])
def test_a_package_that_a_release_lacks_does_not_keep_the_others_out(lacking: str, tmp_path: Path) -> None:
    code, asked, said = install(tmp_path, "clang", lacking, "ccache")
    assert (code, asked) == (1, ["clang ccache"])
    assert f"setup: this release has no package {lacking}\n" in said
    assert install(tmp_path, lacking)[:2] == (1, [])


def test_all_packages_at_once_and_a_failure_is_one(tmp_path: Path) -> None:
    assert install(tmp_path, "clang", "ccache")[:2] == (0, ["clang ccache"])
    assert install(tmp_path, "clang", "broken")[0] == 100
