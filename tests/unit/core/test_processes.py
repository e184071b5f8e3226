"""Processes: a request to end is never lost, a folder belongs to one process at a time, and nothing outlives whoever
started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.core import interrupt, lock, shell, store
from pipeline.core.errors import ConfigError, ToolError
from pipeline.core.shell import Process
from tests.support import tiny
from tests.support.virtual import Device

PATIENCE_S = 60.0
"""Of a test that waits for another process; nothing passes because of it."""


def wait_until(condition) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def python(code: str, **options) -> subprocess.Popen[str]:
    """A fresh Python that runs the code, its standard output a pipe."""
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


class Swallows:
    """Whatever is raised in here is printed and forgotten, as in callbacks of a library."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self._number)
        for _ in range(1000):
            pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_is_not_lost_where_exceptions_are(number):
    with interrupt.handled():
        interrupt.check()
        Swallows(number)
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
    interrupt.check()
    assert signal.getsignal(signal.SIGTERM) != signal.SIG_IGN


def test_sigterm_raises_nothing_by_itself_and_a_second_one_ends_the_process():
    code = """
import os, signal
from pipeline.core import interrupt
with interrupt.handled():
    os.kill(os.getpid(), signal.SIGTERM)
    print("goes on", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    print("not here", flush=True)
"""
    child = python(code)
    assert child.communicate(timeout=PATIENCE_S)[0] == "goes on\n"
    assert child.returncode == -signal.SIGTERM


def test_a_request_ends_the_wait_for_a_program_and_the_program(tmp_path):
    mark = tmp_path / "pid"
    with interrupt.handled(), pytest.raises(KeyboardInterrupt):
        shell.run(["sh", "-c", f"echo $$ > {mark}; kill -TERM {os.getpid()}; exec sleep 1000"])
    assert not lock.is_alive(int(mark.read_text()))


def test_a_request_ends_a_session():
    def ask(name: str, device: Device) -> bool:
        if name == "RUN" and device.requests.count("RUN") == 3:
            signal.raise_signal(signal.SIGTERM)
        return False

    device = Device(act=ask)
    session = device.session()
    with interrupt.handled(), pytest.raises(KeyboardInterrupt):
        list(session.run([bytes(64)] * 1000))
    assert device.requests.count("RUN") < 100


def test_the_last_lines_of_a_program_carry_no_control_characters(tmp_path):
    with Process(["sh", "-c", "printf 'a\\033[2Jb\\n' >&2"], log=tmp_path / "log") as process:
        assert process.wait(PATIENCE_S) == 0
        assert process.log_tail() == "a[2Jb"


STARTS_A_CHILD = """
import sys, threading, time
from pathlib import Path
from pipeline.core.shell import Process
def start():
    started.append(Process(["sleep", "1000"], log=Path(sys.argv[1])))
started = []
{how}
print(started[0].pid, flush=True)
time.sleep(1000)
"""
IN_A_THREAD = "thread = threading.Thread(target=start); thread.start(); thread.join()"


