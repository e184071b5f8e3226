"""What a board owes: its identity, the twin's logits, steady counts, sound memory, a line without loss, a way back."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.codegen import buffers
from pipeline.device import session as sessions
from pipeline.device.session import IdentityError, Session
from pipeline.network import twin
from pipeline.protocol import wire
from tests.hil.conftest import Bench, Say
from tests.support import tiny

pytestmark = pytest.mark.hardware
SAMPLES = 200
COUNT_SPREAD = 0.02
"""Largest relative spread of a cycle or instruction count: caches, wait states, interrupts; 0 on an emulator."""
ECHO_BYTES = 64_000


def test_it_says_who_it_is(bench: Bench, say: Say) -> None:
    info, board = bench.info, bench.board
    assert info.board == board.name
    assert info.digest == bench.image.digest
    assert info.protocol == wire.PROTOCOL
    assert info.layers == len(bench.model.layers)
    sizes = buffers.plan(board, bench.image.arena_bytes, bench.model.input.size_bytes)
    assert (info.max_payload, info.rx_buffer_bytes) == (board.link.max_payload, sizes.rx_bytes)
    assert info.base_bytes == sizes.base_bytes
    say(f"digest {info.digest}, {info.tick_unit} at {info.tick_hz} Hz")


def test_other_firmware_is_refused(bench: Bench) -> None:
    with pytest.raises(IdentityError):
        sessions.check_identity(bench.info, "0" * 32, bench.board)
    with pytest.raises(IdentityError):
        sessions.check_identity(bench.info, bench.image.digest, bench.board.model_copy(update={"name": "another"}))


def test_logits_are_the_twins(bench: Bench, device: Session, say: Say) -> None:
    samples = tiny.samples(bench.model, SAMPLES)
    results = list(device.run(sample.tobytes() for sample in samples))
    ticks = np.array([result.ticks for result in results])
    assert np.array_equal([result.output for result in results], twin.run(bench.model, samples))
    assert all(int(result.layer_ticks.sum()) <= result.ticks for result in results)
    say(f"{SAMPLES} samples, 0 mismatches; median {int(np.median(ticks))}, p99 {int(np.percentile(ticks, 99))} ticks")


def test_every_layer_is_the_twins(bench: Bench, device: Session) -> None:
    sample = tiny.samples(bench.model, 1, seed=3)
    expected = twin.trace(bench.model, sample)
    for number, layer in enumerate(bench.model.layers):
        if not device.has_output(number):
            continue
        size = layer.output.size_bytes
        result = device.run_sample(sample[0].tobytes(), layers=number + 1, output_bytes=size)
        assert np.array_equal(result.output, expected[number].reshape(-1)), layer.name


def test_counts_are_steady(bench: Bench, device: Session, say: Say) -> None:
    sample = tiny.samples(bench.model, 1)[0].tobytes()
    counts = np.array([device.run_sample(sample).ticks for _ in range(20)])
    spread = float(np.ptp(counts) / np.median(counts))
    assert counts.min() > 0
    if device.info.tick_unit != "us":
        assert spread <= COUNT_SPREAD
    say(f"{int(np.median(counts))} {device.info.tick_unit}, spread {spread:.2%}")


def test_memory_is_sound(bench: Bench, device: Session, say: Say) -> None:
    device.run_sample(tiny.samples(bench.model, 1)[0].tobytes())
    stats = device.stats()
    assert stats["canaries_ok"] == 1
    assert 0 < stats["arena_touched"] <= bench.image.arena_bytes
    assert stats["stack_high_water"] < stats["stack_size"] or stats["stack_size"] == 0
    say(f"stack {stats['stack_high_water']} of {stats['stack_size']}, arena {stats['arena_touched']} bytes")


def test_the_line_loses_nothing(bench: Bench, device: Session, say: Say) -> None:
    random = np.random.default_rng(5)
    most, before = device.info.max_payload, device.link_stats()
    lengths = [0, 1, 2, most - 1, most] + [most] * (ECHO_BYTES // most)
    for length in lengths:
        data = random.integers(0, 256, length, dtype=np.uint8).tobytes()
        assert device.echo(data) == data
    stats, after = device.stats(), device.link_stats()
    assert (stats["crc_errors"], stats["rx_dropped"], after.crc_errors) == (0, 0, 0)
    sent, seconds = after.bytes_sent - before.bytes_sent, after.seconds - before.seconds
    say(f"{sent} bytes each way at {sent / seconds:.0f} byte/s, {after.retries - before.retries} requests repeated")


def test_noise_is_survived(bench: Bench, device: Session) -> None:
    device.link.write(bytes(range(1, 200)) + b"\0")
    assert device.echo(b"after the noise") == b"after the noise"
    assert device.stats()["crc_errors"] >= 1


def test_it_comes_back_after_a_reset(bench: Bench, device: Session) -> None:
    device.run_sample(tiny.samples(bench.model, 1)[0].tobytes())
    device.reset()
    assert device.hello().digest == bench.image.digest
    assert device.stats()["arena_touched"] == 0
