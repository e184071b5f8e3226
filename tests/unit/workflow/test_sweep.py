"""Sweeps: what a trial is, in which order they go, what is kept, what happens to those that end badly."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.analysis import trials as results
from pipeline.cli import main
from pipeline.config import job as jobs
from pipeline.config import sweep
from pipeline.core import cluster, interrupt, schema
from pipeline.core.errors import ConfigError, DeviceError
from pipeline.robustness import suites
from pipeline.workflow import plan, zoo
from pipeline.workflow import sweep as work
from pipeline.workflow.display import QUIET
from pipeline.workflow.sweep import FILE, Here, SweepRun, There
from tests.support import sweeps


def write(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "small.toml"
    path.write_text(text, encoding="utf-8")
    return path


def trials(folder: Path, text: str = sweeps.TABLE) -> tuple[sweep.Trial, ...]:
    path = write(folder, text)
    return sweep.trials(sweep.load(path), path.name)


class Pool:
    """Ends each task at once, as `ends` says by row and seed: the fields of its record, or None for a lost machine."""

    TAKEN = "begun"

    def __init__(self, **ends) -> None:
        self.ends, self.begun, self.tasks = {name: list(found) for name, found in ends.items()}, [], []

    def has_room(self):
        return len(self.tasks) < 1

    def start(self, task):
        self.begun.append((task.trial.row, task.trial.seed))
        self.tasks.append(task)

    def next(self):
        task = self.tasks.pop()
        planned = self.ends.get(f"{task.trial.row}{task.trial.seed}", [])
        found = planned.pop(0) if planned else {}
        if isinstance(found, BaseException):
            raise found
        return task.trial, found if found is None else sweeps.record(task, **found)


def done(folder: Path, pool: Pool, text: str = sweeps.TABLE, study: str = "") -> tuple[SweepRun, list[str]]:
    said: list[str] = []
    run = SweepRun("small", trials(folder, text), folder / "runs", study)
    run.run(pool, said.append)
    return run, said


def test_every_row_has_a_trial_for_every_seed_and_fold(tmp_path):
    found = trials(tmp_path, sweeps.TABLE.replace("seeds", "folds = 3\nseeds"))
    assert [(t.seed, t.fold, t.row) for t in found] == [
        (seed, f"{fold}/3", row) for seed in (1, 2) for fold in (1, 2, 3) for row in ("plain", "binary")
    ]
    assert len({t.key for t in found}) == len({t.training for t in found}) == 12
    assert {(t.job.seed, t.job.dataset.fold) for t in found} == {(s, f"{f}/3") for s in (1, 2) for f in (1, 2, 3)}
    assert found[1].job.model.weight_bits == 1 and found[1].job.train.epochs == 1


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("seeds", "seed", "unknown key 'study.0.seed'; did you mean 'seeds'"),
        ("weight_bits", "bits", "small.toml: study 'digits', row 'binary': unknown key 'model.bits'"),
        ("{ weight_bits = 1 }", "{ weight_bits = 2 }", "digits, binary, seed 1: the same job as digits, plain, seed 1"),
        ('name = "binary"', 'name = "plain"', "two rows 'plain'"),
        ("[1, 2]", "[1, 1]", "two seeds 1"),
        ("[1, 2]", "[]", "key 'study.0.seeds' = (): must not be empty"),
        ('name = "binary"', 'name = "binary"\nagainst = "8 bits"', "row 'binary': against = '8 bits': no other row"),
        ('name = "binary"', 'name = "binary"\nbits_of = "plain"', "bits_of = 'plain': that row has no [layerwise]"),
        ("train = { epochs = 1 }", "seed = 3", "change.seed: a sweep sets it itself"),
        ("train = { epochs = 1 }", 'dataset = { fold = "1/5" }', "change.dataset.fold: a sweep sets it itself"),
        ('base = "digits"', 'base = "digit"', "unknown job 'digit'; did you mean 'digits'?"),
        (
            'base = "digits"',
            'base = "jobs/digit.toml"',
            "unknown job file 'jobs/digit.toml'; did you mean 'jobs/digits",
        ),
        ("train = { epochs = 1 }", 'dataset = "digits"', "key 'dataset' = 'digits': must be a table"),
        ("train = { epochs = 1 }", "dataset = [1]", "key 'dataset' = (1,): must be a table"),
        ("train = { epochs = 1 }", "train = 3", "key 'train' = 3: must be a table"),
        ("train = { epochs = 1 }", "attacks = 3", "key 'attacks' = 3: must be a list"),
        ("train = { epochs = 1 }", 'board = "nix"', "small.toml: digits, plain, seed 1: unknown board 'nix'"),
        ("train = { epochs = 1 }", 'train = { initial = "nix" }', "row 'plain': train: 'nix' is no earlier training"),
        ("{ weight_bits = 1 }", '{ file = "nix.keras", name = "clone" }', "key 'model.file': "),
        ('name = "binary"', 'name = " "', "key 'study.0.row.1.name' = ' ': must not be blank"),
        ("[1, 2]", "[-1]", "key 'study.0.seeds.0' = -1: "),
        ("seeds", "folds = 1\nseeds", "key 'study.0.folds' = 1: "),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, old, new, told):
    path = write(tmp_path, sweeps.TABLE.replace(old, new, 1))
    assert main.main(["sweep", str(path), "--run-dir", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err.splitlines()
    assert told in error[0] and len(error) <= 2
    assert not (tmp_path / "runs").exists()


def test_another_sweep_of_the_same_name_is_refused_by_name(tmp_path, monkeypatch, capsys):
    """Its results would stand on the page of the first one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(work, "perform", lambda task, display: sweeps.record(task))
    for folder, text in (("a", sweeps.TABLE), ("b", sweeps.TABLE.replace("[1, 2]", "[3]"))):
        write(tmp_path / folder, text)
    assert main.main(["sweep", "a/small.toml"]) == 0
    page = Path("runs/small", work.PAGE).read_text()
    capsys.readouterr()
    for words in ((), ("--show",)):
        assert main.main(["sweep", "b/small.toml", *words]) == 2
        error, hint = capsys.readouterr().err.splitlines()
        first = tmp_path / "a" / "small.toml"
        assert f"runs/small: holds the run of {first}, and b/small.toml is another job or sweep of that name" in error
        assert "--run-dir" in hint
    assert Path("runs/small", work.PAGE).read_text() == page
    assert main.main(["sweep", "b/small.toml", "--run-dir", "elsewhere"]) == 0
    write(tmp_path / "a", sweeps.TABLE.replace("[1, 2]", "[1, 2, 3]"))
    write(tmp_path / "b", sweeps.TABLE.replace("[1, 2]", "[1, 2, 3]") + "# a copy\n")
    for file in ("a/small.toml", "b/small.toml"):  # changed since, or the same in another place
        assert main.main(["sweep", file]) == 0


