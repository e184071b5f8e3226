"""What several tests share: the tiny network built for a board, once."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from pipeline.config import board
from pipeline.config.board import Board
from pipeline.core.nouns import Image, QModel
from pipeline.stages import build, render
from tests.support import tiny

# A program started in the background of a script ignores Ctrl-C, and so would every child that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes depends on what else the computer does.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


CACHE = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Compiles the same file with the same flags once a session: most firmware here has the same kernels."""
    ccache = shutil.which("ccache")
    if ccache is None or "CCACHE_DIR" in os.environ:
        return
    config.stash[CACHE] = os.environ["CCACHE_DIR"] = tempfile.mkdtemp(prefix="ccache")
    # Folders of tests differ; what lies in them, seen from the build folder, does not.
    os.environ |= {"CCACHE_BASEDIR": tempfile.gettempdir(), "CCACHE_NOHASHDIR": "1"}
    os.environ |= {f"CMAKE_{language}_COMPILER_LAUNCHER": ccache for language in ("C", "ASM")}


def pytest_unconfigure(config: pytest.Config) -> None:
    if CACHE in config.stash:
        shutil.rmtree(config.stash[CACHE], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow or emulated tests come first: with a process a processor, none is left alone with one at the
    end."""
    slow = {item.path for item in items if any(map(item.get_closest_marker, ("slow", "emulator")))}
    items.sort(key=lambda item: item.path not in slow)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says last what was skipped and why: a reason and the tests it has cost."""
    for line in skip_lines(terminalreporter.stats.get("skipped", ())):
        terminalreporter.write_line(line)


def skip_lines(reports: Iterable[pytest.TestReport | pytest.CollectReport]) -> list[str]:
    """For each reason of a skip, the most frequent first: how many tests, why, and in which files."""
    files: Mapping[str, list[str]] = defaultdict(list)
    for report in reports:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        files[reason.removeprefix("Skipped: ")].append(report.nodeid.split("::")[0])
    found = sorted(files.items(), key=lambda item: (-len(item[1]), item[0]))
    return [f"skipped {len(names)}: {reason} ({', '.join(sorted(set(names)))})" for reason, names in found]


@dataclass(frozen=True)
class Firmware:
    """An image in its folder, and what it was made from."""

    qmodel: QModel
    board: Board
    image: Image
    folder: Path

    @property
    def program(self) -> str:
        return str(self.folder / "firmware.elf")


@pytest.fixture(scope="session")
def firmware(tmp_path_factory) -> Callable[..., Firmware]:
    """firmware(board name, **changes of its link): the tiny network, built for that board."""
    built: dict[object, Firmware] = {}

    def get(name: str, **link: int | str) -> Firmware:
        key = (name, *sorted(link.items()))
        if key not in built:
            plain = board.load(name)
            target = plain.model_copy(update={"link": plain.link.model_copy(update=link)})
            model, folder = tiny.qmodel(), tmp_path_factory.mktemp(name)
            built[key] = Firmware(model, target, build.build(render.render(model, target), target, folder), folder)
        return built[key]

    return get
