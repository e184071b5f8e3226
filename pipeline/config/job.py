"""Job: one experiment, as a person writes it (jobs/<name>.toml)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pipeline.config.budget import INSTRUCTIONS, NO_BUDGET, CostBudget, layer_amount, layer_budget
from pipeline.config.dataset import DatasetConfig
from pipeline.core import paths, registry, schema, store
from pipeline.core.errors import ConfigError
from pipeline.core.names import LONGEST_NAME
from pipeline.core.schema import Label, Name, NonNegativeFloat, Positive, PositiveFloat, Strict


def _epsilon(value: object) -> str:
    """The label of an eps: "8/255" or a decimal number, above 0; in real input units unless something else is said."""
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


def _teacher(name: str) -> str | None:
    return None if name == NO_TEACHER else name


Epsilon = Annotated[str, BeforeValidator(_epsilon)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Strength = Annotated[float | dict[str, float], BeforeValidator(_strength)]
WeightBits = Literal[1, 2, 3, 4, 8, 32]
RANDOM, REFERENCE, ORIGINAL = "random", "mlperf_tiny", "original"
"""Where weights may come from, besides earlier trainings; "original" is the model file of the job."""
NO_TEACHER = "none"
CLONE = "clone"
"""The model that is made of a file."""
KERAS_FILE = "model.keras"


class ModelConfig(schema.Identified):
    """Which network, and how its weights and activations are quantized."""

    FIRST = frozenset({"name", "weight_bits", "first_layer_bits", "last_layer_bits", "width"})

    name: Annotated[str, schema.registered("models")]
    """Module of models/; with a file "clone", and need not be given."""
    file: Annotated[str, Field(min_length=1)] | None = None
    """A trained Keras network (.keras, .h5) to clone; a relative path starts at the folder of the job file."""
    input_range: tuple[Finite, Finite] | None = None
    """Lowest and highest input of the file's network, such as (0, 255) for pixels; None: those of the data set."""
    weight_bits: WeightBits = 2
    """1: binary, stored and computed as ternary codes -1 and 1 at 2 bits; 2: ternary; 3, 4, 8: symmetric integers; 32:
    float in training, 8 bits on the device (no quantizer trains them, so they would not survive fewer)."""
    first_layer_bits: WeightBits | None = None
    """Overrides weight_bits for the first weighted layer."""
    last_layer_bits: WeightBits | None = None
    """Overrides weight_bits for the last weighted layer."""
    layer_bits: dict[Label, WeightBits] = Field(default_factory=dict)
    """Bits of layers by name; overrides all other keys."""
    alpha: Literal["auto", "auto_po2"] = "auto"
    """Scale of an output channel: "auto": any number; "auto_po2": a power of two."""
    activation_bits: Annotated[int, Field(ge=2, le=8)] = 8
    """Bits of the output of every ReLU, 2 to 8."""
    width: Annotated[float, Field(gt=0, le=8)] = 1.0
    """Channel multiplier, in (0, 8]."""

    @model_validator(mode="before")
    @classmethod
    def _a_file_is_cloned(cls, data: Any) -> Any:
        return {"name": CLONE, **data} if isinstance(data, dict) and data.get("file") is not None else data

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        if (self.file is None) != (self.name != CLONE):
            raise ValueError(f'file: goes with name "{CLONE}", which it implies, and only with it')
        if self.file is None:
            if self.input_range is not None:
                raise ValueError("input_range: goes with file; other models take the data set's inputs")
            return self
        if self.input_range is not None and not self.input_range[0] < self.input_range[1]:
            raise ValueError("input_range: the first number must be smaller than the second")
        for key in ("width", "activation_bits"):
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key}: a model file has its own; leave it out")
        return self

    def identity(self) -> dict[str, Any]:
        """As Identified; a file is identified by its content, not its path."""
        return {key: value for key, value in super().identity().items() if key != "file"}


