"""report: everything that was measured, as report.json (docs/REPORT.md), report.md and report.html."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from pipeline.analysis import figures
from pipeline.analysis.statistics import wilson
from pipeline.config.board import Board
from pipeline.core import paths, registry, store, text
from pipeline.core.nouns import QUIET_SAMPLES, Dataset, DatasetTrace, Image, KernelCall, QModel, Sources, Trace

FORMAT = 1
"""Of report.json; changes when a key changes its meaning or goes away."""
TEMPLATES = paths.RESOURCES / "templates"
REQUANT_TABLES = frozenset({"bias", "multiplier", "shift"})
VERSIONED = ("tritmcu", "numpy", "tensorflow", "keras", "qkeras-v3", "adversarial-robustness-toolbox")
UNIT_WORDS = {"instructions": "executed instructions", "cycles": "core cycles", "us": "microseconds"}

Numbers = dict[str, Any]


@dataclass(frozen=True)
class Evidence:
    """What a report is made of. job: the job's values, at least its name; datasets: what was streamed, clean first;
    footprint: flash bytes by owner, adding up to the image's; agreement: lower.agreement's differences per layer;
    history: training, one mapping per epoch; seconds: of the stages that ran, by name; calls: every layer's, as
    rendered."""

    job: Mapping[str, Any]
    board: Board
    qmodel: QModel
    sources: Sources
    image: Image
    trace: Trace
    datasets: Sequence[Dataset]
    footprint: Mapping[str, int]
    calls: Sequence[KernelCall | None]
    agreement: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


def report(evidence: Evidence, folder: Path) -> Numbers:
    """The content of report.json. Writes it with report.md and report.html (one file, opens offline) into `folder`."""
    numbers = summarize(evidence)
    drawings = figures.draw(numbers, evidence.trace, evidence.datasets)
    environment = _environment()
    for suffix, context in (("md", {}), ("html", {"figures": drawings})):
        page = environment.get_template(f"report.{suffix}.j2").render(report=numbers, **context)
        store.write_text(folder / f"report.{suffix}", page)
    store.write_text(folder / "report.json", json.dumps(numbers, indent=1) + "\n")
    return numbers


def summarize(evidence: Evidence) -> Numbers:
    """The content of report.json: plain JSON values, every key described in docs/REPORT.md."""
    clean = evidence.trace.datasets[0]
    return {
        "format": FORMAT,
        "job": dict(evidence.job),
        "board": _board(evidence.board),
        "dataset": _dataset(evidence),
        "digests": _digests(evidence),
        "accuracy": {
            "clean": _accuracy(clean),
            "attacks": [_attack(attacked, clean, evidence) for attacked in evidence.trace.datasets[1:]],
        },
        "agreement": _agreement(evidence),
        "layerwise": evidence.qmodel.metrics.get("layerwise"),
        "confusion": _confusion(clean, len(evidence.qmodel.classes)).tolist(),
        "latency": _latency(evidence),
        "memory": _memory(evidence),
        "link": _link(evidence.trace),
        "training": [dict(epoch) for epoch in evidence.history],
        "training_shares": _training_shares(evidence.qmodel),
        "provenance": _provenance(evidence),
    }


def _training_shares(model: QModel) -> dict[str, float] | None:
    """Of the time the training took: making batches, and validation; None where the model does not say."""
    keys = {what: f"{what}_share" for what in ("input", "validation")}
    if not model.metrics.keys() >= set(keys.values()):
        return None
    return {what: float(model.metrics[key]) for what, key in keys.items()}


def _board(board: Board) -> Numbers:
    return {
        "name": board.name,
        "description": board.description,
        "mcu": board.mcu,
        "core": board.core,
        "clock_hz": board.clock_hz,
        "emulated": board.emulator is not None,
        "flash_bytes": board.memory.flash.length,
        "ram_bytes": board.memory.ram.length,
    }


def _dataset(evidence: Evidence) -> Numbers:
    dataset = evidence.datasets[0]
    return {
        "name": dataset.name,
        "classes": list(dataset.classes),
        "input_shape": list(dataset.input.shape),
        "input_scale": dataset.input.quantization.scale,
        "input_zero_point": dataset.input.quantization.zero_point,
        "samples": {name: len(split) for name, split in dataset.splits.items()},
    }


def _digests(evidence: Evidence) -> Numbers:
    return {
        "datasets": {dataset.label: dataset.digest for dataset in evidence.datasets},
        "qmodel": evidence.qmodel.digest,
        "sources": evidence.sources.digest,
        "image": evidence.image.digest,
        "device": evidence.trace.device.digest,
    }


def _answers(trace: DatasetTrace) -> dict[str, NDArray[np.int64]]:
    """Predicted class per sample of keras (where known), twin and device; a tie goes to the lower class."""
    logits = {"keras": trace.keras_logits, "twin": trace.twin_logits, "device": trace.logits}
    return {who: np.argmax(values, axis=1) for who, values in logits.items() if values is not None}


def _accuracy(trace: DatasetTrace) -> Numbers:
    shares = {who: float(np.mean(answers == trace.y)) for who, answers in _answers(trace).items()}
    hits = int(np.sum(np.argmax(trace.logits, axis=1) == trace.y))
    return {
        "keras": shares.get("keras"),
        "twin": shares["twin"],
        "device": shares["device"],
        "n": len(trace.y),
        "device_interval": list(wilson(hits, len(trace.y))),
    }


def _attack(attacked: DatasetTrace, clean: DatasetTrace, evidence: Evidence) -> Numbers:
    assert attacked.attack is not None
    info = attacked.attack
    return {
        "name": info.name,
        "norm": info.norm,
        "eps": info.eps,
        "eps_label": info.eps_label,
        "eps_lsb": info.eps_lsb,
        "params": dict(info.params),
        **_accuracy(attacked),
        "success": _success(attacked, clean),
        "change_lsb": _largest_change(attacked, evidence.datasets),
    }


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


def _agreement(evidence: Evidence) -> Numbers:
    traces = evidence.trace.datasets
    wrong = [np.any(t.logits != t.twin_logits, axis=1) for t in traces]
    clean = _answers(traces[0])
    return {
        "device_twin_mismatches": int(sum(w.sum() for w in wrong)),
        "samples": sum(len(w) for w in wrong),
        "logits": sum(t.logits.size for t in traces),
        "keras_twin_top1": float(np.mean(clean["keras"] == clean["twin"])) if "keras" in clean else None,
        "layers": [
            {"name": layer.name, "keras_name": layer.keras_name, **evidence.agreement[layer.name]}
            for layer in evidence.qmodel.layers
            if layer.name in evidence.agreement
        ],
    }


def _confusion(trace: DatasetTrace, classes: int) -> NDArray[np.int64]:
    """Counts (true class, class the device answered)."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (trace.y, np.argmax(trace.logits, axis=1)), 1)
    return counts