@pytest.mark.parametrize("how", ["start()", IN_A_THREAD], ids=["main thread", "thread"])
def test_a_child_ends_when_its_parent_is_killed_and_not_before(tmp_path, how):
    command = [sys.executable, "-c", STARTS_A_CHILD.format(how=how), str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        try:
            assert lock.is_alive(child), "the end of the thread that started it is none of its business"
            parent.kill()
            wait_until(lambda: not running(child))
        finally:
            parent.kill()


def running(pid: int) -> bool:
    """Whether it runs; a dead process that nobody has asked after yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_closed_process_leaves_no_guard(tmp_path):
    before = children()
    with Process(["sleep", "1000"], log=tmp_path / "log"):
        assert len(children()) == len(before) + 2
    assert children() == before


def children() -> list[str]:
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()


def test_a_folder_is_one_processes_at_a_time(tmp_path):
    code = f"""
import sys, time
from pathlib import Path
from pipeline.core import lock
sys.argv = ["tritmcu", "run", "dig\\x1bits"]
with lock.working_in(Path({str(tmp_path / "run")!r})):
    print("working", flush=True)
    time.sleep(1000)
"""
    with python(code) as other:
        assert other.stdout.readline() == "working\n"
        with pytest.raises(ConfigError) as caught, lock.working_in(tmp_path / "run"):
            pass
        assert str(caught.value) == f"{tmp_path / 'run'}: process {other.pid} (tritmcu run digits) is using it"
        assert "--run-dir" in caught.value.hint
        other.kill()
        other.wait()
        with lock.working_in(tmp_path / "run"):
            pass


def test_the_same_folder_again_and_two_folders_at_once(tmp_path):
    for _ in range(2):
        with lock.working_in(tmp_path / "a"), lock.working_in(tmp_path / "b"):
            pass


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    code = f"""
import os, sys, time
from pathlib import Path
from pipeline.core import store
def write(path):
    (path / "half").write_text("x")
    print(path.name, flush=True)
    time.sleep(1000)
store.write_folder(Path({str(tmp_path / "q")!r}), write)
"""
    with python(code) as dead, python(code) as living:
        names = [process.stdout.readline().strip() for process in (dead, living)]
        dead.kill()
        dead.wait()
        store.save(tmp_path / "q", tiny.qmodel(), "key")
        living.kill()
    assert not (tmp_path / names[0]).exists()
    assert (tmp_path / names[1] / "half").exists()
    store.save(tmp_path / "q", tiny.qmodel(), "key")
    assert [path.name for path in tmp_path.iterdir()] == ["q"]


def test_files_that_a_killed_process_left_half_written_are_removed(tmp_path):
    gone = python("pass", cwd=tmp_path)
    gone.communicate(timeout=PATIENCE_S)
    kept = [f".report.md.{os.getpid()}", ".report.md.backup", f".report.html.{gone.pid}"]
    for name in (f".report.md.{gone.pid}", *kept):
        (tmp_path / name).write_text("half", encoding="utf-8")
    (tmp_path / ".report.md.1.d").mkdir()
    with (tmp_path / f".report.md.{os.getpid()}").open() as _:
        pass
    (tmp_path / f".report.md.{os.getpid()}").rename(tmp_path / f".report.md.{os.getppid()}")
    store.write_text(tmp_path / "report.md", "whole")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted([f".report.md.{os.getppid()}", *kept[1:], ".report.md.1.d", "report.md"])


FULL_DISK = """
import resource
from pathlib import Path
import numpy as np
from pipeline.core import store
from pipeline.core.errors import PipelineError
from pipeline.core.nouns import Split
from pipeline.training import checkpoint
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
noise = np.random.default_rng(0).integers(-128, 128, (100, 100)).astype(np.int8)
split = Split(noise, np.arange(100), np.arange(100))
saves = (
    lambda: checkpoint.save(Path("c.npz"), "key", {}, [noise]),
    lambda: store.save(Path("q"), split, "key"),
)
for save in saves:
    try:
        save()
    except (PipelineError, OSError) as error:
        print(str(error), getattr(error, "hint", ""))
"""


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    """A limit of the size of files stands for it."""
    child = python(FULL_DISK, cwd=tmp_path)
    told, complained = child.communicate(timeout=PATIENCE_S)
    assert complained == ""
    assert told.splitlines()[0] == "c.npz: cannot be written (File too large) make room; --resume continues"
    assert len(told.splitlines()) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_takes_too_long_is_ended(tmp_path):
    mark = tmp_path / "pid"
    with pytest.raises(ToolError, match=r"did not finish within 0\.5 s"):
        shell.run(["sh", "-c", f"echo $$ > {mark}; exec sleep 1000"], timeout_s=0.5)
    assert not lock.is_alive(int(mark.read_text()))
