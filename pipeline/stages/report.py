"""report: everything that was measured, as report.json (docs/REPORT.md), report.md and report.html."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis import figures, latency, outcomes, samples
from pipeline.analysis.samples import Samples
from pipeline.analysis.statistics import wilson
from pipeline.config.board import Board
from pipeline.core import registry, store, templates
from pipeline.core.nouns import (
    AttackOutcome,
    AuditResult,
    Dataset,
    DatasetTrace,
    FloatArray,
    Image,
    QModel,
    Sources,
    Trace,
)
from pipeline.device import runners
from pipeline.quantization import layerwise

FORMAT = 3
"""Of report.json; changes when a key changes its meaning or goes away."""
VERSIONED = ("tritmcu", "numpy", "tensorflow", "keras", "qkeras-v3", "adversarial-robustness-toolbox")
UNIT_WORDS = {"instructions": "executed instructions", "cycles": "core cycles", "us": "microseconds"}

Numbers = dict[str, Any]


@dataclass(frozen=True)
class ReportInputs:
    """What a report is made of: nouns as the stages stored them."""

    job: Mapping[str, Any]
    """The job's values, at least its name."""
    board: Board
    """Where the image ran."""
    qmodel: QModel
    """The integer network."""
    sources: Sources
    """Its firmware project."""
    image: Image
    """Built from the project."""
    trace: Trace
    """The device's answers."""
    datasets: Sequence[Dataset]
    """What was streamed, clean samples first."""
    agreement: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Differences of Keras and twin per layer (agreement.agreement)."""
    history: Sequence[Mapping[str, float]] = ()
    """Of the training, one mapping per epoch."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Of the stages that ran, by name."""
    outcomes: Sequence[AttackOutcome] = ()
    """What every attack did."""
    keras: Mapping[str, FloatArray] = field(default_factory=dict)
    """Keras's own logits, by the label of the data set; of none where the network has no Keras model."""
    seed: int | None = None
    """Of what was drawn: samples, attacks, a training; None where nothing was."""
    audit: AuditResult | None = None
    """Of this network; None where there was none."""


def report(inputs: ReportInputs, folder: Path) -> Numbers:
    """The content of report.json. Writes it with report.md, report.html (one file, opens offline) and what is known of
    every sample (analysis/samples.py) into `folder`."""
    numbers, known = summarize(inputs), _samples(inputs)
    drawings = figures.draw(numbers, known)
    samples.save(folder, known)
    environment = templates.pages()
    for suffix, context in (("md", {}), ("html", {"figures": drawings})):
        page = environment.get_template(f"report.{suffix}.j2").render(report=numbers, **context)
        store.write_text(folder / f"report.{suffix}", page)
    store.write_text(folder / "report.json", json.dumps(numbers, indent=1) + "\n")
    return numbers


def summarize(inputs: ReportInputs) -> Numbers:
    """The content of report.json: plain JSON values, every key described in docs/REPORT.md."""
    clean = inputs.trace.datasets[0]
    return {
        "format": FORMAT,
        "job": dict(inputs.job),
        "board": _board(inputs),
        "dataset": _dataset(inputs),
        "digests": _digests(inputs),
        "accuracy": {
            "clean": _accuracy(clean, inputs),
            "attacks": [_attack(attacked, clean, inputs) for attacked in inputs.trace.datasets[1:]],
        },
        "worst_case": outcomes.worst_cases(_samples(inputs)),
        "robustness": outcomes.summarize(inputs.outcomes),
        "audit": None if inputs.audit is None else _audit(inputs.audit),
        "agreement": _agreement(inputs),
        "layerwise": layerwise.current(inputs.qmodel.metrics.get("layerwise")),
        "confusion": _confusion(clean, len(inputs.qmodel.classes)).tolist(),
        "latency": _latency(inputs),
        "memory": _memory(inputs),
        "link": _link(inputs.trace),
        "training": [dict(epoch) for epoch in inputs.history],
        "training_shares": _training_shares(inputs.qmodel),
        "provenance": _provenance(inputs),
    }


def _audit(found: AuditResult) -> Numbers:
    return {**asdict(found), "checks": [asdict(check) for check in found.checks]}


def _samples(inputs: ReportInputs) -> Samples:
    return samples.collect(inputs.trace, inputs.datasets, inputs.outcomes, inputs.keras)


def _training_shares(model: QModel) -> dict[str, float] | None:
    """Of the time the training took: making batches, and validation; None where the model does not say."""
    keys = {what: f"{what}_share" for what in ("input", "validation")}
    if not model.metrics.keys() >= set(keys.values()):
        return None
    return {what: float(model.metrics[key]) for what, key in keys.items()}