class AdversarialConfig(Strict):
    """Adversarial training: every batch is attacked within eps (infinity norm, real input units) before its step."""

    method: Literal["pgd", "fast_fgsm", "n_fgsm", "trades"]
    """ "pgd": the loss of the attacked samples alone (Madry et al. 2018, arXiv 1706.06083); "fast_fgsm": the same with
    one step from a random start (Wong, Rice, Kolter 2020, arXiv 2001.03994); "n_fgsm": one step of eps from uniform
    noise, not clipped (de Jorge et al. 2022, arXiv 2202.01181); "trades": the loss of the clean samples plus beta
    KL(clean answer || attacked answer) (Zhang et al. 2019, arXiv 1901.08573)."""
    eps: Epsilon
    """Largest change of an input element, real input units."""
    steps: Annotated[int, Field(ge=1, le=100)] | None = None
    """Gradient steps of the attack; None: 7, for the one-step methods 1."""
    step_size: Annotated[float, Field(gt=0, le=2)] | None = None
    """Length of a step in units of eps, in (0, 2]; None: 0.25, for fast_fgsm 1.25."""
    random_start: bool = True
    """Begin at a random point within eps."""
    noise: Annotated[float, Field(gt=0, le=8)] = 2.0
    """Half-width of n_fgsm's noise in units of eps, in (0, 8]."""
    beta: Annotated[float, Field(gt=0, le=1000)] = 6.0
    """Weight of the divergence in trades, in (0, 1000]."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of each batch that is attacked, in (0, 1]; the rest stays clean (Kurakin et al. 2017, arXiv 1611.01236)."""

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


class TrainConfig(schema.Identified):
    """The recipe."""

    FIRST = frozenset(
        {"initial", "epochs", "batch_size", "learning_rate", "final_learning_rate", "weight_decay", "stochastic",
         "temperature", "jacobian_lambda", "jacobian_projections", "augment"}
    )  # fmt: skip

    initial: Annotated[str, Field(min_length=1)] = "random"
    """Where the weights start: "random"; "mlperf_tiny": the reference model in TRITMCU_DATA; "original": model.file,
    the default with one; or an earlier training, by the name of its run or by a folder, its weights going to the layers
    of the same name; or an integer network, by its name in the zoo or by a folder, whose weights start in the middle
    between their thresholds. A wider network starts as the same function as the narrower one (Net2Net: Chen et al.
    2016, arXiv 1511.05641)."""
    epochs: Positive
    """Passes over the training samples."""
    batch_size: Positive = 128
    """Samples per step."""
    learning_rate: PositiveFloat = 1e-3
    """Learning rate at the start of a cosine decay over all steps."""
    final_learning_rate: NonNegativeFloat = 1e-5
    """Learning rate at the end of the cosine decay."""
    weight_decay: NonNegativeFloat = 0.0
    """Weight decay, decoupled from the gradient, for kernels only."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of all steps, in [0, 1), in which the learning rate rises from 0 before its cosine falls: with a high
    learning_rate, a one-cycle schedule (Smith, Topin 2018, arXiv 1708.07120)."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay per step of the averaged weights that are validated and kept, in [0, 1); 0: the weights themselves."""
    stochastic: bool = True
    """True stochastic quantization of ternary and binary weights, else deterministic."""
    temperature: PositiveFloat = 8.0
    """Temperature of the stochastic quantization, above 0: 8 changes about 11 % of Gaussian weights."""
    final_temperature: PositiveFloat | None = None
    """Temperature at the last step; None with a constant one."""
    temperature_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the temperature moves to final_temperature over all steps."""
    jacobian_lambda: Strength = 0.0
    """Weight of the Jacobian regularization, 0: off; of all blocks or by block name."""
    jacobian: Literal["logits", "block_input", "network_input"] = "logits"
    """What is differentiated: the "logits" with respect to the input, or every block with respect to the "block_input"
    or the "network_input" (training/jacobian.py)."""
    jacobian_projections: Annotated[int, Field(ge=1, le=64)] = 1
    """Random vectors per sample, 1 to 64."""
    jacobian_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the batch that the estimate uses, in (0, 1]."""
    augment: bool = True
    """Augment samples as the data set defines it."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the products in the convolutions of a training step; "bfloat16" needs a processor that has it."""
    adversarial: AdversarialConfig | None = None
    """Adversarial training; None: none."""
    distill: Annotated[str, Field(min_length=1), AfterValidator(_teacher)] | None = None
    """A teacher, named as in initial, without "random" (Hinton et al. 2015, arXiv 1503.02531); "none", the default
    without model.file: no teacher."""
    distill_weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the teacher's answers in the loss, in (0, 1]."""
    distill_temperature: Annotated[float, Field(gt=0, le=100)] = 4.0
    """Divides the logits of both before they are compared, in (0, 100]."""
    distill_robust: bool = False
    """The teacher's clean answers also label the attacked samples, and are what the attack leads away from (Zi et al.
    2021, arXiv 2108.07969); needs distill and adversarial training."""
    awp: Annotated[float, Field(ge=0, le=0.1)] = 0.0
    """Adversarial weight perturbation: each step takes its gradient where the kernels have moved by this share of their
    length to a larger loss (Wu et al. 2020, arXiv 2004.05884), in [0, 0.1]; 0: off; needs adversarial training."""
    overfitting_guard: bool = False
    """Stop, and keep an earlier epoch, when the network withstands one attack step but no longer several."""
    robust_samples: Annotated[int, Field(ge=0)] = 0
    """Validation samples attacked after each epoch (PGD, 10 steps of eps / 4); 0: none."""
    robust_eps: Epsilon | None = None
    """Budget of that attack, real input units; None: that of the adversarial training."""
    robust_loss: Literal["cross_entropy", "margin"] = "cross_entropy"
    """What that attack maximizes: "cross_entropy", which a network of low confidence hides from, or the "margin" of the
    best wrong logit over the right one."""
    best_by: Literal["accuracy", "robust_accuracy"] = "accuracy"
    """Which epoch's weights are kept: the one with the best validation accuracy, clean or robust."""

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
        if self.overfitting_guard and not self.robust_samples:
            raise ValueError("overfitting_guard: needs robust_samples, which it compares the attacks on")
        if self.awp and self.adversarial is None:
            raise ValueError("awp: goes with adversarial training, [train.adversarial]")
        if self.distill_robust and (self.distill is None or self.adversarial is None):
            raise ValueError("distill_robust: needs distill, the teacher, and [train.adversarial]")
        if self.distill_robust and self.adversarial is not None and self.adversarial.method == "trades":
            raise ValueError('distill_robust: not with "trades", which has its own term for attacked samples')
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
        """The eps of the robust validation, as in the job."""
        return self.robust_eps or (self.adversarial.eps if self.adversarial else None)


