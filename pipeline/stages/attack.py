"""The attack stage: clean test samples and a network -> adversarial copies of them, and what every attack did.

The network is attacked as it is deployed: an attack sees the answers of the integers, and gradients of the integers
(robustness/surrogate.py). What counts is what the device can receive: lattice points inside the budget.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

from pipeline.config.board import Board
from pipeline.config.job import AttackConfig
from pipeline.core import registry
from pipeline.core.digest import digest_of
from pipeline.core.errors import ConfigError, DeviceError
from pipeline.core.nouns import (
    AttackOutcome,
    Dataset,
    FloatArray,
    Image,
    Int8Array,
    Progress,
    QModel,
    no_progress,
    same_classes,
)
from pipeline.device import mismatch, runners, session
from pipeline.device.connection import Connection
from pipeline.device.mismatch import MOST_REPRODUCERS, QUERY, Case
from pipeline.device.session import Session
from pipeline.network import twin
from pipeline.quantization import layerwise
from pipeline.robustness import campaign, cluster, suites
from pipeline.robustness.answers import Answers
from pipeline.robustness.device_oracle import Device, DeviceOracle
from pipeline.robustness.oracle import Oracle, Transfer, TwinOracle
from pipeline.robustness.surrogate import Surrogate
from pipeline.robustness.waveform import Sound

SENSITIVITY_SAMPLES = 128
"""Training samples whose attacked copies tell how sensitive every layer is."""

Attacked = tuple[Dataset, tuple[AttackOutcome, ...]]
"""The attacked copies that a campaign makes, and what each of its attacks did."""
Keep = Callable[[campaign.Campaign, Callable[[], Attacked]], Attacked]


def attack(
    oracle_for: campaign.OracleFor,
    dataset: Dataset,
    attacks: Sequence[AttackConfig],
    seed: int,
    *,
    progress: Progress = no_progress,
    sound: Sound | None = None,
    keep: Keep = lambda item, run: run(),
) -> tuple[tuple[Dataset, ...], tuple[AttackOutcome, ...]]:
    """(the clean test split, then one adversarial Dataset per entry and eps; the outcome of every attack). oracle_for:
    who answers an attack with these settings, see `oracles`; sound: the recordings behind the samples, None where there
    are none; keep: gets every campaign and what runs it, and returns what that returned, now or earlier. ConfigError,
    before any work: an eps, norm or oracle that an attack cannot work with."""
    clean = replace(dataset, splits={"test": dataset.splits["test"]})
    planned = campaign.campaigns(attacks, clean, sound)
    datasets, outcomes = [clean], list[AttackOutcome]()
    for item in planned:
        run = functools.partial(campaign.run, item, clean, oracle_for, seed, progress, sound)
        attacked, done = keep(item, run)
        datasets.append(attacked)
        outcomes.extend(done)
    return tuple(datasets), tuple(outcomes)


def check(dataset: Dataset, attacks: Sequence[AttackConfig], sound: Sound | None = None) -> None:
    """ConfigError for an attack that cannot be: its eps, norm or setting, before any work."""
    campaign.campaigns(attacks, dataset, sound)


def check_black_box(attacks: Sequence[AttackConfig]) -> None:
    """ConfigError for an attack that asks for gradients, which no device gives."""
    for config in attacks:
        for part in suites.expand(config):
            if _needs_gradients(part.name):
                what = part.name if part.name == config.name else f"{part.name} of suite {config.name}"
                able = [name for name in registry.names("attacks") if not _needs_gradients(name)]
                message = f"attack {what} needs gradients; a device gives answers alone"
                raise ConfigError(message, f"black-box attacks: {', '.join(able)}; or --oracle twin")


def _needs_gradients(name: str) -> bool:
    return bool(registry.load("attacks", name).NEEDS == "gradients")


def oracles(model: QModel, source: Callable[[str], QModel], device: Oracle | None = None) -> campaign.OracleFor:
    """Who answers the attacks on an integer network: white-box ones its surrogate, transfer attacks the twin with the
    gradients of another network, black-box ones the twin alone. source: the network of that name; device: answers
    instead of the twin, to attacks that check_black_box lets pass."""
    made: dict[tuple[str, str, str], Oracle] = {}

    def oracle(config: AttackConfig) -> Oracle:
        key = (registry.load("attacks", config.name).NEEDS, config.backward, config.source or "")
        if key not in made:
            made[key] = _oracle(model, config, source, device or TwinOracle(model))
        return made[key]

    return oracle


@contextmanager
def devices(
    model: QModel,
    image: Image,
    image_folder: Path,
    board: Board,
    places: Sequence[str | None],
    kept: Path,
    *,
    address: str | None = None,
    fresh: bool = False,
) -> Iterator[DeviceOracle]:
    """An Oracle of the boards at `places`, which run `image` of `model`; None: an emulator. address: of a Ray cluster
    whose boards answer, as many; kept: file of the answers, from which an interrupted attack goes on; fresh: without
    those that are there. The connections end with the block."""
    if fresh:
        kept.unlink(missing_ok=True)
    answers = Answers(kept, digest_of(image.digest, is_emulated(board, places)), len(model.classes))
    with ExitStack() as stack:
        stack.callback(answers.close)
        if address is None:
            found: Sequence[Device] = [Connection(model, image, image_folder, board, place) for place in places]
        else:
            joined = cluster.devices(address, model, image, image_folder, board, len(places))
            found = stack.enter_context(joined)
        yield stack.enter_context(closing(DeviceOracle(model, found, answers)))


def keep_mismatches(
    oracle: DeviceOracle, image: Image, image_folder: Path, board: Board, place: str | None, folder: Path
) -> None:
    """Stores reproducers of the first few inputs that boards answered unlike the twin, in folders of `folder`. The
    board at `place` is asked for the layer; where it does not answer, they hold what was answered. Call it once the
    oracle is closed: a port has one user."""
    left = [Case(QUERY, number, *found) for number, found in enumerate(oracle.differing[:MOST_REPRODUCERS])]

    def record(device: Session | None) -> None:
        while left:
            place = folder / str(left[0].sample)
            mismatch.record(place, left[0], device, oracle.model, image, image_folder, board)
            del left[0]

    try:
        if left:
            with session.connect(board, image_folder, place) as device:
                session.check_identity(device.hello(), image.digest, board)
                record(device)
    except DeviceError:
        record(None)


def is_emulated(board: Board, places: Sequence[str | None]) -> bool:
    """Whether the boards at these places are emulators."""
    return any(runners.is_emulated(board, place) for place in places)


def _oracle(model: QModel, config: AttackConfig, source: Callable[[str], QModel], answering: Oracle) -> Oracle:
    if config.source is not None:
        other = source(config.source)
        if other.input != model.input or not same_classes(other.classes, model.classes):
            raise ConfigError(
                f"attacks.source = {config.source!r}: takes other samples than {model.name!r}, or has other classes or "
                "another order of them",
                "name a network for the same data set",
            )
        return Transfer(Surrogate(other), answering)
    if _needs_gradients(config.name):
        return Surrogate(model, config.backward)
    return answering


def noise_sensitivity(
    model: QModel, eps: str, dataset: Dataset, seed: int, *, progress: Progress = no_progress
) -> dict[str, float]:
    """Adversarial noise sensitivity of every layer with weights, by name (layerwise.noise_sensitivity): FGSM of eps on
    some training samples."""
    clean, attacked = (_weighted_outputs(model, x) for x in _under_fgsm(model, eps, dataset, seed, progress))
    return layerwise.noise_sensitivity(clean, attacked)


def moved(model: QModel, eps: str, dataset: Dataset, seed: int, *, progress: Progress = no_progress) -> float:
    """How far FGSM of eps on some training samples moves the logits, in their real units (layerwise.distance)."""
    clean, attacked = (twin.run(model, x) for x in _under_fgsm(model, eps, dataset, seed, progress))
    dequantize = model.layers[-1].output.quantization.dequantize
    return layerwise.distance(dequantize(attacked), dequantize(clean))


def _under_fgsm(model: QModel, eps: str, dataset: Dataset, seed: int, progress: Progress) -> tuple[Int8Array, ...]:
    """Some training samples, and the same under FGSM of eps."""
    config = AttackConfig(name="fgsm", eps=(eps,))
    samples = replace(dataset, splits={"test": dataset.splits["train"].subset(SENSITIVITY_SAMPLES, seed)})
    datasets, _ = attack(lambda _: Surrogate(model), samples, (config,), seed, progress=progress)
    return tuple(data.splits["test"].x for data in datasets)


def _weighted_outputs(model: QModel, x: Int8Array) -> Mapping[str, FloatArray]:
    """Real outputs of the layers with weights, by name."""
    pairs = zip(model.layers, twin.trace(model, x), strict=True)
    return {layer.name: layer.output.quantization.dequantize(out) for layer, out in pairs if layer.weights is not None}
