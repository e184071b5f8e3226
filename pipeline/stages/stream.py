"""stream: the test samples of every data set go to the device, its answers become a Trace, held against the twin's."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config.board import Board
from pipeline.core import store
from pipeline.core.digest import digest_of
from pipeline.core.errors import ConfigError, DeviceError, MismatchError
from pipeline.core.nouns import (
    QUIET_SAMPLES,
    Dataset,
    DatasetTrace,
    DeviceStats,
    Image,
    Int8Array,
    LinkStats,
    Progress,
    QModel,
    Trace,
    no_progress,
)
from pipeline.device import connection, mismatch, runners, session
from pipeline.device.links import serial
from pipeline.device.session import Result, Session
from pipeline.network import twin

SAVE_EVERY_S = 5.0
SHOW_EVERY_S = 0.2
TWIN_CHUNK = 256
"""Samples the twin computes at a time, while the device works on the ones before."""


@dataclass(frozen=True)
class _Partial:
    """The answers so far to one data set, as they lie on disk. Not those of the twin: its code may change meanwhile."""

    logits: Int8Array
    ticks: NDArray[np.uint32]
    layer_ticks: NDArray[np.uint32]
    link: LinkStats


@dataclass(frozen=True)
class _Setting:
    """What stays the same during a run. folder: of partial results and reproducers; emulated: whether an emulator
    answers, whose ticks are not those of a board."""

    qmodel: QModel
    image: Image
    image_folder: Path
    board: Board
    folder: Path
    emulated: bool
    progress: Progress


def stream(
    qmodel: QModel,
    datasets: Sequence[Dataset],
    image: Image,
    image_folder: Path,
    board: Board,
    folder: Path,
    *,
    place: str | None = None,
    named: str = "",
    limit: int | None = None,
    progress: Progress = no_progress,
) -> Trace:
    """The device's answers to the first `limit` test samples of every data set (all when None), and the twin's.

    place: port of a real board; None: an emulator. named: what a person called that board, for the Trace.
    Answers are kept in folder/partial every few seconds and however the run ends; the next one continues there. A lost
    device is waited for a few times, then it is a DeviceError. Samples that differ from the twin are in the Trace; the
    first few are looked into, each in a folder of folder/mismatches: call `check` once the Trace is stored.
    """
    emulated = runners.is_emulated(board, place)
    setting = _Setting(qmodel, image, image_folder, board, folder, emulated, progress)
    runs = [_DatasetRun(setting, dataset, limit) for dataset in datasets]
    trace = replace(_until_done(setting, runs, place), place=named)
    shutil.rmtree(folder / "partial", ignore_errors=True)
    return trace


def check(trace: Trace, folder: Path) -> None:
    """MismatchError when a sample's logits differ from the twin's. It names sample, layer, index and both values as
    found in folder/mismatches, where `stream` has put what is needed to see it again."""
    wrong = sum(int(_differing(part.logits, part.twin_logits).sum()) for part in trace.datasets)
    if not wrong:
        return
    total = sum(len(part.logits) for part in trace.datasets)
    counted = f"device and twin differ on {wrong} of {total} samples"
    for place, first in mismatch.stored(folder / "mismatches", trace.device.digest)[:1]:
        raise MismatchError(f"{counted}; {first.description}", mismatch.command(place), place)
    raise MismatchError(f"{counted}, none of which could be examined", "stream again")


def _until_done(setting: _Setting, runs: Sequence[_DatasetRun], place: str | None) -> Trace:
    """The Trace of all runs. A device lost on the way is connected again as long as that brings further answers."""
    port = serial.identify(place) if place else None
    kept = sum(run.done for run in runs)

    def attempt(reconnects: int) -> Trace:
        return _one_connection(setting, runs, serial.follow(port) if port else place, reconnects)

    try:
        return connection.keep_trying(attempt, lambda: sum(run.done for run in runs) - kept)
    except (session.DeviceFaultError, session.IdentityError):
        raise
    except DeviceError as error:
        raise _given_up(error, setting, runs) from error


def _given_up(error: DeviceError, setting: _Setting, runs: Sequence[_DatasetRun]) -> DeviceError:
    done = sum(run.done for run in runs)
    if not done:
        return error
    total, place = sum(run.total for run in runs), setting.folder / "partial"
    hint = f"{error.hint}; the same command continues from there".removeprefix("; ")
    return DeviceError(f"{error} ({done} of {total} answers are kept in {place})", hint)


def _one_connection(setting: _Setting, runs: Sequence[_DatasetRun], place: str | None, reconnects: int) -> Trace:
    with session.connect(setting.board, setting.image_folder, place) as device:
        info = device.hello()
        session.check_identity(info, setting.image.digest, setting.board)
        session.check_sizes(info, setting.qmodel)
        # Versions of a sample follow each other where the device can tell one from the other's differences.
        for together in (runs,) if info.base_bytes else tuple((run,) for run in runs):
            _resume(setting, together, device, quiet_rows=QUIET_SAMPLES if runs[0] in together else 0)
        stats = _device_stats(device.stats())
    link = LinkStats(reconnects=reconnects)
    for run in runs:
        link = _combine(link, run.link)
    return Trace(info, tuple(run.trace() for run in runs), link, stats)


def _device_stats(fields: dict[str, int]) -> DeviceStats:
    return DeviceStats(
        stack_high_water_bytes=fields["stack_high_water"],
        arena_touched_bytes=fields["arena_touched"],
        canaries_ok=bool(fields["canaries_ok"]),
        stack_size_bytes=fields["stack_size"],
    )


def _combine(a: LinkStats, b: LinkStats, sign: int = 1) -> LinkStats:
    """a + sign * b, counter by counter."""
    return LinkStats(*(x + sign * y for x, y in zip(astuple(a), astuple(b), strict=True)))


def _differing(logits: Int8Array, twin_logits: Int8Array) -> NDArray[np.bool_]:
    """bool (n,): samples whose logits are not the twin's."""
    return np.asarray(np.any(logits != twin_logits, axis=1))


