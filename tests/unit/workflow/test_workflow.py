"""workflow: what runs, what is skipped, what is refused; on the host board, with a toy network."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import board
from pipeline.config import job as jobs
from pipeline.config.board import Board
from pipeline.config.budget import CostBudget
from pipeline.config.job import AttackConfig
from pipeline.core import interrupt, paths, registry, store
from pipeline.core.errors import BudgetError, ConfigError, FitError
from pipeline.core.nouns import AuditCheck, AuditResult, Dataset, QModel, Split
from pipeline.device import runners
from pipeline.stages import STAGES, export, report
from pipeline.workflow import checks, keys, zoo
from pipeline.workflow.plan import RunPlan, plan_job, plan_model
from pipeline.workflow.workflow import Workflow
from tests.support import own_files, tiny

pytestmark = pytest.mark.toolchain


class Recorder:
    """A Display that remembers what happened: verbs, a skipped one in brackets."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def start(self, stage):
        self.seen.append(stage)

    def progress(self, what, done, total, info=""):
        assert 0 <= done <= total

    def finish(self, stage, seconds, note):
        assert self.seen[-1] == stage
        assert note

    def skip(self, stage, note):
        self.seen.append(f"({stage})")


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """A stored toy network that takes digits."""
    folder = tmp_path_factory.mktemp("model") / "q"
    store.save(folder, tiny.qmodel(), "key")
    return folder


def make_plan(stored, tmp_path, **options) -> RunPlan:
    return plan_model(stored, "digits", "host", tmp_path, **{"limit": 20, **options})


def seen(plan: RunPlan, *allowed: str) -> list[str]:
    recorder = Recorder()
    assert Workflow(plan, recorder, allowed or STAGES).report()["format"] == report.FORMAT
    return recorder.seen


def test_a_second_run_repeats_nothing_but_the_report(stored, tmp_path):
    plan = make_plan(stored, tmp_path)
    assert seen(plan) == ["render", "build", "flash", "stream", "report"]
    assert seen(plan) == ["(render)", "(build)", "(stream)", "report"]
    assert seen(plan, "report") == ["(render)", "(build)", "(stream)", "report"]
    assert sorted(p.name for p in plan.folder.iterdir() if p.name != "stream") == [
        ".lock", "image", "report.html", "report.json", "report.md", "samples.npz", "sources", "trace",
    ]  # fmt: skip


def test_a_report_shows_the_audit_of_its_own_network_and_no_other(stored, tmp_path):
    plan = make_plan(stored, tmp_path)
    check = AuditCheck("noise", True, -0.5, -0.1, "why")
    for network, shown in ((plan.model.digest, "masked"), ("another", None)):
        store.save(plan.folder / "audit", AuditResult("masked", (check,), network, "digits", "8/255", 20), "key")
        audit = Workflow(plan, Recorder()).report()["audit"]
        assert (audit and audit["verdict"]) == shown


def test_a_stored_network_answers_a_folder_of_images(tmp_path):
    """Digits as PNGs: the pixels are those the network was trained with, and so are its answers."""
    photos = own_files.write_images(tmp_path / "photos", each=30)
    table = f'[dataset]\nname = "images"\npath = "{photos}"\ncolour = "grey"\nsplit = {{ test = 0.5 }}\n'
    (tmp_path / "photos.toml").write_text(table, encoding="utf-8")
    network = zoo.find(Path("digits_stq_jr"))
    plan = plan_model(network, str(tmp_path / "photos.toml"), "host", tmp_path / "runs")
    report = Workflow(plan, Recorder()).report()
    assert report["dataset"]["name"] == "images"
    clean = report["accuracy"]["clean"]
    assert report["dataset"]["samples"] == {"test": 150} and clean["device"] == clean["twin"] > 0.9


def test_another_limit_streams_anew_and_builds_nothing(stored, tmp_path):
    seen(make_plan(stored, tmp_path))
    assert seen(make_plan(stored, tmp_path, limit=10)) == ["(render)", "(build)", "flash", "stream", "report"]


def test_a_twin_of_other_code_streams_anew(stored, tmp_path, monkeypatch):
    """The twin's answers are stored with the board's: those of a twin that has changed since are not its own."""
    seen(make_plan(stored, tmp_path))
    packages = keys.packages
    monkeypatch.setattr(keys, "packages", lambda *names: packages(*names) + "later" * ("network" in names))
    assert seen(make_plan(stored, tmp_path)) == ["(render)", "(build)", "flash", "stream", "report"]


