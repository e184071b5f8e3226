"""When device and twin disagree: which layer is the first, and a folder with everything to see it again."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.config import board as boards
from pipeline.config.board import Board
from pipeline.core import store
from pipeline.core.nouns import Image, Int8Array, QModel
from pipeline.device import rig, session
from pipeline.device.session import Session
from pipeline.network import twin

MOST_REPRODUCERS = 5
"""Samples of one data set, or inputs of one attack, that are looked into."""
QUERY = "query of an attack"
"""Label of an input that an attack asked about."""
_README = """# A device and its twin disagree

{description}

The firmware has digest `{digest}`. This folder holds the sample (`input.npy`), the output of the first differing layer
on the device (`device.npy`) and on the twin (`twin.npy`), the network (`qmodel`) and the firmware (`firmware.elf`).
See it again with

    {command}
"""


@dataclass(frozen=True)
class Mismatch:
    """The first layer whose output differs on one sample."""

    label: str
    """Dataset.label."""
    sample: int
    """Index in the official split."""
    layer: int
    """Number of the layer, from 0."""
    name: str
    """Of the layer."""
    kind: str
    """Of the layer."""
    index: tuple[int, ...]
    """The layer's first differing element."""
    device: int
    """Value there on the device."""
    twin: int
    """Value there in the twin."""
    differing: int
    """How many elements of the layer differ."""
    elements: int
    """How many elements the layer has."""
    repeatable: bool
    """Whether a second run differed, too; if not, the layer is the last one, whose difference was seen once."""
    board: str
    """Name of the device's board."""
    digest: str
    """Of the firmware on it."""

    @property
    def description(self) -> str:
        """One line that names everything."""
        seen = "" if self.repeatable else ", seen once: no second run of the sample differed"
        return (
            f"{self.board}, {self.label} sample {self.sample}: layer {self.layer} {self.name!r} ({self.kind}) index "
            f"{self.index}: device {self.device}, twin {self.twin}; {self.differing} of {self.elements} values "
            f"differ{seen}"
        )


@dataclass(frozen=True)
class Case:
    """A sample whose logits differ."""

    label: str
    """Dataset.label, or QUERY."""
    sample: int
    """Index in the official split; of an attack's queries the number, from 0."""
    x: Int8Array
    """The sample, of the input's shape."""
    logits: Int8Array
    """(classes,) as the device answered."""


def record(
    folder: Path, case: Case, device: Session | None, qmodel: QModel, image: Image, image_folder: Path, board: Board
) -> Mismatch:
    """The mismatch, found by running the sample on the device layer by layer, and stored in `folder` with everything
    to repeat it; without a device, as its answer says."""
    found = locate(device, qmodel, case.x) if device else None
    if found:
        layer, actual, expected = found
    else:
        expected = twin.run(qmodel, case.x[None])[0]
        layer, actual = len(qmodel.layers) - 1, case.logits.reshape(expected.shape)
    mismatch = replace(_describe(case, qmodel, layer, actual, expected, image), repeatable=found is not None)

    def write(path: Path) -> Mismatch:
        np.save(path / "input.npy", case.x)
        np.save(path / "device.npy", actual)
        np.save(path / "twin.npy", expected)
        store.save(path / "qmodel", qmodel, qmodel.digest)
        for firmware in image_folder.glob("firmware.*"):  # which of them it needs, the board's runner knows
            shutil.copy(firmware, path)
        text = _README.format(description=mismatch.description, digest=image.digest, command=_command_line(folder))
        (path / "README.md").write_text(text, encoding="utf-8")
        return mismatch

    return store.create(folder, image.digest, write)


def command(folder: Path) -> str:
    """The command that runs the mismatch in `folder` again, for hints."""
    return f"`{_command_line(folder)}`"


def _command_line(folder: Path) -> str:
    return f"tritmcu reproduce {shlex.quote(str(folder))}"


def stored(folder: Path, digest: str) -> list[tuple[Path, Mismatch]]:
    """The mismatches of firmware of this digest that `record` has stored in folders of `folder`, by their names."""
    known = sorted(path for path in folder.glob("*") if store.key_of(path) == digest)
    return [(path, store.load(path, Mismatch)) for path in known]


def locate(device: Session, qmodel: QModel, x: Int8Array) -> tuple[int, Int8Array, Int8Array] | None:
    """(layer, device output, twin output) of the first layer that differs on sample x, None when every layer agrees; of
    a cascade only the last layer has an output to compare."""
    for layer, values in enumerate(twin.trace(qmodel, x[None])):
        if not device.has_output(layer):
            continue
        expected = values[0]
        actual = device.run_sample(x.tobytes(), layers=layer + 1, output_bytes=expected.size).output
        if not np.array_equal(actual, expected.ravel()):
            return layer, actual.reshape(expected.shape), expected
    return None


def reproduce(folder: Path, port: str = "", unit: str = "") -> tuple[Mismatch, Mismatch | None]:
    """(as recorded in `folder`, as found now); None when device and twin agree now. port, unit: which real board, as in
    `rig.find`. IdentityError: it runs other firmware."""
    recorded = store.load(folder, Mismatch)
    qmodel = store.load(folder / "qmodel", QModel)
    board = boards.load(recorded.board)
    case = Case(recorded.label, recorded.sample, np.load(folder / "input.npy"), np.load(folder / "device.npy"))
    place = rig.find(board, port=port, unit=unit).port_now()
    with session.connect(board, folder, place) as device:
        try:
            session.check_identity(device.hello(), recorded.digest, board)
        except session.IdentityError as error:
            flash = ["tritmcu", "flash", "--model", str(folder), "--board", board.name]
            raise session.IdentityError(str(error), f"`{shlex.join(flash)}`") from error
        found = locate(device, qmodel, case.x)
    return recorded, _describe(case, qmodel, *found, recorded) if found else None


def _describe(
    case: Case, qmodel: QModel, layer: int, actual: Int8Array, expected: Int8Array, image: Image | Mismatch
) -> Mismatch:
    where = np.argwhere(actual != expected)
    first = tuple(int(i) for i in where[0])
    return Mismatch(
        label=case.label,
        sample=case.sample,
        layer=layer,
        name=qmodel.layers[layer].name,
        kind=qmodel.layers[layer].kind,
        index=first,
        device=int(actual[first]),
        twin=int(expected[first]),
        differing=len(where),
        elements=expected.size,
        repeatable=True,
        board=image.board,
        digest=image.digest,
    )
