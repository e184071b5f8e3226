"""Damage of what is stored: none is accepted, none is a traceback, whether digests are left alone or forged."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import board
from pipeline.core import store
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import (
    AttackInfo,
    AttackOutcome,
    AttackResult,
    Dataset,
    DatasetTrace,
    DeviceInfo,
    DeviceStats,
    Image,
    LinkStats,
    Part,
    QModel,
    Sources,
    Split,
    Trace,
    TrainedModel,
)
from pipeline.stages import render
from tests.support import tiny

MUTATIONS = 250


def attack_result() -> AttackResult:
    model = tiny.qmodel()
    split = Split(tiny.samples(model, 6), np.arange(6), np.arange(6) * 2)
    clean = Dataset("noise", model.input, model.classes, {"test": split})
    info = AttackInfo("pgd", "linf", 8 / 255, "8/255", 8, {"steps": 20, "step_size": 0.125})
    attacked = replace(clean, parent=clean.digest, attack=info)
    zeros = np.zeros(6, np.int64)
    outcome = AttackOutcome(
        attacked.label, "pgd", {"steps": 3}, zeros == 0, zeros == 1, zeros + 3, zeros + 2, zeros, np.ones(6), 0.5
    )
    agreement = {"stem": {"max_lsb": 1.0, "mean_lsb": 0.25}}
    return AttackResult((clean, attacked), (outcome,), agreement, {"clean": np.zeros((6, 10), np.float32)})


def trace() -> Trace:
    device = DeviceInfo("host", "0" * 32, 1, 1_000_000, "us", 4096, 64, 10, 2, 2048, 8192)
    logits = np.arange(60, dtype=np.int8).reshape(6, 10)
    ticks = np.arange(6, dtype=np.uint32)
    answers = DatasetTrace(
        "clean", "0" * 64, np.arange(6), np.arange(6), logits, logits.copy(), ticks, np.stack([ticks, ticks], axis=1)
    )
    return Trace(device, (answers,), LinkStats(seconds=2.0), DeviceStats(700, 4000, True, 2048))


def image() -> Image:
    made = Image("firmware.elf", "0" * 32, "host", "cc 1", ("-O2",), 9000, 5000, 1500, 6000, 4096, 2048, {}, (), {})
    return replace(made, sections={".nn": 100}, parts=(Part("flash", ("kernels", "f"), 4),))


def make_image(folder: Path) -> Image:
    (folder / "firmware.elf").write_bytes(random.Random(0).randbytes(3000))
    (folder / "project" / "app").mkdir(parents=True)
    (folder / "project" / "app" / "app.c").write_text("int main(void) { return 0; }\n", encoding="utf-8")
    return image()


def sources() -> Sources:
    return render.render(tiny.qmodel(), board.load("host"))


NOUNS: dict[type, Callable[[Path], Any]] = {
    QModel: lambda _: tiny.qmodel(),
    Trace: lambda _: trace(),
    AttackResult: lambda _: attack_result(),
    TrainedModel: lambda _: tiny.trained(),
    Image: make_image,
    Sources: lambda _: sources(),
}


def flip_bit(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def set_byte(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    data[at] = (data[at] + rng.randrange(1, 256)) % 256


def insert(data: bytearray, rng: random.Random) -> None:
    data.insert(rng.randrange(len(data) + 1), rng.choice(b'0 \n\r\t"-e\0\xff'))


def delete(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 2, 16))]


def truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def append(data: bytearray, rng: random.Random) -> None:
    data.extend(rng.choice((b"\n", b"\0", b"PK", bytes(512))))


MUTATORS = (flip_bit, set_byte, insert, delete, truncate, append)


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.__name__)
def test_no_single_mutation_is_accepted(tmp_path, noun):
    folder, rng = tmp_path / "stored", random.Random(noun.__name__)
    store.create(folder, "key", NOUNS[noun])
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert isinstance(store.load(folder, noun), noun)
    for number in range(MUTATIONS):
        path, mutate = rng.choice(files), MUTATORS[number % len(MUTATORS)]
        whole = path.read_bytes()
        changed = bytearray(whole)
        mutate(changed, rng)
        path.write_bytes(changed)
        with pytest.raises(ConfigError):
            store.load(folder, noun)
        path.write_bytes(whole)
    assert isinstance(store.load(folder, noun), noun)


def test_a_lost_file_is_damage(tmp_path):
    store.create(tmp_path / "image", "key", make_image)
    (tmp_path / "image" / "firmware.elf").unlink()
    with pytest.raises(ConfigError, match="the content of a file does not match its digest"):
        store.load(tmp_path / "image", Image)


def test_a_file_beside_the_stored_ones_does_no_harm(tmp_path):
    store.create(tmp_path / "image", "key", make_image)
    (tmp_path / "image" / "notes").write_text("mine", encoding="utf-8")
    assert store.load(tmp_path / "image", Image) == image()


def forge(folder: Path, change: Callable[[dict[str, Any]], None] = lambda meta: None) -> None:
    """Changes meta.json and writes the digests of whatever the folder holds now, as somebody hostile would."""
    meta = json.loads((folder / store.META).read_text(encoding="utf-8"))
    del meta["digest"]
    change(meta)
    meta["files"] = store._files(folder)
    (folder / store.META).write_text(store._sealed(meta), encoding="utf-8")


def first_layer(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda meta: meta["value"]["layers"][0].update(changes)


def model(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda meta: meta["value"].update(changes)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


FORGERIES: dict[str, Callable[[dict[str, Any]], None]] = {
    "a path for a name": model(name="../../x"),
    "a hidden name": model(name=".x"),
    "a quote in a name": model(name='x"\nint f(void);'),
    "DEL in a layer's name": first_layer(name="conv\x7f"),
    "an escape in a class": model(classes=["a\x1b[2J"]),
    "a text for a number": first_layer(weight_bits="2"),
    "a truth value for a number": first_layer(weight_bits=True),
    "a float for a whole number": first_layer(weight_bits=2.0),
    "a number for a text": model(name=7),
    "null for a text": model(name=None),
    "a table for a list": model(layers={}),
    "a list for a table": first_layer(params=[]),
    "an unknown field": model(extra=1),
    "a number for a layer": model(layers=[7]),
    "an unknown array": first_layer(bias={"array": "none"}),
    "an array of another type": first_layer(bias={"array": "layers.0.weights"}),
    "an array for a number": first_layer(weight_bits={"array": "layers.0.bias"}),
    "a list for an array": first_layer(bias=[1, 2]),
    "no value": lambda meta: meta.pop("value"),
    "a list for files": lambda meta: meta.update(value=[]),
    "another noun": lambda meta: meta.update(noun="Trace"),
    "an endless noun": lambda meta: meta.update(noun="x\n\x1b" * 10),
    "a text for the format": lambda meta: meta.update(format="2"),
    "deep nesting": model(metrics={"deep": nested(900)}),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_a_forged_value_is_a_config_error(tmp_path, what):
    folder = tmp_path / "stored"
    store.save(folder, tiny.qmodel(), "key")
    forge(folder, FORGERIES[what])
    with pytest.raises(ConfigError) as caught:
        store.load(folder, QModel)
    assert str(folder) in str(caught.value)
    assert caught.value.hint or "is needed here" in str(caught.value)


def test_a_missing_field_is_a_config_error(tmp_path):
    store.save(tmp_path / "stored", tiny.qmodel(), "key")
    forge(tmp_path / "stored", lambda meta: meta["value"].pop("classes"))
    with pytest.raises(ConfigError, match="classes"):
        store.load(tmp_path / "stored", QModel)


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "..", "a//b", "a\\b", "a\nb", ""])
def test_a_project_file_outside_its_folder_is_refused(tmp_path, path):
    store.save(tmp_path / "stored", sources(), "key")
    forge(tmp_path / "stored", lambda meta: meta["value"]["files"].update({path: "text"}))
    with pytest.raises(ConfigError, match="a relative path"):
        store.load(tmp_path / "stored", Sources)


def header(text: str, version: int = 1) -> bytes:
    """The beginning of an .npy file."""
    body = text.encode()
    size = struct.pack("<H", len(body)) if version == 1 else struct.pack("<I", len(body))
    return b"\x93NUMPY" + bytes((version, 0)) + size + body


def archive(content: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """arrays.npz whose every array is `content`."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as file:
        for name in ("layers.0.weights", "layers.0.bias"):
            file.writestr(f"{name}.npy", content)
    return made.getvalue()


