"""Job: one experiment, as a person writes it (jobs/<name>.toml)."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from pipeline import config, registry
from pipeline.config import Strict
from pipeline.errors import ConfigError


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


Epsilon = Annotated[str, BeforeValidator(_epsilon)]
Positive = Annotated[int, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class DatasetConfig(Strict):
    """name: a module of pipeline.datasets; limit_train / limit_test: use only the first so many samples."""

    name: Annotated[str, _registered("datasets", "dataset")]
    limit_train: Positive | None = None
    limit_test: Positive | None = None


class ModelConfig(Strict):
    """name: a module of pipeline.models; weight_bits: 2 (ternary) or 8; width: channel multiplier."""

    name: Annotated[str, _registered("models", "model")]
    weight_bits: Literal[2, 8] = 2
    first_layer_bits: Literal[2, 8] | None = None
    last_layer_bits: Literal[2, 8] | None = None
    width: Annotated[float, Field(gt=0, le=8)] = 1.0


class TrainConfig(Strict):
    """The recipe. initial: where the weights start: "random", or "mlperf_tiny": the reference model in TRITMCU_DATA;
    stochastic: true stochastic ternary quantization at this temperature, else deterministic;
    jacobian_lambda: weight of the Jacobian regularization of the logits (0: off); projections: random vectors a
    sample."""

    initial: Literal["random", "mlperf_tiny"] = "random"
    epochs: Positive
    batch_size: Positive = 128
    learning_rate: PositiveFloat = 1e-3
    final_learning_rate: NonNegativeFloat = 1e-5
    weight_decay: NonNegativeFloat = 0.0
    stochastic: bool = True
    temperature: PositiveFloat = 8.0
    jacobian_lambda: NonNegativeFloat = 0.0
    jacobian_projections: Annotated[int, Field(ge=1, le=64)] = 1
    augment: bool = True


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


class Job(Strict):
    """One experiment. board: default board; seed: of every random draw; calibration: training samples that fix the
    quantization of tensors the model leaves open."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=1 << 31)] = 1
    board: str = "netduinoplus2"
    dataset: DatasetConfig
    model: ModelConfig
    train: TrainConfig
    attacks: tuple[AttackConfig, ...] = ()
    calibration: Positive = 512


def eps_value(label: str) -> float:
    """The number an eps label stands for."""
    return float(Fraction(label))


def load(path: Path) -> Job:
    """The validated job. A missing file is a ConfigError that lists the ready-made jobs."""
    if not path.exists():
        folder = registry.REPOSITORY / "jobs"
        message, hint = registry.unknown("job file", str(path), (f"jobs/{p.name}" for p in folder.glob("*.toml")))
        raise ConfigError(message, hint)
    return config.load(Job, path)
