from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import jinja2
import pytest

from pipeline.config import board
from pipeline.core import paths, templates
from pipeline.core.errors import UnsupportedError
from pipeline.stages import render
from tests.support import tiny

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


@pytest.mark.parametrize("name", ["model.c", "model.h"])
def test_golden_text(name: str) -> None:
    """Rendered C, byte for byte, with the portable kernels. After a wanted change: `python -m tests.golden.update`."""
    sources = render.render(tiny.qmodel(), board.load("host"), "reference")
    assert sources.files[f"generated/{name}"] == (GOLDEN / name).read_text()


def test_same_input_same_text_and_digest() -> None:
    first, second = (render.render(tiny.qmodel(4), board.load("host")) for _ in range(2))
    assert first == second
    assert re.fullmatch("[0-9a-f]{32}", first.digest)


def test_digest_follows_every_weight_and_the_board() -> None:
    model, host = tiny.qmodel(), board.load("host")
    layer = model.layers[0]
    assert layer.weights is not None
    changed = layer.weights.copy()
    changed.flat[0] ^= 1
    other = replace(model, layers=(replace(layer, weights=changed), *model.layers[1:]))
    digests = {
        render.render(model, host).digest,
        render.render(other, host).digest,
        render.render(model, board.load("netduinoplus2")).digest,
    }
    assert len(digests) == 3


def test_digest_is_in_its_file_and_covers_all_others() -> None:
    sources = render.render(tiny.qmodel(), board.load("host"))
    carried = re.findall("0x([0-9a-f]{2})", sources.files[render.DIGEST_FILE])
    assert "".join(carried) == sources.digest
    rest = {path: text for path, text in sources.files.items() if path != render.DIGEST_FILE}
    assert render.digest_of(rest)[:32] == sources.digest


def test_project_has_no_path_of_this_machine_and_no_date() -> None:
    for path, text in render.render(tiny.qmodel(), board.load("netduinoplus2")).files.items():
        assert str(paths.RESOURCES) not in text, path
        assert not re.search(r"\b20\d\d-\d\d-\d\d\b", text), path


def test_templates_refuse_undefined_names() -> None:
    with pytest.raises(jinja2.UndefinedError):
        templates.environment().from_string("{{ not_there }}").render({})


def test_odd_layer_names_become_identifiers() -> None:
    model = tiny.qmodel()
    layers = (replace(model.layers[0], name="conv-1/(int)"), *model.layers[1:])
    assert (
        "layer0_conv_1__int_"
        in render.render(replace(model, layers=layers), board.load("host")).files["generated/model.c"]
    )


def test_a_layer_without_a_kernel_is_refused_by_name() -> None:
    model = tiny.qmodel()
    layers = (replace(model.layers[0], weight_bits=5), *model.layers[1:])
    with pytest.raises(UnsupportedError, match=r"'stem'.* 5-bit"):
        render.render(replace(model, layers=layers), board.load("host"))


@pytest.mark.parametrize(
    ("name", "port", "kernels"),
    [
        ("netduinoplus2", ("cortexm", "cortexm/stm32", "cortexm/stm32/f", "cortexm/stm32/f/f4"), ("dsp", "swar")),
        ("nucleo-h743zi2", ("cortexm", "cortexm/stm32", "cortexm/stm32/h7"), ("dsp", "swar")),
        ("mps2-an385", ("cortexm", "cortexm/mps2"), ("swar",)),
        ("mps3-an547", ("cortexm", "cortexm/mps2"), ("dsp", "mve", "swar")),
        ("host", ("host",), ("swar",)),
        ("uno", ("arduino",), ()),
        ("nano33ble", ("arduino",), ("dsp", "swar")),
    ],
)
def test_a_project_takes_its_port_with_all_folders_around_it_and_the_kernels_of_its_core(
    name: str, port: tuple[str, ...], kernels: tuple[str, ...]
) -> None:
    files = render.render(tiny.qmodel(), board.load(name)).files
    folders = {path.rpartition("/")[0] for path in files}
    assert {f for f in folders if f.startswith("port")} == {"port", *(f"port/{folder}" for folder in port)}
    assert {f for f in folders if f.startswith("nn")} == {"nn", "nn/reference", *(f"nn/{family}" for family in kernels)}
    for folder in sorted(folders & {f"port/{p}" for p in port}):
        hand_written = (path for path in (paths.shipped("firmware") / folder).iterdir() if path.is_file())
        assert {f"{folder}/{path.name}" for path in hand_written} <= set(files)