def test_a_killed_sweep_goes_on_where_it_stopped(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        done(tmp_path, Pool(plain2=[KeyboardInterrupt()]))
    pool = Pool()
    run, said = done(tmp_path, pool)
    assert pool.begun == [("plain", 2), ("binary", 2)]
    assert said[0] == "begun: digits, plain, seed 2"
    assert re.fullmatch(r"done: digits, plain, seed 2: clean 70.0 %; 3 of 4, about 0\.\d s left", said[1])
    assert said[-1] == "done: digits, binary, seed 2: clean 70.0 %; 4 of 4"
    assert [line.state for line in run.lines()] == ["2/2", "2/2"]
    assert next(results.cells(run.lines())) == ["digits", "plain", "2/2", "65.0 ± 7.1", "65.0 ± 7.1", "100"]
    again = Pool()
    assert done(tmp_path, again)[0].records == run.records and again.begun == []


def test_a_trial_that_diverges_or_fails_is_kept_apart_and_the_rest_goes_on(tmp_path):
    apart = {"clean": None, "robust": (), "message": "<the loss> is not finite"}
    pool = Pool(plain1=[{"state": "diverged", **apart}], binary1=[{"state": "failed", **apart}])
    run, _ = done(tmp_path, pool)
    assert pool.begun == [("plain", 1), ("binary", 1), ("plain", 2), ("binary", 2)]
    assert [line.state for line in run.lines()] == ["1/2, 1 diverged", "1/2, 1 failed"]
    page = (run.root / work.PAGE).read_text()
    assert "diverged: &lt;the loss&gt; is not finite" in page and "2 of 4 trials done, 2 without a result" in page
    assert json.loads((run.root / work.NUMBERS).read_text()) == results.numbers(run.lines())
    with pytest.raises(ConfigError, match="1 of 4 trials failed, first digits, binary, seed 1: <the loss>"):
        run.require_all()
    again = Pool()
    done(tmp_path, again)[0].require_all()
    assert again.begun == [("binary", 1)]


def test_a_trial_goes_on_elsewhere_until_it_has_lost_too_many_machines(tmp_path):
    pool = Pool(plain1=[None, None], binary1=[None] * work.MOST_LOSSES)
    run, said = done(tmp_path, pool)
    assert pool.begun[:3] == [("plain", 1)] * 3
    assert sum("goes on elsewhere" in line for line in said) == 2 + work.MOST_LOSSES - 1
    assert [line.state for line in run.lines()] == ["2/2", "1/2, 1 failed"]


LAYERWISE = f"""{sweeps.TABLE}
[[study.row]]
name = "chosen"
bits_of = "uniform"

[[study.row]]
name = "uniform"
change = {{ layerwise = {{ method = "uniform", bits = 3 }} }}
"""


def test_a_trial_waits_for_its_bits_and_for_the_training_it_shares(tmp_path):
    pool = Pool(uniform1=[{"bits": {"conv1": 3}}])
    seen = []
    pool.start, start = lambda task: (seen.append(task), start(task)), pool.start
    done(tmp_path, pool, LAYERWISE)
    order = [(task.trial.row, task.trial.seed) for task in seen]
    assert order.index(("uniform", 1)) < order.index(("chosen", 1))
    (chosen,) = (task for task in seen if (task.trial.row, task.trial.seed) == ("chosen", 1))
    assert chosen.bits == {"conv1": 3} and chosen.training is None
    (uniform,) = (task for task in seen if (task.trial.row, task.trial.seed) == ("uniform", 1))
    assert uniform.training == next(t.folder for t in seen if (t.trial.row, t.trial.seed) == ("plain", 1))


def test_what_builds_on_a_diverged_trial_is_not_begun(tmp_path):
    pool = Pool(plain1=[{"state": "diverged", "clean": None, "robust": (), "message": "not finite"}])
    run, _ = done(tmp_path, pool, LAYERWISE)
    assert ("uniform", 1) not in pool.begun and ("chosen", 1) not in pool.begun
    states = {(r.row, r.seed): (r.state, r.message) for r in run.records.values()}
    assert states["uniform", 1] == ("diverged", "not finite")
    assert states["chosen", 1] == ("failed", "the trial that chooses its bits diverged")


def test_a_damaged_record_is_named(tmp_path):
    run, _ = done(tmp_path, Pool())
    (run.folder(run.trials[0]) / FILE).write_text("{}")
    with pytest.raises(ConfigError, match=r"trial\.json: key 'study' is missing") as told:
        SweepRun("small", run.trials, run.root)
    assert told.value.hint.startswith("delete it")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"clean": None}, 'clean: a trial that is "done" has one'),
        ({"clean": {"accuracy": 1.5, "interval": [0, 1], "n": 100}}, r"key 'clean\.accuracy' = 1\.5"),
        ({"clean": {"accuracy": 0.5, "interval": [0, 1], "n": 0}}, r"key 'clean\.n' = 0"),
        ({"robust": [{"data": "pgd", "accuracy": -0.1, "interval": [0, 1], "n": 9}]}, r"robust\.0\.accuracy"),
    ],
)
def test_a_record_that_cannot_be_is_named(tmp_path, changed, told):
    run, _ = done(tmp_path, Pool())
    path = run.folder(run.trials[0]) / FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    with pytest.raises(ConfigError, match=rf"trial\.json: .*{told}"):
        SweepRun("small", run.trials, run.root)


