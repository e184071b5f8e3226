"""docs/MUTANTS.md is what was stored, and mutants are made of code that runs."""

from __future__ import annotations

import ast
import json

import pytest

from bench import mutants

STORED = json.loads(mutants.STORED.read_text(encoding="utf-8"))


def test_the_page_is_what_was_stored():
    assert mutants.DOCUMENT.read_text(encoding="utf-8") == mutants.document(STORED)


def test_fewer_than_a_tenth_survive():
    tried = STORED["tried"]
    assert {found["package"] for found in tried} == set(mutants.TESTS)
    assert sum(found["survived"] for found in tried) < 0.1 * len(tried)


@pytest.mark.parametrize("package", mutants.TESTS)
def test_a_mutant_differs_from_its_file_in_one_place(package):
    for mutant in mutants.chosen(len(mutants.TESTS) * 5, seed=7):
        if mutant.package == package:
            original = ast.parse((mutants.ROOT / mutant.path).read_text(encoding="utf-8"))
            theirs, ours = (text.splitlines() for text in (mutant.text(), ast.unparse(original)))
            assert len(theirs) == len(ours)
            assert sum(a != b for a, b in zip(theirs, ours, strict=True)) == 1


def test_a_result_of_a_later_try_remembers_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(mutants, "STORED", tmp_path / "mutants.json")
    monkeypatch.setattr(mutants, "DOCUMENT", tmp_path / "MUTANTS.md")
    mutant = next(mutants.mutants("core"))
    stored = {"seed": 1, "all": 9, "tried": []}
    mutants.keep(stored, mutants.record(mutant, survived=True))
    mutants.keep(stored, mutants.record(mutant, survived=False))
    assert [(found["survived"], found["at_first"]) for found in stored["tried"]] == [(False, True)]
    assert "1 were tried at random: 0 survive" in (tmp_path / "MUTANTS.md").read_text(encoding="utf-8")


def test_every_test_that_answers_for_a_package_exists():
    for rounds in mutants.TESTS.values():
        assert all((mutants.ROOT / test).exists() for tests in rounds for test in tests)
