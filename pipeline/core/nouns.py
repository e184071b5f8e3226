"""The frozen values that cross stage boundaries: Dataset, QModel, Sources, Image, Trace, and what they are made of.

`Job` and `Board`, the two nouns a person writes, live in pipeline/config with their validation.
Nothing here imports beyond the standard library and NumPy. The annotations are promises that `store` checks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
        raise TypeError(f"{value!r:.80} must be an integer or a list of integers")
    return value


Integers = Annotated[Any, integers]
"""An int or a tuple of ints."""
Progress = Callable[[str, int, int, str], None]
"""progress(what, done, total, info): library code reports, only the command line draws. `what` names one bar."""


def no_progress(what: str, done: int, total: int, info: str = "") -> None:
    """A Progress that shows nothing."""


@dataclass(frozen=True)
class Quantization:
    """real = (q - zero_point) * scale, q an integer of `bits` bits (two's complement, stored in int8; sound: int16)."""

    scale: float
    """Real value of one lattice step, above 0."""
    zero_point: int
    """The integer that represents real 0, in [qmin, qmax]."""
    bits: int = 8
    """Width of q, 2 to 8; 16 for sound as a microphone delivers it, which is not a tensor."""

    @property
    def qmin(self) -> int:
        return -(1 << (self.bits - 1))

    @property
    def qmax(self) -> int:
        return (1 << (self.bits - 1)) - 1

    @property
    def reach(self) -> tuple[float, float]:
        """Lowest and highest real value on the lattice."""
        return (self.qmin - self.zero_point) * self.scale, (self.qmax - self.zero_point) * self.scale

    def dequantize(self, q: NDArray[Any]) -> FloatArray:
        """float32 real values of the integers q, same shape."""
        return ((q.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)).astype(np.float32)

    def quantize(self, x: NDArray[Any]) -> Int8Array:
        """Lattice points nearest to the real values x (ties to even), saturated to [qmin, qmax]: int8, of sound
        int16."""
        q = np.rint(np.asarray(x, dtype=np.float64) / self.scale) + self.zero_point
        return np.asarray(np.clip(q, self.qmin, self.qmax), dtype=np.int8 if self.bits <= 8 else np.int16)


@dataclass(frozen=True)
class TensorSpec:
    """An activation tensor without its batch axis: shape (h, w, c) or (features,), int8 with one quantization."""

    shape: tuple[int, ...]
    """Extents without the batch axis, each at least 1."""
    quantization: Quantization
    """One scale and zero point for the whole tensor."""

    @property
    def size_bytes(self) -> int:
        """Bytes on the device: one int8 per element."""
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class Split:
    """Samples of one split."""

    x: Int8Array
    """(n, *shape) samples on the input lattice."""
    y: NDArray[np.int64]
    """(n,) class indices, 0 to classes - 1."""
    index: NDArray[np.int64]
    """(n,) positions in the official split, so that a subset or an attacked copy can be traced back."""

    def __len__(self) -> int:
        return len(self.x)

    def take(self, n: int | None) -> Split:
        """The first n samples (all of them when n is None)."""
        return self if n is None else self.at(np.arange(min(n, len(self))))

    def at(self, rows: NDArray[np.int64]) -> Split:
        """The samples in these rows."""
        return Split(self.x[rows], self.y[rows], self.index[rows])

    def subset(self, n: int | None, seed: int) -> Split:
        """n samples drawn evenly from all classes (all of them when n is None or larger), in the order of the split.

        Within a class the order is random by `seed`; classes take turns by the share of them that is drawn. So with the
        same seed a smaller subset is part of a larger one, and sorting by class changes nothing.
        """
        if n is None or n >= len(self):
            return self
        random = np.random.default_rng(seed).random(len(self))
        place = np.empty(len(self))
        for label in np.unique(self.y):
            rows = np.flatnonzero(self.y == label)
            place[rows[np.argsort(random[rows])]] = (np.arange(len(rows)) + 0.5) / len(rows)
        chosen = np.lexsort((random, place))[:n]
        return self.at(np.sort(chosen))


@dataclass(frozen=True)
class Dataset:
    """Integer samples as the device receives them, clean or adversarial."""

    name: Name
    """Module of pipeline/datasets that made it."""
    input: TensorSpec
    """Shape and quantization of one sample."""
    classes: tuple[Label, ...]
    """Names of the classes, in the order of the logits."""
    splits: Mapping[Name, Split]
    """ "train", "validation" and "test"; an adversarial Dataset has only "test"."""
    augment: Name = "none"
    """How a trainer may augment a sample: a key of training.augment.MODES."""
    parent: str = ""
    """Digest of the clean Dataset an adversarial one was made from; "" for a clean one."""
    attack: AttackInfo | None = None
    """What made an adversarial Dataset; None for a clean one."""
    spread: FloatArray | None = field(default=None, metadata={"digest": False})
    """float32 (*shape): standard deviation of each input element over the training split (of sound features, of each
    coefficient over all frames), in real units: the unit "sigma" of eps; None where the data set does not state it.
    Not part of the digest."""

    @property
    def label(self) -> str:
        """ "clean", or the attack's name, variant and eps, such as "pgd loss=margin eps=8/255"."""
        return f"{self.attack.title} eps={self.attack.eps_label}" if self.attack else "clean"

    @property
    def digest(self) -> str:
        return digest_of(self.name, self.input, self.classes, dict(self.splits), self.parent, self.attack)


@dataclass(frozen=True)
class AttackInfo:
    """What made an adversarial Dataset."""

    name: Name
    """Module of pipeline/robustness/attacks."""
    norm: Name
    """Norm of the budget: "linf" or "l2"."""
    eps: float
    """Budget, above 0, in `unit`."""
    eps_label: Label
    """The same as the job writes it, such as "8/255", "0.5 sigma" or "20 dB"."""
    eps_lsb: int | None
    """Largest allowed change of any element in lattice steps, floor(eps / scale) for real units; None for the budget of
    a waveform, which does not limit the features."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """The attack's own settings, plain JSON values."""
    variant: Label = ""
    """The settings that distinguish it from the job's other attacks of this name, such as "loss=margin"; "": none."""
    unit: Name = "real"
    """Unit of eps: "real", "sigma", "snr" or "int16", see AttackConfig."""

    @property
    def title(self) -> str:
        """Name and variant."""
        return f"{self.name} {self.variant}".rstrip()


@dataclass(frozen=True)
class TrainedLayer:
    """One layer of a trained network in plain values. Its kinds, and what config and arrays hold:

    conv2d, depthwise_conv2d, dense: config strides (h, w), padding "same" | "valid", bits 2 | 3 | 4 | 8; arrays codes
    int8 (kh, kw, in, out) | (kh, kw, in, multiplier) | (in, out), scale float64 (out,) with weight = codes * scale
    (depthwise: (in * multiplier,), channel-major), bias float64 (out,) if any. batch_normalization: arrays gamma,
    beta, mean, variance; config epsilon. activation: config function "linear" | "relu", scale, zero_point, bits of its
    int8 output (None: to be calibrated from TrainedModel.ranges), symmetric, true where it leaves out the lowest level,
    limit, the largest value of a relu, if any.
    max_pool2d, average_pool2d: config pool (h, w), strides, padding. global_average_pool2d, global_max_pool2d: config
    keepdims, true for (1, 1, c), else (c,). pad2d: config before (rows above, columns to the left), after (below, to
    the right). flatten: config shape of the output, by default (features,). rescaling: config scale, offset: input *
    scale + offset. add, concatenate: nothing.
    """

    name: Label
    """Unique in its network."""
    kind: Name
    """One of those above."""
    inputs: tuple[Label, ...]
    """Names of the layers whose outputs it reads; "input" for the network's."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Settings by name, as listed above."""
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Arrays by name, as listed above."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained network without its framework."""

    name: Name
    """Name of the job that trained it."""
    input: TensorSpec
    """Shape and quantization of a sample; layers call it "input"."""
    classes: tuple[Label, ...]
    """Names of the classes, in the order of the logits."""
    layers: tuple[TrainedLayer, ...]
    """In topological order; the last one gives the logits, without softmax."""
    ranges: Mapping[str, tuple[float, float]]
    """(min, max) of every layer's real output on the calibration samples, by layer name."""
    history: tuple[Mapping[str, float], ...] = ()
    """One mapping per epoch: epoch, loss, accuracy, validation_accuracy and whatever else the recipe measures."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """What is recorded with the network: its job, accuracy, shares of the training time."""


@dataclass(frozen=True)
class QLayer:
    """One integer layer. Tensors are numbered: 0 is the model input, layer i writes tensor i + 1."""

    name: Label
    """Unique in its network."""
    kind: Name
    """Module of pipeline/network/layers."""
    inputs: tuple[int, ...]
    """Numbers of the tensors it reads, each smaller than its own."""
    output: TensorSpec
    """Shape and quantization of its output."""
    params: Mapping[Name, Integers] = field(default_factory=dict)
    """The kind's own settings (stride, padding, activation...): integers and tuples of integers only."""
    weights: Int8Array | None = field(default=None, repr=False)
    """Integers, never packed; the layout depends on the kind; None where a kind has none."""
    weight_bits: int = 8
    """2 (ternary: -1, 0, 1), 3, 4 or 8."""
    bias: Int32Array | None = field(default=None, repr=False)
    """(channels,) in accumulator units; None where a kind has none."""
    multiplier: Int32Array | None = field(default=None, repr=False)
    """(channels,) of the requantization, see docs/ARITHMETIC.md; None where a kind has none."""
    shift: Int8Array | None = field(default=None, repr=False)
    """(channels,) of the requantization, see docs/ARITHMETIC.md; None where a kind has none."""
    keras_name: Label = ""
    """The last trained layer that it corresponds to, for the comparison of Keras and twin; "" for none."""


@dataclass(frozen=True)
class QModel:
    """The integer network: everything the device computes, nothing it does not."""

    name: Name
    """Name of the job it comes from."""
    input: TensorSpec
    """Shape and quantization of a sample: tensor 0."""
    classes: tuple[Label, ...]
    """Names of the classes, in the order of the logits."""
    layers: tuple[QLayer, ...]
    """In the order they run; the last one writes the logits."""
    metrics: Mapping[str, Any] = field(default_factory=dict, repr=False, metadata={"digest": False})
    """Free-form values recorded with the network (accuracy, epochs, its job). Not part of the digest."""

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
    """One argument of a kernel call."""

    kind: str
    """One of "ctx" (scratch context), "params" (a C struct), "dims" (nn_dims), "quant" (requantization per channel,
    built from tables), "input" (a tensor), "table" (a constant array), "output"."""
    ctype: str = ""
    """C type of the struct; for "params" only."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Members of the struct by name; for "dims" n, h, w, c."""
    name: str = ""
    """Name of the constant array; for "table" only."""
    index: int = 0
    """Which of the layer's inputs, from 0; for "input" only."""


@dataclass(frozen=True)
class Trits:
    """A table stored in flash at 5 trits per byte and expanded into scratch before the call (codegen/trits.py)."""

    table: str
    """Its name among the call's tables."""
    groups: int
    """How many groups it has, each of codegen.trits.GROUP_BYTES bytes."""
    threes: int
    """Mask of the fields in which 2 means 3, see nn_expand_trits."""
    offset: int
    """First byte of its expansion in the layer's scratch."""


@dataclass(frozen=True)
class KernelCall:
    """One C call as data: what the templates print and what the twin binds through ctypes are the same thing."""

    function: str
    """Name of the C function."""
    args: tuple[Arg, ...]
    """In the order of the C prototype."""
    tables: Mapping[str, NDArray[Any]]
    """Constant arrays by name, of dtype uint8, int8, int16, uint32 or int32."""
    scratch_bytes: int = 0
    """Bytes of its memory in the arena: the kernel's own scratch, then the expanded trits."""
    in_place: int | None = None
    """Index of the input that the output may overwrite; None where it must not overwrite any."""
    trits: Trits | None = None
    """The one table stored at 5 trits per byte; None where there is none."""
    start_cost: int = 0
    """Approximate instructions of every call besides those of its outputs: what splitting it costs."""

    @property
    def context_bytes(self) -> int:
        """Bytes of the scratch that are the kernel's own."""
        return self.scratch_bytes if self.trits is None else self.trits.offset


@dataclass(frozen=True)
class LayerCode:
    """What one layer of a network became in a firmware project."""

    name: Label
    """Name of the QLayer."""
    kernel: Label | None
    """C function that computes it; None for a layer that only renames its input."""
    weights_bytes: int
    """Bytes of its packed weights in flash."""
    tables_bytes: int
    """Bytes of all its constant tables in flash: weights, biases, requantization."""
    unserved: str = ""
    """What the core's faster kernels of this kind require, if none of them supports the layer; else ""."""
    cascade: Label = ""
    """Name of the last layer of the cascade that it is part of and is computed with; "" for none."""
    stripes: int = 1
    """How many calls of its kernel compute it."""


@dataclass(frozen=True)
class Sources:
    """A rendered firmware project."""

    files: Mapping[RelativePath, str]
    """Text by relative POSIX path."""
    digest: str
    """Digest of every file but the one that contains it, 32 hexadecimal digits; the device reports it in HELLO."""
    board: Name
    """Name of the board it is for."""
    qmodel_digest: str
    """Digest of the network in it."""
    arena_bytes: int
    """Planned activation arena, scratch included."""
    layers: tuple[LayerCode, ...]
    """One for each layer of the network, in order."""
    arena_contents: Mapping[Label, int] = field(default_factory=dict)
    """Bytes of the arena by what is in it when it is fullest; they add up to arena_bytes."""

    @property
    def layer_table_bytes(self) -> dict[str, int]:
        """Bytes of the constant tables by layer name."""
        return {layer.name: layer.tables_bytes for layer in self.layers}


FLASH, RAM = "flash", "RAM"
"""The memories of a board."""


@dataclass(frozen=True)
class Part:
    """Bytes of a firmware that belong to one function, variable or table."""

    memory: str
    """FLASH or RAM."""
    path: tuple[str, ...]
    """Names from the group down to the function or variable, as in ("layers", "conv1", "tables", "filter")
    or ("kernels", "nn_conv2d_t2_dsp"); bytes without a name are "padding" or "unnamed"."""
    size: int
    """Bytes, above 0."""


@dataclass(frozen=True)
class Image:
    """A built firmware; its files are next to meta.json."""

    elf: Name
    """File name of the ELF file."""
    digest: str
    """Digest of the Sources it was built from."""
    board: Name
    """Name of the board it is for."""
    compiler: Label
    """First line of the compiler's --version, or Arduino's core."""
    flags: tuple[Label, ...]
    """Compiler flags of the application; empty if Arduino's tool chose them."""
    flash_bytes: int
    """Bytes written to flash, gaps and initial values included."""
    ram_bytes: int
    """Bytes of variables: arena, buffers and data, without the stack."""
    weights_bytes: int
    """Of flash_bytes: constant tables of all layers."""
    code_bytes: int
    """Of flash_bytes: everything else."""
    arena_bytes: int
    """Of ram_bytes: the activation arena."""
    stack_bytes: int
    """Bytes of the reserved stack."""
    sections: Mapping[str, int]
    """Bytes of every allocated section, by its name."""
    parts: tuple[Part, ...]
    """Every byte: those in flash add up to flash_bytes, those in RAM to ram_bytes + stack_bytes."""
    footprint: Mapping[str, int]
    """Bytes of flash by group, adding up to flash_bytes: "layer NAME" for each layer's tables, then groups of code."""
    unserved: Mapping[str, str] = field(default_factory=dict)
    """By name of each layer that only its portable kernel supports: what the core's faster kernels require."""
    kernels: Mapping[str, str] = field(default_factory=dict)
    """By name of each layer that is computed: the C function that computes it."""
    cascades: Mapping[str, str] = field(default_factory=dict)
    """By name of each layer of a cascade: the last layer of that cascade, with which it is computed."""


@dataclass(frozen=True)
class DeviceInfo:
    """What a device reports in HELLO."""

    board: Name
    """Name of the board the firmware was built for."""
    digest: str
    """Digest of the Sources it was built from, 32 hexadecimal digits."""
    protocol: int
    """Version of the serial protocol, wire.PROTOCOL."""
    tick_hz: int
    """Ticks per second, 0 where a tick has no fixed duration."""
    tick_unit: Name
    """What a tick is: "instructions", "cycles" or "us"."""
    arena_bytes: int
    """Size of the activation arena."""
    input_bytes: int
    """Bytes of one sample."""
    output_bytes: int
    """Bytes of the logits: one per class."""
    layers: int
    """Number of layers of the network."""
    max_payload: int
    """Largest payload of a frame, bytes."""
    rx_buffer_bytes: int
    """Receive buffer: bytes that the host may have in flight."""
    base_bytes: int = 0
    """Bytes for the sample from which others are sent as differences; 0 for none."""


QUIET_SAMPLES = 64
"""The first samples of a Trace's first data set: nothing was sent to the device while they ran, so that no interrupt of
the link is part of their ticks."""


@dataclass(frozen=True)
class DatasetTrace:
    """Answers to the test split of one Dataset, n samples."""

    label: Label
    """Dataset.label."""
    dataset: str
    """Digest of the Dataset."""
    index: NDArray[np.int64]
    """(n,) positions in the official split."""
    y: NDArray[np.int64]
    """(n,) class indices."""
    logits: Int8Array
    """(n, classes) from the device."""
    twin_logits: Int8Array
    """(n, classes) from the twin, for the same samples."""
    ticks: NDArray[np.uint32]
    """(n,) ticks of the whole inference."""
    layer_ticks: NDArray[np.uint32]
    """(n, layers) ticks of every layer."""
    attack: AttackInfo | None = None
    """What made the samples; None for clean ones."""


@dataclass(frozen=True)
class LinkStats:
    """Counters of one streaming run."""

    bytes_sent: int = 0
    """Bytes to the device, on the wire, framing included."""
    bytes_received: int = 0
    """Bytes from the device, on the wire, framing included."""
    seconds: float = 0.0
    """Wall-clock time of the run."""
    retries: int = 0
    """Requests sent again."""
    crc_errors: int = 0
    """Frames from the device with a wrong checksum."""
    device_crc_errors: int = 0
    """Frames to the device with a wrong checksum, as it counted them."""
    reconnects: int = 0
    """How often the link was opened again."""
    resets: int = 0
    """Restarts of the device that were detected."""
    deltas: int = 0
    """Samples sent as differences from another."""


@dataclass(frozen=True)
class DeviceStats:
    """Measured on the device after the run."""

    stack_high_water_bytes: int
    """Deepest use of the stack."""
    arena_touched_bytes: int
    """Highest byte of the arena that was written, plus one."""
    canaries_ok: bool
    """Whether nothing wrote outside the arena or the stack."""
    stack_size_bytes: int
    """Reserved stack."""


@dataclass(frozen=True)
class Trace:
    """Everything a device answered in one streaming run."""

    device: DeviceInfo
    """What it reported in HELLO."""
    datasets: tuple[DatasetTrace, ...]
    """In the order of the request, clean samples first."""
    link: LinkStats
    """Counters of the connection."""
    stats: DeviceStats
    """Memory the device measured."""
    place: Label = ""
    """The port or unit that was named; "" for the emulator, or the only board."""


def same_classes(a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether class i is the same in both: by its name, or, where one of them only numbers its classes, by its number.

    >>> same_classes(("no", "yes"), ("yes", "no")), same_classes(("no", "yes"), ("0", "1"))
    (False, True)
    """
    return len(a) == len(b) and (tuple(a) == tuple(b) or tuple(map(str, range(len(a)))) in (tuple(a), tuple(b)))


def with_metrics(model: QModel, **metrics: Any) -> QModel:
    """The model with these metrics added."""
    return replace(model, metrics={**model.metrics, **metrics})


@dataclass(frozen=True)
class AttackOutcome:
    """What one attack of a campaign did, sample by sample. All arrays (n,) are in the order of the campaign's samples:
    those that were not attacked, because the clean answer is wrong or an earlier attack fooled them, are zero."""

    label: str
    """Dataset.label of the campaign."""
    attack: str
    """Module of pipeline/robustness/attacks."""
    params: Mapping[str, Any]
    """The attack's own settings."""
    attacked: NDArray[np.bool_]
    """Samples that were attacked: classified correctly when clean, and not fooled by an earlier attack."""
    fooled: NDArray[np.bool_]
    """Samples misclassified at a lattice point within the budget."""
    queries: NDArray[np.int64]
    """Number of answers used."""
    gradients: NDArray[np.int64]
    """Number of gradients used."""
    zero_gradients: NDArray[np.int64]
    """Number of gradients that were zero in every element: if there are many, the attack was blind."""
    smallest: NDArray[np.float64]
    """Share of the budget that the smallest change known to fool the sample uses; above 1 outside the budget, inf
    where none is known."""
    seconds: float
    """Wall-clock time of the whole attack."""


@dataclass(frozen=True)
class AuditCheck:
    """One question of an audit (robustness/audit.py), and its answer."""

    name: Name
    """Name of the check."""
    passed: bool | None
    """Whether value <= threshold; None: not measured."""
    value: float | None
    """What was measured; None: nothing."""
    threshold: float | None
    """Largest value that passes; None where nothing was measured."""
    why: Label
    """What the value and the threshold are, or why nothing was measured."""


@dataclass(frozen=True)
class AuditResult:
    """Whether the robust accuracy of a network can be believed."""

    verdict: Name
    """ "clean", "suspicious" or "masked"."""
    checks: tuple[AuditCheck, ...]
    """In the order of robustness/audit.py."""
    network: str
    """Digest of the QModel."""
    dataset: Name
    """Name of the data set."""
    budget: Label
    """eps, as it was given."""
    samples: int
    """Number of test samples."""


@dataclass(frozen=True)
class DeviceAnswers:
    """What boards answered as the oracle of attacks. An input counts once, however often it was queried."""

    board: str
    """Name of the board."""
    digest: str
    """Digest of its firmware, 32 hexadecimal digits."""
    devices: int
    """Number of such boards that answered."""
    answers: int
    """Number of inputs they answered."""
    reused: int
    """Of these, answers kept by an earlier run, for which the boards were not asked again."""
    differing: int
    """Of these, inputs whose logits differ from the twin's; anything but 0 is a bug."""


@dataclass(frozen=True)
class AttackResult:
    """What the attack stage stores."""

    datasets: tuple[Dataset, ...]
    """The clean test samples, then the attacked copies of every campaign."""
    outcomes: tuple[AttackOutcome, ...]
    """One per attack, campaign by campaign."""
    agreement: Mapping[str, Mapping[str, float]]
    """Between Keras and the integer network, per layer (analysis/agreement.py); empty without a Keras model."""
    keras: Mapping[str, FloatArray]
    """float32 (n, classes): Keras's answers by label of the dataset; empty without a Keras model."""
    device: DeviceAnswers | None = None
    """What boards answered during the attacks; None if the twin answered."""
