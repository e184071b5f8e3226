"""What an attack and quantization do to the logits of a trained network."""

from __future__ import annotations

from pipeline.core.nouns import Dataset, Progress, TrainedModel
from pipeline.network import twin
from pipeline.quantization import layerwise
from pipeline.quantization.layerwise import Effects
from pipeline.stages import lower

SAMPLES = 128
"""Training samples that networks answer."""


def measure(trained: TrainedModel, eps: str, dataset: Dataset, seed: int, progress: Progress) -> Effects:
    """The Effects of FGSM of eps, and of other weights, on the network as a device computes it."""
    from pipeline.stages import attack

    whole = lower.lower(trained)
    x = dataset.splits["train"].subset(SAMPLES, seed).x
    dequantize = whole.layers[-1].output.quantization.dequantize
    clean = dequantize(twin.run(whole, x))

    def distance(changed: TrainedModel) -> float:
        model = lower.lower(changed)
        return layerwise.distance(model.layers[-1].output.quantization.dequantize(twin.run(model, x)), clean)

    return Effects(distance, attack.moved(whole, eps, dataset, seed, progress=progress))
