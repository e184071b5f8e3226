"""binding: a data set comes to a network on its own lattice, in its own units, or not at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Dataset, Quantization, Split, TensorSpec, with_metrics
from pipeline.network import twin
from pipeline.workflow import binding
from pipeline.workflow.binding import Units
from tests.support import tiny

PIXELS = Quantization(1 / 255, -128)


def dataset(shape: tuple[int, ...] = (8, 8, 1), q: Quantization = PIXELS, classes: int = 10) -> Dataset:
    """All 256 values, over and over."""
    x = np.resize(np.arange(-128, 128).astype(np.int8), (8, *shape))
    split = Split(x, np.zeros(8, np.int64), np.arange(8))
    return Dataset("toy", TensorSpec(shape, q), tuple(map(str, range(classes))), {"test": split})


def network(q: Quantization = PIXELS, **metrics: float):
    model = tiny.qmodel()
    return with_metrics(replace(model, input=TensorSpec(model.input.shape, q)), **metrics)


def test_a_data_set_on_the_networks_lattice_stays_as_it_is():
    assert binding.bind(network(), dataset()).digest == dataset().digest


def test_another_lattice_of_the_same_units_holds_the_nearest_values():
    q = Quantization(1.2 / 255, -120)
    bound = binding.bind(network(q), dataset())
    assert bound.input.quantization == q
    wanted = q.quantize(PIXELS.dequantize(dataset().splits["test"].x))
    np.testing.assert_array_equal(bound.splits["test"].x, wanted)
    assert len(np.unique(wanted)) > 200


@pytest.mark.parametrize("q", [Quantization(1.0, -128), Quantization(2 / 255, 0), Quantization(1 / 4096, -128)])
def test_other_units_are_refused_by_both_ranges(q):
    with pytest.raises(ConfigError, match=r"takes inputs from .* data set 'toy' has 0 to 1") as caught:
        binding.bind(network(q), dataset())
    assert "--input-range" in caught.value.hint


@pytest.mark.parametrize("change", [{"shape": (8, 8, 3)}, {"classes": 9}])
def test_another_shape_or_number_of_classes_is_refused(change):
    with pytest.raises(ConfigError, match="'tiny' takes 8x8x1 samples and has 10 classes"):
        binding.bind(network(), dataset(**change))


def named(*classes: str) -> Dataset:
    """A sample of each class."""
    split = Split(np.zeros((3, 8, 8, 1), np.int8), np.arange(3), np.arange(3))
    return Dataset("toy", TensorSpec((8, 8, 1), PIXELS), classes, {"test": split})


def answers(*classes: str):
    return replace(network(), classes=classes)


def test_classes_are_told_by_their_names():
    """Folders are read in the order of the alphabet, a network may have another."""
    bound = binding.bind(answers("yes", "no", "unknown"), named("no", "unknown", "yes"))
    assert bound.classes == ("yes", "no", "unknown")
    assert bound.splits["test"].y.tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("theirs", "ours"), [(("0", "1", "2"), ("yes", "no", "unknown")), (("no", "yes", "up"), ("0", "1", "2"))]
)
def test_classes_that_one_side_only_numbers_keep_their_order(theirs, ours):
    assert binding.bind(answers(*ours), named(*theirs)).splits["test"].y.tolist() == [0, 1, 2]


def test_classes_of_other_names_are_refused_by_name():
    says = "'toy' has classes that network 'tiny' does not have: '_unknown_'; it lacks 'unknown'"
    with pytest.raises(ConfigError, match=says) as caught:
        binding.bind(answers("yes", "no", "unknown"), named("_unknown_", "no", "yes"))
    assert "names of the network's classes" in caught.value.hint


def test_pixels_from_0_to_255_are_the_data_sets_own_units():
    """The integers stay, and eps means what it means for the data set."""
    model = Units.of((0.0, 255.0), dataset()).stated(network(Quantization(1.0, -128)))
    assert model.input.quantization.scale == pytest.approx(1 / 255, rel=1e-12)
    np.testing.assert_array_equal(binding.bind(model, dataset()).splits["test"].x, dataset().splits["test"].x)


def test_an_offset_moves_the_samples():
    """A network of inputs from -1 to 1: 0 becomes -1, 1 becomes 1."""
    own = Quantization(2 / 255, 0)
    model = Units.of((-1.0, 1.0), dataset()).stated(network(own))
    bound = binding.bind(model, dataset())
    pixels = PIXELS.dequantize(dataset().splits["test"].x).astype(np.float64)
    np.testing.assert_array_equal(bound.splits["test"].x, own.quantize(2 * pixels - 1))
    assert bound.input.quantization.scale == pytest.approx(1 / 255)


def test_a_range_without_zero_is_one_on_a_lattice_with_it():
    units = Units.of((1.0, 2.0), dataset())
    own = units.applied(dataset()).input.quantization
    assert own.reach == (0.0, pytest.approx(2.0))
    bound = binding.bind(units.stated(network(own)), dataset())
    pixels = PIXELS.dequantize(dataset().splits["test"].x).astype(np.float64)
    np.testing.assert_array_equal(bound.splits["test"].x, own.quantize(1 + pixels))


def test_the_range_that_is_proposed_is_in_the_networks_own_units():
    model = Units.of((0.0, 4.0), dataset()).stated(network(Quantization(1.0, -128)))
    with pytest.raises(ConfigError, match=r"takes inputs from 0 to 63\.75") as caught:
        binding.bind(model, dataset())
    assert caught.value.hint.endswith("--input-range 0 255")


@pytest.mark.parametrize("wrong", [(1.0, 0.0), (0.0, 0.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_a_range_that_is_none_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"--input-range .*: not a range"):
        Units.of(wrong, dataset())


def test_random_inputs_carry_the_networks_own_answers():
    model = tiny.qmodel()
    made = binding.random_inputs(model, 3)
    split = made.splits["test"]
    assert (made.name, made.input, len(split)) == ("random", model.input, binding.RANDOM_SAMPLES)
    np.testing.assert_array_equal(twin.run(model, split.x).argmax(axis=1), split.y)
    assert set(np.unique(split.x)) == set(range(-128, 128))
    assert made.digest == binding.random_inputs(model, 3).digest != binding.random_inputs(model, 4).digest
