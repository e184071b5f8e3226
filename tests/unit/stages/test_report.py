"""report: numbers from a hand-made Trace whose answers are known, and the three files."""

from __future__ import annotations

import dataclasses
import html.parser
import json
import math
from typing import Any

import numpy as np
import pytest

from pipeline.analysis import figures, outcomes, samples, statistics
from pipeline.config import board
from pipeline.config.job import LayerwiseConfig
from pipeline.core.nouns import (
    AttackInfo,
    AttackOutcome,
    AuditCheck,
    AuditResult,
    Dataset,
    DatasetTrace,
    DeviceInfo,
    DeviceStats,
    Image,
    LinkStats,
    Split,
    Trace,
    with_metrics,
)
from pipeline.network import twin
from pipeline.quantization import layerwise
from pipeline.quantization.layerwise import Effects
from pipeline.stages import render, report
from pipeline.stages.report import ReportInputs
from tests.support import tiny

SAMPLES = 40
SIZES = (9000, 5000, 1500, 6000, 4096, 2048)
FOOTPRINT = {"layer stem": 1000, "layer main": 500, "kernels": 4000, "program": 3500}


def dataset_and_trace(model, x, y, attack=None) -> tuple[Dataset, DatasetTrace]:
    index = np.arange(len(x)) * 3
    dataset = Dataset("toy", model.input, model.classes, {"test": Split(x, y, index)}, attack=attack)
    logits = twin.run(model, x)
    per_layer = np.tile(np.arange(1, len(model.layers) + 1, dtype=np.uint32), (len(x), 1))
    ticks = per_layer.sum(axis=1, dtype=np.uint32) + np.arange(len(x), dtype=np.uint32)
    return dataset, DatasetTrace(
        dataset.label, dataset.digest, index, y, logits, logits.copy(), ticks, per_layer, attack
    )


def choice() -> dict[str, Any]:
    """What LAQ says of the tiny network."""
    trained = tiny.trained()
    effects = Effects(lambda changed: float(abs(changed.layers[0].arrays["codes"]).sum() % 7), attacked=1.5)
    config = LayerwiseConfig(method="laq", budget=2.0)
    return layerwise.summary(layerwise.choose(trained, config, effects, {}))


