"""What this machine has of what the boards and stages need. Changes nothing."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata

from pipeline.cli import packages
from pipeline.cli.packages import Package
from pipeline.config import board
from pipeline.config.board import Board
from pipeline.core import paths, registry, shell, text
from pipeline.core.errors import ToolError

PYTHON = ((3, 11), (3, 13))
"""Oldest and newest Python everything was tried with."""
VERSION_TIMEOUT_S = 10.0
FEW = 3
"""Users of a program that are named."""


@dataclass(frozen=True)
class Finding:
    """One thing looked for."""

    name: str
    """Of the program, package or data."""
    needed_by: str
    """What needs it."""
    version: str
    """What was found; "" when it is missing."""
    hint: str = ""
    """What brings it."""


def examine() -> dict[str, list[Finding]]:
    """Findings by group: "python", "programs" and "data". Only missing things carry a hint."""
    return {"programs": _programs(), "python": [_python(), *map(_package, packages.PACKAGES)], "data": [_data()]}


def missing(findings: dict[str, list[Finding]]) -> list[Finding]:
    """What is not there."""
    return [finding for group in findings.values() for finding in group if not finding.version]


def programs(target: Board) -> tuple[str, ...]:
    """Programs that building for the board and running on it takes; of its runners one is enough."""
    tools = [str(registry.load("runners", name).PROGRAM) for name in target.runners]
    tool = next((tool for tool in tools if shell.find(tool)), tools[0])
    return (*target.build_programs, *([tool] if tool else []))


def _programs() -> list[Finding]:
    needed: dict[str, list[str]] = {"gcc": ["twin"]}
    built_here = [target for target in map(board.load, board.names()) if target.build_programs]
    for target in built_here:
        for program in programs(target):
            needed.setdefault(program, []).append(target.name)
    return [_program(program, _summary(by, len(built_here))) for program, by in needed.items()]


def _summary(users: list[str], all_boards: int) -> str:
    if len(users) == all_boards:
        return "every board"
    return text.listed(users, FEW)


def _program(program: str, needed_by: str) -> Finding:
    if shell.find(program) is None:
        return Finding(program, needed_by, "", shell.install_hint(program))
    try:
        lines = shell.run([program, "--version"], timeout_s=VERSION_TIMEOUT_S).output.splitlines()
    except ToolError:  # some programs know no --version
        lines = []
    return Finding(program, needed_by, _first_line(lines))


def _first_line(lines: Iterable[str]) -> str:
    return next((line.strip() for line in lines if line.strip()), "installed")


def _python() -> Finding:
    oldest, newest = PYTHON
    version = platform.python_version() if oldest <= sys.version_info[:2] <= newest else ""
    return Finding("python", "everything", version, "" if version else "install Python 3.11, 3.12 or 3.13")


def _package(package: Package) -> Finding:
    try:
        return Finding(package.name, package.needed_by, metadata.version(package.name))
    except metadata.PackageNotFoundError:
        return Finding(package.name, package.needed_by, "", package.install())


def _data() -> Finding:
    folder, needed_by = paths.data_folder(), "cifar10, speech_commands, svhn"
    if folder is None:
        return Finding(
            paths.DATA_VARIABLE, needed_by, "not set; cifar10 is downloaded, speech_commands and svhn need it"
        )
    if not folder.is_dir():
        return Finding(paths.DATA_VARIABLE, needed_by, "", f"{folder} is not a folder; set it to one")
    content = ", ".join(sorted(path.name for path in folder.iterdir())) or "empty"
    return Finding(paths.DATA_VARIABLE, needed_by, f"{folder}: {content}")
