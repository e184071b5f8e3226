"""stream against the emulated STM32F405, and against line rates of real serial ports."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import tty
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import board as boards
from pipeline.core import store
from pipeline.core.nouns import AttackInfo, Dataset, QModel, Split
from pipeline.device.links import Link, pipe
from pipeline.device.session import Session
from pipeline.network import twin
from pipeline.stages import build, lower, render, stream
from tests.support import mirror, tiny
from tests.support.timed_line import TimedLine

pytestmark = [pytest.mark.toolchain, pytest.mark.emulator]


BYTES_PER_S = 11520
FGSM = AttackInfo("fgsm", "linf", 8 / 255, "8/255", 8)


@pytest.fixture(scope="module")
def emulated(firmware):
    return firmware("netduinoplus2")


def dataset(model, n: int) -> Dataset:
    split = Split(tiny.samples(model, n), np.arange(n) % 10, np.arange(n))
    return Dataset("tiny", model.input, model.classes, {"test": split})


def emulators_of(folder) -> list[int]:
    """Process ids of the emulators that run the firmware in the folder."""
    listed = subprocess.run(["pgrep", "-f", f"qemu-system-arm .*{folder}"], capture_output=True, text=True)
    return [int(pid) for pid in listed.stdout.split()]


def test_the_emulated_board_answers_as_its_twin(emulated, tmp_path):
    data, e = dataset(emulated.qmodel, 40), emulated
    trace = stream.stream(e.qmodel, [data], e.image, e.folder, e.board, tmp_path)
    stream.check(trace, tmp_path)
    part = trace.datasets[0]
    assert np.array_equal(part.logits, twin.run(e.qmodel, data.splits["test"].x))
    assert trace.device.tick_unit == "instructions"
    assert part.ticks.min() > 10_000
    assert trace.stats.canaries_ok
    assert 0 < trace.stats.stack_high_water_bytes < trace.stats.stack_size_bytes == e.board.memory.stack_bytes
    assert emulators_of(e.folder) == []


def test_an_emulator_that_dies_is_started_again(emulated, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "SHOW_EVERY_S", 0.0)
    data, e, killed = dataset(emulated.qmodel, 60), emulated, []

    def kill_once(what: str, done: int, total: int, info: str = "") -> None:
        if done == 20 and not killed:
            killed.extend(emulators_of(e.folder))
            os.kill(killed[0], signal.SIGKILL)

    trace = stream.stream(e.qmodel, [data], e.image, e.folder, e.board, tmp_path, progress=kill_once)
    stream.check(trace, tmp_path)
    assert trace.link.reconnects == 1
    assert np.array_equal(trace.datasets[0].logits, twin.run(e.qmodel, data.splits["test"].x))


def test_a_board_reset_under_way_is_counted(emulated, tmp_path, monkeypatch):
    """The reset line of the emulated MCU, pulled while it has samples in its buffer."""
    monkeypatch.setattr(stream, "SHOW_EVERY_S", 0.0)
    data, e, monitor, pulled = dataset(emulated.qmodel, 60), emulated, tmp_path / "monitor", []
    arguments = (*e.board.emulator.arguments, "-qmp", f"unix:{monitor},server=on,wait=off")
    emulator = e.board.emulator.model_copy(update={"arguments": arguments})

    def pull_once(what: str, done: int, total: int, info: str = "") -> None:
        if done == 20 and not pulled:
            pulled.append(done)
            pull_reset_line(monitor)

    board = e.board.model_copy(update={"emulator": emulator})
    trace = stream.stream(e.qmodel, [data], e.image, e.folder, board, tmp_path, progress=pull_once)
    stream.check(trace, tmp_path)
    assert (trace.link.resets, trace.link.reconnects) == (1, 0)
    assert np.array_equal(trace.datasets[0].logits, twin.run(e.qmodel, data.splits["test"].x))


def pull_reset_line(monitor: Path) -> None:
    """Over QEMU's machine protocol: a greeting, then an answer to each command."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(monitor))
        with connection.makefile("rw") as lines:
            assert "QMP" in lines.readline()
            for command in ("qmp_capabilities", "system_reset"):
                lines.write(json.dumps({"execute": command}))
                lines.flush()
                while "return" not in json.loads(lines.readline()):
                    pass