TWO = f"""{sweeps.TABLE}
[[study]]
name = "other"
base = "digits"
change = {{ train = {{ epochs = 2 }} }}
[[study.row]]
name = "plain"
"""


def test_a_study_alone_leaves_the_results_of_the_others_on_the_page(tmp_path):
    done(tmp_path, Pool(), TWO, "digits")
    pool = Pool()
    run, said = done(tmp_path, pool, TWO, "other")
    assert pool.begun == [("plain", 1)] and said[-1].endswith("; 1 of 1")
    assert [(line.study, line.row) for line in run.lines()] == [("other", "plain")]
    stored = json.loads((run.root / work.NUMBERS).read_text())
    assert [(row["study"], len(row["trials"])) for row in stored["rows"]] == [
        ("digits", 2),
        ("digits", 2),
        ("other", 1),
    ]
    assert "5 of 5 trials done" in (run.root / work.PAGE).read_text()


def test_rows_show_their_difference_to_the_row_that_they_are_compared_with(tmp_path):
    text = sweeps.TABLE.replace('name = "binary"', 'name = "binary"\nagainst = "plain"')
    better = {"clean": {"accuracy": 0.75, "interval": (0.7, 0.8), "n": 100}}
    run, _ = done(tmp_path, Pool(binary1=[better], binary2=[better]), text)
    assert results.columns(run.lines())[-2:] == ["bytes", "against"]
    plain, binary = results.cells(run.lines())
    assert plain[3:] == ["65.0 ± 7.1", "65.0 ± 7.1", "100", ""]
    assert binary[3:] == ["75.0 ± 0.0 (+10.0)", "65.0 ± 7.1 (+0.0)", "100", "plain"]
    swapped, _ = done(tmp_path / "swapped", Pool(plain1=[better], plain2=[better]), text)
    assert list(results.cells(swapped.lines()))[1][3] == "65.0 ± 7.1 (\N{MINUS SIGN}10.0)"