NORM_OF_UNIT = {"sigma": "linf", "snr": "l2", "int16": "linf"}
"""The only norm in which a unit of eps has a meaning."""
WAVEFORM_UNITS = ("snr", "int16")
"""Units of the budget of a waveform."""
LONGEST_VARIANT = 120
"""Longest text, in characters, that distinguishes attacks of one name: it becomes part of a label."""
SUITES = ("quick", "strict")
"""Names of suites, which stand for several attacks (robustness/suites.py)."""


def _attack(name: str) -> str:
    known = (*registry.names("attacks"), *SUITES)
    if name not in known:
        raise ValueError("; ".join(registry.unknown("attack", name, known)))
    return name


class AttackConfig(Strict):
    """One attack, or a suite of them, at one or more budgets. SETTINGS of an attack's module lists which of the other
    keys it uses; a key that it does not use is refused."""

    name: Annotated[str, AfterValidator(_attack)]
    """A module of pipeline/robustness/attacks, or a suite: "quick" or "strict"."""
    eps: Annotated[tuple[Epsilon, ...], Field(min_length=1)]
    """Budgets in `unit`, each attacked separately."""
    norm: Literal["linf", "l2"] = "linf"
    """Norm of the budget: largest change of an element, or Euclidean length of the change; by default the one that has
    a meaning in `unit`."""
    unit: Literal["real", "sigma", "snr", "int16"] = "real"
    """Of eps: real input units, or standard deviations of each input element over the training split. "snr", "int16":
    the waveform is attacked that the samples are made from; eps is the signal-to-noise ratio in dB, the smaller the
    more may change (norm l2), or the largest change of a sample of the recording, 1 to 65535 (norm linf)."""
    samples: Positive | None = None
    """Attack only so many test samples, drawn evenly from all classes; all by default."""
    steps: Annotated[int, Field(ge=1, le=10000)] = 20
    """Steps of an iterative attack."""
    step_size: Annotated[float, Field(gt=0, le=2)] = 0.125
    """Length of a step in units of eps."""
    restarts: Annotated[int, Field(ge=1, le=100)] = 1
    """Random starts, each for the samples that the ones before it did not fool."""
    momentum: Annotated[float, Field(ge=0, lt=10)] = 0.0
    """Share of the last step's direction that the next one keeps."""
    loss: Literal["cross_entropy", "scaled", "softened", "margin", "dlr"] = "cross_entropy"
    """What the attack maximizes (robustness/losses.py); "scaled", "softened": the cross-entropy of ten times the
    logits, and of a tenth of them."""
    targets: Annotated[int, Field(ge=1, le=1000)] = 9
    """Classes that a targeted attack tries, the likeliest wrong ones first; no more than there are."""
    queries: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """Largest number of answers that a black-box attack asks for, per sample."""
    backward: Literal["clip", "relu", "identity", "smooth"] = "clip"
    """How gradients pass rounding and clamping (robustness/surrogate.py); "clip" is the one that finds most."""
    source: Annotated[str, Field(min_length=1)] | None = None
    """Of a transfer attack: the network whose gradients it follows, by its name in the zoo or its folder."""

    @property
    def on_waveform(self) -> bool:
        """Whether recordings are attacked, not the samples made from them."""
        return self.unit in WAVEFORM_UNITS

    @model_validator(mode="before")
    @classmethod
    def _norm_of_unit(cls, given: Any) -> Any:
        unit = given.get("unit") if isinstance(given, dict) else None
        if isinstance(unit, str) and unit in NORM_OF_UNIT:
            return {"norm": NORM_OF_UNIT[unit], **given}
        return given

    @model_validator(mode="after")
    def _used_settings(self) -> AttackConfig:
        used = {"name", "eps", "norm", "unit", "samples", *attack_settings(self.name)}
        for key in sorted(self.model_fields_set - used):
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key}: {self.name!r} does not use it; it uses {', '.join(sorted(used))}")
        if self.unit in NORM_OF_UNIT and self.norm != NORM_OF_UNIT[self.unit]:
            raise ValueError(f'unit: "{self.unit}" goes with norm "{NORM_OF_UNIT[self.unit]}"')
        if len({eps_value(label) for label in self.eps}) < len(self.eps):
            raise ValueError(f"eps: {', '.join(self.eps)}: the same budget twice")
        if "source" in used and self.source is None:
            raise ValueError(f"source: {self.name!r} needs the network whose gradients it follows")
        return self


