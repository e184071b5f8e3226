"""One line about each outcome, for whoever watches."""

from __future__ import annotations

from pipeline.core import text
from pipeline.core.nouns import AttackResult, AuditResult, DeviceInfo, Image, QModel, Sources, Trace, TrainedModel


def training(trained: TrainedModel) -> str:
    epochs = text.counted(len(trained.history), "epoch")
    return f"{epochs}, validation accuracy {text.percent(trained.metrics['validation_accuracy'])}"


def network(model: QModel) -> str:
    weights = sum(layer.weights.size for layer in model.layers if layer.weights is not None)
    return f"{text.counted(len(model.layers), 'layer')}, {text.counted(weights, 'weight')}"


def attacks(tested: AttackResult) -> str:
    attacked = tested.datasets[1:]
    samples = text.counted(max((len(d.splits["test"]) for d in attacked), default=0), "sample")
    note = f"{text.counted(len(attacked), 'attack')} on {samples}"
    return note if tested.device is None else f"{note}, {text.counted(tested.device.answers, 'answer')} of devices"


def audit(found: AuditResult) -> str:
    failed = [check.name for check in found.checks if check.passed is False]
    checks = text.counted(len(found.checks), "check")
    return f"{found.verdict}, {checks}{', failed: ' if failed else ''}{', '.join(failed)}"


def sources(sources: Sources) -> str:
    tables = sum(sources.layer_table_bytes.values())
    return f"{len(sources.files)} files, tables {text.size(tables)}, arena {text.size(sources.arena_bytes)}"


def device(device: DeviceInfo) -> str:
    return f"{device.board} runs firmware {device.digest}"


def trace(trace: Trace) -> str:
    samples = sum(len(part.y) for part in trace.datasets)
    bytes_per_s = (trace.link.bytes_sent + trace.link.bytes_received) / max(trace.link.seconds, 1e-9)
    return f"{text.counted(samples, 'sample')}, {text.size(round(bytes_per_s))}/s on the wire"


def image(image: Image) -> str:
    return f"flash {text.size(image.flash_bytes)}, RAM {text.size(image.ram_bytes + image.stack_bytes)}"
