"""bench/results/kernels.json is fresh: every network of the zoo, each layer with the kernel chosen today."""

from __future__ import annotations

from typing import Any

import pytest

from bench import kernels, measure, networks, publish
from bench.measure import BOARDS, M4
from pipeline.codegen import select
from pipeline.core import registry
from pipeline.core.nouns import QModel

ZOO = networks.stored()
OURS = (networks.resnet8(), networks.dscnn(), networks.dense512())
AGAIN = "the table is stale: make bench-kernels"


def test_the_table_holds_every_network_of_the_zoo() -> None:
    wanted = {model.name for model in (*OURS, *ZOO)} | {f"{kernels.DENSER}_5_trits"}
    assert set(publish.read()["networks"]) == wanted, AGAIN


def test_every_core_has_every_network() -> None:
    by_core = publish.read()["networks_by_core"]
    assert list(by_core) == list(BOARDS)
    for core, totals in by_core.items():
        wanted = {model.name for model in (*OURS, *ZOO)}
        assert core == M4 or set(totals) == wanted, AGAIN


@pytest.mark.parametrize(
    ("core", "model"),
    [(core, model) for core in BOARDS for model in (*OURS, *ZOO)],
    ids=lambda value: value.name if isinstance(value, QModel) else value,
)
def test_a_row_is_of_the_kernel_chosen_today_and_of_its_tables(core: str, model: QModel) -> None:
    """What a row says besides what must run to be counted; tests/emulated/test_bench.py runs it."""
    calls = select.calls(model, measure.target(core))
    now = {
        f"{model.name}/{layer.name}": {
            "shape": measure.shape(layer, model.input_specs(layer)),
            "kernel": call.function,
            "macs": registry.load("layers", layer.kind).macs(layer, model.input_specs(layer)),
            "table_bytes": sum(table.nbytes for table in call.tables.values()),
            "scratch_bytes": call.scratch_bytes,
        }
        for layer, call in zip(model.layers, calls, strict=True)
        if call is not None
    }
    rows: list[dict[str, Any]] = [row for row in publish.read()["layers"] if row["core"] == core]
    stored = {row["name"]: row for row in rows if row["name"].startswith(f"{model.name}/")}
    assert {name: {key: row.get(key) for key in now.get(name, {})} for name, row in stored.items()} == now, AGAIN


@pytest.mark.parametrize("core", BOARDS)
def test_no_layer_takes_fewer_instructions_than_any_could(core: str) -> None:
    """What refuses a budget before a network is trained is a bound: every row measured, every core."""
    rows = {row["name"]: row for row in publish.read()["layers"] if row["core"] == core}
    checked = 0
    for model in (*OURS, *ZOO):
        functions = [rows.get(f"{model.name}/{layer.name}", {}).get("kernel") for layer in model.layers]
        for name, least in select.least_instructions(model, functions).items():
            assert 0 < least <= rows[f"{model.name}/{name}"]["instructions"]
            checked += 1
    assert checked > len(OURS)