def test_answers_of_an_emulator_are_not_taken_for_those_of_a_board(stored, tmp_path):
    """Nor those of one board for another's; the report is of what is there."""
    plan = make_plan(stored, tmp_path)
    seen(plan)
    left, right = (dataclasses.replace(plan, port=str(tmp_path / name)) for name in ("left", "right"))
    for named in (left, right):
        shutil.copy(plan.folder / "image" / "firmware.elf", named.port)
    working = ("lower", "render", "build", "attack", "stream")  # nothing flashes a program of this computer
    for again, streams in ((left, "stream"), (left, "(stream)"), (right, "stream")):
        recorder = Recorder()
        trace = Workflow(again, recorder, working).stream()
        assert (recorder.seen[-1], trace.place) == (streams, again.port)
    assert seen(plan, "report")[-2:] == ["(stream)", "report"]
    assert seen(plan)[-3:] == ["flash", "stream", "report"]


def test_any_answers_of_a_real_board_will_do_where_none_is_named(stored, tmp_path, monkeypatch):
    plan = make_plan(stored, tmp_path)
    seen(plan)
    shutil.copy(plan.folder / "image" / "firmware.elf", tmp_path / "board")
    Workflow(
        dataclasses.replace(plan, port=str(tmp_path / "board")), Recorder(), ("lower", "render", "build", "stream")
    ).stream()
    monkeypatch.setattr(runners, "is_emulated", lambda board, place=None: False)
    assert seen(plan) == ["(render)", "(build)", "(stream)", "report"]


def test_data_changed_under_its_name_is_seen(stored, tmp_path, monkeypatch):
    """All images of a class are replaced: neither training nor stream may say "unchanged"."""
    plan = make_plan(stored, tmp_path)
    seen(plan)
    job = jobs.load(paths.shipped("jobs") / "digits.toml")
    workflows = (Workflow(plan_job(job, board.load("host"), tmp_path), Recorder()) for _ in range(2))
    before = next(workflows)._train_key
    load = checks.load_data

    def replaced(*arguments, **options):
        data = load(*arguments, **options)
        splits = {
            name: dataclasses.replace(split, x=np.where((split.y == 3)[:, None, None, None], np.int8(-128), split.x))
            for name, split in data.splits.items()
        }
        return dataclasses.replace(data, splits=splits)

    monkeypatch.setattr(checks, "load_data", replaced)
    assert next(workflows)._train_key != before
    assert seen(plan) == ["(render)", "(build)", "flash", "stream", "report"]


def test_fresh_repeats_everything(stored, tmp_path):
    seen(make_plan(stored, tmp_path))
    again = seen(make_plan(stored, tmp_path, fresh=True))
    assert again == ["render", "build", "flash", "stream", "report"]


def test_another_network_builds_anew(stored, tmp_path):
    seen(make_plan(stored, tmp_path))
    other = tmp_path / "other"
    store.save(other, tiny.qmodel(seed=5), "key")
    assert seen(make_plan(other, tmp_path)) == ["render", "build", "flash", "stream", "report"]


def test_each_stage_works_from_what_the_one_before_stored(stored, tmp_path):
    plan = make_plan(stored, tmp_path)
    for stage in ("render", "build", "flash", "stream"):
        recorder = Recorder()
        Workflow(plan, recorder, (stage,)).make(stage)
        assert recorder.seen[-1] == stage
        assert all(before.startswith("(") for before in recorder.seen[:-1])


def test_a_stage_whose_input_is_missing_names_the_command(stored, tmp_path):
    plan = make_plan(stored, tmp_path, named=("--model", "my q"))
    with pytest.raises(ConfigError) as caught:
        Workflow(plan, Recorder(), ("build",)).build()
    assert "sources: does not exist" in str(caught.value)
    assert caught.value.hint == "run this first: `tritmcu render --model 'my q'`"


def test_every_stage_is_a_method_of_its_name(stored, tmp_path):
    made = Workflow(make_plan(stored, tmp_path), Recorder())
    assert all(made.make(stage) is not None for stage in STAGES if stage != "train")
    assert made.make("stream") is made.stream()
    with pytest.raises(ConfigError, match="train: needs a job"):
        made.make("train")


