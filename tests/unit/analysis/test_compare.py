"""compare: ratios are to the first network, what was not measured says so, the page holds what it was given."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

from pipeline.analysis import compare
from pipeline.analysis.compare import Contender, Share
from pipeline.core import paths

FIRST = Contender(
    name="first", board="host", kernels="auto", clean=Share(0.8, (0.7, 0.9), 50), robust={"PGD": Share(0.3, (0, 1), 9)},
    unit="instructions", ticks=200, layers={"conv": 150, "pool": 50},
    flash={"weights": 10, "kernels": 30}, ram={"activations": 8},
)  # fmt: skip
OTHER = replace(FIRST, name="o<b>", robust={}, ticks=300, layers={"conv": 300}, flash={"weights": 30, "kernels": 30})


def test_rows_are_those_of_both_with_ratios_to_the_first():
    rows = dict(compare.rows([FIRST, OTHER]))
    assert rows["clean accuracy (twin)"] == ["80.0 %", "80.0 %"]
    assert rows["PGD"] == ["30.0 %", "not measured"]
    assert rows["instructions per inference"] == ["200", "300 (1.50×)"]
    assert rows["flash (bytes)"] == ["40", "60 (1.50×)"]
    assert rows["  weights"] == ["10", "30 (3.00×)"]
    assert dict(compare.layer_rows([FIRST, OTHER])) == {"conv": ["150", "300 (2.00×)"], "pool": ["50", "not measured"]}


def test_layers_of_a_cascade_point_at_the_one_that_counts_for_all():
    striped = replace(FIRST, layers={"conv": 5, "pool": 185}, cascades={"conv": "pool", "pool": "pool"})
    one_by_one = dict(compare.layer_rows([FIRST, striped]))
    assert one_by_one == {"conv": ["150", "in pool's"], "pool": ["50", "190 for 2 layers"]}
    alike = replace(striped, layers={"conv": 5, "pool": 375})
    assert dict(compare.layer_rows([striped, alike]))["pool"] == ["190 for 2 layers", "380 for 2 layers (2.00×)"]


def test_the_kernel_of_each_layer():
    mine = replace(FIRST, layer_kernels={"conv": "nn_conv2d_t2_dsp", "pool": "nn_max_pool2d"})
    its = replace(OTHER, layer_kernels={"conv": "nn_conv2d_s_cmsis"})
    wanted = {"conv": ["nn_conv2d_t2_dsp", "nn_conv2d_s_cmsis"], "pool": ["nn_max_pool2d", "–"]}
    assert dict(compare.kernel_rows([mine, its])) == wanted
    assert "nn_conv2d_s_cmsis" in compare.page([mine, its])


def test_kernels_stand_in_the_order_of_the_layers():
    mine = replace(FIRST, layers={"pool": 1, "conv": 2}, layer_kernels={"conv": "a", "extra": "b", "pool": "c"})
    assert [layer for layer, _ in compare.kernel_rows([mine])] == ["pool", "conv", "extra"]


def test_parts_are_indented_on_the_page_as_in_the_terminal():
    assert '<td style="white-space: pre-wrap">  weights</td>' in compare.page([FIRST])


def test_what_did_not_run_is_not_measured():
    silent = replace(FIRST, ticks=None, layers={})
    assert dict(compare.rows([silent, silent]))["per inference"] == ["not measured", "not measured"]
    assert "by layer" not in compare.page([silent])


def test_equal_names_are_told_apart():
    assert compare.columns([FIRST, OTHER, FIRST]) == ["first (1)", "o<b>", "first (3)"]
    runs = [replace(FIRST, called=called) for called in ("8_bits-s1", "8_bits-s2", "8_bits-s2")]
    assert compare.columns([*runs, OTHER]) == ["8_bits-s1", "8_bits-s2 (2)", "8_bits-s2 (3)", "o<b>"]


def test_boards_and_kernels_stand_in_the_heading_where_they_differ():
    slower = replace(FIRST, kernels="reference")
    assert compare.columns([FIRST, slower]) == ["first, auto", "first, reference"]
    elsewhere = replace(FIRST, board="mps2-an385")
    assert compare.columns([FIRST, elsewhere, elsewhere]) == [
        "first, host",
        "first, mps2-an385 (2)",
        "first, mps2-an385 (3)",
    ]


def test_what_boards_count_differently_is_not_compared():
    timed = replace(FIRST, unit="cycles", ticks=900, layers={"conv": 800})
    rows = dict(compare.rows([FIRST, timed]))
    assert rows["instructions per inference"] == ["200", "not measured"]
    assert rows["cycles per inference"] == ["not measured", "900"]
    layers = dict(compare.layer_rows([FIRST, timed]))
    assert layers["conv (instructions)"] == ["150", "not measured"]
    assert layers["conv (cycles)"] == ["not measured", "800"]


def test_layers_without_a_fast_kernel_are_named_with_what_one_asks_for():
    portable = replace(OTHER, unserved={"conv": "conv2d_s_dsp: it reads weights of 8, 4 or 3 bits, not 5"})
    assert dict(compare.rows([FIRST, portable]))["layers without a fast kernel"] == ["none", "conv"]
    assert "not 5" in compare.page([FIRST, portable])
    assert compare.unserved([FIRST, portable]) == {"o<b>: conv": portable.unserved["conv"]}
    assert "without a fast kernel" not in compare.page([FIRST])


def test_the_page_plots_every_network_and_escapes_names():
    page = compare.page([FIRST, OTHER])
    assert "300 (1.50×)" in page
    assert "o<b>" not in page
    drawing = page[page.index("<svg") : page.index("</svg>") + len("</svg>")]
    assert ET.fromstring(drawing.replace("xlink:href", "href")).tag.endswith("svg")


def test_every_key_of_the_json_is_described():
    page = (paths.RESOURCES / "docs" / "SIZE.md").read_text(encoding="utf-8")
    content = compare.numbers([FIRST])
    (network,) = content["networks"]
    assert network["flash_bytes"] == 40 and network["ram_bytes"] == 8
    keys = {*content, *network, *network["clean"]}
    assert {key for key in keys if f"`{key}`" not in page and f"`.{key}`" not in page} == set()
