"""The firmware answers hostile bytes as docs/PROTOCOL.md has it, and no sanitizer finds anything: a seeded run of a
fixed number of scripts. `make fuzz` goes on for as long as one likes."""

from __future__ import annotations

import pytest

from tests.fuzz import firmware

MISSING = firmware.missing()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=MISSING)]
RUNS = 8000


@pytest.mark.parametrize("link", firmware.LINKS.values(), ids=firmware.LINKS)
def test_every_answer_is_one_that_the_document_allows(tmp_path, link):
    program = firmware.built(tmp_path / "fuzz", **link)
    done = firmware.fuzz(program, "-seed=1", f"-runs={RUNS}", timeout_s=600)
    assert f"stat::number_of_executed_units: {RUNS}" in done.output