def outcome(label: str) -> AttackOutcome:
    """An attack that was given all samples but the first and fooled them all."""
    given = np.arange(SAMPLES) > 0
    counts = [given * 20, given * 10, given * np.arange(SAMPLES) // SAMPLES]
    return AttackOutcome(label, "pgd", {"steps": 10}, given, given, *counts, np.ones(SAMPLES), 2.5)


def weaker(label: str) -> AttackOutcome:
    """One that fooled the second half of them, by half its budget."""
    found = np.arange(SAMPLES) >= SAMPLES // 2
    strong = outcome(label)
    return dataclasses.replace(strong, attack="square", fooled=found, smallest=np.where(found, 0.5, np.inf))


@pytest.fixture(scope="module")
def inputs() -> ReportInputs:
    return example()


def example() -> ReportInputs:
    """Clean samples, all answered rightly but the first; an attack that changes nothing, one that changes all."""
    model = tiny.qmodel()
    host = board.load("host")
    x = np.clip(tiny.samples(model, SAMPLES), -120, 120).astype(np.int8)
    y = np.argmax(twin.run(model, x), axis=1).astype(np.int64)
    y[0] = (y[0] + 1) % 10
    info = AttackInfo("fgsm", "linf", 4 / 255, "4/255", 4, {})
    clean, clean_trace = dataset_and_trace(model, x, y)
    idle, idle_trace = dataset_and_trace(model, x, y, info)
    moved = dataclasses.replace(info, name="pgd", eps=8 / 255, eps_label="8/255", eps_lsb=8)
    strong, strong_trace = dataset_and_trace(model, (x + 5).astype(np.int8), y, moved)
    rival, rival_trace = dataset_and_trace(model, (x + 4).astype(np.int8), y, dataclasses.replace(moved, name="square"))
    strong_trace = dataclasses.replace(strong_trace, logits=np.roll(clean_trace.logits, 1, axis=1))
    check = AuditCheck("noise", True, -0.5, -0.1, "<b>why")
    sources = render.render(model, host)
    device = DeviceInfo("host", sources.digest, 1, 1_000_000, "us", 4096, 64, 10, len(model.layers), 2048, 8192)
    return ReportInputs(
        job={"name": "toy", "description": "<b>toy</b>", "seed": 7},
        board=host,
        qmodel=with_metrics(model, layerwise=choice(), input_share=0.0123, validation_share=0.045),
        sources=sources,
        image=Image("firmware.elf", sources.digest, "host", "cc", ("-O2",), *SIZES, {}, (), FOOTPRINT),
        trace=Trace(
            device,
            (clean_trace, idle_trace, strong_trace, rival_trace),
            LinkStats(bytes_sent=3000, bytes_received=1000, seconds=2.0),
            DeviceStats(700, 4000, True, 2048),
        ),
        datasets=(clean, idle, strong, rival),
        agreement={"stem": {"max_lsb": 1.0, "mean_lsb": 0.25}},
        history=[
            {"epoch": i, "loss": 1 / i, "accuracy": 1 - 1 / i, "validation_accuracy": 0.5} for i in range(1, 5)
        ],
        seconds={"train": 1.5},
        seed=7,
        keras={t.label: t.logits.astype(np.float32) / 8 for t in (clean_trace, idle_trace)},
        outcomes=(outcome(strong.label), weaker(rival.label)),
        audit=AuditResult("clean", (check,), model.digest, "toy", "8/255", 30),
    )  # fmt: skip


@pytest.fixture(scope="module")
def numbers(inputs):
    return report.summarize(inputs)


def test_a_board_that_can_be_emulated_is_measured_where_a_real_one_answered(inputs):
    uno = dataclasses.replace(inputs, board=board.load("uno"))
    for place, is_emulated, told in (("", True, "emulated"), ("/dev/ttyACM0", False, "measured")):
        numbers = report.summarize(dataclasses.replace(uno, trace=dataclasses.replace(inputs.trace, place=place)))
        assert (numbers["board"]["emulated"], numbers["latency"]["label"]) == (is_emulated, f"microseconds ({told})")


def test_clean_accuracy_counts_the_one_wrong_sample(numbers):
    clean = numbers["accuracy"]["clean"]
    assert clean["device"] == clean["twin"] == clean["keras"] == 39 / 40
    assert clean["n"] == 40
    low, high = clean["device_interval"]
    assert low < 39 / 40 < high


def test_attack_success_counts_only_samples_that_were_right_before(numbers):
    idle, strong, _ = numbers["accuracy"]["attacks"]
    assert (idle["success"]["rate"], idle["success"]["n"]) == (0.0, 39)
    assert (strong["success"]["rate"], strong["success"]["n"]) == (1.0, 39)
    assert strong["change_lsb"] == 5
    assert strong["eps_lsb"] == 8


def test_a_curve_begins_with_the_samples_that_were_attacked(numbers):
    _, strong, _ = numbers["accuracy"]["attacks"]
    assert strong["clean"]["device"] == 39 / 40
    assert strong["clean"]["n"] == SAMPLES


def test_every_attack_says_what_it_did(numbers):
    campaign, _ = numbers["robustness"]
    assert campaign["clean"]["n"] == SAMPLES
    assert (campaign["clean"]["accuracy"], campaign["robust"]["accuracy"]) == (39 / 40, 0.0)
    assert campaign["smallest_change"] == {"p10": 1.0, "p50": 1.0, "p90": 1.0}
    (entry,) = campaign["attacks"]
    assert (entry["attacked"], entry["fooled"], entry["queries"], entry["gradients"]) == (39, 39, 780, 390)
    assert entry["zero_gradient_share"] == 0.0


def test_the_worst_case_is_what_all_attacks_of_a_budget_leave(inputs, numbers):
    (worst,) = numbers["worst_case"]
    assert worst["attacks"] == ["pgd eps=8/255", "square eps=8/255"]
    assert (worst["clean"]["accuracy"], worst["robust"]["accuracy"], worst["robust"]["n"]) == (39 / 40, 0.0, SAMPLES)
    assert worst["alone"] == [[0, 19], [0, 0]]
    few = np.arange(0, SAMPLES, 4)
    known = samples.collect(inputs.trace, inputs.datasets, inputs.outcomes, {})
    strong, rival = known.data[2:]
    part = dataclasses.replace(rival, index=rival.index[few], y=rival.y[few], answers={})
    shorter = weaker(rival.label)
    shorter = dataclasses.replace(shorter, **{name: getattr(shorter, name)[few] for name in samples.COUNTED})
    both = dataclasses.replace(known, data=(strong, part), outcomes=(weaker(strong.label), shorter))
    (worst,) = outcomes.worst_cases(both)
    assert (worst["robust"]["n"], worst["robust"]["accuracy"]) == (len(few), np.mean((few > 0) & (few < SAMPLES // 2)))
    assert worst["alone"] == [[0, 0], [0, 0]]


def test_every_figure_can_be_drawn_again_from_the_file_of_samples(inputs, numbers, tmp_path):
    drawn = report.report(inputs, tmp_path)
    known = samples.load(tmp_path)
    assert outcomes.summarize(known.outcomes) == drawn["robustness"]
    assert outcomes.worst_cases(known) == drawn["worst_case"]
    clean, *attacks = ({who: np.mean(a.answers[who] == a.y) for who in a.answers} for a in known.data)
    assert clean.items() <= drawn["accuracy"]["clean"].items()
    assert all(
        shares.items() <= point.items() for shares, point in zip(attacks, drawn["accuracy"]["attacks"], strict=True)
    )
    again, page = figures.draw(drawn, known), (tmp_path / "report.html").read_text()
    assert all(again.values())
    assert all(figure in page for figure in again.values())
    assert (tmp_path / "samples.npz").stat().st_size < 20_000


def test_the_gallery_shows_the_same_samples_before_and_after(inputs):
    """Also where only some of the clean samples were attacked."""
    clean, _, strong, _ = inputs.datasets
    traces = inputs.trace.datasets
    few = np.arange(1, SAMPLES, 3)
    part = dataclasses.replace(strong, splits={"test": strong.splits["test"].at(few)})
    answers = {name: getattr(traces[2], name)[few] for name in ("index", "y", "logits", "twin_logits")}
    attacked = dataclasses.replace(traces[2], dataset=part.digest, **answers)
    trace = dataclasses.replace(inputs.trace, datasets=(traces[0], attacked))
    gallery = samples.collect(trace, (clean, part), (), {}).gallery
    assert len(gallery.clean) == samples.SHOWN
    assert np.array_equal(gallery.attacked, gallery.clean + 5)
    assert np.array_equal(gallery.clean, clean.splits["test"].x[gallery.clean_rows])


def test_a_differing_logit_is_one_mismatching_sample(inputs, numbers):
    assert numbers["agreement"]["device_twin_mismatches"] == int(
        np.any(inputs.trace.datasets[2].logits != inputs.trace.datasets[2].twin_logits, axis=1).sum()
    )
    assert numbers["agreement"]["samples"] == 4 * SAMPLES
    assert numbers["agreement"]["logits"] == 4 * SAMPLES * 10
    assert numbers["agreement"]["keras_twin_top1"] == 1.0


def test_confusion_rows_are_true_classes(inputs, numbers):
    counts = np.array(numbers["confusion"])
    assert counts.sum() == SAMPLES
    assert counts.sum(axis=1).tolist() == np.bincount(inputs.trace.datasets[0].y, minlength=10).tolist()
    assert np.trace(counts) == 39


@pytest.mark.parametrize(("unit", "counted"), [("us", 64), ("cycles", 64), ("instructions", 100)])
def test_latency_comes_from_samples_without_traffic(inputs, unit, counted):
    """Later samples ran while others arrived, which an instruction count does not see."""
    trace, layers = inputs.trace, len(inputs.qmodel.layers)
    ticks = np.arange(1, 101, dtype=np.uint32)
    layer_ticks = np.repeat(ticks[:, None], layers, axis=1)
    clean = dataclasses.replace(trace.datasets[0], ticks=layers * ticks, layer_ticks=layer_ticks)
    device = dataclasses.replace(trace.device, tick_unit=unit)
    trace = dataclasses.replace(trace, device=device, datasets=(clean, *trace.datasets[1:]))
    latency = report.summarize(dataclasses.replace(inputs, trace=trace))["latency"]
    assert (latency[unit]["min"], latency[unit]["max"]) == (layers, layers * counted)
    assert latency["per_layer"][0][unit]["max"] == counted


def test_latency_is_named_by_its_unit_and_shares_add_up(numbers):
    latency = numbers["latency"]
    layers = len(latency["per_layer"])
    assert (latency["unit"], latency["label"]) == ("us", "microseconds (measured)")
    assert latency["us"]["median"] == layers * (layers + 1) / 2 + (SAMPLES - 1) / 2
    assert math.isclose(sum(layer["share"] for layer in latency["per_layer"]), 1)
    stem = latency["per_layer"][0]
    assert (stem["macs"], stem["weights"], stem["weight_bits"]) == (8 * 8 * 9 * 6, 54, 8)
    assert stem["weights_bytes"] == 54


@pytest.mark.parametrize("name", ["host", "mps2-an385", "netduinoplus2", "mps3-an547"])
def test_packed_weights_are_counted_without_the_other_tables(inputs, name):
    """Whatever the kernel of a core calls its other tables."""
    rendered = dataclasses.replace(inputs, sources=render.render(inputs.qmodel, board.load(name)))
    rows = report.summarize(rendered)["latency"]["per_layer"]
    for layer, row in zip(inputs.qmodel.layers, rows, strict=True):
        if layer.weights is None:
            assert row["weights_bytes"] == row["tables_bytes"] == 0
        else:
            assert 0 < row["weights_bytes"] <= row["tables_bytes"] - 4 * len(layer.bias)


def test_memory_groups_add_up(numbers):
    memory = numbers["memory"]
    assert memory["flash_groups"] == {"layer tables": 1500, "kernels": 4000, "program": 3500}
    assert sum(memory["flash_groups"].values()) == memory["flash_bytes"] == 9000
    assert sum(memory["ram_groups"].values()) == memory["ram_bytes"] == 5000 + 2048


def test_bytes_per_second_counts_both_directions(numbers):
    assert numbers["link"]["bytes_per_s"] == 2000


def test_the_layerwise_choice_is_reported_layer_by_layer(inputs, numbers, tmp_path):
    chosen = numbers["layerwise"]
    weighted = [layer.name for layer in inputs.qmodel.layers if layer.weights is not None]
    assert [layer["name"] for layer in chosen["layers"]] == weighted
    assert sum(layer["bytes"] for layer in chosen["layers"]) == chosen["bytes"] <= 2 * chosen["ternary_bytes"]
    moved = np.linalg.norm([layer["distance"] for layer in chosen["layers"]])
    assert chosen["attacked"] == pytest.approx(1.5 * chosen["bound"] / chosen["trained_bound"])
    assert chosen["attacked"] + moved == pytest.approx(chosen["loss"])
    report.report(inputs, tmp_path)
    markdown = (tmp_path / "report.md").read_text()
    assert all(
        f"| {name} | {layer['bits']} |" in markdown for name, layer in zip(weighted, chosen["layers"], strict=True)
    )


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962), (0, 0, 0.0, 1.0)],
)
def test_wilson_interval(successes, n, low, high):
    assert statistics.wilson(successes, n) == pytest.approx((low, high), abs=1e-4)


class Tags(html.parser.HTMLParser):
    """Checks that every tag is closed, and collects what the page would load."""

    VOID = frozenset({"meta", "img", "br", "path", "use", "rect", "link", "circle", "line"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.loads += [value for key, value in attrs if key in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_three_files_from_one_set_of_numbers(inputs, tmp_path):
    numbers = report.report(inputs, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.json", "report.md", "samples.npz"]
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(numbers))
    markdown = (tmp_path / "report.md").read_text()
    assert "97.5 %" in markdown
    assert "pgd (linf)" in markdown


def test_html_is_well_formed_and_loads_nothing_from_outside(inputs, tmp_path):
    report.report(inputs, tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "Making batches took 1.2 % of the time, validation 4.5 %." in text
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert all(url.startswith(("data:", "#")) for url in tags.loads)
    assert text.count("<svg") == 4
    assert "&lt;b&gt;why" in text
    assert "&lt;b&gt;toy" in text


def test_a_report_without_attacks_training_and_keras(inputs, tmp_path):
    trace = dataclasses.replace(inputs.trace, datasets=inputs.trace.datasets[:1])
    few = dataclasses.replace(
        inputs, trace=trace, datasets=inputs.datasets[:1], agreement={}, history=(), keras={}, outcomes=(), audit=None
    )
    few = dataclasses.replace(few, qmodel=tiny.qmodel())
    numbers = report.report(few, tmp_path)
    assert numbers["accuracy"]["attacks"] == []
    assert numbers["accuracy"]["clean"]["keras"] is None
    assert numbers["training_shares"] is None
    assert "<svg" not in (tmp_path / "report.html").read_text()


def heard(inputs: ReportInputs) -> ReportInputs:
    """The same, its strongest attacks those of recordings at 20 dB."""
    sound = {"eps": 20.0, "eps_label": "20 dB", "eps_lsb": None, "unit": "snr", "norm": "l2"}

    def moved(part):
        return part if part.attack is None or part.attack.eps_label != "8/255" else (
            dataclasses.replace(part, attack=dataclasses.replace(part.attack, **sound))
        )  # fmt: skip

    datasets = tuple(moved(data) for data in inputs.datasets)
    traces = [
        dataclasses.replace(moved(trace), label=data.label, dataset=data.digest)
        for trace, data in zip(inputs.trace.datasets, datasets, strict=True)
    ]
    made = (outcome(datasets[2].label), weaker(datasets[3].label))
    trace = dataclasses.replace(inputs.trace, datasets=tuple(traces))
    return dataclasses.replace(inputs, datasets=datasets, trace=trace, outcomes=made)


def test_budgets_of_recordings_have_axes_of_their_own(inputs, tmp_path):
    made = heard(inputs)
    numbers = report.report(made, tmp_path)
    assert [(w["unit"], w["eps"], w["eps_lsb"]) for w in numbers["worst_case"]] == [("snr", 20.0, None)]
    drawn = figures.draw(numbers, samples.load(tmp_path))
    assert drawn["accuracy"].count('id="axes_') == 2
    assert drawn["smallest"].count('id="axes_') == 1
    assert "20 dB" in (tmp_path / "report.html").read_text()
    assert "| 20 dB | – |" in (tmp_path / "report.md").read_text()
    changes = figures._smallest_changes(samples.load(tmp_path), figures.SCALES[1])
    half = changes["SQUARE L2"][np.isfinite(changes["SQUARE L2"])]
    np.testing.assert_allclose(half, 20 + 20 * np.log10(2))
