"""A Keras model as the list of its layers' calls: nested models are flattened, a layer called twice is two calls.

A model's own `layers` do not tell that: they hold a shared layer once and a nested model as one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.errors import UnsupportedError
from pipeline.training.keras_backend import keras

INPUT = "input"
"""The name of the model's input."""
Shape = tuple[int | None, ...]

AUGMENTATIONS = tuple(
    getattr(keras.layers, f"Random{what}")
    for what in ("Brightness", "Contrast", "Flip", "Rotation", "Translation", "Zoom")
)
"""Layers that vary samples of a training; Keras notes of their calls that they are in training."""
IDENTITIES = (
    *AUGMENTATIONS,
    keras.layers.Identity,
    keras.layers.ActivityRegularization,
    keras.layers.Dropout,
    keras.layers.GaussianNoise,
    keras.layers.GaussianDropout,
    keras.layers.AlphaDropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
)
"""Layers that do nothing at inference: they leave no trace."""


@dataclass(frozen=True)
class Call:
    """One use of a layer."""

    layer: Any
    """The keras.layers.Layer, or another operation of Keras."""
    name: str
    """The layer's, with a number where two calls would have the same."""
    inputs: tuple[str, ...]
    """Names of the calls whose outputs it reads, or INPUT."""
    shapes: tuple[Shape, ...]
    """Of those, with the batch axis."""


@dataclass(frozen=True)
class _Node:
    """A call whose name is not yet known."""

    layer: Any
    index: int
    """Of its discovery, from the output on."""
    inputs: tuple[_Node | None, ...]
    """None: the model's input."""
    shapes: tuple[Shape, ...]


def calls(model: Any) -> tuple[Call, ...]:
    """All calls that the output of a keras.Model needs, each after those that it reads, in the order in which Keras
    computes them; the last one makes the output.

    UnsupportedError: more than one input or output, a model without a graph (subclassed), a call in training mode, or
    an output that is the input.
    """
    end = _Walk(model).end
    if end is None:
        raise UnsupportedError(f"model {model.name!r} has no layers")
    names: dict[int, str] = {}
    taken = {INPUT}
    made = []
    for node in _in_order(end):
        names[node.index] = free_name(plain_name(node.layer.name), taken)
        inputs = tuple(INPUT if source is None else names[source.index] for source in node.inputs)
        made.append(Call(node.layer, names[node.index], inputs, node.shapes))
    return tuple(made)


def outputs(graph: Sequence[Call], x: Any, source: str = INPUT) -> Mapping[str, Any]:
    """The output of every call at inference, by name, for a batch x, which is that of `source`."""
    values = {source: x}
    for call in graph:
        tensors = [values[name] for name in call.inputs]
        merging = len(tensors) > 1 or isinstance(call.layer, MERGING)
        values[call.name] = call.layer(tensors if merging else tensors[0])
    return values


MERGING = (keras.layers.Add, keras.layers.Concatenate)
"""Layers that are called with a list of tensors, be it of one."""


def rebuilt(model: Any, graph: Sequence[Call], inputs: Any = None, source: str = INPUT) -> Any:
    """The keras.Model of these calls, which begin as the model's do; its layers get the names of their first calls.
    inputs: the tensor of `source`, if not one like the model's."""
    if not graph:
        raise UnsupportedError(f"model {model.name!r} has no layers")
    for call in reversed(graph):
        call.layer.name = call.name
    x = keras.Input(model.input_shape[1:]) if inputs is None else inputs
    return keras.Model(x, outputs(graph, x, source)[graph[-1].name], name=plain_name(model.name))


def plain_name(name: str) -> str:
    """The name as TensorFlow takes it for a scope, other characters as _.

    >>> plain_name("conv 1"), plain_name("_x")
    ('conv_1', 'layer_x')
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    return plain if re.match("[A-Za-z0-9.]", plain) else f"layer{plain}"


def free_name(name: str, taken: set[str]) -> str:
    """The name, numbered if it is taken; it then is."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    taken.add(free)
    return free


def _in_order(end: _Node) -> list[_Node]:
    """The nodes by their longest way to the end, then by discovery: as Keras orders its layers."""
    depth: dict[int, int] = {}
    nodes: dict[int, _Node] = {}
    waiting = [(end, 0)]
    while waiting:
        node, far = waiting.pop()
        nodes[node.index] = node
        if far >= depth.get(node.index, 0):
            depth[node.index] = far
            waiting += [(source, far + 1) for source in node.inputs if source is not None]
    return sorted(nodes.values(), key=lambda node: (-depth[node.index], node.index))


@dataclass
class _Scope:
    """One call of a model: what its inputs stand for, and the nodes found in it."""

    model: Any
    inputs: Mapping[int, _Node | None]
    """By the id of the input tensor."""
    found: dict[tuple[int, int], _Node | _Scope] = field(default_factory=dict)
    """By id of the operation and number of its call."""