def variants(attacks: Sequence[AttackConfig]) -> tuple[str, ...]:
    """For each of these attacks the settings that tell it from the others of its name, such as "loss=margin"; "" where
    the name alone does. ValueError names two that make the same attack at the same eps."""
    for number, attack in enumerate(attacks):
        for before, other in enumerate(attacks[:number]):
            if twice := _same_eps(attack, other):
                raise ValueError(f"attacks.{before} and attacks.{number} are the same: {attack.name} at eps {twice}")
    return tuple(_variant(attack, [other for other in attacks if other.name == attack.name]) for attack in attacks)


def _same_eps(one: AttackConfig, other: AttackConfig) -> str | None:
    """An eps at which both do the same."""
    if (one.name, one.unit, _settings(one)) != (other.name, other.unit, _settings(other)):
        return None
    known = {eps_value(label) for label in other.eps}
    return next((label for label in one.eps if eps_value(label) in known), None)


def _variant(attack: AttackConfig, alike: Sequence[AttackConfig]) -> str:
    mine, others = _settings(attack), [_settings(other) for other in alike]
    different = [key for key in mine if any(other[key] != mine[key] for other in others)]
    text = " ".join(f"{key}={'all' if mine[key] is None else mine[key]}" for key in different)
    if len(text) > LONGEST_VARIANT or not text.isprintable():
        raise ValueError(f"{attack.name}: {text!r:.80} cannot be part of a label: give source a shorter name")
    return text


def _settings(attack: AttackConfig) -> dict[str, object]:
    """Everything that determines what an attack does, except its budgets."""
    return {key: getattr(attack, key) for key in ("norm", "samples", *attack_settings(attack.name))}


