"""Job: one experiment, as a person writes it (jobs/<name>.toml)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pipeline.core import paths, registry, schema
from pipeline.core.errors import ConfigError
from pipeline.core.schema import Strict


def _registered(package: str, what: str) -> AfterValidator:
    def check(name: str) -> str:
        if name not in registry.names(package):
            raise ValueError("; ".join(registry.unknown(what, name, registry.names(package))))
        return name

    return AfterValidator(check)


def _epsilon(value: object) -> str:
    """The label of an eps: "8/255" or a decimal number, in real input units, in (0, infinity)."""
    try:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)) or Fraction(str(value)) <= 0:
            raise ValueError
    except (ValueError, ZeroDivisionError):
        raise ValueError('must be a positive number or a fraction such as "8/255"') from None
    return str(value)


def _strength(value: object) -> object:
    """A weight of a loss term, or one by block: numbers in [0, infinity)."""
    numbers: list[Any] = list(value.values()) if isinstance(value, Mapping) else [value]
    for number in numbers:
        real = isinstance(number, (int, float)) and not isinstance(number, bool)
        if not real or not 0 <= number < math.inf:
            raise ValueError("must be a number, at least 0, or a table of such numbers by block")
    return value


Epsilon = Annotated[str, BeforeValidator(_epsilon)]
Strength = Annotated[float | dict[str, float], BeforeValidator(_strength)]
WeightBits = Literal[1, 2, 3, 4, 8, 32]
RANDOM, REFERENCE = "random", "mlperf_tiny"
"""Where weights may come from, besides earlier trainings."""
KERAS_FILE = "model.keras"
Positive = Annotated[int, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class DatasetConfig(Strict):
    """name: a module of pipeline.datasets; limit_train / limit_test: use only the first so many samples."""

    name: Annotated[str, _registered("datasets", "dataset")]
    limit_train: Positive | None = None
    limit_test: Positive | None = None


class Trained(Strict):
    """Options that decide what a training ends with."""

    FIRST: ClassVar[frozenset[str]] = frozenset()

    def identity(self) -> dict[str, Any]:
        """What tells one training from another: the options named in FIRST, and every other one that is not at its
        default. So a new option leaves what was stored before it valid."""
        return {**self.model_dump(include=set(self.FIRST)), **self.model_dump(exclude_defaults=True)}


class ModelConfig(Trained):
    """name: a module of pipeline.models; width: channel multiplier, in (0, 8].

    weight_bits: 2: ternary; 1: binary, stored and computed as ternary codes -1 and 1 at 2 bits; 3, 4, 8: symmetric
    integers; 32: float in training, 8 bits on the device (no quantizer trains them, so they would not survive fewer).
    first_layer_bits, last_layer_bits: instead, for the first and the last weighted layer; layer_bits: for layers by
    name, above all others. alpha: scale of an output channel, "auto": any number, "auto_po2": a power of two.
    activation_bits: of every ReLU.
    """

    FIRST = frozenset({"name", "weight_bits", "first_layer_bits", "last_layer_bits", "width"})

    name: Annotated[str, _registered("models", "model")]
    weight_bits: WeightBits = 2
    first_layer_bits: WeightBits | None = None
    last_layer_bits: WeightBits | None = None
    layer_bits: dict[str, WeightBits] = Field(default_factory=dict)
    alpha: Literal["auto", "auto_po2"] = "auto"
    activation_bits: Annotated[int, Field(ge=2, le=8)] = 8
    width: Annotated[float, Field(gt=0, le=8)] = 1.0


class AdversarialConfig(Strict):
    """Adversarial training: every batch is attacked within eps (infinity norm, real input units) before its step.

    method: "pgd": the loss of the attacked samples alone (Madry et al. 2018, arXiv 1706.06083); "fast_fgsm": the same
    with one step from a random start (Wong, Rice, Kolter 2020, arXiv 2001.03994); "trades": the loss of the clean
    samples plus beta KL(clean answer || attacked answer) (Zhang et al. 2019, arXiv 1901.08573). steps and step_size (in
    units of eps): by default 7 of 0.25, for fast_fgsm 1 of 1.25. random_start: begin at a random point within eps.
    share: of each batch that is attacked, the rest stays clean (Kurakin et al. 2017, arXiv 1611.01236). "n_fgsm": one
    step of eps from uniform noise of `noise` eps, not clipped (de Jorge et al. 2022, arXiv 2202.01181).
    """

    method: Literal["pgd", "fast_fgsm", "n_fgsm", "trades"]
    eps: Epsilon
    steps: Annotated[int, Field(ge=1, le=100)] | None = None
    step_size: Annotated[float, Field(gt=0, le=2)] | None = None
    random_start: bool = True
    noise: Annotated[float, Field(gt=0, le=8)] = 2.0
    beta: Annotated[float, Field(gt=0, le=1000)] = 6.0
    share: Annotated[float, Field(gt=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _consistent(self) -> AdversarialConfig:
        if self.method == "fast_fgsm" and self.steps not in (None, 1):
            raise ValueError('steps: "fast_fgsm" takes one; "pgd" takes more')
        if self.method == "trades" and not self.random_start:
            raise ValueError('random_start: "trades" needs it, at the sample itself its gradient is zero')
        if self.method == "n_fgsm" and (self.steps not in (None, 1) or self.step_size or not self.random_start):
            raise ValueError('steps, step_size, random_start: "n_fgsm" takes one step of eps from noise')
        if self.method != "n_fgsm" and self.noise != type(self).model_fields["noise"].default:
            raise ValueError('noise: belongs to "n_fgsm"')
        if self.method != "trades" and self.beta != type(self).model_fields["beta"].default:
            raise ValueError('beta: belongs to "trades"')
        return self

    @property
    def iterations(self) -> int:
        """Gradient steps of the attack."""
        return self.steps or (1 if self.method in ("fast_fgsm", "n_fgsm") else 7)

    @property
    def relative_step(self) -> float:
        """Length of a step in units of eps."""
        return self.step_size or (1.25 if self.method == "fast_fgsm" else 0.25)


class TrainConfig(Trained):
    """The recipe. initial: where the weights start: "random"; "mlperf_tiny": the reference model in TRITMCU_DATA; or an
    earlier training, by the name of its run or by a folder, its weights going to the layers of the same name.

    learning_rate, final_learning_rate: ends of a cosine over all steps; weight_decay: decoupled, of kernels only;
    augment: vary samples as the data set says; ema: decay per step of the averaged weights that are validated and kept,
    in [0, 1) (0: the weights themselves).
    warmup: share of all steps in which the learning rate rises from 0 before its cosine falls: with a high
    learning_rate, a one-cycle schedule (Smith, Topin 2018, arXiv 1708.07120).
    stochastic: true stochastic quantization of ternary and binary weights, else deterministic; temperature: of its
    noise (8 changes about 11 % of Gaussian weights), temperature_schedule: how it goes to final_temperature over all
    steps.
    jacobian_lambda: weight of the Jacobian regularization (0: off), of all or by block; jacobian: of what (see
    pipeline.jacobian): the "logits", or every block with respect to the "block_input" or the "network_input";
    jacobian_projections: random vectors a sample; jacobian_share: of the batch its estimate looks at.
    adversarial: adversarial training. distill: a teacher, named as in initial: its answers at distill_temperature make
    up distill_weight of the loss (Hinton et al. 2015, arXiv 1503.02531).
    robust_samples: validation samples attacked after each epoch (PGD, 10 steps of eps / 4), robust_eps: their budget
    (by default that of the adversarial training), robust_loss: what that attack maximises: "cross_entropy", which a
    network of low confidence hides from, or the "margin" of the best wrong logit over the right one; best_by: which
    epoch's weights are kept.
    """

    FIRST = frozenset(
        {"initial", "epochs", "batch_size", "learning_rate", "final_learning_rate", "weight_decay", "stochastic",
         "temperature", "jacobian_lambda", "jacobian_projections", "augment"}
    )  # fmt: skip

    initial: Annotated[str, Field(min_length=1)] = "random"
    epochs: Positive
    batch_size: Positive = 128
    learning_rate: PositiveFloat = 1e-3
    final_learning_rate: NonNegativeFloat = 1e-5
    weight_decay: NonNegativeFloat = 0.0
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    stochastic: bool = True
    temperature: PositiveFloat = 8.0
    final_temperature: PositiveFloat | None = None
    temperature_schedule: Literal["constant", "linear", "cosine"] = "constant"
    jacobian_lambda: Strength = 0.0
    jacobian: Literal["logits", "block_input", "network_input"] = "logits"
    jacobian_projections: Annotated[int, Field(ge=1, le=64)] = 1
    jacobian_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    augment: bool = True
    adversarial: AdversarialConfig | None = None
    distill: Annotated[str, Field(min_length=1)] | None = None
    distill_weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    distill_temperature: Annotated[float, Field(gt=0, le=100)] = 4.0
    robust_samples: Annotated[int, Field(ge=0)] = 0
    robust_eps: Epsilon | None = None
    robust_loss: Literal["cross_entropy", "margin"] = "cross_entropy"
    best_by: Literal["accuracy", "robust_accuracy"] = "accuracy"

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if (self.temperature_schedule == "constant") != (self.final_temperature is None):
            raise ValueError('final_temperature: goes with temperature_schedule "linear" or "cosine", and only with it')
        if self.jacobian == "logits" and isinstance(self.jacobian_lambda, dict):
            raise ValueError('jacobian_lambda: a table by block needs jacobian "block_input" or "network_input"')
        if self.robust_samples and self.robust_budget is None:
            raise ValueError("robust_eps: needed with robust_samples where there is no adversarial.eps")
        if self.best_by == "robust_accuracy" and not self.robust_samples:
            raise ValueError('best_by: "robust_accuracy" needs robust_samples')
        options = (self.distill_weight, self.distill_temperature)
        if self.distill is None and options != tuple(
            type(self).model_fields[name].default for name in ("distill_weight", "distill_temperature")
        ):
            raise ValueError("distill: needed with distill_weight and distill_temperature")
        return self

    @property
    def regularized(self) -> bool:
        """Whether a Jacobian term is part of the loss."""
        strengths = self.jacobian_lambda.values() if isinstance(self.jacobian_lambda, dict) else [self.jacobian_lambda]
        return any(strengths)

    @property
    def robust_budget(self) -> str | None:
        """The eps of the robust validation, as written."""
        return self.robust_eps or (self.adversarial.eps if self.adversarial else None)


class AttackConfig(Strict):
    """name: a module of pipeline.attacks; eps: one or more budgets in real input units; steps, step_size (in units of
    eps), restarts: for iterative attacks; samples: attack only the first so many test samples."""

    name: Annotated[str, _registered("attacks", "attack")]
    eps: Annotated[tuple[Epsilon, ...], Field(min_length=1)]
    norm: Literal["linf", "l2"] = "linf"
    steps: Annotated[int, Field(ge=1, le=10000)] = 20
    step_size: Annotated[float, Field(gt=0, le=2)] = 0.125
    restarts: Annotated[int, Field(ge=1, le=100)] = 1
    samples: Positive | None = None


class LayerwiseConfig(Strict):
    """Bits, clip and scale chosen layer by layer after training (pipeline.layerwise), for a network trained at more
    bits.

    method: "laq": the smallest Lipschitz bound; "quanos": by adversarial noise sensitivity; "uniform": all layers at
    `bits`. eps: largest change of an input element the bound reckons with, real input units. budget: largest size of
    the packed weights, in units of the all-ternary network's, at least 1 (laq and quanos).
    """

    method: Literal["laq", "quanos", "uniform"]
    eps: Epsilon = "8/255"
    budget: Annotated[float, Field(ge=1, le=4)] = 1.25
    bits: Literal[2, 3, 4, 8] = 2

    @model_validator(mode="after")
    def _consistent(self) -> LayerwiseConfig:
        foreign = "budget" if self.method == "uniform" else "bits"
        if getattr(self, foreign) != type(self).model_fields[foreign].default:
            raise ValueError(f'{foreign}: is not for method "{self.method}"')
        return self


class FirmwareConfig(Strict):
    """How ternary weights lie in flash. trits_per_byte: 4, which kernels read as they are, or 5 (1.6 bits a weight) for
    the layers that can be expanded into RAM, before each runs, in an arena no larger than with 4. layer_trits_per_byte:
    instead, for layers by name, whatever the arena grows to."""

    trits_per_byte: Literal[4, 5] = 4
    layer_trits_per_byte: dict[str, Literal[4, 5]] = Field(default_factory=dict)


class Job(Strict):
    """One experiment. board: default board; seed: of every random draw; calibration: training samples that fix the
    quantization of tensors the model leaves open; layerwise: how bits are chosen after training, if at all; firmware:
    how the network is packed."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=1 << 31)] = 1
    board: str = "netduinoplus2"
    dataset: DatasetConfig
    model: ModelConfig
    train: TrainConfig
    attacks: tuple[AttackConfig, ...] = ()
    layerwise: LayerwiseConfig | None = None
    firmware: FirmwareConfig = FirmwareConfig()
    calibration: Positive = 512