def _is_emulated(inputs: ReportInputs) -> bool:
    """Whether an emulator answered; a program of this computer is none."""
    return not inputs.board.is_host and runners.is_emulated(inputs.board, inputs.trace.place or None)


def _board(inputs: ReportInputs) -> Numbers:
    board = inputs.board
    return {
        "name": board.name,
        "description": board.description,
        "mcu": board.mcu,
        "core": board.core,
        "clock_hz": board.clock_hz,
        "emulated": _is_emulated(inputs),
        "flash_bytes": board.memory.flash.length,
        "ram_bytes": board.memory.ram.length,
    }


def _dataset(inputs: ReportInputs) -> Numbers:
    dataset = inputs.datasets[0]
    return {
        "name": dataset.name,
        "classes": list(dataset.classes),
        "input_shape": list(dataset.input.shape),
        "input_scale": dataset.input.quantization.scale,
        "input_zero_point": dataset.input.quantization.zero_point,
        "samples": {name: len(split) for name, split in dataset.splits.items()},
    }


def _digests(inputs: ReportInputs) -> Numbers:
    return {
        "datasets": {dataset.label: dataset.digest for dataset in inputs.datasets},
        "qmodel": inputs.qmodel.digest,
        "sources": inputs.sources.digest,
        "image": inputs.image.digest,
        "device": inputs.trace.device.digest,
    }


def _answers(trace: DatasetTrace, inputs: ReportInputs) -> dict[str, NDArray[np.int64]]:
    """Predicted class per sample of keras (where known), twin and device; a tie goes to the lower class."""
    logits = {"keras": inputs.keras.get(trace.label), "twin": trace.twin_logits, "device": trace.logits}
    return {who: np.argmax(values, axis=1) for who, values in logits.items() if values is not None}


def _accuracy(trace: DatasetTrace, inputs: ReportInputs) -> Numbers:
    shares = {who: float(np.mean(answers == trace.y)) for who, answers in _answers(trace, inputs).items()}
    hits = int(np.sum(np.argmax(trace.logits, axis=1) == trace.y))
    return {
        "keras": shares.get("keras"),
        "twin": shares["twin"],
        "device": shares["device"],
        "n": len(trace.y),
        "device_interval": list(wilson(hits, len(trace.y))),
    }


def _attack(attacked: DatasetTrace, clean: DatasetTrace, inputs: ReportInputs) -> Numbers:
    assert attacked.attack is not None
    info = attacked.attack
    return {
        "data": attacked.label,
        "name": info.name,
        "variant": info.variant,
        "norm": info.norm,
        "unit": info.unit,
        "eps": info.eps,
        "eps_label": info.eps_label,
        "eps_lsb": info.eps_lsb,
        "params": dict(info.params),
        **_accuracy(attacked, inputs),
        "clean": _same_samples(attacked, clean),
        "success": _success(attacked, clean),
        "change_lsb": _largest_change(attacked, inputs.datasets),
    }


def _same_samples(attacked: DatasetTrace, clean: DatasetTrace) -> Numbers:
    """Clean accuracy of the device on the samples that were attacked: where their curve begins."""
    rows = np.isin(clean.index, attacked.index)
    hits, n = int(np.sum(np.argmax(clean.logits[rows], axis=1) == clean.y[rows])), int(rows.sum())
    return {"device": hits / n if n else None, "interval": list(wilson(hits, n)), "n": n}


def _success(attacked: DatasetTrace, clean: DatasetTrace) -> Numbers:
    """Attack success on the device: the share of samples answered rightly when clean and wrongly when attacked."""
    _, here, there = np.intersect1d(attacked.index, clean.index, return_indices=True)
    right = np.argmax(clean.logits[there], axis=1) == clean.y[there]
    fooled = right & (np.argmax(attacked.logits[here], axis=1) != attacked.y[here])
    n, successes = int(right.sum()), int(fooled.sum())
    return {"rate": successes / n if n else None, "interval": list(wilson(successes, n)), "n": n}


def _largest_change(attacked: DatasetTrace, datasets: Sequence[Dataset]) -> int | None:
    """Largest change of any input element the device received, in lattice steps; None without a common sample."""
    clean = datasets[0].splits["test"]
    mine = next(dataset for dataset in datasets if dataset.digest == attacked.dataset).splits["test"]
    _, here, there = np.intersect1d(mine.index, clean.index, return_indices=True)
    change = np.abs(mine.x[here].astype(np.int16) - clean.x[there])
    return int(change.max()) if change.size else None