def attack_settings(name: str) -> tuple[str, ...]:
    """The keys of AttackConfig that an attack uses besides those of every attack; none for a suite, which sets its
    own."""
    if name in SUITES:
        return ()
    module = registry.load("attacks", name)
    own = {"name", "eps", "norm", "unit", "samples"}
    _check_plug_in(name, "NEEDS", (module.NEEDS,), ("gradients", "scores", "labels"))
    _check_plug_in(name, "SETTINGS", module.SETTINGS, [key for key in AttackConfig.model_fields if key not in own])
    _check_plug_in(name, "NORMS", module.NORMS, ("linf", "l2"))
    return tuple(module.SETTINGS)


def _check_plug_in(name: str, what: str, values: object, allowed: Sequence[str]) -> None:
    """ConfigError, naming the file, where a user's attack defines something else than what is allowed."""
    listed = ", ".join(allowed)
    if not isinstance(values, tuple):
        raise ConfigError(f"{registry.path('attacks', name)}: {what} = {values!r}: must be a tuple", f"of: {listed}")
    for value in values:
        if value not in allowed:
            raise ConfigError(f"{registry.path('attacks', name)}: {what}: {value!r} is unknown", f"known: {listed}")


class LayerwiseConfig(Strict):
    """Bits, clip and scale chosen layer by layer after training (quantization/layerwise.py), for a network trained at
    more bits."""

    method: Literal["laq", "quanos", "uniform"]
    """ "laq": the smallest change of the logits by attack and quantization; "quanos": by adversarial noise
    sensitivity; "uniform": all layers at `bits`."""
    eps: Epsilon = "8/255"
    """Largest change of an input element under the attack that "laq" and "quanos" measure, real input units."""
    budget: Annotated[float | str, BeforeValidator(layer_budget)] = 1.25
    """What the choice may cost (laq and quanos): packed weights in units of the all-ternary network's, 1 to 4, or as
    bytes, such as "24 KiB"; or executed instructions of an inference, such as "9 M instructions", which need an
    emulated board."""
    bits: Literal[2, 3, 4, 8] = 2
    """Of all layers (uniform)."""
    measure: bool = False
    """Run the network at every width on the job's emulated board, whatever the budget is in, and say what the choice
    takes and whether a uniform network of that budget is faster. A budget of instructions measures in any case."""

    def identity(self) -> dict[str, Any]:
        """Without what is at its default and came later."""
        return self.model_dump(exclude=None if self.measure else {"measure"})

    @property
    def is_measured(self) -> bool:
        """Whether instructions are counted for the choice."""
        return self.measure or (isinstance(self.budget, str) and layer_amount(self.budget)[0] == INSTRUCTIONS)

    @model_validator(mode="after")
    def _consistent(self) -> LayerwiseConfig:
        foreign = "budget" if self.method == "uniform" else "bits"
        if getattr(self, foreign) != type(self).model_fields[foreign].default:
            raise ValueError(f'{foreign}: is not for method "{self.method}"')
        return self


Kernels = Literal["auto", "reference", "cmsis-nn", "best"]
"""Whose kernels: "auto" the fastest of ours that the core can run, "reference" the portable ones, "cmsis-nn" those of
an already built CMSIS-NN for what it computes, and the fastest of ours for the rest, "best" for each layer what the
board has taken less time for, ours or CMSIS-NN's."""


class FirmwareConfig(Strict):
    """Which kernels, and how ternary weights are stored in flash and activations in RAM."""

    kernels: Kernels = "auto"
    """Unless --kernels says otherwise: "auto", "reference", "cmsis-nn" or "best", as codegen.select takes them."""

    trits_per_byte: Literal[4, 5] = 4
    """4, which kernels read as they are, or 5 (1.6 bits a weight) for the layers that can be expanded into RAM, before
    each runs, in an arena no larger than with 4."""
    layer_trits_per_byte: dict[Label, Literal[4, 5]] = Field(default_factory=dict)
    """Instead, for layers by name, however large the arena becomes."""
    cascades: bool = True
    """Whether layers may be computed together, some rows at a time, where that makes the arena smaller."""


