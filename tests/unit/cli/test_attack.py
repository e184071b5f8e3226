"""`tritmcu attack`: what is attacked with what, and how it is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.cli import hints, main, runs
from pipeline.core import paths
from pipeline.robustness import campaign

PGD = ["attack", "--model", "digits_stq_jr", "--attack", "pgd", "--eps", "16/255", "32/255", "--limit", "30"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_stored_network_is_attacked_and_every_figure_is_counted(capsys):
    assert main.main([*PGD, "--json"]) == 0
    small, large = json.loads(capsys.readouterr().out)
    assert (small["data"], large["data"]) == ("pgd eps=16/255", "pgd eps=32/255")
    assert small["robust"]["n"] == large["clean"]["n"] == 30
    assert small["clean"]["accuracy"] >= small["robust"]["accuracy"] > large["robust"]["accuracy"]
    (attack,) = large["attacks"]
    left = attack["attacked"] - attack["fooled"]
    assert left == round(30 * large["robust"]["accuracy"])
    assert attack["queries"] >= attack["gradients"] > attack["attacked"]
    assert main.main(PGD) == 0
    printed = capsys.readouterr().out
    assert "pgd eps=32/255" in printed
    assert "95 % interval" in printed


def test_an_interrupted_attack_goes_on_with_the_first_eps_that_is_not_done(capsys, monkeypatch):
    assert main.main([*PGD, "--run-dir", "whole", "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    run, tried = campaign.run, []

    def until_the_second(item, *rest):
        tried.append(item.budget.label)
        if len(tried) == 2:
            raise KeyboardInterrupt
        return run(item, *rest)

    monkeypatch.setattr(campaign, "run", until_the_second)
    assert main.main([*PGD, "--run-dir", "broken", "--json"]) == 130
    capsys.readouterr()
    assert main.main([*PGD, "--run-dir", "broken", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert tried == ["16/255", "32/255", "32/255"]
    assert not Path("broken/attacked").exists()
    for attack in (attack for entry in (*whole, *found) for attack in entry["attacks"]):
        del attack["seconds"]
    assert found == whole


def test_attacks_of_one_name_are_told_apart(capsys):
    assert (
        main.main(["attack", "--model", "digits_stq_jr", "--suite", "quick", "--eps", "16/255", "--limit", "10"]) == 0
    )
    printed = capsys.readouterr().out
    assert "pgd loss=cross_entropy" in printed
    assert "pgd loss=scaled" in printed


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("NEEDS = 'logits'", "attacks/mine.py: NEEDS: 'logits' is unknown"),
        ("SETTINGS = ('steps', 'bogus')", "attacks/mine.py: SETTINGS: 'bogus' is unknown"),
        ("SETTINGS = ('samples',)", "attacks/mine.py: SETTINGS: 'samples' is unknown"),
        ("SETTINGS = ('steps')", "attacks/mine.py: SETTINGS = 'steps': must be a tuple"),
        ("NORMS = ('l7',)", "attacks/mine.py: NORMS: 'l7' is unknown"),
        ("import no_such_module", "No module named 'no_such_module'"),
    ],
)
def test_an_attack_of_ones_own_that_cannot_be_is_named(line, says, tmp_path, capsys):
    (tmp_path / "attacks").mkdir()
    plug_in = "NEEDS, SETTINGS, NORMS = 'scores', ('steps',), ('linf',)\ndef run(trial, config):\n    pass\n"
    (tmp_path / "attacks/mine.py").write_text(f"{plug_in}{line}\n")
    assert main.main(["attack", "--model", "digits_stq_jr", "--attack", "mine", "--eps", "8/255"]) == 2
    message, hint = capsys.readouterr().err.splitlines()
    assert says in message and hint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--suite", "quick"], "--suite: needs --eps"),
        (["--eps", "8/255"], "--eps: goes with --suite or --attack"),
        (["--suite", "quick", "--attack", "pgd", "--eps", "8/255"], "--suite quick and --attack pgd: only one of them"),
        (["--attack", "fgsm", "--eps", "8/255", "--steps", "3"], "steps: 'fgsm' does not use it"),
        (["--attack", "pgd", "--eps", "20", "--eps-unit", "snr", "--norm", "linf"], 'unit: "snr" goes with norm "l2"'),
        (["--attack", "pgd", "--eps", "9", "--eps-unit", "int16"], "data set digits offers no recordings"),
        (["--suite", "quick", "--eps", "8"], "did you mean"),
        (["--attack", "transfer", "--eps", "8/255"], "source: 'transfer' needs the network"),
        (["--attack", "pgd", "--eps", "8/255", "--oracle", "device"], "attack pgd needs gradients"),
        (["--suite", "quick", "--eps", "8/255", "--oracle", "device"], "attack pgd of suite quick needs gradients"),
        (["--attack", "square", "--eps", "8/255", "--devices", "2"], "--devices: goes with --oracle device"),
        (["--attack", "square", "--eps", "8/255", "--port", "/dev/x"], "--port: goes with --oracle device"),
        (["--attack", "simba", "--eps", "8/255", "--oracle", "device", "--devices", "two"], "not a positive integer"),
        (
            ["--attack", "square", "--eps", "8/255", "--oracle", "device", "--devices", "2", "--board", "uno-r4-wifi"],
            "board 'uno-r4-wifi': 2 devices wanted, 0 there",
        ),
    ],
)
def test_options_that_mean_nothing_are_one_line(options, message, capsys):
    assert main.main(["attack", "--model", "digits_stq_jr", *options]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert not printed.out


def test_a_job_without_attacks_is_told_how_to_name_one(tmp_path, capsys):
    text = (paths.shipped("jobs") / "digits.toml").read_text(encoding="utf-8")
    bare = text[: text.index("[[attacks]]")].replace('name = "digits"', 'name = "bare"', 1)
    (tmp_path / "bare.toml").write_text(bare, encoding="utf-8")
    assert main.main(["attack", "bare.toml"]) == 2
    assert "bare: names no attacks" in capsys.readouterr().err


def test_a_seed_draws_other_samples_of_a_stored_network_and_leaves_its_job_alone():
    def plan(*words: str):
        return runs.plan(main.parse([*PGD, *words]))

    assert (plan().seed, plan("--seed", "7").seed) == (plan().job.seed, 7)
    assert plan("--seed", "7").job == plan().job


def test_a_command_that_lacks_the_samples_names_the_attack_without_the_board(capsys):
    words = ["--model", "digits_stq_jr", "--board", "host", "--kernels", "reference"]

    def told(*given: str) -> str:
        return hints.completed("`tritmcu attack`", main.COMMANDS, main.parse(list(given)))

    assert told("stream", *words, "--port", "/dev/x") == "tritmcu attack --model digits_stq_jr --board host"
    on_device = ["attack", *words, "--oracle", "device", "--devices", "3"]
    assert told(*on_device).endswith("--oracle device --kernels reference --devices 3")


@pytest.mark.toolchain
def test_boards_answer_the_queries_and_an_attack_that_is_repeated_asks_them_nothing(capsys):
    attack = ["attack", "--model", "digits_stq_jr", "--attack", "square", "--eps", "64/255", "--queries", "30"]
    attack += ["--limit", "20", "--json"]
    assert main.main(attack) == 0
    [expected] = json.loads(capsys.readouterr().out)
    assert 0 < expected["robust"]["accuracy"] < expected["clean"]["accuracy"]
    on_boards = [*attack, "--oracle", "device", "--board", "host", "--devices", "2"]
    assert main.main(on_boards) == 0
    [answered] = json.loads(capsys.readouterr().out)
    assert answered["robust"] == expected["robust"]
    assert answered["attacks"][0]["queries"] == expected["attacks"][0]["queries"]
    device = answered["device"]
    assert (device["board"], device["devices"], device["reused"], device["differing"]) == ("host", 2, 0, 0)
    assert 20 < device["answers"] <= 20 + answered["attacks"][0]["queries"]
    assert main.main([*attack[:-1], "--oracle", "device", "--board", "host"]) == 0
    printed = capsys.readouterr()
    assert "unchanged" in printed.err
    assert f"{device['answers']} inputs answered, 0 of them by an earlier run; 0 not as the twin" in printed.out