def test_ctrl_c_leaves_no_emulator(emulated, tmp_path):
    """A real SIGINT to a process that streams."""
    script = (
        "from pipeline.config import board\n"
        "from pipeline.core import store\n"
        "from pipeline.core.nouns import Image\n"
        "from pipeline.stages import stream\n"
        "from tests.emulated.test_stream import dataset\n"
        "from tests.support import tiny\n"
        "from pathlib import Path\n"
        "import sys\n"
        "model, folder, work = tiny.qmodel(), Path(sys.argv[1]), Path(sys.argv[2])\n"
        "def show(what, done, total, info=''):\n"
        "    (work / 'started').touch()\n"
        "stream.stream(model, [dataset(model, 5000)], store.load(work / 'image', Image), folder,\n"
        "              board.load('netduinoplus2'), work, progress=show)\n"
    )
    store.save(tmp_path / "image", emulated.image, "")
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(emulated.folder), str(tmp_path)], stderr=subprocess.PIPE, text=True
    )
    try:
        deadline_s = time.monotonic() + 60
        while not (tmp_path / "started").exists():
            assert child.poll() is None and time.monotonic() < deadline_s, child.stderr.read()
            time.sleep(0.05)
        assert len(emulators_of(emulated.folder)) == 1
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=30)
    finally:
        child.kill()
    assert "KeyboardInterrupt" in said
    assert emulators_of(emulated.folder) == []
    assert len(list((tmp_path / "partial").iterdir())) == 1


def picture_network() -> QModel:
    """Samples of 3072 bytes, and little work on them."""
    b = tiny.Builder((32, 32, 3))
    stem = b.activation(b.weighted("stem", "conv2d", "input", (3, 3, 3, 4), strides=(4, 4)))
    b.weighted("logits", "dense", b.add("flat", "flatten", [stem]), (256, 10))
    return lower.lower(b.model("picture"))


def attacked(clean: Dataset, lsb: int, n: int) -> Dataset:
    """The first n samples, every element moved by `lsb` at most, as an attack leaves them."""
    split = clean.splits["test"].take(n)
    noise = np.random.default_rng(lsb).integers(-lsb, lsb + 1, split.x.shape)
    x = np.clip(split.x + noise, -128, 127).astype(np.int8)
    info = replace(FGSM, eps=lsb / 255, eps_label=f"{lsb}/255", eps_lsb=lsb)
    return replace(clean, splits={"test": replace(split, x=x)}, attack=info)


def test_adversarial_samples_go_as_differences(tmp_path):
    """The emulated STM32F405 with the buffers of the boards in silicon: room for the whole next sample and for a base;
    RAM for that there is."""
    plain = boards.load("netduinoplus2")
    board = plain.model_copy(update={"link": plain.link.model_copy(update={"buffers": "sample"})})
    model = picture_network()
    image = build.build(render.render(model, board), board, tmp_path)
    clean = dataset(model, 24)
    data = [clean, attacked(clean, 1, 24), attacked(clean, 8, 20)]
    trace = stream.stream(model, data, image, tmp_path, board, tmp_path)
    stream.check(trace, tmp_path)
    for part, source in zip(trace.datasets, data, strict=True):
        assert np.array_equal(part.logits, twin.run(model, source.splits["test"].x))
    assert trace.device.rx_buffer_bytes > 3072 == trace.device.base_bytes
    assert trace.link.deltas == 44
    # 24 samples at 8 bits an element, 24 at 2, 20 at 5, and what frames and a busy computer add.
    elements = 24 * 3072 + 24 * 3072 * 2 // 8 + 20 * 3072 * 5 // 8
    assert elements < trace.link.bytes_sent < 1.25 * elements
    assert image.ram_bytes + image.stack_bytes < board.memory.ram.length
    assert trace.stats.canaries_ok


