"""What every attack of the Adversarial Robustness Toolbox (ART) needs here. The only door to ART beside the attacks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from pipeline.core.nouns import Dataset
from pipeline.training.keras_backend import compiled, keras

NORMS: Mapping[str, Any] = {"linf": np.inf, "l2": 2}


def classifier(model: Any, dataset: Dataset) -> Any:
    """ART's view of a keras.Model that answers logits: cross-entropy on logits, inputs bounded by the lattice.

    The model goes in as one graph with a fixed signature: several times faster than the bare model.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ART names the frameworks it does not find
        from art.estimators.classification import TensorFlowV2Classifier

    forward = compiled(lambda x: model(x, training=False), ((None, *dataset.input.shape), "float32"))
    quantization = dataset.input.quantization
    bounds = quantization.dequantize(np.array([quantization.qmin, quantization.qmax]))
    return TensorFlowV2Classifier(
        model=lambda x, training=False: forward(x),
        nb_classes=len(dataset.classes),
        input_shape=dataset.input.shape,
        loss_object=keras.losses.CategoricalCrossentropy(from_logits=True),
        clip_values=(float(bounds[0]), float(bounds[1])),
    )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """ART draws from NumPy's global generator: inside, it is seeded; afterwards it is as it was before."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