class _DatasetRun:
    """One data set on its way through the device. x: its samples; done: how many are answered; link: what that took, of
    data sets that go together all with the first one."""

    def __init__(self, setting: _Setting, dataset: Dataset, limit: int | None) -> None:
        if dataset.input.shape != setting.qmodel.input.shape:
            message = f"data set {dataset.name!r} has samples of shape {dataset.input.shape}, "
            message += f"the network {setting.qmodel.name!r} takes {setting.qmodel.input.shape}"
            raise ConfigError(message, "stream the data set the network was trained for")
        self._setting = setting
        self._dataset = dataset
        self.label = dataset.label
        self._split = dataset.splits["test"].take(limit)
        self.x = self._split.x
        self.total = len(self._split)
        self._digest = dataset.digest
        slug = re.sub(r"[^a-z0-9.]+", "_", dataset.label.lower())
        self._path = setting.folder / "partial" / f"{slug}-{self._digest[:8]}"
        self._mismatches = setting.folder / "mismatches"
        self._slug = slug
        self._key = digest_of(setting.image.digest, setting.qmodel.digest, self._digest, setting.emulated)
        self._restore()

    def _restore(self) -> None:
        """Takes up the answers an earlier run has kept, where they are of this firmware, network and data."""
        classes, layers = self._setting.qmodel.output.size_bytes, len(self._setting.qmodel.layers)
        self.done, self.link = 0, LinkStats()
        self._logits = np.zeros((self.total, classes), np.int8)
        self._twin_logits = np.zeros((self.total, classes), np.int8)
        self._ticks = np.zeros(self.total, np.uint32)
        self._layer_ticks = np.zeros((self.total, layers), np.uint32)
        if store.key_of(self._path) != self._key:
            return
        kept = store.load(self._path, _Partial)
        self.done = n = min(len(kept.logits), self.total)
        self.link = kept.link
        self._logits[:n] = kept.logits[:n]
        if n:
            self._twin_logits[:n] = twin.run(self._setting.qmodel, self.x[:n]).reshape(n, -1)
        self._ticks[:n], self._layer_ticks[:n] = kept.ticks[:n], kept.layer_ticks[:n]

    def save(self) -> None:
        """Keeps the answers so far on disk."""
        n = self.done
        rows = (self._logits[:n], self._ticks[:n], self._layer_ticks[:n])
        store.save(self._path, _Partial(*rows, link=self.link), self._key)

    def trace(self) -> DatasetTrace:
        """All answers; valid once done == total."""
        return DatasetTrace(
            label=self._dataset.label,
            dataset=self._digest,
            index=self._split.index,
            y=self._split.y,
            logits=self._logits,
            twin_logits=self._twin_logits,
            ticks=self._ticks,
            layer_ticks=self._layer_ticks,
            attack=self._dataset.attack,
        )

    def take(self, result: Result, expected: Int8Array) -> None:
        """The answer to the first sample that had none, and the twin's."""
        n = self.done
        self._logits[n], self._twin_logits[n] = result.output, expected
        self._ticks[n], self._layer_ticks[n] = result.ticks, result.layer_ticks
        self.done = n + 1

    def look_into_mismatches(self, device: Session) -> None:
        """Records the first few of its samples that differ."""
        rows = np.flatnonzero(_differing(self._logits, self._twin_logits))[: mismatch.MOST_REPRODUCERS]
        for done, row in enumerate(rows):
            self._setting.progress(f"mismatches {self._dataset.label}", done, len(rows), "")
            index = int(self._split.index[row])
            case = mismatch.Case(self._dataset.label, index, self.x[row], self._logits[row])
            s = self._setting
            folder = self._mismatches / f"{self._slug}-{index}"
            mismatch.record(folder, case, device, s.qmodel, s.image, s.image_folder, s.board)