class Plugged:
    """The host board's firmware at a serial port: a pseudo terminal behind a link that keeps its name, as
    /dev/serial/by-id does for real ports."""

    def __init__(self, program: str, place: Path) -> None:
        self._program, self._place = program, place
        self.plug_in()

    def plug_in(self) -> None:
        # The near end stays open here, too: a terminal that nobody has open is the end of input at the far end.
        self._far, self._near = os.openpty()
        tty.setraw(self._near)
        self._place.unlink(missing_ok=True)
        self._place.symlink_to(os.ttyname(self._near))
        self._process = subprocess.Popen([self._program], stdin=self._far, stdout=self._far)

    def pull(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._far)
        os.close(self._near)


@pytest.mark.parametrize("buffers", ["piece", "sample"])
def test_a_pulled_cable_costs_nothing_but_time(firmware, tmp_path, monkeypatch, buffers):
    """With "sample", the versions of a sample go together, and the base is lost with the cable."""
    monkeypatch.setattr(stream, "SHOW_EVERY_S", 0.0)
    built, place, events = firmware("host", buffers=buffers), tmp_path / "port", []
    link = built.board.link.model_copy(update={"kind": "serial"})
    board = built.board.model_copy(update={"link": link})
    clean = dataset(built.qmodel, 900)
    versions = [dataset(built.qmodel, 300), attacked(clean, 2, 300), attacked(clean, 8, 299)]
    data = [clean] if buffers == "piece" else versions
    device = Plugged(built.program, place)

    def pull_twice(what: str, done: int, total: int, info: str = "") -> None:
        if done in (300, 600) and done not in events:
            events.append(done)
            device.pull()
            device.plug_in()

    try:
        trace = stream.stream(
            *(built.qmodel, data, built.image, built.folder, board, tmp_path), place=str(place), progress=pull_twice
        )
    finally:
        device.pull()
    stream.check(trace, tmp_path)
    assert events == [300, 600]
    assert trace.link.reconnects == 2
    for part, source in zip(trace.datasets, data, strict=True):
        assert np.array_equal(part.logits, twin.run(built.qmodel, source.splits["test"].x))
    assert trace.link.deltas >= (0 if buffers == "piece" else 590)


def test_the_upload_fills_the_line(firmware):
    """At least 95 % of the line rate where inference takes no time."""
    built, samples_per_s = firmware("host"), 115
    samples = [[x.tobytes()] for x in tiny.samples(built.qmodel, samples_per_s)]
    with closing(pipe.open_link(built.board, built.program)) as inner:
        assert 0.95 <= share_of_line(inner, samples) <= 1


def share_of_line(inner: Link, groups: list[list[bytes]], run_s: float = 0.0) -> float:
    """How much of what an upload of 115200 baud carries arrives, from its first byte to the last result."""
    line = TimedLine(inner, BYTES_PER_S, run_s)
    device = Session(line, clock=line.clock)
    device.hello()
    began_s, before = line.now_s, device.link_stats().bytes_sent
    assert len(list(device.run_groups(groups))) == len(groups)
    return (device.link_stats().bytes_sent - before) / BYTES_PER_S / (line.now_s - began_s)


@pytest.mark.parametrize(("buffers", "least", "most"), [("sample", 0.95, 1.0), ("piece", 0.0, 0.9)])
def test_the_upload_fills_the_line_while_the_device_computes(tmp_path, buffers, least, most):
    """At least 95 % of the line rate with samples of 3072 bytes and an inference of half their time on the line: the
    next sample has room after the RUN. Without that room the line stands still meanwhile."""
    built = mirror.built(tmp_path, "host", (32, 32, 3), buffers=buffers, max_payload=256, rx_buffer_bytes=1024)
    with mirror.opened(built) as inner:
        assert least <= share_of_line(inner, mirror.groups(30, 3072, []), 0.5 * 3300 / BYTES_PER_S) <= most
