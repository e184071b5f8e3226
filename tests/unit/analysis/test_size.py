"""size: trees add up, changes are found by path, pages and tables hold what they were given and nothing hostile."""

from __future__ import annotations

import json
import random

import pytest

from pipeline.analysis import size
from pipeline.analysis.size import SizedPart, Sizes
from pipeline.analysis.treemap import Rectangle, squarify
from pipeline.core import paths
from pipeline.core.errors import ConfigError

NOW = {("layers", "conv", "tables", "filter"): 700, ("layers", "model_layers"): 20, ("kernels", "nn_a"): 280}
BEFORE = {("layers", "conv", "tables", "filter"): 500, ("layers", "model_layers"): 20, ("kernels", "nn_b"): 300}


def sizes(flash: dict[tuple[str, ...], int], name: str = "tiny") -> Sizes:
    """A firmware of these bytes of flash and ten bytes of RAM."""
    parts = tuple(SizedPart(path=path, bytes=count) for path, count in flash.items())
    ram = (SizedPart(path=("stack", "reserved"), bytes=10),)
    total = sum(flash.values())
    return Sizes(
        name=name, board="host", compiler="cc 1", flash_bytes=total, flash_limit_bytes=4000, ram_bytes=10,
        ram_limit_bytes=100, flash=parts, ram=ram,
    )  # fmt: skip


def test_a_tree_adds_up_at_every_level():
    root = size.tree("flash", sizes(NOW))
    assert (root.size, root.before) == (1000, None)
    assert [(node.name, node.size) for node in root.children] == [("layers", 720), ("kernels", 280)]
    assert [(level, node.name) for level, node in size.rows(root, 2)] == [
        (0, "flash"), (1, "layers"), (2, "conv"), (2, "model_layers"), (1, "kernels"), (2, "nn_a"),
    ]  # fmt: skip
    assert {path for path, _ in size.leaves(root)} == set(NOW)


def test_a_comparison_shows_what_came_went_grew_and_nothing_else():
    root = size.tree("flash", sizes(NOW), sizes(BEFORE))
    assert (root.size, root.before, root.change) == (1000, 820, 180)
    changes = {path: (part.before, part.size) for path, part in size.changed(root)}
    assert changes == {
        ("kernels", "nn_b"): (300, 0), ("kernels", "nn_a"): (0, 280),
        ("layers", "conv", "tables", "filter"): (500, 700),
    }  # fmt: skip
    assert "model_layers" not in [node.name for _, node in size.rows(root, 9)]
    assert size.changed(size.tree("RAM", sizes(NOW), sizes(BEFORE))) == []


def test_layers_are_listed_by_size_whatever_order_they_were_stored_in():
    """A stored image has them by name."""
    flash = {("layers", "a", "call"): 10, ("layers", "c", "tables", "filter"): 700, ("layers", "b", "call"): 10}
    kernels = {"a": "nn_x", "b": "nn_y", "c": "nn_z"}
    found = sizes(flash | {("layers", "padding"): 2}).model_copy(update={"kernels": kernels, "cascades": {"a": "b"}})
    assert size.layers(found) == [("c", 700, "nn_z", ""), ("a", 10, "nn_x", "b"), ("b", 10, "nn_y", "")]
    assert "- bytes of layers: c 700 by nn_z, a 10 by nn_x, b 10 by nn_y" in size.markdown(found)
    page = size.page(found)
    assert page.index(">nn_z<") < page.index(">nn_x<") < page.index(">nn_y<")


def test_what_is_left_of_a_budget_is_said_where_it_limits():
    budget = {"flash": 2000}
    words = "50.0 % of the budget of 2.0 KiB"
    assert size.used(size.tree("flash", sizes(NOW)), 4000, 2000) == f"25.0 % of the board, {words}"
    assert f"**flash** (25.0 % of the board, {words}) |" in size.markdown(sizes(NOW), budget=budget)
    assert size.page(sizes(NOW), budget=budget).count(words) == 1
    assert "budget" not in size.markdown(sizes(NOW)) + size.page(sizes(NOW))


def test_every_key_of_the_json_is_described():
    page = (paths.RESOURCES / "docs" / "SIZE.md").read_text(encoding="utf-8")
    changed = size.numbers(sizes(NOW), sizes(BEFORE))
    keys = {*changed, *changed["diff"], *changed["flash"][0], *changed["diff"]["flash"][0]}
    assert {key for key in keys if f"`{key}`" not in page} == set()
    assert f"number of this format: {size.FORMAT}." in page


def test_json_comes_back_as_it_went(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(size.numbers(sizes(NOW), sizes(BEFORE))), encoding="utf-8")
    assert size.load(path) == sizes(NOW)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"flash_bytes": 999}, "add up to 1000 bytes, not 999"),
        ({"format": 2}, "format"),
        ({"flash": [{"path": ["\x1b[2J"], "bytes": 1}]}, "printable"),
        ({"flash": [{"path": [], "bytes": 1}]}, "path"),
        ({"flash": [{"path": ["a"], "bytes": -1}]}, "bytes"),
        ({"extra": 1}, "unknown key 'extra'"),
    ],
)
def test_a_changed_file_is_refused(tmp_path, change, says):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**size.numbers(sizes(NOW)), **change}), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"a\.json") as caught:
        size.load(path)
    assert says in str(caught.value)


def test_other_json_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not what tritmcu size --json prints"):
        size.load(tmp_path / "a.json")


def test_markdown_names_groups_and_changes():
    alone = size.markdown(sizes(NOW))
    assert "| layers | 720 | 72.0 % |" in alone
    assert "(25.0 % of the board)" in alone
    compared = size.markdown(sizes(NOW), sizes(BEFORE, "old"))
    assert "Compared with old on host." in compared
    assert "| kernels / nn_b | 0 | 300 | −300 |" in compared
    assert "parts of the RAM" not in compared


def test_many_changes_are_summed_up_in_the_last_line():
    many = {("kernels", f"f{number:02}"): number + 1 for number in range(size.CHANGES + 5)}
    table = size.markdown(sizes(many), sizes({}))
    assert f"| 5 more | {sum(range(1, 6))} | 0 | +{sum(range(1, 6))} |" in table


def test_a_name_cannot_break_the_page_or_the_table():
    hostile = sizes({("layers", "<script>|`"): 3})
    assert "<script>" not in size.page(hostile, sizes(NOW))
    assert "<script>" not in size.markdown(hostile, sizes(NOW))


def test_the_page_holds_every_part():
    page = size.page(sizes(NOW))
    for path, count in NOW.items():
        assert f"{' / '.join(path)}: {count} bytes" in page


def test_a_treemap_fills_its_place_in_proportion():
    values = sorted(random.Random(1).choices(range(1, 900), k=40), reverse=True)
    place = Rectangle(3, 5, 200, 90)
    found = squarify(values, place)
    for value, spot in zip(values, found, strict=True):
        assert spot.width * spot.height == pytest.approx(200 * 90 * value / sum(values))
        assert spot.x >= 3 - 1e-6 and spot.x + spot.width <= 203 + 1e-6
        assert spot.y >= 5 - 1e-6 and spot.y + spot.height <= 95 + 1e-6
    for number, one in enumerate(found):
        for other in found[:number]:
            across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
            down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
            assert across < 1e-6 or down < 1e-6


def test_a_treemap_without_room_has_no_area():
    assert squarify([3.0, 1.0], Rectangle(0, 0, 0, 5)) == [Rectangle(0, 0, 0.0, 0.0)] * 2
    assert squarify([], Rectangle(0, 0, 5, 5)) == []
