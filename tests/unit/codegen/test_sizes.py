"""No function of the firmware grows unseen: the committed table of sizes is that of the image built now."""

from __future__ import annotations

import difflib

import pytest

from tests.golden import sizes

UPDATE = "if it must be: python -m tests.golden.update, and commit the table"


@pytest.mark.toolchain
def test_sizes_are_those_that_were_committed() -> None:
    """Under the same compiler: another one makes other code of the same sources."""
    committed, now = sizes.FILE.read_text().splitlines(), sizes.lines()
    if sizes.compiler(committed) != sizes.compiler(now):
        pytest.skip(f"{sizes.FILE.name} is of {sizes.compiler(committed)}; here is {sizes.compiler(now)}")
    difference = "\n".join(difflib.unified_diff(committed, now, "committed", "now", n=0, lineterm=""))
    assert not difference, f"{difference}\n{UPDATE}"


def test_what_is_named_lies_in_its_section() -> None:
    """The rest of a section is gaps of alignment, code without a name and anonymous constants."""
    named: dict[str, int] = {}
    total: dict[str, int] = {}
    for line in sizes.FILE.read_text().splitlines():
        if line.startswith("#"):
            continue
        size, name = line.split(maxsplit=1)
        if name in sizes.SECTIONS:
            section, total[name], named[name] = name, int(size), 0
        else:
            named[section] += int(size)
    assert tuple(total) == sizes.SECTIONS
    for section, size_of_it in total.items():
        assert named[section] <= size_of_it, section