def _resume(setting: _Setting, runs: Sequence[_DatasetRun], device: Session, quiet_rows: int) -> None:
    """Streams what is left of the data sets, row by row; what was answered is kept however this ends. Then looks into
    mismatches. quiet_rows: see QUIET_SAMPLES."""
    if any(run.done < run.total for run in runs):
        device.stats()  # its counters are compared from here on
        kept, before = runs[0].link, device.link_stats()

        def keep() -> None:
            runs[0].link = _combine(kept, _combine(device.link_stats(), before, -1))
            for run in runs:
                run.save()

        try:
            _stream(setting, runs, device, keep, quiet_rows)
            device.stats()
        finally:
            keep()
    for run in runs:
        run.look_into_mismatches(device)


def _rows_left(runs: Sequence[_DatasetRun]) -> dict[int, list[_DatasetRun]]:
    """The data sets that still need an answer, by row, in order."""
    rows = range(min(run.done for run in runs), max(run.total for run in runs))
    left = {row: [run for run in runs if run.done <= row < run.total] for row in rows}
    return {row: waiting for row, waiting in left.items() if waiting}


def _stream(
    setting: _Setting, runs: Sequence[_DatasetRun], device: Session, keep: Callable[[], None], quiet_rows: int
) -> None:
    left = _rows_left(runs)
    quiet = sum(row < quiet_rows for row in left)
    groups = ([run.x[row].tobytes() for run in waiting] for row, waiting in left.items())
    results = device.run_groups(groups, quiet=quiet)
    saved_s = time.monotonic()
    show = _Show(setting.progress, runs)
    samples = [(run, row) for row, waiting in left.items() for run in waiting]
    with closing(_twin_ahead(setting.qmodel, [run.x[row] for run, row in samples])) as twins:
        for (run, _), result, expected in zip(samples, results, twins, strict=True):
            run.take(result, expected)
            show.step(device, result.output, expected)
            if time.monotonic() - saved_s > SAVE_EVERY_S:
                device.stats()  # has it restarted?
                keep()
                saved_s = time.monotonic()


class _Show:
    """Tells `progress` now and then how far and how fast the run is."""

    def __init__(self, progress: Progress, runs: Sequence[_DatasetRun]) -> None:
        self._progress = progress
        self._what = f"stream {runs[0].label}" if len(runs) == 1 else f"stream {len(runs)} data sets"
        self._done, self._total = sum(run.done for run in runs), sum(run.total for run in runs)
        self._first, self._started_s, self._shown_s, self._wrong = self._done, time.monotonic(), 0.0, 0

    def step(self, device: Session, output: Int8Array, expected: Int8Array) -> None:
        """One more sample."""
        self._done += 1
        self._wrong += not np.array_equal(output, expected)
        now_s = time.monotonic()
        if now_s - self._shown_s < SHOW_EVERY_S and self._done < self._total:
            return
        self._shown_s = now_s
        counters = device.link_stats()
        rate = (self._done - self._first) / max(now_s - self._started_s, 1e-9)
        info = f"{rate:.0f} samples/s, {counters.retries} retries"
        self._progress(
            self._what, self._done, self._total, info + (f", {self._wrong} MISMATCHES" if self._wrong else "")
        )


def _twin_ahead(qmodel: QModel, x: Sequence[Int8Array]) -> Generator[Int8Array, None, None]:
    """Yields the twin's logits, int8 (classes,), sample by sample; the next chunk is computed meanwhile."""
    answering = twin.Twin(qmodel)
    with ThreadPoolExecutor(max_workers=1) as pool:
        starts = range(0, len(x), TWIN_CHUNK)
        chunks = (pool.submit(answering.run, np.stack(x[i : i + TWIN_CHUNK])) for i in starts)
        current = next(chunks, None)
        while current is not None:
            values = current.result()
            current = next(chunks, None)
            yield from values.reshape(len(values), -1)