class Job(Strict):
    """One experiment."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", max_length=LONGEST_NAME)]
    """Name of the run folder: lower-case letters, digits and underscores."""
    description: Label = ""
    """One line for people."""
    seed: Annotated[int, Field(ge=0, lt=1 << 31)] = 1
    """Seed of every random draw, below 2^31."""
    board: Name = "netduinoplus2"
    """Board that it runs on unless --board names another."""
    dataset: DatasetConfig
    """Which samples."""
    model: ModelConfig
    """Which network."""
    train: TrainConfig
    """How it is trained."""
    attacks: tuple[AttackConfig, ...] = ()
    """What it is attacked with."""
    layerwise: LayerwiseConfig | None = None
    """How bits are chosen after training; None: as trained."""
    firmware: FirmwareConfig = FirmwareConfig()
    """Kernels, and how the network is packed."""
    budget: CostBudget = NO_BUDGET
    """What its firmware may cost."""
    calibration: Positive = 512
    """Number of training samples on which the range of tensors without a quantizer is measured."""

    @model_validator(mode="after")
    def _distinct_attacks(self) -> Job:
        variants(self.attacks)
        return self

    @model_validator(mode="before")
    @classmethod
    def _begin_with_the_file(cls, data: Any) -> Any:
        """With model.file, training starts from its weights, and its network is the teacher."""
        if not isinstance(data, dict) or not all(isinstance(data.get(key), Mapping) for key in ("model", "train")):
            return data
        if data["model"].get("file") is None:
            return data
        return {**data, "train": {"initial": ORIGINAL, "distill": ORIGINAL, **data["train"]}}

    @model_validator(mode="after")
    def _begins_somewhere(self) -> Job:
        named = {"train.initial": self.train.initial, "train.distill": self.train.distill}
        for key, name in named.items():
            if name == ORIGINAL and self.model.file is None:
                raise ValueError(f'{key}: "{ORIGINAL}" is the network of model.file, and there is none')
        if self.model.file is not None and self.train.initial == RANDOM:
            raise ValueError(f'train.initial: "{RANDOM}" goes with a builder; a model file has weights, leave it out')
        return self


def eps_value(label: str) -> float:
    """The number that an eps label represents."""
    return float(Fraction(label))


def earlier(job: Job) -> tuple[Path, ...]:
    """The files that a training builds on: its model file, and those of earlier trainings that initial and distill
    name."""
    names = (job.train.initial, job.train.distill or REFERENCE)
    stored = tuple(stored_training(name) for name in names if name not in (RANDOM, REFERENCE, ORIGINAL))
    return stored if job.model.file is None else (model_file(job.model), *stored)


def model_file(config: ModelConfig, place: str = "model.file") -> Path:
    """The file that is cloned. ConfigError, which begins with `place`, when there is none."""
    assert config.file is not None
    if not Path(config.file).is_file():
        raise ConfigError(
            f"{place}: {config.file}: no such file", "a .keras or .h5 file; a relative path starts at the job file"
        )
    return Path(config.file)


def stored_training(name: str) -> Path:
    """The Keras model of an earlier training: of a folder, or by the name of a run in runs. Else the meta.json of an
    integer network: of a folder, or by its name in the zoo. ConfigError when there is none."""
    for folder in (Path(name), Path("runs") / name):
        for path in (folder / "train" / KERAS_FILE, folder / KERAS_FILE):
            if path.is_file():
                return path
    for folder in (Path(name), paths.shipped("zoo") / name):
        if (folder / store.META).is_file():
            return folder / store.META
    what = f"train: {name!r} is no earlier training: no {KERAS_FILE} in it or in runs/{name}, no network zoo/{name}"
    raise ConfigError(what, f'train it first, or name "{RANDOM}", "{REFERENCE}" or another folder: tritmcu zoo')


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
    return made(placed(read(path), path.parent), str(path))


def read(path: Path) -> dict[str, Any]:
    """The table in a job file, not validated. A missing file is a ConfigError that lists the ready-made jobs."""
    if not path.exists():
        raise ConfigError(*registry.unknown("job file", str(path), (f"jobs/{n}.toml" for n in registry.names("jobs"))))
    return schema.read_toml(path)


def placed(table: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The table of a job, or of changes to one, with the path of its model file, which starts at `folder`."""
    model = table.get("model")
    if not isinstance(model, Mapping) or not isinstance(model.get("file"), str) or not model["file"]:
        return table
    return {**table, "model": {**model, "file": str(folder / model["file"])}}


def made(table: dict[str, Any], place: str) -> Job:
    """The job of a table. ConfigError, which begins with `place`: what is wrong with it, or no such model file."""
    job = schema.validate(Job, table, place)
    if job.model.file is not None:
        model_file(job.model, f"{place}: key 'model.file'")
    return job