def eps_value(label: str) -> float:
    """The number an eps label stands for."""
    return float(Fraction(label))


def earlier(recipe: TrainConfig) -> tuple[Path, ...]:
    """The files of earlier trainings that a recipe builds on: those its initial and distill name."""
    names = (recipe.initial, recipe.distill or REFERENCE)
    return tuple(stored_training(name) for name in names if name not in (RANDOM, REFERENCE))


def stored_training(name: str) -> Path:
    """The Keras model of an earlier training: of a folder, or by the name of a run in runs or a model in zoo.
    ConfigError when there is none."""
    for folder in (Path(name), Path("runs") / name, paths.shipped("zoo") / name):
        for path in (folder / "train" / KERAS_FILE, folder / KERAS_FILE):
            if path.is_file():
                return path
    what = f"train: {name!r} is no earlier training, no {KERAS_FILE} in it, in runs/{name} or in zoo/{name}"
    raise ConfigError(what, f'train it first, or name "{RANDOM}", "{REFERENCE}" or another folder')


def find(name: str) -> Path:
    """The job file that is meant: a path, or the name of a job in a jobs folder, bare or as jobs/NAME.toml where the
    current folder has no such file. ConfigError for an unknown name lists what exists; a path may be one of no file."""
    path = Path(name)
    if path.suffix != ".toml":
        return registry.path("jobs", name)
    if not path.exists() and path.parent == Path("jobs"):
        return registry.files("jobs").get(path.stem, path)
    return path


def load(path: Path) -> Job:
    """The validated job. A missing file is a ConfigError that lists the ready-made jobs."""
    if not path.exists():
        raise ConfigError(*registry.unknown("job file", str(path), (f"jobs/{n}.toml" for n in registry.names("jobs"))))
    return schema.load(Job, path)