class _Walk:
    """Follows tensors from a model's output to its input."""

    def __init__(self, model: Any) -> None:
        self.discovered = 0
        if len(_tensors(model, "inputs")) != 1 or len(_tensors(model, "outputs")) != 1:
            what = f"{len(_tensors(model, 'inputs'))} inputs and {len(_tensors(model, 'outputs'))} outputs"
            raise UnsupportedError(f"model {model.name!r} has {what}", "the device has one of each")
        scope = _Scope(model, {id(_tensors(model, "inputs")[0]): None})
        self.end = self.node(_tensors(model, "outputs")[0], scope)

    def node(self, tensor: Any, scope: _Scope) -> _Node | None:
        """What makes the tensor; None: the model's input."""
        if id(tensor) in scope.inputs:
            return scope.inputs[id(tensor)]
        operation, number, position = tensor._keras_history
        key = (id(operation), number)
        if key not in scope.found:
            index, self.discovered = self.discovered, self.discovered + 1
            keras_node = operation._inbound_nodes[number]
            layer = _layer(operation, keras_node.arguments)
            tensors = keras_node.input_tensors
            sources = tuple(self.node(t, scope) for t in tensors)
            if _does_nothing(operation):
                return sources[0]
            if isinstance(operation, keras.Model):
                inside = zip(_tensors(operation, "inputs"), sources, strict=True)
                scope.found[key] = _Scope(operation, {id(t): source for t, source in inside})
            else:
                shapes = tuple(tuple(t.shape) for t in tensors)
                scope.found[key] = _Node(layer, index, sources, shapes)
        found = scope.found[key]
        return self.node(_tensors(found.model, "outputs")[position], found) if isinstance(found, _Scope) else found


def _layer(operation: Any, arguments: Any) -> Any:
    """The keras.layers.Layer that is called: the operation, or one that computes what an operation of keras.ops does,
    such as x + y, x / 255 or relu(x). UnsupportedError: another one, or a call that says more than its tensors."""
    if isinstance(operation, keras.layers.Layer):
        if not isinstance(operation, AUGMENTATIONS):
            _require_plain(operation, arguments)
        return operation
    kind, values = type(operation).__name__, [*arguments.args, *arguments.kwargs.values()]
    numbers = [value for value in values if isinstance(value, (int, float))]
    tensors = [value for value in values if isinstance(value, keras.KerasTensor)]
    make = OPERATIONS.get((kind, len(tensors), len(numbers)))
    backwards = kind in ORDERED and not isinstance(values[0], keras.KerasTensor)
    if make is None or backwards or len(tensors) + len(numbers) != len(values):
        what = f"operation {operation.name!r}: keras.ops has {kind}, which no device layer exists for"
        raise UnsupportedError(what, "write it with layers of Keras")
    layer = make(*map(float, numbers)) if kind != "ReLU" else _relu(operation)
    layer.name = operation.name
    return layer


def _relu(operation: Any) -> Any:
    """Of keras.activations.relu, which keeps its settings to itself."""
    return keras.layers.ReLU(operation.max_value, operation.negative_slope, operation.threshold)


ORDERED = ("Divide", "Subtract", "TrueDivide")
"""Operations in which the tensor comes before the number."""
_over: Callable[[float], Any] = lambda n: keras.layers.Rescaling(1 / n if n else math.inf)  # noqa: E731
OPERATIONS: Mapping[tuple[str, int, int], Callable[..., Any]] = {
    ("Add", 2, 0): keras.layers.Add,
    ("Add", 1, 1): lambda n: keras.layers.Rescaling(1.0, n),
    ("Subtract", 1, 1): lambda n: keras.layers.Rescaling(1.0, -n),
    ("Multiply", 1, 1): keras.layers.Rescaling,
    ("Divide", 1, 1): _over,
    ("TrueDivide", 1, 1): _over,
    ("Relu", 1, 0): keras.layers.ReLU,
    ("ReLU", 1, 0): keras.layers.ReLU,
    ("Relu6", 1, 0): lambda: keras.layers.ReLU(6.0),
}
"""By the class of an operation of keras.ops and the tensors and numbers it is called with: the layer that it is."""


def _does_nothing(operation: Any) -> bool:
    """Whether the operation leaves its input as it is, at inference."""
    linear = type(operation) is keras.layers.Activation and operation.activation is keras.activations.linear
    return linear or type(operation) in IDENTITIES


def _tensors(model: Any, end: str) -> list[Any]:
    """The "inputs" or "outputs" of a model with a graph."""
    tensors = getattr(model, end, None)
    if not tensors:
        kind = f"model {model.name!r} ({type(model).__name__})"
        raise UnsupportedError(
            f"{kind} has no graph of layers", "build it with keras.Sequential or keras.Model(in, out)"
        )
    return list(tensors)


def _require_plain(operation: Any, arguments: Any) -> None:
    """UnsupportedError where a call says more than its tensors."""
    extra = {f"argument {i}": value for i, value in enumerate(arguments.args[1:], 1)} | dict(arguments.kwargs)
    if not arguments.args or not _only_tensors(arguments.args[0]):
        extra["argument 0"] = arguments.args[0] if arguments.args else None
    for name, value in extra.items():
        if value is not None and value is not False and not _no_masks(value):
            raise UnsupportedError(
                f"layer {operation.name!r} ({type(operation).__name__}) is called with {name} = {value!r}",
                "call it with tensors only",
            )


def _no_masks(value: Any) -> bool:
    """Whether it is what Keras notes of a call with several tensors, none of which has a mask."""
    return isinstance(value, (list, tuple)) and all(mask is None for mask in value)


def _only_tensors(value: Any) -> bool:
    values = value if isinstance(value, (list, tuple)) else [value]
    return all(isinstance(v, keras.KerasTensor) for v in values)
