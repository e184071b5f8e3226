"""No kernel gets slower unnoticed: every layer of the bench against the table it wrote last."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench import measure, networks, publish
from bench.measure import M4, Network
from pipeline.config.job import FirmwareConfig

GROWTH = 1.02
"""Most that a layer's instructions may be times those of the table."""
MODELS = {model.name: model for model in (networks.resnet8(), networks.dscnn(), networks.dense512())}
pytestmark = [pytest.mark.toolchain, pytest.mark.emulator]


def table(core: str, name: str) -> dict[str, int]:
    """Instructions by layer of a network on a core."""
    rows = publish.read()["layers"]
    known = {row["name"]: row["instructions"] for row in rows if row["core"] == core}
    return {layer: count for layer, count in known.items() if layer.startswith(f"{name}/")}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("core", [M4, *(pytest.param(c, marks=pytest.mark.slow) for c in measure.BOARDS if c != M4)])
def test_no_layer_takes_more_instructions_than_the_table_says(core: str, name: str, tmp_path: Path) -> None:
    network = Network(MODELS[name], core, tmp_path, FirmwareConfig(cascades=False))
    counted = network.count()
    names = [f"{name}/{layer.name}" for layer in network.model.layers]
    allowed = table(core, name)
    assert set(allowed) == set(names), "the table has other layers: make bench-kernels"
    slower = {
        n: (allowed[n], count) for n, count in zip(names, counted.layers, strict=True) if count > GROWTH * allowed[n]
    }
    assert not slower, f"(table, now) of layers that grew by more than 2 %: {slower}; if it must be, make bench-kernels"


def test_five_trits_a_byte_cost_no_more_than_a_twentieth(tmp_path: Path) -> None:
    """And nothing but instructions: the arena stays, the image shrinks. It is smaller for at most 2 % more of them."""
    plain = Network(MODELS["resnet8"], M4, tmp_path)
    packed = Network(MODELS["resnet8"], M4, tmp_path, FirmwareConfig(trits_per_byte=5))
    before, after = plain.count(), packed.count()
    whole = replace(plain, firmware=FirmwareConfig(cascades=False)).count()
    assert before.instructions <= 1.02 * whole.instructions
    assert before.image.arena_bytes < 0.8 * whole.image.arena_bytes
    assert before.instructions < after.instructions <= 1.05 * before.instructions
    assert after.image.arena_bytes == before.image.arena_bytes
    assert after.image.flash_bytes < before.image.flash_bytes
    assert measure.network_row(packed, after, {})["weight_bytes"] <= 15.8 * 1024


def test_the_model_counts_the_instructions_the_emulator_counts(tmp_path: Path) -> None:
    """Two emulators, one count: what is left is the firmware's reading of its clock, the same for every layer."""
    network = Network(MODELS["dscnn"], M4, tmp_path)
    counted = network.count()
    runs = network.runs(counted)
    differences = {ticks - run.instructions for ticks, run in zip(counted.layers, runs, strict=True)}
    assert len(differences) == 1
    assert 0 <= differences.pop() < 10
    assert all(run.instructions <= run.cycles < 2 * run.instructions for run in runs)


def test_every_core_and_network_is_in_the_table() -> None:
    results = publish.read()
    assert set(results["networks_by_core"]) == set(measure.BOARDS)
    for core, totals in results["networks_by_core"].items():
        assert set(MODELS) <= set(totals), core
    assert set(results["networks"]) >= {"resnet8", "dscnn"}
    for row in results["layers"]:
        assert row["cmsis_nn_source"] in {"measured", "recorded", "none"}
        assert (row["cmsis_nn_instructions"] is None) == (row["cmsis_nn_source"] == "none")


def test_the_document_shows_the_table() -> None:
    text = publish.DOCUMENT.read_text()
    between = text.split(publish.BEGIN)[1].split(publish.END)[0].strip()
    assert between == publish.tables(publish.read()), "make bench-kernels"


def test_the_picture_shows_the_table() -> None:
    drawn = publish.PICTURE.read_text()
    assert len(drawn) < 200_000
    rows = [row for row in publish.document_rows(publish.read(), publish.IN_DOCUMENT) if row["macs"]]
    assert len(rows) > 10
    for row in rows:
        assert f"{row['instructions'] / row['macs']:.2f}" in drawn, "make bench-kernels"