def _latency(evidence: Evidence) -> Numbers:
    """Ticks of the clean samples, of the first ones where the link's interrupts are counted; the key that holds them is
    the tick's unit."""
    clean, unit = evidence.trace.datasets[0], evidence.trace.device.tick_unit
    counted = len(clean.ticks) if unit == "instructions" else QUIET_SAMPLES
    ticks, layer_ticks = clean.ticks[:counted], clean.layer_ticks[:counted]
    median = np.median(layer_ticks, axis=0)
    total = float(median.sum())
    return {
        "unit": unit,
        "label": f"{UNIT_WORDS[unit]} ({'measured' if evidence.board.emulator is None else 'emulated'})",
        "tick_hz": evidence.trace.device.tick_hz,
        unit: _spread(ticks),
        "per_layer": [
            {
                **_layer(i, evidence),
                unit: _spread(layer_ticks[:, i]),
                "share": float(median[i]) / total if total else 0.0,
            }
            for i, layer in enumerate(evidence.qmodel.layers)
        ],
    }


def _spread(ticks: NDArray[np.uint32]) -> Numbers:
    return {
        "median": float(np.median(ticks)),
        "p99": float(np.percentile(ticks, 99)),
        "min": int(ticks.min()),
        "max": int(ticks.max()),
    }


def _layer(index: int, evidence: Evidence) -> Numbers:
    layer, call = evidence.qmodel.layers[index], evidence.calls[index]
    specs = evidence.qmodel.input_specs(layer)
    tables = call.tables if call else {}
    return {
        "name": layer.name,
        "kind": layer.kind,
        "kernel": call.function if call else None,
        "output_shape": list(layer.output.shape),
        "macs": registry.load("layers", layer.kind).macs(layer, specs),
        "weights": 0 if layer.weights is None else layer.weights.size,
        "weight_bits": None if layer.weights is None else layer.weight_bits,
        "weights_bytes": sum(table.nbytes for name, table in tables.items() if name not in REQUANT_TABLES),
        "tables_bytes": evidence.sources.layer_table_bytes.get(layer.name, 0),
    }


def _memory(evidence: Evidence) -> Numbers:
    image, stats = evidence.image, evidence.trace.stats
    data = image.ram_bytes - image.arena_bytes
    return {
        "flash_bytes": image.flash_bytes,
        "flash_limit_bytes": evidence.board.memory.flash.length,
        "flash_groups": _flash_groups(evidence.footprint),
        "weights_bytes": image.weights_bytes,
        "code_bytes": image.code_bytes,
        "ram_bytes": image.ram_bytes,
        "ram_limit_bytes": evidence.board.memory.ram.length,
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


def _provenance(evidence: Evidence) -> Numbers:
    return {
        "compiler": evidence.image.compiler,
        "flags": list(evidence.image.flags),
        "versions": {"python": platform.python_version(), **_versions()},
        "system": platform.platform(terse=True),
        "seed": evidence.job.get("seed"),
        "seconds": dict(evidence.seconds),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",), default=False),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=text.percent, count=text.count, compact=text.compact, size=text.size)
    return environment
