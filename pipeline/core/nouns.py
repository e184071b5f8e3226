"""The frozen values that cross stage boundaries: Dataset, QModel, Sources, Image, Trace, and what they are made of.

`Job` and `Board`, the two nouns a person writes, live in job.py and board.py with their validation.
Nothing here imports beyond the standard library and NumPy. The annotations are promises that `store` checks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.digest import digest_of
from pipeline.core.names import Label, Name, RelativePath

Int8Array = NDArray[np.int8]
Int32Array = NDArray[np.int32]
FloatArray = NDArray[np.float32]


def integers(value: Any) -> Any:
    """The value. TypeError unless it is an int or a tuple of ints."""
    if not all(type(number) is int for number in (value if isinstance(value, tuple) else (value,))):
        raise TypeError(f"{value!r:.80} must be a whole number or some")
    return value


Integers = Annotated[Any, integers]
"""An int or a tuple of ints."""
Progress = Callable[[str, int, int, str], None]
"""progress(what, done, total, info): library code reports, only the command line draws. `what` names one bar."""


def no_progress(what: str, done: int, total: int, info: str = "") -> None:
    """A Progress that shows nothing."""


@dataclass(frozen=True)
class Quantization:
    """real = (q - zero_point) * scale, q an integer of `bits` bits (two's complement, stored in int8)."""

    scale: float
    zero_point: int
    bits: int = 8

    @property
    def qmin(self) -> int:
        return -(1 << (self.bits - 1))

    @property
    def qmax(self) -> int:
        return (1 << (self.bits - 1)) - 1

    def dequantize(self, q: NDArray[Any]) -> FloatArray:
        """float32 real values of the integers q, same shape."""
        return ((q.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)).astype(np.float32)

    def quantize(self, x: NDArray[Any]) -> Int8Array:
        """int8 lattice points nearest to the real values x (ties to even), saturated to [qmin, qmax]."""
        q = np.rint(np.asarray(x, dtype=np.float64) / self.scale) + self.zero_point
        return np.asarray(np.clip(q, self.qmin, self.qmax), dtype=np.int8)


@dataclass(frozen=True)
class TensorSpec:
    """One activation tensor without its batch axis: shape (h, w, c) or (features,), int8 with one quantization."""

    shape: tuple[int, ...]
    quantization: Quantization

    @property
    def size_bytes(self) -> int:
        """Bytes on the device: one int8 per element."""
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class Split:
    """Samples of one split: x int8 (n, *shape) on the input lattice, y int64 (n,) class indices, index int64 (n,)
    positions in the official split (so that a subset or an attacked copy can be traced back)."""

    x: Int8Array
    y: NDArray[np.int64]
    index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.x)

    def take(self, n: int | None) -> Split:
        """The first n samples (all of them when n is None)."""
        return self if n is None else Split(self.x[:n], self.y[:n], self.index[:n])


@dataclass(frozen=True)
class Dataset:
    """Integer samples as the device receives them. Clean and adversarial data are the same kind of thing.

    splits: "train", "validation", "test"; an adversarial Dataset has only "test".
    input: shape and quantization of one sample; `augment`: how a trainer may vary it, a key of datasets/_augment.MODES.
    parent: digest of the clean Dataset an adversarial one was made from, else ""; attack: its AttackInfo, else None.
    keras_logits: float32 (n, classes) answers of the trained float model to the test split, where known.
    """

    name: Name
    input: TensorSpec
    classes: tuple[Label, ...]
    splits: Mapping[Name, Split]
    augment: Name = "none"
    parent: str = ""
    attack: AttackInfo | None = None
    keras_logits: FloatArray | None = field(default=None, metadata={"digest": False})

    @property
    def label(self) -> str:
        """ "clean", or the attack's name and eps."""
        return f"{self.attack.name} eps={self.attack.eps_label}" if self.attack else "clean"

    @property
    def digest(self) -> str:
        return digest_of(self.name, self.input, self.classes, dict(self.splits), self.parent, self.attack)


