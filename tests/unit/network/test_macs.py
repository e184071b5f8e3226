"""Multiply-accumulates: those of MLPerf-Tiny's networks, counted by hand from their shapes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.core import registry, store
from pipeline.core.nouns import QModel
from pipeline.workflow import zoo

RESNET8 = {
    "stem": 32 * 32 * 16 * 3 * 3 * 3,
    "stack1": 2 * 32 * 32 * 16 * 3 * 3 * 16,
    "stack2": 16 * 16 * 32 * (3 * 3 * 16 + 3 * 3 * 32 + 16),
    "stack3": 8 * 8 * 64 * (3 * 3 * 32 + 3 * 3 * 64 + 32),
    "logits": 64 * 10,
}
DSCNN = {"stem": 25 * 5 * 64 * 10 * 4, "block": 4 * 25 * 5 * 64 * (3 * 3 + 64), "logits": 64 * 12}


@pytest.mark.parametrize(("name", "wanted"), [("cifar10_resnet8_stq", RESNET8), ("kws_dscnn_stq", DSCNN)])
def test_of_a_network(name, wanted):
    model = store.load(zoo.shelf() / name, QModel)
    counts = {
        layer.name: registry.load("layers", layer.kind).macs(layer, model.input_specs(layer)) for layer in model.layers
    }
    for part, macs in wanted.items():
        assert sum(count for layer, count in counts.items() if layer.startswith(part)) == macs
    assert sum(counts.values()) == sum(wanted.values())


@pytest.mark.parametrize("kind", sorted(set(registry.names("layers")) - {"conv2d", "dense", "depthwise_conv2d"}))
def test_a_layer_without_weights_has_none(kind):
    assert registry.load("layers", kind).macs(SimpleNamespace(), ()) == 0