def test_an_image_of_an_earlier_version_is_built_again_and_not_streamed(stored, tmp_path):
    """An image is stored under its sources and what an Image says: one that says less is of an earlier version."""
    plan = make_plan(stored, tmp_path)
    seen(plan)
    meta = plan.folder / "image" / "meta.json"
    content = json.loads(meta.read_text())
    del content["value"]["footprint"]
    meta.write_text(json.dumps({**content, "key": content["value"]["digest"]}))
    assert seen(plan) == ["(render)", "build", "(stream)", "report"]


def test_two_runs_in_one_folder_are_refused_and_the_first_is_named(stored, tmp_path):
    """What is stored is read all the same."""
    plan = make_plan(stored, tmp_path)
    Workflow(plan, Recorder()).render()
    code = "import sys, time; from pathlib import Path; from pipeline.core import lock\n"
    code += f"with lock.working_in(Path({str(plan.folder)!r})): print('ready', flush=True); time.sleep(1000)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(ConfigError, match=f"process {other.pid} .* is using it"):
            Workflow(plan, Recorder()).build()
        recorder = Recorder()
        Workflow(plan, recorder).render()
        assert recorder.seen == ["(render)"]
        other.kill()
        other.wait()
    Workflow(plan, Recorder()).build()


def test_a_request_to_end_is_noticed_by_the_next_report_of_progress(stored, tmp_path):
    class Asking(Recorder):
        def start(self, stage):
            super().start(stage)
            if stage == "build":
                signal.raise_signal(signal.SIGTERM)

    plan, recorder = make_plan(stored, tmp_path), Asking()
    with interrupt.handled(), pytest.raises(KeyboardInterrupt):
        Workflow(plan, recorder).report()
    assert recorder.seen == ["render", "build"]
    assert not (plan.folder / "image").exists()
    assert [path for path in plan.folder.glob(".*") if path.is_dir()] == []


def test_a_damaged_folder_is_made_anew_or_named(stored, tmp_path):
    plan = make_plan(stored, tmp_path)
    seen(plan)
    (plan.folder / "image" / "meta.json").write_text("{")
    assert seen(plan)[1] == "build"
    arrays = plan.folder / "trace" / "arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[:200])
    with pytest.raises(ConfigError, match="damaged Trace"):
        seen(plan)


@pytest.mark.parametrize("change", [lambda w: w[..., :-1], lambda w: w[:-1]])
def test_a_stored_network_whose_layers_do_not_fit_is_refused(tmp_path, change):
    """Before anything is built: a kernel would read beyond its tables."""
    model = tiny.qmodel()
    number = max(i for i, layer in enumerate(model.layers) if layer.weights is not None)
    cut = dataclasses.replace(model.layers[number], weights=change(model.layers[number].weights))
    layers = (*model.layers[:number], cut, *model.layers[number + 1 :])
    store.save(tmp_path / "q", dataclasses.replace(model, layers=layers), "key")
    with pytest.raises(ConfigError, match="q: damaged QModel, its layers do not fit together"):
        plan_model(tmp_path / "q", "digits", "host", tmp_path)


def test_reference_kernels_are_rendered_when_asked_for(stored, tmp_path):
    options = {"limit": 5}
    calls = []
    for kernels in ("auto", "reference"):
        plan = plan_model(stored, "digits", "mps2-an385", tmp_path, kernels=kernels, **options)
        recorder = Recorder()
        model_c = Workflow(plan, recorder).render().files["generated/model.c"]
        calls.append(set(re.findall(r"nn_\w+_swar\(", model_c)))
        assert recorder.seen == ["render"]
    assert calls[0]
    assert not calls[1]


