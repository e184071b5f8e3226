"""Devices for a DeviceOracle that answer as the twin, or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.core.errors import DeviceError
from pipeline.core.nouns import QModel
from pipeline.device.session import Result
from pipeline.network import twin


class TwinDevice:
    """Answers as the twin of the model. lasts: so many answers, then it is gone; wrong: so many it gets wrong."""

    def __init__(self, model: QModel, *, lasts: int = 1 << 30, wrong: int = 0) -> None:
        self.answers, self.is_open = 0, True
        self._model, self._lasts, self._wrong = model, lasts, wrong

    def ask(self, samples: Sequence[bytes], take: Callable[[Result], None]) -> None:
        x = np.stack([np.frombuffer(sample, np.int8).reshape(self._model.input.shape) for sample in samples])
        for logits in twin.run(self._model, x).reshape(len(x), -1):
            if self.answers >= self._lasts:
                raise DeviceError("virtual: gone", "plug it in")
            self.answers += 1
            take(Result(logits ^ 1 if self.answers <= self._wrong else logits, 0, np.zeros(0, np.uint32)))

    def close(self) -> None:
        self.is_open = False
