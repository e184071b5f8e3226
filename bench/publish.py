"""The results of the bench: kernels.json, the tables and the picture of docs/KERNELS.md, and what it prints."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.measure import BOARDS, M4
from pipeline.cli import console
from pipeline.config import board
from pipeline.core import paths, store, text

RESULTS = paths.RESOURCES / "bench" / "results" / "kernels.json"
RECORDED = paths.RESOURCES / "bench" / "cmsis_nn.json"
"""Figures of CMSIS-NN measured once by this bench, and how; instructions by core and by shape of the layer."""
DOCUMENT = paths.RESOURCES / "docs" / "KERNELS.md"
PICTURE = paths.RESOURCES / "docs" / "images" / "kernels.svg"
BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
OURS, THEIRS, INK, GRID = "#0b8a6f", "#98a2b3", "#1c2430", "#e4e7ec"
IN_DOCUMENT = ("resnet8", "dscnn", "dense512")
"""Ternary networks whose layers the document shows."""
EIGHT_BITS = ("cifar10_resnet8_float", "kws_dscnn_float")
"""Networks with weights of 8 bits, whose layers with weights it shows as well."""

Row = dict[str, Any]


@functools.cache
def recorded() -> dict[str, Any]:
    """{conditions: text, instructions: {core: {shape: number}}, bytes: {core: {network: {key: number}}}}."""
    return dict(json.loads(RECORDED.read_text(encoding="utf-8")))


def with_recorded(found: dict[str, Any]) -> dict[str, Any]:
    """The results with cmsis_nn_source: "measured", or "recorded" and the figure taken from there, or "none"."""
    layers = [
        _with_source(row, recorded()["instructions"].get(row["core"], {}).get(row["shape"])) for row in found["layers"]
    ]
    networks = {
        core: {name: _with_bytes(_with_source(row, _sum(layers, core, name)), core, name) for name, row in rows.items()}
        for core, rows in found["networks"].items()
    }
    return {**found, "layers": layers, "networks": networks}


def _with_source(row: Row, known: int | None) -> Row:
    if "cmsis_nn_instructions" in row:
        return {**row, "cmsis_nn_source": "measured"}
    return {**row, "cmsis_nn_instructions": known, "cmsis_nn_source": "none" if known is None else "recorded"}


def _with_bytes(row: Row, core: str, network: str) -> Row:
    return {**recorded()["bytes"].get(core, {}).get(network, {}), **row}


def _sum(layers: Iterable[Row], core: str, network: str) -> int | None:
    """Of CMSIS-NN's instructions; None where one of the network's layers has none."""
    counts = [r["cmsis_nn_instructions"] for r in layers if r["core"] == core and r["name"].startswith(f"{network}/")]
    return None if None in counts else sum(counts)


def together(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The results of several cores as one."""
    layers = [row for found in results for row in found["layers"]]
    return {
        **results[0],
        "layers": layers,
        "networks": {c: t for found in results for c, t in found["networks"].items()},
    }


def merged(found: dict[str, Any]) -> dict[str, Any]:
    """The stored table with the cores of `found` replaced, in the order of the cores."""
    before = read() if RESULTS.exists() else {"layers": [], "networks": {}}
    fresh = set(found["networks"])
    kept = [row for row in before["layers"] if row["core"] not in fresh]
    found = _with_measured(found, before)
    return laid_out(
        {**found, "layers": [*kept, *found["layers"]], "networks": {**_by_core(before), **found["networks"]}}
    )