def test_a_run_folder_of_ones_own_holds_everything(stored, tmp_path):
    plan = make_plan(stored, tmp_path).moved_to(tmp_path / "mine")
    seen(plan)
    assert (tmp_path / "mine" / "report.html").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_network_for_other_samples_is_refused(tmp_path):
    model = tiny.qmodel()
    wide = dataclasses.replace(model.input.quantization, scale=1.0)
    other = dataclasses.replace(model, input=dataclasses.replace(model.input, quantization=wide))
    store.save(tmp_path / "q", other, "key")
    plan = plan_model(tmp_path / "q", "digits", "host", tmp_path)
    with pytest.raises(ConfigError, match=r"takes inputs from 0 to 255, data set .digits. has 0 to 1"):
        Workflow(plan, Recorder()).load_data()


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (np.zeros((3, 8, 8), np.int8), np.zeros(3, np.int64), r"x int8 \(3, 8, 8\)"),
        (np.zeros((3, 8, 8, 1), np.float32), np.zeros(3, np.int64), "x float32"),
        (np.zeros((3, 8, 8, 1), np.int8), np.zeros(2, np.int64), r"y int64 \(2,\)"),
        (np.zeros((3, 8, 8, 1), np.int8), np.array([0, 1, 10]), "labels 0 to 10, classes 10"),
        (np.zeros((0, 8, 8, 1), np.int8), np.zeros(0, np.int64), "n above 0"),
    ],
)
def test_samples_of_the_wrong_shape_or_type_are_refused(x, y, says):
    model = tiny.qmodel()
    dataset = Dataset("toy", model.input, model.classes, {"test": Split(x, y, np.arange(len(x)))})
    with pytest.raises(ConfigError, match=says):
        checks.check_samples(dataset)


def test_comments_docstrings_and_imports_of_a_plug_in_do_not_count(tmp_path, monkeypatch):
    file, source = tmp_path / "digits.py", registry.path("datasets", "digits").read_text()
    monkeypatch.setattr(registry, "path", lambda package, name: file)

    def digest(text: str) -> str:
        file.write_text(text)
        return keys.plug_in("datasets", "digits")

    assert digest(f"import this\n# more\n{source}\n\n") == digest(source)
    assert source.startswith('"""') and digest(source.replace('"""', '"""Another. ', 1)) == digest(source)
    assert digest(f"{source}\nMORE = 1\n") != digest(source)


@pytest.mark.parametrize("is_stored", [True, False])
def test_a_training_of_an_earlier_version_keeps_its_key_while_its_docstrings_are_the_same(
    tmp_path, monkeypatch, is_stored
):
    plan = plan_job(jobs.load(paths.shipped("jobs") / "digits.toml"), board.load("host"), tmp_path)
    monkeypatch.setattr(Workflow, "_training_data", "data")
    now = Workflow(plan, Recorder())._train_key
    with monkeypatch.context() as earlier:
        earlier.setattr(keys, "plug_in", keys.plug_in_with_docstrings)
        former = Workflow(plan, Recorder())._train_key
    if is_stored:
        store.save(plan.folder / "trained", tiny.trained(), former)
    else:
        store.write_text(plan.folder / "train" / "unfinished", former)
    assert now != former == Workflow(plan, Recorder())._train_key
    monkeypatch.setattr(keys, "plug_in_with_docstrings", lambda package, name: "other words")
    assert Workflow(plan, Recorder())._train_key == now


def test_comments_and_docstrings_of_a_package_do_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "PACKAGE", tmp_path)
    file = tmp_path / "network" / "twin.py"
    file.parent.mkdir()

    def digest(text: str) -> str:
        file.write_text(text)
        return keys.packages("network")

    plain = digest("A = 1\n\ndef f():\n    return A\n")
    told = '"""Answers."""\nimport this\nA = 1  # one\n"""A number."""\n\ndef f():\n    """It."""\n    return A\n'
    assert digest(told) == plain
    assert digest("A = 2\n\ndef f():\n    return A\n") != plain


def test_an_exported_project_builds_without_python(stored, tmp_path):
    plan = make_plan(stored, tmp_path / "runs")
    sources = Workflow(plan, Recorder()).render()
    folder = tmp_path / "project"
    command = export.export(sources, plan.board, "tiny", folder)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("cmake", "ninja", "gcc", "cc", "as", "ld", "ar", "ranlib", "sh", "env"):
        programs.joinpath(name).symlink_to(Path("/usr/bin") / name)
    done = subprocess.run(["/bin/sh", "-c", command], cwd=folder, env={"PATH": str(programs)}, capture_output=True)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    assert (folder / "build" / "firmware.elf").exists()
    with pytest.raises(ConfigError, match="not empty"):
        export.export(sources, plan.board, "tiny", folder)


