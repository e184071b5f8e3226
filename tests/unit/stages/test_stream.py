"""stream on the host board: complete, right, continued after whatever happened; mismatches traced to their layer."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.core import store
from pipeline.core.errors import ConfigError, DeviceError, MismatchError
from pipeline.core.nouns import AttackInfo, Dataset, QModel, Split, Trace
from pipeline.device import connection, mismatch, session
from pipeline.device.session import IdentityError
from pipeline.network import twin
from pipeline.stages import attack, stream
from tests.support import tiny

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="session")
def host(firmware):
    return firmware("host")


def dataset(model: QModel, n: int, seed: int = 1, attack: AttackInfo | None = None) -> Dataset:
    """n samples with labels and official indices that are no ranges, so that a mix-up shows."""
    numbers = np.arange(n)
    split = Split(tiny.samples(model, n, seed), (numbers * 7) % 10, 1000 - numbers)
    return Dataset("tiny", model.input, model.classes, {"test": split}, attack=attack)


FGSM = AttackInfo("fgsm", "linf", 8 / 255, "8/255", 8)


def run(firmware, datasets, folder: Path, *, qmodel: QModel | None = None, **options) -> Trace:
    return stream.stream(
        qmodel or firmware.qmodel, datasets, firmware.image, firmware.folder, firmware.board, folder, **options
    )


def children_of_this_process(program: str) -> list[int]:
    """Process ids of our children that run the program."""
    listed = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", program], capture_output=True, text=True)
    return [int(pid) for pid in listed.stdout.split()]


class At:
    """A Progress that acts once, when `done` samples of a data set are reached; first: the first `done` it was told."""

    def __init__(self, done: int, act: Callable[[], None]) -> None:
        self.done, self._act, self.first, self.acted = done, act, None, False

    def __call__(self, what: str, done: int, total: int, info: str = "") -> None:
        if what.startswith("stream"):
            self.first = done if self.first is None else self.first
            if done >= self.done and not self.acted:
                self.acted = True
                self._act()


def interrupt() -> None:
    raise KeyboardInterrupt


def test_clean_and_adversarial_samples(host, tmp_path):
    clean, attacked = dataset(host.qmodel, 120), dataset(host.qmodel, 80, seed=2, attack=FGSM)
    trace = run(host, [clean, attacked], tmp_path)
    assert [part.label for part in trace.datasets] == ["clean", "fgsm eps=8/255"]
    for part, data in zip(trace.datasets, (clean, attacked), strict=True):
        split = data.splits["test"]
        assert np.array_equal(part.logits, twin.run(host.qmodel, split.x))
        assert np.array_equal(part.twin_logits, part.logits)
        assert np.array_equal(part.y, split.y)
        assert np.array_equal(part.index, split.index)
        assert part.dataset == data.digest
        assert np.array_equal(part.ticks, part.layer_ticks.sum(axis=1))
        assert part.layer_ticks.shape == (len(split), len(host.qmodel.layers))
        assert part.layer_ticks.dtype == part.ticks.dtype == np.uint32
    assert trace.datasets[1].attack == FGSM
    assert trace.device.digest == host.image.digest
    assert trace.link.bytes_sent > 200 * 64
    assert trace.link.seconds > 0
    assert (trace.link.crc_errors, trace.link.device_crc_errors, trace.link.reconnects) == (0,) * 3
    assert trace.stats.canaries_ok
    stream.check(trace, tmp_path)
    assert list(tmp_path.iterdir()) == []
    store.save(tmp_path / "trace", trace, "key")
    assert np.array_equal(store.load(tmp_path / "trace", Trace).datasets[1].logits, trace.datasets[1].logits)


def test_a_limit_takes_the_first_samples(host, tmp_path):
    data = dataset(host.qmodel, 50)
    part = run(host, [data], tmp_path, limit=20).datasets[0]
    assert part.logits.shape == (20, 10)
    assert np.array_equal(part.index, data.splits["test"].index[:20])


def test_a_board_does_not_continue_what_an_emulator_began(host, tmp_path, monkeypatch):
    """The ticks of the two differ."""
    monkeypatch.setattr(stream, "SHOW_EVERY_S", 0.0)
    data = [dataset(host.qmodel, 100)]
    with pytest.raises(KeyboardInterrupt):
        run(host, data, tmp_path, progress=At(50, interrupt))
    again = At(10_000, interrupt)
    trace = run(host, data, tmp_path, place=str(host.program), named="left", progress=again)
    assert (again.first, trace.place) == (1, "left")


def test_ctrl_c_keeps_the_answers_and_leaves_no_process(host, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "SHOW_EVERY_S", 0.0)
    data = [dataset(host.qmodel, 30), dataset(host.qmodel, 2000, seed=2, attack=FGSM)]
    with pytest.raises(KeyboardInterrupt):
        run(host, data, tmp_path, progress=At(700, interrupt))
    assert children_of_this_process(host.program) == []
    assert len(list((tmp_path / "partial").iterdir())) == 2
    again = At(10_000, interrupt)
    trace = run(host, data, tmp_path, progress=again)
    assert 700 <= again.first < 800
    for part, source in zip(trace.datasets, data, strict=True):
        assert np.array_equal(part.twin_logits, part.logits)
        assert np.array_equal(part.logits, twin.run(host.qmodel, source.splits["test"].x))
        assert part.ticks.all()
    assert trace.link.bytes_sent > 2030 * 64
    assert not (tmp_path / "partial").exists()


@pytest.fixture(scope="session")
def keeper(firmware):
    """The host board with memory for a base."""
    return firmware("host", buffers="sample")


def near(clean: Dataset, lsb: int, n: int) -> Dataset:
    """The first n samples with every element moved by up to `lsb`."""
    split = clean.splits["test"].take(n)
    noise = np.random.default_rng(lsb).integers(-lsb, lsb + 1, split.x.shape)
    moved = replace(split, x=np.clip(split.x + noise, -128, 127).astype(np.int8))
    info = replace(FGSM, eps_label=f"{lsb}/255", eps_lsb=lsb)
    return replace(clean, splits={"test": moved}, attack=info)


def test_versions_of_a_sample_go_together_and_continue_where_they_stopped(keeper, tmp_path, monkeypatch):
    """Data sets of unequal length, interrupted between two versions of a sample; every sample is sent once."""
    monkeypatch.setattr(stream, "SHOW_EVERY_S", 0.0)
    clean = dataset(keeper.qmodel, 400)
    data = [clean, near(clean, 1, 400), near(clean, 8, 250)]
    with pytest.raises(KeyboardInterrupt):
        run(keeper, data, tmp_path, progress=At(703, interrupt))
    kept = [store.load(path, stream._Partial) for path in (tmp_path / "partial").iterdir()]
    assert sorted(len(part.logits) for part in kept) == [234, 234, 235]
    before = sum(part.link.bytes_sent for part in kept)
    again = At(10_000, interrupt)
    trace = run(keeper, data, tmp_path, progress=again)
    assert again.first == 704
    for part, source in zip(trace.datasets, data, strict=True):
        assert np.array_equal(part.logits, twin.run(keeper.qmodel, source.splits["test"].x))
        assert part.ticks.all()
    # Of the interrupted sample's two versions that were left, one was the base of the other.
    assert trace.link.deltas == 649
    assert before > 0.5 * trace.link.bytes_sent
    assert not (tmp_path / "partial").exists()


def test_the_first_clean_samples_run_without_traffic(host, keeper, tmp_path, monkeypatch):
    """However often the run is interrupted, and once only."""
    quiet: list[int] = []
    plain = session.Session.run_groups

    def watched(self, groups, **options):
        quiet.append(options["quiet"])
        return plain(self, groups, **options)

    monkeypatch.setattr(session.Session, "run_groups", watched)
    monkeypatch.setattr(stream, "SHOW_EVERY_S", 0.0)
    clean = dataset(host.qmodel, 100)
    data = [clean, near(clean, 1, 100)]
    with pytest.raises(KeyboardInterrupt):
        run(host, data, tmp_path, progress=At(30, interrupt))
    run(host, data, tmp_path)
    run(keeper, data, tmp_path)
    assert quiet == [64, 64 - 30, 0, 64]


def test_differences_save_bytes(host, keeper, tmp_path):
    clean = dataset(host.qmodel, 100)
    data = [clean, near(clean, 1, 100), near(clean, 2, 100)]
    plain, short = (run(firmware, data, tmp_path).link for firmware in (host, keeper))
    assert (plain.deltas, short.deltas) == (0, 200)
    assert short.bytes_sent < 0.8 * plain.bytes_sent


def test_a_kill_in_the_middle_loses_at_most_seconds(host, tmp_path, monkeypatch):
    """What is on disk while the run goes on is whole: it is what a power cut would leave."""
    monkeypatch.setattr(stream, "SHOW_EVERY_S", 0.0)
    monkeypatch.setattr(stream, "SAVE_EVERY_S", 0.05)
    kept: list[int] = []

    def look() -> None:
        [folder] = (tmp_path / "partial").iterdir()
        kept.append(len(store.load(folder, stream._Partial).logits))

    run(host, [dataset(host.qmodel, 3000)], tmp_path, progress=At(2900, look))
    assert kept[0] > 100


def test_answers_of_other_firmware_or_data_are_not_continued(host, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "SHOW_EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run(host, [dataset(host.qmodel, 500)], tmp_path, progress=At(100, interrupt))
    watch = At(10_000, interrupt)
    run(host, [dataset(host.qmodel, 500, seed=3)], tmp_path, progress=watch)
    assert watch.first == 1


def test_answers_of_another_image_of_the_network_are_not_continued(host, firmware, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "SHOW_EVERY_S", 0.0)
    data = [dataset(host.qmodel, 500)]
    with pytest.raises(KeyboardInterrupt):
        run(host, data, tmp_path, progress=At(100, interrupt))
    watch = At(10_000, interrupt)
    run(firmware("host", max_payload=1024), data, tmp_path, progress=watch)
    assert watch.first == 1


def test_a_device_that_is_lost_is_connected_again(host, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "SHOW_EVERY_S", 0.0)
    data = dataset(host.qmodel, 1500)

    def kill() -> None:
        [pid] = children_of_this_process(host.program)
        os.kill(pid, signal.SIGKILL)

    trace = run(host, [data], tmp_path, progress=At(400, kill))
    assert trace.link.reconnects == 1
    assert np.array_equal(trace.datasets[0].logits, twin.run(host.qmodel, data.splits["test"].x))


def test_a_device_that_stays_away_is_an_error_and_the_answers_are_kept(host, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "SHOW_EVERY_S", 0.0)
    monkeypatch.setattr(connection, "RECONNECT_PAUSES_S", (0.01, 0.01))
    data, program = dataset(host.qmodel, 1500), Path(host.program)
    away = program.with_suffix(".away")

    def unplug() -> None:
        program.rename(away)
        [pid] = children_of_this_process(host.program)
        os.kill(pid, signal.SIGKILL)

    try:
        with pytest.raises(DeviceError, match=r"of 1500 answers are kept") as caught:
            run(host, [data], tmp_path, progress=At(400, unplug))
    finally:
        away.rename(program)
    assert "continues" in caught.value.hint
    again = At(10_000, interrupt)
    trace = run(host, [data], tmp_path, progress=again)
    assert again.first >= 400
    assert np.array_equal(trace.datasets[0].logits, twin.run(host.qmodel, data.splits["test"].x))


def test_the_wrong_firmware_is_refused_at_once(host, tmp_path):
    stale = replace(host, image=replace(host.image, digest="e" * 32))
    with pytest.raises(IdentityError, match="e" * 32):
        run(stale, [dataset(host.qmodel, 5)], tmp_path)


def test_samples_of_another_shape_are_refused(host, tmp_path):
    data = dataset(host.qmodel, 5)
    other = replace(data, input=replace(data.input, shape=(8, 8, 3)))
    with pytest.raises(ConfigError, match=r"\(8, 8, 3\)"):
        run(host, [other], tmp_path)


def test_no_device_at_all_is_an_error_at_once(host, tmp_path):
    gone = replace(host, folder=tmp_path / "none")
    with pytest.raises(DeviceError, match="no firmware"):
        run(gone, [dataset(host.qmodel, 5)], tmp_path)


def bent(model: QModel, layer: int) -> QModel:
    """The network with one bias of that layer changed: a twin that is wrong from there on."""
    weights = model.layers[layer]
    bias = weights.bias.copy()
    bias[0] += 40 * max(1, int(np.abs(bias).max()))
    layers = [*model.layers[:layer], replace(weights, bias=bias), *model.layers[layer + 1 :]]
    return replace(model, layers=tuple(layers))


@dataclass(frozen=True)
class Wrong:
    """A run whose twin is wrong from WRONG_LAYER on."""

    qmodel: QModel
    data: Dataset
    trace: Trace
    folder: Path


WRONG_LAYER = 1


@pytest.fixture(scope="module")
def wrong(host, tmp_path_factory) -> Wrong:
    model, folder = bent(host.qmodel, WRONG_LAYER), tmp_path_factory.mktemp("wrong")
    data = dataset(model, 40)
    return Wrong(model, data, run(host, [data], folder, qmodel=model), folder)


def test_the_trace_holds_both_answers(host, wrong):
    x, part = wrong.data.splits["test"].x, wrong.trace.datasets[0]
    assert np.array_equal(part.logits, twin.run(host.qmodel, x))
    assert np.array_equal(part.twin_logits, twin.run(wrong.qmodel, x))


def test_sample_layer_index_and_both_values_are_named(host, wrong):
    with pytest.raises(MismatchError) as caught:
        stream.check(wrong.trace, wrong.folder)
    found = store.load(caught.value.reproducer, mismatch.Mismatch)
    split, part = wrong.data.splits["test"], wrong.trace.datasets[0]
    row = list(split.index).index(found.sample)
    x = split.x[row : row + 1]
    assert found.layer == WRONG_LAYER
    assert found.device == twin.trace(host.qmodel, x)[WRONG_LAYER][0][found.index]
    assert found.twin == twin.trace(wrong.qmodel, x)[WRONG_LAYER][0][found.index]
    for said in (f"sample {found.sample}", f"layer {WRONG_LAYER}", str(found.index), f"device {found.device}"):
        assert said in str(caught.value)
    differing = np.any(part.logits != part.twin_logits, axis=1).sum()
    assert f"{differing} of 40 samples" in str(caught.value)
    assert str(caught.value.reproducer) in caught.value.hint


def test_the_reproducer_repeats_it(wrong):
    folders = sorted((wrong.folder / "mismatches").iterdir())
    assert len(folders) == mismatch.MOST_REPRODUCERS
    recorded, now = mismatch.reproduce(folders[0])
    assert now == recorded
    assert recorded.repeatable
    assert f"tritmcu reproduce {folders[0]}" in (folders[0] / "README.md").read_text()
    differing = np.load(folders[0] / "device.npy") != np.load(folders[0] / "twin.npy")
    assert differing.sum() == recorded.differing > 0


def test_a_reproducer_that_agrees_now_says_so(host, wrong, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(next((wrong.folder / "mismatches").iterdir()), copy)
    store.save(copy / "qmodel", host.qmodel, "right")
    recorded, now = mismatch.reproduce(copy)
    assert recorded.layer == WRONG_LAYER
    assert now is None


def test_a_difference_that_does_not_come_back_is_recorded_as_such(host, tmp_path):
    x = tiny.samples(host.qmodel, 1)[0]
    lied = twin.run(host.qmodel, x[None])[0].copy()
    lied[3] ^= 1
    case = mismatch.Case("clean", 17, x, lied)
    with session.connect(host.board, host.folder) as device:
        device.hello()
        record = mismatch.record(tmp_path / "m", case, device, host.qmodel, host.image, host.folder, host.board)
    assert not record.repeatable
    assert (record.layer, record.index, record.device) == (len(host.qmodel.layers) - 1, (3,), lied[3])
    assert "no second run of the sample differed" in record.description


def test_one_differing_logit_is_enough(host, tmp_path):
    trace = run(host, [dataset(host.qmodel, 10)], tmp_path)
    trace.datasets[0].logits[7, 9] ^= 1
    with pytest.raises(MismatchError, match="1 of 10 samples"):
        stream.check(trace, tmp_path)


@pytest.mark.parametrize("answers", [True, False])
def test_queries_of_an_attack_that_are_answered_unlike_the_twin_leave_reproducers(host, tmp_path, monkeypatch, answers):
    """With the layer where the board answers once more, else with what it answered."""
    model = bent(host.qmodel, WRONG_LAYER)
    x = tiny.samples(model, 3)
    with attack.devices(model, host.image, host.folder, host.board, [None], tmp_path / "answers") as oracle:
        oracle.logits(x)
    assert len(oracle.differing) == 3
    if not answers:
        monkeypatch.setattr(session, "connect", unplugged)
    attack.keep_mismatches(oracle, host.image, host.folder, host.board, None, tmp_path / "m")
    monkeypatch.undo()
    kept = mismatch.stored(tmp_path / "m", host.image.digest)
    assert [path.name for path, _ in kept] == ["0", "1", "2"]
    path, first = kept[0]
    assert first.layer == (WRONG_LAYER if answers else len(model.layers) - 1)
    assert first.description.startswith(f"host, query of an attack sample 0: layer {first.layer}")
    assert f"tritmcu reproduce {path}" in (path / "README.md").read_text()
    assert any(np.array_equal(np.load(path / "input.npy"), sample) for sample in x)
    if answers:
        recorded, now = mismatch.reproduce(path)
        assert now == recorded == first


def unplugged(*_: object) -> None:
    raise DeviceError("host: gone")