def test_the_validation_accuracy_and_the_folder_of_every_trial_are_shown(tmp_path):
    validation = {"accuracy": 0.8, "interval": (0.7, 0.9), "n": 50}
    run, _ = done(tmp_path, Pool(plain1=[{"validation": validation}]))
    assert results.columns(run.lines())[3:5] == ["validation", "clean"]
    assert [row[3] for row in results.cells(run.lines())] == ["80.0", "–"]
    first = results.numbers(run.lines())["rows"][0]["trials"][0]
    assert first["validation"]["accuracy"] == 0.8 and run.root / first["folder"] == run.folder(run.trials[0])
    assert first["folder"] in (run.root / work.PAGE).read_text()


def test_a_network_over_the_limits_of_its_board_is_told_and_kept(tmp_path):
    run, said = done(tmp_path, Pool(binary2=[{"over": "board 'uno': needs <2> KiB"}]))
    assert [line.state for line in run.lines()] == ["2/2", "2/2, 1 over limits"]
    assert said[-1] == "done: digits, binary, seed 2: clean 70.0 %; board 'uno': needs <2> KiB; 4 of 4"
    assert "board &#39;uno&#39;: needs &lt;2&gt; KiB" in (run.root / work.PAGE).read_text()
    run.require_all()


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"board": "netduinoplus2"}, ""),
        ({"board": "uno", "kernels": "cmsis-nn"}, "board 'uno': needs"),
        ({"budget": {"flash": "1KiB"}}, "flash"),
    ],
)
def test_limits_are_those_of_the_board_and_budget_of_the_job(limits, told):
    firmware = {"kernels": limits.pop("kernels", "auto")}
    table = {**schema.read_toml(jobs.find("digits")), **limits, "firmware": firmware}
    found = work._over(plan.load_network(zoo.find(Path("digits_stq_jr"))), jobs.made(table, "job"))
    assert found.startswith(told) if told.startswith("board") else told in found
    assert bool(found) == bool(told)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConfigError("no such layer", "known: conv1"), "no such layer; known: conv1"),
        (OSError(28, "No space left on device", "/there"), "/there: No space left on device"),
        (ValueError("of a\nplug-in"), "ValueError: of a plug-in (FOLDER/failure.txt)"),
        (MemoryError(), "MemoryError: (FOLDER/failure.txt)"),
    ],
)
def test_what_ends_a_trial_does_not_end_the_sweep(tmp_path, monkeypatch, error, told):
    def measured(task, display):
        if task.trial.row == "plain" and task.trial.seed == 1:
            raise error
        return {"clean": results.Accuracy(accuracy=0.5, interval=(0.4, 0.6), n=100), "attacks": suites.VERSION}

    monkeypatch.setattr(work, "_measured", measured)
    run, _ = done(tmp_path, Here(QUIET))
    assert [line.state for line in run.lines()] == ["1/2, 1 failed", "2/2"]
    folder = run.folder(run.trials[0])
    assert run.records[run.trials[0].key].message == told.replace("FOLDER", str(folder))
    assert (folder / work.FAILURE).exists() == ("failure.txt" in told)