ARRAY = "{{'descr': {0}, 'fortran_order': False, 'shape': {1}, }}\n"
OBJECTS = io.BytesIO()
np.save(OBJECTS, np.array([print], object), allow_pickle=True)
ARCHIVES = {
    "a huge shape": archive(header(ARRAY.format("'|i1'", f"({1 << 62}, {1 << 62})"))),
    "more than there is memory": archive(header(ARRAY.format("'|i1'", f"({1 << 50},)"))),
    "a negative shape": archive(header(ARRAY.format("'|i1'", "(-5,)"))),
    "an unfinished header": archive(header("{'descr': '|i1', 'shape': (((", 1)),
    "a header that is no Python": archive(header("\x00\x01\x02", 1)),
    "a header of thousands of brackets": archive(header("(" * 9000)),
    "Python objects": archive(OBJECTS.getvalue()),
    "no array at all": archive(b"hello"),
    "nothing": archive(b""),
    "no archive": b"hello",
    "an empty file": b"",
    "a cut stream": archive(header(ARRAY.format("'|i1'", "(3, 3)")) + bytes(4), zipfile.ZIP_DEFLATED),
    "a stream that zlib refuses": archive(bytes(2000), zipfile.ZIP_DEFLATED).replace(b"\xed", b"\xff"),
    "a method that does not exist": archive(b"x").replace(b"\x14\0\0\0\0\0", b"\x14\0\0\0\x63\0"),
}


