"""Which ticks of a streaming run are those of inference alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import QUIET_SAMPLES, QModel, Trace

Ticks = NDArray[np.uint32]


def undisturbed(trace: Trace) -> tuple[Ticks, Ticks]:
    """(n,) ticks of the whole inference and (n, layers) of each layer: of the clean samples, of the first ones where
    the link's interrupts are counted."""
    clean = trace.datasets[0]
    counted = len(clean.ticks) if trace.device.tick_unit == "instructions" else QUIET_SAMPLES
    return clean.ticks[:counted], clean.layer_ticks[:counted]


def medians(trace: Trace, model: QModel) -> tuple[int, dict[str, int]]:
    """Median ticks of one inference, and of each layer by its name."""
    ticks, layer_ticks = undisturbed(trace)
    layers = zip(model.layers, np.median(layer_ticks, axis=0), strict=True)
    return int(np.median(ticks)), {layer.name: int(median) for layer, median in layers}