def key(folder: Path, change: str) -> str:
    return trials(folder, sweeps.TABLE.replace("train = { epochs = 1 }", change))[0].key


def test_whatever_changes_a_result_makes_another_trial(tmp_path):
    """Of a counted choice of bits also the board, and of a file that is built on its content."""
    plain = key(tmp_path, "train = { epochs = 1 }")
    assert key(tmp_path, "train = { epochs = 1 }, calibration = 64") != plain
    assert key(tmp_path, "train = { epochs = 1 }, board = 'uno', description = 'x'") == plain
    counted = "layerwise = { method = 'laq', eps = '8/255', budget = '1000 instructions' }"
    assert key(tmp_path, counted) != key(tmp_path, f"board = 'mps2-an386', {counted}")


def test_a_model_file_is_known_by_its_content_and_starts_at_the_file_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "mine.keras").write_bytes(b"one")
    monkeypatch.chdir("/")
    change = "model = { name = 'clone', file = 'mine.keras' }"
    text = sweeps.TABLE.replace("train = { epochs = 1 }", change)
    path = write(tmp_path, text)

    def found() -> sweep.Trial:
        return sweep.trials(sweep.load(path), path.name, path.parent)[0]

    first = found()
    assert first.job.model.file == str(tmp_path / "mine.keras")
    (tmp_path / "mine.keras").write_bytes(b"two")
    assert found().key != first.key
    job = (jobs.find("digits")).read_text().replace('name = "digits_cnn"', 'file = "mine.keras"')
    (tmp_path / "base.toml").write_text(job)
    path = write(tmp_path, sweeps.TABLE.replace('base = "digits"', f'base = "{tmp_path}/base.toml"'))
    assert found().job.model.file == str(tmp_path / "mine.keras")


SHORT = """
[[study]]
name = "digits"
base = "digits"
[study.change]
train = { epochs = 1 }
model = { width = 0.25, weight_bits = 8 }
dataset = { limit_train = 128, limit_test = 60 }
attacks = [{ name = "fgsm", eps = ["16/255"], samples = 20 }]
[[study.row]]
name = "8 bits"
[[study.row]]
name = "3 bits"
change = { layerwise = { method = "uniform", bits = 3 } }
"""


@pytest.mark.slow
def test_trials_are_trained_attacked_shown_and_not_repeated(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, SHORT)
    assert main.main(["sweep", str(path)]) == 0
    assert main.main(["sweep", str(path), "--show", "--json"]) == 0
    out = capsys.readouterr().out
    shown = json.loads(out[out.index("{") :])
    assert [row["row"] for row in shown["rows"]] == ["8 bits", "3 bits"]
    whole, few = (row["trials"][0] for row in shown["rows"])
    assert (whole["clean"]["n"], whole["robust"][0]["n"], whole["robust"][0]["data"]) == (60, 20, "fgsm eps=16/255")
    assert set(few["bits"].values()) == {3} and few["weights_bytes"] < whole["weights_bytes"]
    run = SweepRun("small", trials(tmp_path, SHORT), Path("runs/small"))
    stamps = [(run.folder(trial) / "trained" / "meta.json").stat().st_mtime_ns for trial in run.trials]
    for trial in run.trials:
        (run.folder(trial) / FILE).unlink()  # as if the sweep had been killed before it was written
    again = SweepRun("small", run.trials, run.root)
    again.run(Here(QUIET), lambda line: None)
    assert [(run.folder(trial) / "trained" / "meta.json").stat().st_mtime_ns for trial in run.trials] == stamps
    clean = [record.clean.model_dump(mode="json") for record in again.records.values()]
    assert clean == [whole["clean"], few["clean"]]


