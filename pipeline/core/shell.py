"""The only door to other programs."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.core import interrupt
from pipeline.core.digest import digest_of
from pipeline.core.errors import ConfigError, ToolError

PACKAGES: Mapping[str, str] = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "arm-none-eabi-size": "binutils-arm-none-eabi",
    "cmake": "cmake",
    "ninja": "ninja-build",
    "avr-gcc": "gcc-avr avr-libc",
    "gcc": "gcc",
    "qemu-system-arm": "qemu-system-arm",
    "qemu-system-avr": "qemu-system-misc",
    "simavr": "simavr libsimavr-dev",
    "clang-format": "clang-format",
    "gdb-multiarch": "gdb-multiarch",
    "openocd": "openocd",
    "st-flash": "stlink-tools",
    "stm32flash": "stm32flash",
    "dfu-util": "dfu-util",
    "bossac": "bossa-cli",
    "avrdude": "avrdude",
}
"""Debian package that brings a program."""
OTHER_SOURCES: Mapping[str, str] = {
    "pyocd": "pip install pyocd",
    "stm32loader": "pip install stm32loader",
    "arduino-cli": "install arduino-cli as its manual says; Debian has no package",
}
"""How to install a program that Debian does not bring."""


@dataclass(frozen=True)
class Result:
    """A program that has ended."""

    command: tuple[str, ...]
    """Its command line."""
    returncode: int
    """Its exit status, negative for a signal."""
    output: str
    """stdout and stderr together, as text."""

    def output_in(self, folder: Path) -> str:
        """The output, with paths in `folder` as they are there: for a folder that is soon gone."""
        return self.output.replace(f"{folder.resolve()}/", "").replace(f"{folder}/", "")


def find(program: str) -> Path | None:
    """Path of the program, or None. Programs of this Python's environment count, activated or not."""
    path = shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))
    return Path(path) if path else None


def install_hint(program: str) -> str:
    """The command that installs the program."""
    return OTHER_SOURCES.get(program) or f"sudo apt-get install {PACKAGES.get(program, program)}"


def require(program: str) -> Path:
    """Path of the program; ToolError with the command that installs it when missing."""
    path = find(program)
    if path is None:
        raise ToolError(f"{program} is not installed", install_hint(program))
    return path


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    check: bool = True,
) -> Result:
    """Output and exit code of the finished program. With `check` a non-zero exit is a ToolError holding the last lines.

    env: added to this process's environment.
    """
    argv = tuple(str(part) for part in command)
    program = require(argv[0])
    with subprocess.Popen(
        argv,
        executable=program,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as child:
        try:
            output = _output(child, timeout_s)
        except subprocess.TimeoutExpired as error:
            child.kill()
            raise ToolError(f"{argv[0]} did not finish within {timeout_s:g} s", shlex.join(argv)) from error
        except BaseException:
            child.kill()
            raise
    if check and child.returncode != 0:
        raise _failed(Result(argv, child.returncode, output))
    return Result(argv, child.returncode, output)


def _failed(result: Result) -> ToolError:
    tail = " | ".join(result.output.strip().splitlines()[-12:])
    what = f"{result.command[0]} failed with exit code {result.returncode}: {tail}"
    return ToolError(what, f"repeat by hand: {shlex.join(result.command)}")


def _output(child: subprocess.Popen[str], timeout_s: float | None) -> str:
    """What the child writes until it ends. TimeoutExpired after timeout_s; KeyboardInterrupt when asked to end."""
    deadline_s = time.monotonic() + (float("inf") if timeout_s is None else timeout_s)
    while True:
        interrupt.check()
        left_s = deadline_s - time.monotonic()
        try:
            return child.communicate(timeout=max(0.0, min(left_s, interrupt.LOOK_EVERY_S)))[0]
        except subprocess.TimeoutExpired:
            if left_s <= 0:
                raise


def cache_folder() -> Path:
    """The user's cache folder of this project, there from now on. ConfigError: it cannot be made or written."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "tritmcu"
    hint = "name a folder that can be written with XDG_CACHE_HOME"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cache folder {folder}: {error.strerror}", hint) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"cache folder {folder}: cannot be written", hint)
    return folder


def compiled(name: str, sources: Sequence[Path], flags: Sequence[str], *, also: object = "") -> Path:
    """What gcc makes of `sources` for this machine, kept in the user's cache: made once per state of sources, flags and
    compiler. flags: follow the sources, so libraries may be among them; also: what else the result depends on."""
    version = run(["gcc", "--version"]).output
    state = digest_of([path.read_bytes() for path in sources], list(flags), version, also)
    stem, dot, suffix = name.partition(".")
    path = cache_folder() / f"{stem}-{state[:20]}{dot}{suffix}"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            fresh = Path(folder) / path.name
            result = run(["gcc", "-o", fresh, *sources, *flags], check=False)
            if result.returncode != 0:
                raise _failed(replace(result, command=("gcc", "-o", path.name, *result.command[3:])))
            fresh.replace(path)
    return path


class _Guard:
    """Kills a child when this process ends, in whatever way and from whichever thread the child was started: a shell
    waits for the end of a pipe that only this process holds open."""

    SCRIPT = 'read -r child || exit; read -r _; kill -s KILL -- "-$child"'

    def __init__(self) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", self.SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )

    def watch(self, pid: int) -> None:
        """The child leads a process group of its own."""
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{pid}\n".encode())

    def close(self) -> None:
        """Watches no longer. Safe to call twice."""
        if self._shell.poll() is None:
            self._shell.kill()
            self._shell.wait()
        assert self._shell.stdin is not None
        self._shell.stdin.close()


class Process:
    """A child that lives as long as the `with` block: it is ended, by its own id, however the block is left, and when
    this process is killed.

    stdin and stdout are pipes when `pipes`, else closed and collected; stderr goes to `log`.
    """

    def __init__(self, command: Sequence[str | Path], *, log: Path, pipes: bool = False) -> None:
        self.command = tuple(str(part) for part in command)
        program = require(self.command[0])
        self.log = log
        self._guard = _Guard()
        with log.open("wb") as err:
            self._child = subprocess.Popen(
                self.command,
                executable=program,
                stderr=err,
                bufsize=0,
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else err,
                start_new_session=True,
            )
        self._guard.watch(self._child.pid)

    @property
    def stdin(self) -> int:
        """File descriptor of the child's standard input (pipes only)."""
        assert self._child.stdin is not None
        return self._child.stdin.fileno()

    @property
    def stdout(self) -> int:
        """File descriptor of the child's standard output (pipes only)."""
        assert self._child.stdout is not None
        return self._child.stdout.fileno()

    @property
    def pid(self) -> int:
        return self._child.pid

    def returncode(self) -> int | None:
        """Exit code, or None while it runs."""
        return self._child.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Exit code, or None when it still runs after timeout_s. KeyboardInterrupt when asked to end."""
        interrupt.check()
        try:
            return self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def log_tail(self, lines: int = 5) -> str:
        """Last lines the child wrote, joined by " | "."""
        last = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-lines:]
        return " | ".join("".join(filter(str.isprintable, line)) for line in last)

    def close(self) -> None:
        """Ends the child: SIGTERM, after 2 s SIGKILL. Safe to call twice."""
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(timeout=2)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        self._guard.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