def _agreement(inputs: ReportInputs) -> Numbers:
    traces = inputs.trace.datasets
    wrong = [np.any(t.logits != t.twin_logits, axis=1) for t in traces]
    clean = _answers(traces[0], inputs)
    return {
        "device_twin_mismatches": int(sum(w.sum() for w in wrong)),
        "samples": sum(len(w) for w in wrong),
        "logits": sum(t.logits.size for t in traces),
        "keras_twin_top1": float(np.mean(clean["keras"] == clean["twin"])) if "keras" in clean else None,
        "layers": [
            {"name": layer.name, "keras_name": layer.keras_name, **inputs.agreement[layer.name]}
            for layer in inputs.qmodel.layers
            if layer.name in inputs.agreement
        ],
    }


def _confusion(trace: DatasetTrace, classes: int) -> NDArray[np.int64]:
    """Counts (true class, class the device answered)."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (trace.y, np.argmax(trace.logits, axis=1)), 1)
    return counts


def _latency(inputs: ReportInputs) -> Numbers:
    """Ticks of the clean samples; the key that holds them is the tick's unit."""
    unit = inputs.trace.device.tick_unit
    ticks, layer_ticks = latency.undisturbed(inputs.trace)
    median = np.median(layer_ticks, axis=0)
    total = float(median.sum())
    return {
        "unit": unit,
        "label": f"{UNIT_WORDS[unit]} ({'emulated' if _is_emulated(inputs) else 'measured'})",
        "tick_hz": inputs.trace.device.tick_hz,
        unit: _spread(ticks),
        "per_layer": [
            {
                **_layer(i, inputs),
                unit: _spread(layer_ticks[:, i]),
                "share": float(median[i]) / total if total else 0.0,
            }
            for i, layer in enumerate(inputs.qmodel.layers)
        ],
    }


def _spread(ticks: NDArray[np.uint32]) -> Numbers:
    return {
        "median": float(np.median(ticks)),
        "p99": float(np.percentile(ticks, 99)),
        "min": int(ticks.min()),
        "max": int(ticks.max()),
    }


def _layer(index: int, inputs: ReportInputs) -> Numbers:
    layer, code = inputs.qmodel.layers[index], inputs.sources.layers[index]
    specs = inputs.qmodel.input_specs(layer)
    return {
        "name": layer.name,
        "kind": layer.kind,
        "kernel": code.kernel,
        "cascade": code.cascade or None,
        "stripes": code.stripes,
        "output_shape": list(layer.output.shape),
        "macs": registry.load("layers", layer.kind).macs(layer, specs),
        "weights": 0 if layer.weights is None else layer.weights.size,
        "weight_bits": None if layer.weights is None else layer.weight_bits,
        "weights_bytes": code.weights_bytes,
        "tables_bytes": code.tables_bytes,
    }


def _memory(inputs: ReportInputs) -> Numbers:
    image, stats = inputs.image, inputs.trace.stats
    data = image.ram_bytes - image.arena_bytes
    return {
        "flash_bytes": image.flash_bytes,
        "flash_limit_bytes": inputs.board.memory.flash.length,
        "flash_groups": _flash_groups(inputs.image.footprint),
        "weights_bytes": image.weights_bytes,
        "code_bytes": image.code_bytes,
        "ram_bytes": image.ram_bytes + image.stack_bytes,
        "ram_limit_bytes": inputs.board.memory.ram.length,
        "ram_groups": {"arena": image.arena_bytes, "data and buffers": data, "stack": image.stack_bytes},
        "arena_bytes": image.arena_bytes,
        "arena_touched_bytes": stats.arena_touched_bytes,
        "stack_bytes": image.stack_bytes,
        "stack_high_water_bytes": stats.stack_high_water_bytes,
        "canaries_ok": stats.canaries_ok,
    }


def _flash_groups(footprint: Mapping[str, int]) -> dict[str, int]:
    """Flash bytes by owner, the tables of all layers as one."""
    code = {
        owner: size for owner, size in footprint.items() if not owner.startswith("layer ") or owner == "layer calls"
    }
    return {"layer tables": sum(footprint.values()) - sum(code.values()), **code}


def _link(trace: Trace) -> Numbers:
    link = asdict(trace.link)
    total = trace.link.bytes_sent + trace.link.bytes_received
    return {"bytes_per_s": total / trace.link.seconds if trace.link.seconds else 0.0, **link}


def _provenance(inputs: ReportInputs) -> Numbers:
    return {
        "compiler": inputs.image.compiler,
        "flags": list(inputs.image.flags),
        "versions": {"python": platform.python_version(), **_versions()},
        "system": platform.platform(terse=True),
        "seed": inputs.seed,
        "seconds": dict(inputs.seconds),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
