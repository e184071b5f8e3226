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
from pipeline.device.links import pipe
from pipeline.device.session import Session
from pipeline.network import twin
from pipeline.stages import build, lower, render, stream
from tests.support import mirror, tiny
from tests.support.faulty_link import RateLimitedLink

pytestmark = [pytest.mark.toolchain, pytest.mark.emulator]


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


ATTEMPTS = 12
"""At a line rate, until one reaches it."""


@pytest.mark.parametrize("baud", [115_200, 921_600])
def test_the_upload_fills_the_line(firmware, baud):
    """At least 95 % of the line rate (8N1: ten bits a byte) when inference is not what takes the time. The best of
    several: another program may take the processor from this one."""
    built = firmware("host")
    samples = [x.tobytes() for x in tiny.samples(built.qmodel, baud // 1000)]
    with closing(pipe.open_link(built.board, built.program)) as inner:
        device = Session(RateLimitedLink(inner, baud / 10))
        device.hello()
        shares = []
        while len(shares) < ATTEMPTS and max(shares, default=0) < 0.95:
            before = device.link_stats()
            results = list(device.run(samples))
            after = device.link_stats()
            rate = (after.bytes_sent - before.bytes_sent) / (after.seconds - before.seconds)
            shares.append(rate / (baud / 10))
        assert len(results) == len(samples)
    assert 0.95 <= max(shares) <= 1.05


def sustained(firmware, baud: int, count: int) -> tuple[float, float]:
    """Shares of the line rate that the upload takes: from the first result to the last one, and from its first byte to
    the last result."""
    with mirror.opened(firmware) as inner:
        device = Session(RateLimitedLink(inner, baud / 10))
        device.hello()
        before, began_s, answered_s = device.link_stats().bytes_sent, time.monotonic(), []
        for _ in device.run_groups(mirror.groups(count, 3072, [])):
            answered_s.append(time.monotonic())
        sent = device.link_stats().bytes_sent - before
    from_first = sent * (count - 1) / count / (answered_s[-1] - answered_s[0])
    return from_first / (baud / 10), sent / (answered_s[-1] - began_s) / (baud / 10)


@pytest.mark.parametrize(("baud", "count"), [(115_200, 8), (921_600, 30)])
def test_the_upload_fills_the_line_while_the_device_computes(tmp_path, baud, count):
    """At least 95 % of the line rate with samples of 3072 bytes and an inference of half their time on the line: the
    next sample has room behind the RUN. Without that room the line stands still meanwhile. The best of
    several."""
    wait_s = 0.5 * 3300 / (baud / 10)
    link = {"max_payload": 256, "rx_buffer_bytes": 1024}
    ahead, piecewise = (
        mirror.built(tmp_path / buffers, "host", (32, 32, 3), wait_s=wait_s, buffers=buffers, **link)
        for buffers in ("sample", "piece")
    )
    shares = [sustained(ahead, baud, count)]
    while len(shares) < ATTEMPTS and max(shares)[0] < 0.95:
        shares.append(sustained(ahead, baud, count))
    assert max(steady for steady, _ in shares) >= 0.95
    # A busy computer may take the first result late, so that the others seem to come faster than the line carries them.
    assert max(whole for _, whole in shares) <= 1.05
    assert sustained(piecewise, baud, count)[0] < 0.9