@pytest.mark.parametrize("what", ARCHIVES)
def test_a_forged_archive_is_a_config_error(tmp_path, what):
    folder = tmp_path / "stored"
    store.save(folder, tiny.qmodel(), "key")
    (folder / store.ARRAYS).write_bytes(ARCHIVES[what])
    forge(folder)
    with pytest.raises(ConfigError, match="damaged QModel"):
        store.load(folder, QModel)


def test_a_stored_array_runs_no_code(tmp_path, monkeypatch):
    """A pickle may call anything while it is read; that the array is refused afterwards would be too late."""

    class Caller:
        def __reduce__(self):
            return os.mkdir, ("called",)

    content = io.BytesIO()
    np.save(content, np.array([Caller()], object), allow_pickle=True)
    folder = tmp_path / "stored"
    store.save(folder, tiny.qmodel(), "key")
    (folder / store.ARRAYS).write_bytes(archive(content.getvalue()))
    forge(folder)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="damaged QModel"):
        store.load(folder, QModel)
    assert not Path("called").exists()


TEXTS = {
    "a number of 5,000 digits": b'{"noun": "QModel", "format": ' + b"9" * 5000 + b"}",
    "deep nesting": b"[" * 100_000 + b"]" * 100_000,
    "UTF-16": '{"noun": "QModel"}'.encode("utf-16"),
    "UTF-16 without a mark": '{"noun": "QModel"}'.encode("utf-16-le"),
    "Latin-1": '{"noun": "Modèle"}'.encode("latin-1"),
    "nothing": b"",
    "a text": b'"hello"',
    "somebody else's": b'{"name": "package", "version": "1.0"}',
}


@pytest.mark.parametrize("what", TEXTS)
def test_a_meta_json_of_another_kind_is_refused_without_advice_to_delete_it(tmp_path, what):
    (tmp_path / store.META).write_bytes(TEXTS[what])
    with pytest.raises(ConfigError) as caught:
        store.load(tmp_path, QModel)
    assert "delete" not in caught.value.hint
    assert "sys.set_int_max_str_digits" not in str(caught.value)
    if "UTF-16" in what:
        assert "is UTF-16" in str(caught.value)


def test_a_byte_order_mark_is_accepted(tmp_path):
    store.save(tmp_path / "stored", tiny.qmodel(), "key")
    meta = tmp_path / "stored" / store.META
    meta.write_bytes(b"\xef\xbb\xbf" + meta.read_bytes())
    assert store.load(tmp_path / "stored", QModel).digest == tiny.qmodel().digest


@pytest.mark.parametrize("value", [replace(tiny.qmodel(), name="../x"), replace(tiny.qmodel(), classes=("a\nb",))])
def test_nothing_is_stored_that_could_not_be_loaded(tmp_path, value):
    with pytest.raises(ValueError, match="must be"):
        store.save(tmp_path / "stored", value, "key")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mine", ["notes.txt", "meta.json/x"])
def test_a_folder_of_somebody_else_is_never_replaced(tmp_path, mine):
    path = tmp_path / "data" / mine
    path.parent.mkdir(parents=True)
    path.write_text("precious", encoding="utf-8")
    with pytest.raises(ConfigError, match="was not stored by tritmcu"):
        store.save(tmp_path / "data", tiny.qmodel(), "key")
    assert path.read_text(encoding="utf-8") == "precious"


def test_a_folder_that_is_a_link_stays_one(tmp_path):
    for target in ("elsewhere", "again"):
        (tmp_path / target).mkdir()
        link = tmp_path / "data"
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / target)
        for key in ("first", "second"):
            store.save(link, tiny.qmodel(), key)
            assert link.is_symlink() and store.key_of(tmp_path / target) == store.key_of(link) == key
    shutil.rmtree(tmp_path / "again")
    store.save(tmp_path / "data", tiny.qmodel(), "third")
    assert store.key_of(tmp_path / "again") == "third"