@dataclass(frozen=True)
class AttackInfo:
    """What made an adversarial Dataset. eps is in real input units, eps_lsb = floor(eps / input scale) in lattice
    steps: the largest change of any element as the device sees it. `params`: the attack's own settings."""

    name: Name
    norm: Name
    eps: float
    eps_label: Label
    eps_lsb: int
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainedLayer:
    """One layer of a trained network in plain values. kind and what its config / arrays hold:

    conv2d, depthwise_conv2d, dense: config strides (h, w), padding "same" | "valid", bits 2 | 3 | 4 | 8; arrays codes
    int8 (kh, kw, in, out) | (kh, kw, in, multiplier) | (in, out), scale float64 (out,) with weight = codes * scale
    (depthwise: (in * multiplier,), channel-major), bias float64 (out,) if any. batch_normalization: arrays gamma,
    beta, mean, variance; config epsilon. activation: config function "linear" | "relu", scale, zero_point, bits of its
    int8 output (None: to be calibrated from TrainedModel.ranges). max_pool2d, average_pool2d: config pool (h, w),
    strides, padding. global_average_pool2d, global_max_pool2d, flatten, add, concatenate: nothing.
    """

    name: Label
    kind: Name
    inputs: tuple[Label, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainedModel:
    """A trained network without its framework: layers in topological order, the last one gives the logits (no softmax);
    the input is called "input". ranges: (min, max) of every layer's output on the calibration samples.
    history: one mapping per epoch (epoch, loss, accuracy, validation_accuracy, ...)."""

    name: Name
    input: TensorSpec
    classes: tuple[Label, ...]
    layers: tuple[TrainedLayer, ...]
    ranges: Mapping[str, tuple[float, float]]
    history: tuple[Mapping[str, float], ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class QLayer:
    """One integer layer. Tensors are numbered: 0 is the model input, layer i writes tensor i + 1.

    kind: a module of pipeline.layers. inputs: tensor numbers. params: the kind's own settings (stride, padding,
    activation_min...), ints and tuples of ints only. weights: int8 values as numbers, never packed, layout by kind;
    weight_bits: 2 (ternary, values -1, 0, 1), 3, 4 or 8; bias: int32 (channels,) in accumulator units;
    multiplier int32 and shift int8 (channels,): requantization, see docs/ARITHMETIC.md. None where a kind has none.
    keras_name: the last trained layer this one stands for ("" if none), for the Keras/twin comparison.
    """

    name: Label
    kind: Name
    inputs: tuple[int, ...]
    output: TensorSpec
    params: Mapping[Name, Integers] = field(default_factory=dict)
    weights: Int8Array | None = None
    weight_bits: int = 8
    bias: Int32Array | None = None
    multiplier: Int32Array | None = None
    shift: Int8Array | None = None
    keras_name: Label = ""


@dataclass(frozen=True)
class QModel:
    """The integer network: everything the device computes, nothing it does not.

    metrics: free-form numbers recorded with the model (accuracy, epochs, ...), not part of the digest.
    """

    name: Name
    input: TensorSpec
    classes: tuple[Label, ...]
    layers: tuple[QLayer, ...]
    metrics: Mapping[str, Any] = field(default_factory=dict, metadata={"digest": False})

    @property
    def output(self) -> TensorSpec:
        return self.layers[-1].output

    @property
    def digest(self) -> str:
        return digest_of(self)

    def tensor(self, number: int) -> TensorSpec:
        """Spec of tensor `number` (0 is the input)."""
        return self.input if number == 0 else self.layers[number - 1].output

    def input_specs(self, layer: QLayer) -> tuple[TensorSpec, ...]:
        return tuple(self.tensor(t) for t in layer.inputs)


@dataclass(frozen=True)
class Arg:
    """One argument of a kernel call. kind: "ctx" (scratch context), "params" (C struct `ctype` with `fields`),
    "dims" (nn_dims n, h, w, c in `fields`), "quant" (per-channel quantization built from tables), "input" (`index`-th
    input tensor), "table" (constant array `name`), "output"."""

    kind: str
    ctype: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    index: int = 0


@dataclass(frozen=True)
class Trits:
    """A table that lies in flash at 5 trits a byte and is expanded into scratch before the call (packing.pack_trits).

    table: its name; groups: of packing.GROUP_BYTES bytes; threes: see nn_expand_trits; offset: in the scratch, bytes.
    """

    table: str
    groups: int
    threes: int
    offset: int


@dataclass(frozen=True)
class KernelCall:
    """One C call as data: what the templates print and what the twin binds through ctypes are the same thing.

    function: C function; source: its file under firmware/nn; args: in C order; tables: constant arrays by name,
    dtype uint8, int8, int16, uint32 or int32; scratch_bytes: of its memory in the arena, what "ctx" is told of and
    behind it what trits expand to. in_place: index of the input the output may overwrite, or None. trits: the one table
    that lies in flash so, or None.
    """

    function: str
    source: str
    args: tuple[Arg, ...]
    tables: Mapping[str, NDArray[Any]]
    scratch_bytes: int = 0
    in_place: int | None = None
    trits: Trits | None = None

    @property
    def context_bytes(self) -> int:
        """What of the scratch is the kernel's own."""
        return self.scratch_bytes if self.trits is None else self.trits.offset


@dataclass(frozen=True)
class LayerCode:
    """What one layer of a network became in a firmware project."""

    name: Label
    """Of the QLayer."""
    kernel: Label | None
    """C function that computes it; None for a layer that only renames its input."""
    weights_bytes: int
    """Of its packed weights in flash."""
    tables_bytes: int
    """Of all its constant tables in flash: weights, biases, requantization."""


@dataclass(frozen=True)
class Sources:
    """A rendered firmware project."""

    files: Mapping[RelativePath, str]
    """Text by relative POSIX path."""
    digest: str
    """32 hexadecimal digits over every file but the one that carries it; the device answers it in HELLO."""
    board: Name
    """Name of the board it is for."""
    qmodel_digest: str
    """Digest of the network in it."""
    arena_bytes: int
    """Planned activation arena, scratch included."""
    layers: tuple[LayerCode, ...]
    """One for each layer of the network, in order."""

    @property
    def layer_table_bytes(self) -> dict[str, int]:
        """Bytes of the constant tables by layer name."""
        return {layer.name: layer.tables_bytes for layer in self.layers}


@dataclass(frozen=True)
class Image:
    """A built firmware; its files lie beside meta.json."""

    elf: Name
    """File name of the ELF file."""
    digest: str
    """Digest of the Sources it was built from."""
    board: Name
    """Name of the board it is for."""
    compiler: Label
    """First line of the compiler's --version, or Arduino's core."""
    flags: tuple[Label, ...]
    """Compiler flags of the application; none where Arduino's tool chose them."""
    flash_bytes: int
    """What is written to flash, gaps and initial values included."""
    ram_bytes: int
    """Variables: arena, buffers and data, without the stack."""
    weights_bytes: int
    """Of flash_bytes: constant tables of all layers."""
    code_bytes: int
    """Of flash_bytes: everything else."""
    arena_bytes: int
    """Of ram_bytes: the activation arena."""
    stack_bytes: int
    """Reserved stack."""
    sections: Mapping[str, int]
    """Bytes of every allocated section, by its name."""
    symbols: Mapping[str, int]
    """Bytes of every function and variable, by its name."""
    footprint: Mapping[str, int]
    """Bytes of flash by owner, adding up to flash_bytes: "layer NAME" for each layer's tables, then groups of code."""


@dataclass(frozen=True)
class DeviceInfo:
    """What a device says of itself in HELLO."""

    board: Name
    digest: str
    protocol: int
    tick_hz: int
    tick_unit: Name
    arena_bytes: int
    input_bytes: int
    output_bytes: int
    layers: int
    max_payload: int
    rx_buffer_bytes: int
    base_bytes: int = 0


QUIET_SAMPLES = 64
"""The first samples of a Trace's first data set: nothing was sent to the device while they ran, so that no interrupt of
the link is part of their ticks."""


@dataclass(frozen=True)
class DatasetTrace:
    """Answers to one Dataset (its test split): logits int8 (n, classes), ticks uint32 (n,), layer_ticks uint32
    (n, layers); twin_logits: what the twin says to the same samples; dataset: its digest; label: Dataset.label;
    index: official sample indices; mismatches: samples whose logits differ from the twin's."""

    label: Label
    dataset: str
    index: NDArray[np.int64]
    y: NDArray[np.int64]
    logits: Int8Array
    twin_logits: Int8Array
    ticks: NDArray[np.uint32]
    layer_ticks: NDArray[np.uint32]
    keras_logits: FloatArray | None = None
    attack: AttackInfo | None = None


@dataclass(frozen=True)
class LinkStats:
    """Counters of one streaming run; bytes are on the wire, both directions, framing included; seconds wall clock;
    resets: restarts of the device that were noticed (Session.stats); deltas: samples sent as differences to another.
    """

    bytes_sent: int = 0
    bytes_received: int = 0
    seconds: float = 0.0
    retries: int = 0
    crc_errors: int = 0
    device_crc_errors: int = 0
    reconnects: int = 0
    resets: int = 0
    deltas: int = 0


@dataclass(frozen=True)
class DeviceStats:
    """Measured on the device after the run, bytes: deepest stack use, highest arena byte touched; canaries_ok: nothing
    wrote outside the arena or the stack."""

    stack_high_water_bytes: int
    arena_touched_bytes: int
    canaries_ok: bool
    stack_size_bytes: int


@dataclass(frozen=True)
class Trace:
    """Everything a device answered in one streaming run."""

    device: DeviceInfo
    datasets: tuple[DatasetTrace, ...]
    link: LinkStats
    stats: DeviceStats


def with_metrics(model: QModel, **metrics: Any) -> QModel:
    """The model with these metrics added."""
    return replace(model, metrics={**model.metrics, **metrics})


@dataclass(frozen=True)
class AttackResult:
    """What the attack stage stores. datasets: the clean test samples, then every attacked copy, each with the logits of
    the Keras model; agreement: of Keras and twin, per layer (agreement.agreement)."""

    datasets: tuple[Dataset, ...]
    agreement: Mapping[str, Mapping[str, float]]