@pytest.mark.emulator
def test_ctrl_c_leaves_no_process_and_the_rerun_goes_on(stored, tmp_path):
    """A real run on the emulated board is interrupted while it streams."""
    command = [sys.executable, "-m", "pipeline.cli", "run", "--model", str(stored), "--dataset", "digits"]
    command += ["--board", "netduinoplus2", "--run-dir", str(tmp_path / "run")]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        first = list(itertools.takewhile(lambda line: not re.match("stream +started", line), process.stderr))
        wait_until(lambda: any("qemu" in words for words in command_lines(tmp_path)))
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130
    assert rest.splitlines()[-1].startswith("interrupted")
    assert "Traceback" not in rest
    wait_until(lambda: not command_lines(tmp_path))
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0
    assert re.search("^build +unchanged", again.stderr, re.MULTILINE), "".join(first) + again.stderr
    assert command_lines(tmp_path) == []


def wait_until(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def command_lines(folder: Path) -> list[str]:
    """Command lines of running processes that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words and path.parent.name != str(os.getpid()):
            found.append(words)
    return found


def cramped(flash: int) -> Board:
    """An emulated Cortex-M4 with that much flash."""
    whole = board.load("netduinoplus2")
    memory = whole.memory.model_copy(update={"flash": whole.memory.flash.model_copy(update={"length": flash})})
    return whole.model_copy(update={"memory": memory})


IMPOSSIBLE = [
    (
        {"instructions": "10 k"},
        1 << 20,
        BudgetError,
        "instructions, at least: 252\u202f768, .*parts: conv2 165",
    ),
    (
        {"flash": "1 KiB"},
        1 << 20,
        BudgetError,
        "flash, at least: .* the budget of 1\u202f024; largest parts: the weights",
    ),
    ({"cycles": "9 M"}, 1 << 20, ConfigError, "budget: cycles: the board counts instructions"),
    ({}, 4096, FitError, "needs at least .* flash, has 4.0 KiB; largest part: the weights"),
]


@pytest.mark.parametrize(("allowed", "flash", "error", "says"), IMPOSSIBLE, ids=lambda value: str(value)[:20])
def test_what_no_weights_can_keep_is_refused_before_training(tmp_path, allowed, flash, error, says):
    job = jobs.load(paths.shipped("jobs") / "digits.toml").model_copy(update={"budget": CostBudget(**allowed)})
    with pytest.raises(error, match=says):
        Workflow(plan_job(job, cramped(flash), tmp_path), Recorder()).report()
    assert not list(tmp_path.rglob("last.npz"))


@pytest.mark.parametrize(
    ("allowed", "flash", "error", "says"),
    [
        ({"instructions": "10"}, 1 << 20, BudgetError, "instructions, at least: "),
        ({"ram": "1 KiB"}, 1 << 20, BudgetError, "RAM, at least: "),
        ({}, 16, FitError, "needs at least .* flash, has 16 bytes"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_a_stored_network_cannot_keep_is_refused_before_an_attack(stored, tmp_path, allowed, flash, error, says):
    recorder = Recorder()
    plan = make_plan(stored, tmp_path, attacks=(AttackConfig(name="fgsm", eps=["1/255"]),))
    plan = dataclasses.replace(plan, board=cramped(flash), budget=CostBudget(**allowed))
    with pytest.raises(error, match=says):
        Workflow(plan, recorder).report()
    assert "attack" not in recorder.seen and "build" not in recorder.seen


@pytest.mark.slow
def test_a_job_trains_resumes_and_ends_in_a_report(tmp_path):
    """The real thing, short: one epoch of the main job on the host board, then one more."""
    command = [sys.executable, "-m", "pipeline.cli", "run", "digits", "--board", "host", "--limit", "16"]

    def run(*words: str) -> str:
        done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stderr

    run("--epochs", "1")
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["digits", "digits-host"]
    qmodel = store.load(tmp_path / "runs" / "digits" / "qmodel", QModel)
    assert qmodel.metrics["job"]["train"]["epochs"] == 1
    again = run("--epochs", "1")
    for stage in ("train", "lower", "attack", "render", "build", "stream"):
        assert re.search(f"^{stage} +unchanged", again, re.MULTILINE), stage
    longer = run("--epochs", "2", "--resume")
    assert re.search("^train .* 2 epochs", longer, re.MULTILINE)
    assert len(store.read_meta(tmp_path / "runs" / "digits" / "trained")["value"]["history"]) == 2
