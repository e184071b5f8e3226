"""budget: amounts with units, in a job and on the command line; unknown parts and units are refused by name."""

from __future__ import annotations

import pytest

from pipeline.config import budget
from pipeline.config.budget import CostBudget
from pipeline.config.job import Job
from pipeline.core import schema
from pipeline.core.errors import ConfigError

JOB = {"name": "a", "dataset": {"name": "digits"}, "model": {"name": "digits_cnn"}, "train": {"epochs": 1}}


def test_amounts_are_numbers_or_texts_with_units():
    written = {"flash": "40 KiB", "ram": 36864, "instructions": 9e6, "cycles": "1.5 M"}
    found = schema.validate(Job, {**JOB, "budget": written}, "a.toml").budget
    assert found == CostBudget(flash=40 * 1024, ram=36864, instructions=9_000_000, cycles=1_500_000)
    assert budget.parse("flash=40KiB,ram=36kB") == CostBudget(flash=40 * 1024, ram=36_000)
    assert budget.parse(" instructions = 9e6 ") == CostBudget(instructions=9_000_000)
    assert schema.validate(Job, JOB, "a.toml").budget == CostBudget()
    stored = schema.validate(Job, {**JOB, "budget": written}, "a.toml").model_dump(mode="json")
    assert schema.validate(Job, stored, "meta.json").budget == found, "a stored job is read again"


def test_given_parts_come_before_those_of_the_job():
    assert CostBudget(flash=10, ram=20).with_parts(CostBudget(ram=5)) == CostBudget(flash=10, ram=5)


@pytest.mark.parametrize(
    ("words", "says", "hint"),
    [
        ("flsh=40KiB", "unknown part of a budget 'flsh'; did you mean 'flash'?", "cycles, flash, instructions, ram"),
        ("", "unknown part of a budget ''", "flash"),
        ("flash", "flash has no amount", "flash=40KiB"),
        ("ram=1,ram=2", "ram is named twice", ""),
        ("flash=40 KB", "key 'flash' = '40 KB': unknown unit 'KB'; known: B, KiB, MiB, kB, MB", ""),
        ("instructions=9 Mi", "unknown unit 'Mi'; known: k, M, G", ""),
        ("flash=-1", "must be a positive number", ""),
        ("flash=0", "must be a positive integer, not 0", ""),
        ("flash=0.1", "must be a positive integer", ""),
        ("instructions=1e99", "must be a positive integer", ""),
        ("flash=\u0663", "must be a positive number", ""),
    ],
)
def test_a_wrong_option_is_one_line(words, says, hint):
    with pytest.raises(ConfigError) as caught:
        budget.parse(words)
    assert says in str(caught.value)
    assert "--budget" in str(caught.value)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"flash": True}, "key 'budget.flash' = True: must be a positive number"),
        ({"ram": [1]}, "key 'budget.ram'"),
        ({"ram": float("nan")}, "must be a positive number"),
        ({"rom": 1}, "unknown key 'budget.rom'"),
    ],
)
def test_a_wrong_table_names_its_key(table, says):
    with pytest.raises(ConfigError, match=r"a\.toml: ") as caught:
        schema.validate(Job, {**JOB, "budget": table}, "a.toml")
    assert says in str(caught.value)
