"""The file of answers: nothing is asked twice, whatever happened to the process that asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import ConfigError
from pipeline.robustness.answers import Answers, digest_of_input

LOGITS, TWIN = np.array([1, -2, 3], np.int8), np.array([1, -2, 4], np.int8)
FIRST, SECOND = digest_of_input(np.zeros(4, np.int8)), digest_of_input(np.ones(4, np.int8))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "oracle" / "answers"


def filled(path: Path, key: str = "firmware") -> None:
    answers = Answers(path, key, 3)
    answers.add(FIRST, LOGITS, TWIN)
    answers.add(SECOND, TWIN, TWIN)
    answers.close()


def test_what_was_answered_is_known_to_the_next_run(path):
    filled(path)
    again = Answers(path, "firmware", 3)
    assert (FIRST in again, len(again)) == (True, 2)
    assert (again[FIRST].logits, again[FIRST].twin, again[FIRST].is_reused) == (LOGITS.tobytes(), TWIN.tobytes(), True)
    again.close()


def test_answers_of_other_firmware_are_dropped(path):
    filled(path)
    other = Answers(path, "other firmware", 3)
    assert FIRST not in other
    other.close()
    assert len(Answers(path, "firmware", 3)) == 0


@pytest.mark.parametrize("lost", range(1, 26))
def test_a_record_that_was_not_finished_is_asked_again(path, lost):
    filled(path)
    path.write_bytes(path.read_bytes()[:-lost])
    again = Answers(path, "firmware", 3)
    assert (FIRST in again, SECOND in again) == (True, False)
    again.add(SECOND, TWIN, TWIN)
    again.close()
    assert len(Answers(path, "firmware", 3)) == 2


def test_a_file_cut_off_in_its_first_line_is_begun_anew(path):
    filled(path)
    path.write_bytes(path.read_bytes()[:5])
    filled(path)
    assert len(Answers(path, "firmware", 3)) == 2


def test_a_damaged_record_is_named(path):
    filled(path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="answers: damaged, record 1") as caught:
        Answers(path, "firmware", 3)
    assert "remove it" in caught.value.hint


def test_somebody_elses_file_is_left_alone(path):
    path.parent.mkdir()
    path.write_text("my notes")
    with pytest.raises(ConfigError, match="not a file of answers"):
        Answers(path, "firmware", 3)
    assert path.read_text() == "my notes"


def test_inputs_are_told_apart_by_their_values():
    x = np.arange(8, dtype=np.int8)
    assert digest_of_input(x) == digest_of_input(x.copy())
    assert digest_of_input(x) != digest_of_input(x[::-1])
    assert digest_of_input(x[::2]) == digest_of_input(np.ascontiguousarray(x[::2]))
