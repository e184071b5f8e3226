"""ternarization: a float Keras network becomes a ternary one and stands beside its original."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import main
from pipeline.config import board as boards
from pipeline.config import job as jobs
from pipeline.core import paths, store
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import QModel
from pipeline.workflow import comparison, ternarization
from pipeline.workflow.plan import plan_job
from pipeline.workflow.ternarization import Request
from pipeline.workflow.workflow import Workflow
from tests.unit.workflow.test_workflow import Recorder

RECIPE = """
name = "recipe"
seed = 3
board = "host"
[dataset]
name = "cifar10"
[model]
name = "resnet8"
first_layer_bits = 8
last_layer_bits = 4
[train]
initial = "mlperf_tiny"
epochs = 7
jacobian_lambda = 0.1
distill = "mlperf_tiny"
distill_weight = 0.25
[train.adversarial]
method = "fast_fgsm"
eps = "4/255"
[[attacks]]
name = "fgsm"
eps = ["1/255", "2/255"]
"""
DATA = """
[dataset]
name = "digits"
limit_train = 200
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a network, a data set and a recipe."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(paths.USER_VARIABLE, raising=False)
    Path("My-Net.keras").write_bytes(b"no network")
    Path("data.toml").write_text(DATA)
    Path("recipe.toml").write_text(RECIPE)
    return tmp_path


def test_a_recipe_gives_training_and_bits_the_file_all_else() -> None:
    made = ternarization.job(Request(Path("My-Net.keras"), "data.toml", "recipe.toml", last_bits=8))
    assert (made.name, made.seed, made.board, made.dataset.limit_train) == ("my_net_ternary", 3, "host", 200)
    assert (made.model.name, made.model.file) == ("clone", "My-Net.keras")
    assert (made.model.weight_bits, made.model.first_layer_bits, made.model.last_layer_bits) == (2, 8, 8)
    assert (made.train.initial, made.train.distill, made.train.distill_weight) == ("original", "original", 0.25)
    assert (made.train.epochs, made.train.jacobian_lambda) == (7, 0.1)
    assert [(attack.name, attack.eps) for attack in made.attacks] == [("quick", ("4/255",))]


def test_without_a_recipe_all_weights_are_ternary() -> None:
    made = ternarization.job(Request(Path("My-Net.keras"), "digits", name="other", input_range=(0.0, 255.0)))
    assert (made.name, made.model.weight_bits, made.model.first_layer_bits) == ("other", 2, None)
    assert (made.train.stochastic, made.train.epochs, made.model.input_range) == (True, 20, (0.0, 255.0))
    assert made.attacks[0].eps == ("8/255",)
    assert ternarization.job(Request(Path("My-Net.keras"), "digits", eps="0.1")).attacks[0].eps == ("0.1",)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"path": Path("none.keras")}, "model.file: none.keras: no such file"),
        ({"dataset": "digit"}, "--dataset: .*unknown data set 'digit'"),
        ({"recipe": "digit"}, "unknown job 'digit'"),
        ({"name": "No Name"}, "key 'name' = 'No Name'"),
        ({"eps": "much"}, "key 'attacks.0.eps"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ternarization.job(replace(Request(Path("My-Net.keras"), "digits"), **changes))


def test_a_training_is_known_by_the_content_of_its_model_file(folder: Path) -> None:
    def key(file: str) -> str:
        job = ternarization.job(Request(Path(file), "data.toml", "recipe.toml", name="net"))
        return Workflow(plan_job(job, boards.load("host"), folder), Recorder())._train_key

    known = key("My-Net.keras")
    Path("moved.keras").write_bytes(b"no network")
    assert key("moved.keras") == known
    Path("My-Net.keras").write_bytes(b"no net at all")
    assert key("My-Net.keras") != known


def test_it_is_trained_attacked_and_compared_with_its_original(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.training.keras_backend import keras

    layers = keras.layers
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, strides=3, name="conv")(inputs)
    x = layers.Flatten()(layers.ReLU()(layers.BatchNormalization()(x)))
    keras.Model(inputs, layers.Dense(10, activation="softmax", name="last")(x)).save("net.keras")
    seen: list[Any] = []

    def compare(plans: Any, runs: Path, display: Any) -> list[Any]:
        seen.extend(plans)
        return []

    monkeypatch.setattr(comparison, "compare", compare)
    words = ["ternarize", "net.keras", "--dataset", "data.toml", "--epochs", "1", "--limit", "20", "--first-bits", "8"]
    assert main.main([*words, "--input-range", "0", "255", "--board", "host", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"format": 1, "networks": []}
    assert "next: tritmcu run --model runs/net_ternary/qmodel" in captured.err
    original, ternary = seen
    model = store.load(Path("runs/net_ternary/qmodel"), QModel)
    assert [layer.weight_bits for layer in model.layers if layer.weights is not None] == [8, 2]
    assert [layer.weight_bits for layer in original.model.layers if layer.weights is not None] == [8, 8]
    assert original.model.input.quantization.scale == pytest.approx(1 / 255)
    assert jobs.Job.model_validate(model.metrics["job"]).model.file == "net.keras"
    for plan in seen:
        ((row, share),) = comparison._stored(plan, Recorder()).items()  # type: ignore[arg-type]
        assert (row, share.n) == ("quick eps=8/255, stored by the run", 20)
    assert ternary.kernels == original.kernels == "auto"
    assert (ternary.folder, original.folder) == (Path("runs/net_ternary"), Path("runs/net_ternary/original"))