def _with_measured(found: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The results with what is stored of a measured CMSIS-NN where this run had none: same core, name and shape."""
    known = {_identity(row): row for row in before["layers"]}
    totals = _by_core(before)
    layers = [_more_exact(row, known.get(_identity(row), {})) for row in found["layers"]]
    networks = {
        core: {name: _more_exact(row, totals.get(core, {}).get(name, {})) for name, row in rows.items()}
        for core, rows in found["networks"].items()
    }
    return {**found, "layers": layers, "networks": networks}


def _identity(row: Row) -> tuple[str, str, str]:
    return row["core"], row["name"], row["shape"]


def _more_exact(row: Row, stored: Row) -> Row:
    if row.get("cmsis_nn_source") == "measured" or stored.get("cmsis_nn_source") != "measured":
        return row
    return {**row, **{key: value for key, value in stored.items() if key.startswith("cmsis_nn_")}}


def laid_out(found: dict[str, Any]) -> dict[str, Any]:
    """The results as kernels.json has them: cores in order, the Cortex-M4's networks apart."""
    order = list(BOARDS)
    totals = found["networks"]
    return {
        "compiler": found["compiler"],
        "layers": sorted(found["layers"], key=lambda row: order.index(row["core"])),
        "networks": totals.get(M4, {}),
        "networks_by_core": {core: totals[core] for core in order if core in totals},
    }


def _by_core(results: Mapping[str, Any]) -> dict[str, Any]:
    return dict(results.get("networks_by_core", {}))


def read() -> dict[str, Any]:
    """The content of kernels.json."""
    return dict(json.loads(RESULTS.read_text(encoding="utf-8")))


def cost(results: Mapping[str, Any], network: str) -> Row | None:
    """What a card of the zoo says of the network's cost on the Cortex-M4, None where the bench has not run it. Layers
    that only rename their input have no row and take no cycles."""
    if network not in results["networks"]:
        return None
    layers = (row for row in results["layers"] if row["core"] == M4 and row["name"].startswith(f"{network}/"))
    return {
        "board": BOARDS[M4],
        "instructions": results["networks"][network]["instructions"],
        "cycles": sum(row["cycles_model"] for row in layers),
        "clock_hz": board.load(BOARDS[M4]).clock_hz,
    }


def write(results: dict[str, Any]) -> None:
    """Stores the results, and what docs/KERNELS.md shows of them."""
    store.write_text(RESULTS, _json(results) + "\n")
    store.write_text(PICTURE, picture(results))
    document = DOCUMENT.read_text(encoding="utf-8")
    if BEGIN not in document:
        document += f"\n## Figures\n\n{BEGIN}\n{END}\n"
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    store.write_text(DOCUMENT, f"{before}{BEGIN}\n{tables(results)}\n{END}{after}")


def _json(value: Any, indent: str = "") -> str:
    """JSON of the results, a line a row, so that a change of the table shows as the rows that changed."""
    inner = list(value.values()) if isinstance(value, Mapping) else value
    if not isinstance(value, Mapping | list) or not any(isinstance(part, Mapping | list) for part in inner):
        return json.dumps(value)
    keys = [f"{json.dumps(key)}: " for key in value] if isinstance(value, Mapping) else [""] * len(inner)
    parts = [f"{indent} {key}{_json(part, indent + ' ')}" for key, part in zip(keys, inner, strict=True)]
    opening, closing = "{}" if isinstance(value, Mapping) else "[]"
    return f"{opening}\n" + ",\n".join(parts) + f"\n{indent}{closing}"


def show(found: dict[str, Any], only: str = "") -> None:
    """Prints the tables."""
    for core, totals in found["networks"].items():
        rows = [row for row in found["layers"] if row["core"] == core and only in row["name"]]
        cells = [_layer_cells(row) for row in rows] + [_network_cells(name, row) for name, row in totals.items()]
        console.table(f"{core}, emulated {BOARDS[core]}", LAYER_COLUMNS, cells, right=range(2, len(LAYER_COLUMNS) - 1))
        console.stdout("")
    if M4 in found["networks"]:
        columns, rows = ("network", *SIZES.values()), _size_cells(found["networks"][M4])
        console.table(f"Bytes, {BOARDS[M4]}", columns, rows, right=range(1, len(columns)))
        console.stdout("")
    console.stdout("instructions: executed, exact; cycles: Cortex-M4 model, not silicon")
    if any(row["cmsis_nn_source"] == "recorded" for row in found["layers"]):
        console.stdout(f"CMSIS-NN recorded: {recorded()['conditions']}")


LAYER_COLUMNS = ("layer", "kernel", "MACs", "instructions", "per MAC", "cycles (model)", "per MAC", "code", "tables",
                 "scratch", "reference", "CMSIS-NN s8", "times fewer", "CMSIS-NN is")  # fmt: skip


def _layer_cells(row: Row) -> tuple[str, ...]:
    """One layer: what it costs, then what others do."""
    cost = (
        _count(row["macs"]),
        text.count(row["instructions"]),
        _ratio(row["instructions"], row["macs"]),
        _count(row["cycles_model"]),
        _ratio(row["cycles_model"], row["macs"]),
        *(text.count(row[key]) for key in ("code_bytes", "table_bytes", "scratch_bytes")),
    )
    return (row["name"], row["kernel"].removeprefix("nn_"), *cost, *_comparison(row))


def _network_cells(name: str, row: Row) -> tuple[str, ...]:
    sizes = (row["code_bytes"], row["weight_bytes"] + row["table_bytes"], row["scratch_bytes"])
    return (
        f"{name}, whole",
        "",
        "",
        text.count(row["instructions"]),
        "",
        "",
        "",
        *map(text.count, sizes),
        *_comparison(row),
    )


def _comparison(row: Row) -> tuple[str, ...]:
    theirs = row["cmsis_nn_instructions"]
    counts = (_count(n) for n in (row.get("reference_instructions"), theirs))
    source = row["cmsis_nn_source"] if theirs else "–"
    return (*counts, _ratio(theirs, row["instructions"]), source)


def _count(number: int | None) -> str:
    return text.count(number) if number else "–"


def _ratio(a: float | None, b: float | None) -> str:
    return f"{a / b:.2f}" if a and b else "–"


SIZES = {
    "weight_bytes": "weights",
    "table_bytes": "other layer tables",
    "code_bytes": "kernels",
    "cmsis_nn_table_bytes": "weights and tables, CMSIS-NN",
    "cmsis_nn_code_bytes": "kernels, CMSIS-NN",
    "flash_bytes": "whole image, flash",
    "arena_bytes": "activation arena",
    "scratch_bytes": "kernel scratch",
    "stack_bytes": "stack, deepest use",
    "ram_extra_bytes": "all RAM but activations",
}
"""What the size table calls each key of a network's row."""


def _size_cells(totals: Mapping[str, Row]) -> list[tuple[str, ...]]:
    return [(name, *(_count(row.get(key)) for key in SIZES)) for name, row in totals.items()]


def tables(results: Mapping[str, Any]) -> str:
    """The Markdown between the markers of docs/KERNELS.md: layers on the Cortex-M4, networks on all cores, bytes."""
    layers = [_document_cells(row) for row in document_rows(results, IN_DOCUMENT)]
    wide = [_document_cells(row) for row in document_rows(results, EIGHT_BITS) if row["macs"]]
    columns = ("instructions", "per MAC", "cycles, model", "CMSIS-NN s8", "per MAC", "times fewer")
    cores = results["networks_by_core"]
    return "\n\n".join(
        (
            f"![Instructions per multiply-accumulate](images/{PICTURE.name})",
            markdown(("ternary layer on the Cortex-M4", *columns), layers),
            markdown(("8-bit layer on the Cortex-M4", *columns), wide),
            "Instructions of whole networks; in parentheses, how many times as many CMSIS-NN s8 executes, then the "
            "portable kernels where they were run too:",
            markdown(("network", *cores), _totals(cores)),
            markdown(("bytes on the Cortex-M4", *SIZES.values()), _size_cells(results["networks"])),
            f"Compiled by {results['compiler']}. CMSIS-NN: {recorded()['conditions']}",
        )
    )


def document_rows(results: Mapping[str, Any], networks: Sequence[str]) -> list[Row]:
    """Layers of those networks on the Cortex-M4, the first of each shape."""
    distinct: dict[str, Row] = {}
    for row in results["layers"]:
        if row["core"] == M4 and row["name"].split("/")[0] in networks:
            distinct.setdefault(row["shape"], row)
    return list(distinct.values())


def _document_cells(row: Row) -> tuple[str, ...]:
    theirs = row["cmsis_nn_instructions"]
    return (
        row["shape"], text.count(row["instructions"]), _ratio(row["instructions"], row["macs"]),
        text.count(row["cycles_model"]), _count(theirs), _ratio(theirs, row["macs"]),
        _ratio(theirs, row["instructions"]),
    )  # fmt: skip


def _totals(cores: Mapping[str, Mapping[str, Row]]) -> list[tuple[str, ...]]:
    """A row a network, a cell a core."""
    names = dict.fromkeys(name for networks in cores.values() for name in networks)
    return [(name, *(_total(networks.get(name)) for networks in cores.values())) for name in names]


def _total(row: Row | None) -> str:
    if row is None:
        return "–"
    others = (row["cmsis_nn_instructions"], row.get("reference_instructions"))
    ratios = ", ".join(_ratio(other, row["instructions"]) for other in others[: 2 if others[1] else 1])
    return f"{text.count(row['instructions'])} ({ratios})"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def picture(results: Mapping[str, Any]) -> str:
    """SVG: instructions per multiply-accumulate of each kind of layer on the Cortex-M4, ours and CMSIS-NN's."""
    import matplotlib
    from matplotlib.figure import Figure

    rows = [row for row in document_rows(results, IN_DOCUMENT) if row["macs"] and row["cmsis_nn_instructions"]]
    matplotlib.rcParams.update({"svg.hashsalt": "tritmcu", "svg.fonttype": "none", "font.size": 9})
    figure = Figure(figsize=(8, 0.5 * len(rows) + 0.8), layout="constrained")
    axes = figure.add_subplot()
    for key, label, colour, shift in (
        ("cmsis_nn_instructions", "CMSIS-NN, int8", THEIRS, 0.2),
        ("instructions", "here, ternary", OURS, -0.2),
    ):
        values = [row[key] / row["macs"] for row in rows]
        bars = axes.barh([i + shift for i in range(len(rows))], values, 0.38, label=label, color=colour)
        axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8, color=INK)
    axes.set_yticks(range(len(rows)), [row["shape"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("executed instructions per multiply-accumulate, Cortex-M4")
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    axes.legend(frameon=False, loc="lower right")
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"