def test_a_cluster_without_cores_is_refused(tmp_path):
    class Joined:
        address = "here:1"

        def count(self, resource):
            return 3

    with pytest.raises(DeviceError, match="cluster here:1: has 3 processor cores, a trial takes 4"):
        There(Joined(), 4, tmp_path)


class Ray:
    """Ray as far as the door to it needs it: init sets a handler of its own and leaves a folder, as Ray's does."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cores = folder, 0

    def init(self, *, num_cpus, **_):
        self.cores = num_cpus
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        session = self.folder / "session_1"
        (session / "logs").mkdir(parents=True)
        (self.folder / "session_latest").symlink_to(session)
        return SimpleNamespace(address_info={"session_dir": str(session)})

    def shutdown(self):
        """Ends nothing."""


def test_a_local_cluster_leaves_signals_and_folders_as_they_were(tmp_path, monkeypatch, capsys):
    ray = Ray(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5})
    with interrupt.handled():
        before = signal.getsignal(signal.SIGTERM)
        with cluster.joined(cluster.LOCAL):
            assert signal.getsignal(signal.SIGTERM) == before != signal.SIG_DFL
            print("(raylet) A worker died")  # as Ray does, on standard output
    assert capsys.readouterr() == ("", "(raylet) A worker died\n")
    assert ray.cores == 3
    assert list(tmp_path.iterdir()) == []


def test_a_local_cluster_that_does_not_start_is_one_line(tmp_path, monkeypatch):
    def init(**_):
        raise Exception("The current node timed out\nduring startup.")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    told = r"--cluster local: Ray does not start here \(The current node timed out during startup\.\)"
    with pytest.raises(DeviceError, match=told) as error, cluster.joined(cluster.LOCAL):
        raise AssertionError
    assert "leave out --cluster" in error.value.hint


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:1"])
def test_a_cluster_that_cannot_be_reached_is_one_line(tmp_path, capsys, monkeypatch, address):
    monkeypatch.setitem(sys.modules, "ray", object())
    path = write(tmp_path, sweeps.TABLE)
    command = ["sweep", str(path), "--run-dir", str(tmp_path / "runs"), "--cluster", address]
    assert main.main(command) == 2
    assert f"--cluster {address}: " in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_machine_of_a_cluster_loses_nothing(tmp_path, monkeypatch):
    """Two machines, simulated; one is killed while both work."""
    pytest.importorskip("ray", reason="the extra [cluster] is not installed")
    from ray.cluster_utils import Cluster

    monkeypatch.setattr(work, "perform_there", sweeps.wait_there)
    simulated = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        machines = [simulated.add_node(num_cpus=1) for _ in range(2)]
        run = SweepRun("small", trials(tmp_path), tmp_path / "runs")
        run.root.mkdir()
        (run.root / sweeps.STOP).touch()
        said: list[str] = []
        with cluster.joined(simulated.address) as joined:
            pool = There(joined, 1, run.root)
            first = joined.first

            def kill_one(calls):
                """Before the first wait for a trial: a machine goes as soon as two trials are begun."""
                monkeypatch.setattr(joined, "first", first)
                while len(list(run.root.rglob("processes"))) < 2:
                    time.sleep(0.05)
                simulated.remove_node(machines.pop(), allow_graceful=False)
                ended = first(calls)
                (run.root / sweeps.STOP).unlink()
                return ended

            monkeypatch.setattr(joined, "first", kill_one)
            run.run(pool, said.append)
    finally:
        simulated.shutdown()
    run.require_all()
    assert [line.state for line in run.lines()] == ["2/2", "2/2"]
    begun = [len(path.read_text().split()) for path in run.root.rglob("processes")]
    assert sorted(begun) == [1, 1, 1, 2]
    assert sum("goes on elsewhere" in line for line in said) == 1
