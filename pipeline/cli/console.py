"""What the command line draws: progress on standard error, tables on standard output."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pipeline.core import text
from pipeline.core.nouns import AuditResult

if TYPE_CHECKING:
    from pipeline.analysis.size import Node

PLAIN_INTERVAL_S = 10.0
"""Between two progress lines where standard error is no terminal."""
STAGE_COLUMN = 8
BETWEEN = 2
"""Characters a table takes for each column besides its width."""
Line = tuple[str, Sequence[str]]
FILE_COLUMNS = 1000
"""Width of a table that goes into a file or a pipe."""


def stderr(line: str) -> None:
    """Prints a line to standard error."""
    print(line, file=sys.stderr, flush=True)


def stdout(content: str) -> None:
    """Prints to standard output."""
    print(content, flush=True)


class PlainDisplay:
    """One line per stage, and one about every ten seconds of a long one."""

    def __init__(self) -> None:
        self._what, self._done, self._first = "", 0, 0
        self._began = self._last = time.monotonic()

    def start(self, stage: str) -> None:
        self._what, self._last = "", time.monotonic()
        stderr(f"{stage:<{STAGE_COLUMN}} started")

    def progress(self, what: str, done: int, total: int, info: str = "") -> None:
        now = time.monotonic()
        if what != self._what or done < self._done:  # fewer: the next of several attacks
            self._what, self._began, self._first = what, now, done  # first: where a resumed one begins
        self._done = done
        if now - self._last >= PLAIN_INTERVAL_S and total:
            self._last = now
            elapsed, moved = now - self._began, done - self._first
            left = f", {text.duration(elapsed * (total - done) / moved)} left" if moved and elapsed > 1 else ""
            stderr(f"{what:<{STAGE_COLUMN}} {100 * done // total} %{left}  {info}".rstrip())

    def finish(self, stage: str, seconds: float, note: str) -> None:
        stderr(f"{stage:<{STAGE_COLUMN}} {text.duration(seconds)}  {note}")

    def skip(self, stage: str, note: str) -> None:
        stderr(f"{stage:<{STAGE_COLUMN}} unchanged  {note}")

    def close(self) -> None:
        """Nothing to put away."""


class BarDisplay:
    """Live bars with the time left, and one line per finished stage."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True, highlight=False)
        self._bars = Progress(
            TextColumn(f"{{task.description:<{STAGE_COLUMN}}}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(compact=True),
            TextColumn("[dim]{task.fields[info]}", table_column=_one_line()),
            console=self._console,
            transient=True,
            refresh_per_second=4,
        )
        self._tasks: dict[str, Any] = {}
        self._bars.start()

    def start(self, stage: str) -> None:
        self._task(stage)

    def progress(self, what: str, done: int, total: int, info: str = "") -> None:
        task = self._task(what)
        if done < self._bars.tasks[self._bars.task_ids.index(task)].completed:
            self._bars.reset(task)  # the next of several attacks: the time left is its own
        self._bars.update(task, completed=done, total=total, info=info)

    def finish(self, stage: str, seconds: float, note: str) -> None:
        self._clear()
        self._line("[green]✓[/]", stage, note, text.duration(seconds))

    def skip(self, stage: str, note: str) -> None:
        self._line("[dim]·[/]", stage, note, "unchanged")

    def close(self) -> None:
        """Takes the bars off the screen."""
        self._bars.stop()

    def _task(self, what: str) -> Any:
        """The bar of that name; a new one takes the place of those that are full or never began to fill."""
        if what not in self._tasks:
            self._clear(lambda task: task.total is None or task.finished)
            self._tasks[what] = self._bars.add_task(what, total=None, info="")
        return self._tasks[what]

    def _clear(self, unwanted: Callable[[Any], bool] = lambda task: True) -> None:
        for task in [task for task in self._bars.tasks if unwanted(task)]:
            self._bars.remove_task(task.id)
            del self._tasks[task.description]

    def _line(self, sign: str, stage: str, note: str, end: str) -> None:
        from rich.markup import escape

        self._console.print(f"{sign} [bold]{stage:<{STAGE_COLUMN}}[/] {escape(note)}  [dim]{end}[/]", soft_wrap=True)


def display() -> PlainDisplay | BarDisplay:
    """Bars where standard error is a terminal, lines elsewhere."""
    return BarDisplay() if sys.stderr.isatty() else PlainDisplay()


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Prints a table to standard output. right: numbers of the columns that hold figures.

    Where the terminal is too narrow, text wraps between words; where that is not enough, the last columns are left out,
    and named. The first column, the names, and figures are never cut or wrapped.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    available = table_width()
    cells = [[name, *(row[i] for row in rows)] for i, name in enumerate(columns)]
    widths = fit(cells, available, {0, *right})
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False)
    drawn.padding = (0, 1, 0, 0)
    for number, width in enumerate(widths):
        justify: Literal["left", "right"] = "right" if number in right else "left"
        drawn.add_column(columns[number], justify=justify, width=width)
    for row in rows:
        drawn.add_row(*row[: len(widths)])
    needed = max(available, sum(widths) + BETWEEN * len(widths))
    console = Console(highlight=False, markup=False, width=needed)
    if title:  # not that of the table, which wraps where the table ends
        console.print(title, style="bold")
    console.print(drawn)
    if len(widths) < len(columns):
        stdout(f"left out, the terminal is too narrow: {', '.join(columns[len(widths) :])}")


def table_width() -> int:
    """Columns a table may take: those of the terminal; many where standard output is a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else FILE_COLUMNS


def fit(columns: Sequence[Sequence[str]], available: int, unbroken: Collection[int]) -> list[int]:
    """Widths of the first columns of a table, as many as fit into `available` characters, at least one. columns: the
    cells of each, its heading first. Columns in `unbroken` have room for their longest cell, others at least for their
    longest word; what is left goes to those that lack least."""
    whole = [max(map(len, cells)) for cells in columns]
    words = [[len(word) for cell in cells for word in cell.split()] for cells in columns]
    least = [whole[i] if i in unbroken else max(words[i], default=0) for i in range(len(columns))]
    count = len(columns)
    while count > 1 and sum(least[:count]) + BETWEEN * count > available:
        count -= 1
    spare = available - sum(least[:count]) - BETWEEN * count
    widths = least[:count]
    for i in sorted(range(count), key=lambda i: whole[i] - least[i]):
        more = max(0, min(spare, whole[i] - least[i]))
        widths[i] += more
        spare -= more
    return widths


def sizes(root: Node, shown: Sequence[tuple[int, Node]], share: str) -> None:
    """Prints one memory of a firmware as a tree. shown: (level, node); share: of board and budget, in words."""
    compared = root.before is not None
    columns = ("part", "bytes", *(("before", "change") if compared else ("share",)))
    rows = []
    for level, node in shown:
        part = (text.percent(node.size / root.size if root.size else None),)
        cells = part if node.before is None else (text.count(node.before), text.signed(node.change))
        rows.append(("  " * level + node.name, text.count(node.size), *cells))
    title = ", ".join(filter(None, (f"{root.name}: {text.size(root.size)}", share)))
    table(title, columns, rows, right=range(1, len(columns)))
    stdout("")


def layers(found: Sequence[tuple[str, int, str, str]]) -> None:
    """Prints layers with their bytes of flash, their kernels, and which are computed together; nothing without any.
    found: as analysis.size.layers has them."""
    if found:
        columns = ("layer", "flash", "kernel", *(("in stripes, with",) if any(row[3] for row in found) else ()))
        rows = [(name, text.count(count), kernel, last)[: len(columns)] for name, count, kernel, last in found]
        table("Layers", columns, rows, right=(1,))
        stdout("")


def unserved(layers: Mapping[str, str]) -> None:
    """Prints the layers that only their portable kernel computes, and what faster ones ask for; nothing without any."""
    if layers:
        table("Layers without a fast kernel", ("layer", "what the core's faster kernels require"), list(layers.items()))


def comparison(
    names: Sequence[str], rows: Sequence[Line], layers: Sequence[Line], kernels: Sequence[Line] = ()
) -> None:
    """Prints networks side by side. rows, layers, kernels: (what, a cell for each network)."""
    right = range(1, len(names) + 1)
    table("", ("", *names), [(what, *cells) for what, cells in rows], right=right)
    if layers:
        stdout("")
        table("By layer", ("layer", *names), [(layer, *cells) for layer, cells in layers], right=right)
    if kernels:
        stdout("")
        table("Kernel of each layer", ("layer", *names), [(layer, *cells) for layer, cells in kernels])


def summary(report: Mapping[str, Any]) -> None:
    """Prints what a report says, in two tables."""
    accuracy, latency, memory = report["accuracy"], report["latency"], report["memory"]
    rows = [_accuracy_row("clean", "–", "0", accuracy["clean"], "–")]
    for attack in accuracy["attacks"]:
        success, name = text.percent(attack["success"]["rate"]), f"{attack['name']} {attack['variant']}".rstrip()
        rows.append(_accuracy_row(name, attack["eps_label"], _steps(attack["eps_lsb"]), attack, success))
    columns = ("data", "eps", "lattice steps", "Keras", "twin", "device", "samples", "attack success")
    table(f"Accuracy: {report['job']['name']} on {report['board']['name']}", columns, rows, right=range(1, 8))
    unit, ram = latency["unit"], sum(memory["ram_groups"].values())
    stdout("")
    if report["layerwise"]:
        layerwise(report["layerwise"])
        stdout("")
    table(
        "Cost on the device",
        ("", "value", "of the board"),
        [
            ("device/twin mismatches", f"{report['agreement']['device_twin_mismatches']}", ""),
            (latency["label"], f"{text.count(latency[unit]['median'])}", ""),
            (
                "flash",
                text.size(memory["flash_bytes"]),
                text.percent(memory["flash_bytes"] / memory["flash_limit_bytes"]),
            ),
            ("  including layer tables", text.size(memory["weights_bytes"]), ""),
            ("RAM", text.size(ram), text.percent(ram / memory["ram_limit_bytes"])),
            ("  including the arena", text.size(memory["arena_bytes"]), ""),
            ("stack, deepest use", text.size(memory["stack_high_water_bytes"]), ""),
        ],
        right=(1, 2),
    )


def _steps(budget: int | None) -> str:
    """Of the lattice; of a waveform's budget none."""
    return "–" if budget is None else str(budget)


def attacks(campaigns: Sequence[Mapping[str, Any]]) -> None:
    """Prints what analysis.outcomes.summarize says: robust accuracy, then what each attack did."""
    rows, details = [], []
    for campaign in campaigns:
        clean, robust = campaign["clean"], campaign["robust"]
        low, high = (text.percent(share) for share in robust["interval"])
        rows.append(
            (campaign["data"], text.percent(clean["accuracy"]), text.percent(robust["accuracy"]), f"{low} to {high}",
             text.count(robust["n"]))
        )  # fmt: skip
        for attack in campaign["attacks"]:
            counts = [text.count(attack[name]) for name in ("attacked", "fooled", "queries", "gradients")]
            name, blind = _told_apart(attack, campaign["attacks"]), text.percent(attack["zero_gradient_share"])
            details.append((campaign["data"], name, *counts, blind, text.duration(attack["seconds"])))
    table("Robust accuracy", ("data", "clean", "robust", "95 % interval", "samples"), rows, right=(1, 2, 3, 4))
    columns = ("data", "attack", "attacked", "fooled", "answers", "gradients", "of them zero", "time")
    table("Attacks", columns, details, right=(2, 3, 4, 5, 6, 7))
    for device in [campaign["device"] for campaign in campaigns if "device" in campaign][:1]:
        answers, reused, differing = (text.count(device[name]) for name in ("answers", "reused", "differing"))
        stdout(
            f"{device['board']} x {device['devices']}: {answers} inputs answered, {reused} of them by an earlier run; "
            f"{differing} not as the twin"
        )


def _told_apart(attack: Mapping[str, Any], all_of_them: Sequence[Mapping[str, Any]]) -> str:
    """Name of an attack, with the settings that tell it from the others of its name."""
    alike = [other["params"] for other in all_of_them if other["attack"] == attack["attack"]]
    different = [f"{key}={value}" for key, value in attack["params"].items() if any(p[key] != value for p in alike)]
    return " ".join([attack["attack"], *different])


def audit(found: AuditResult) -> None:
    """Prints every check of an audit, and the verdict."""
    answers = {True: "passed", False: "FAILED", None: "not measured"}
    rows = [
        (check.name, answers[check.passed], *(_figure(number) for number in (check.value, check.threshold)), check.why)
        for check in found.checks
    ]
    title = f"Audit at eps {found.budget}: {text.count(found.samples)} samples of {found.dataset}"
    table(title, ("check", "", "value", "at most", "why"), rows, right=(2, 3))
    stdout(f"verdict: {found.verdict}")


def _figure(number: float | None) -> str:
    return "–" if number is None else f"{number:.4g}"


def agreement(layers: Mapping[str, Mapping[str, float]]) -> None:
    """Prints how far the integers of each layer are from the original (analysis.agreement)."""
    rows = [(name, f"{found['mean_lsb']:.2f}", f"{found['max_lsb']:.1f}") for name, found in layers.items()]
    table("Difference to the original, steps of each layer", ("layer", "mean", "largest"), rows, right=(1, 2))


def layerwise(choice: Mapping[str, Any]) -> None:
    """Prints the settings of every layer that were chosen after training, and whether a uniform network is faster."""
    shown = {"bits": "d", "clip": "g", "bytes": ",d", "lipschitz": ".4g", "distance": ".4g"}
    # Networks that were stored by earlier versions say nothing of these.
    more = {"instructions": ",d", "sensitivity": ".3f"}
    shown |= {key: form for key, form in more.items() if any(n.get(key) is not None for n in choice["layers"])}
    names = {"lipschitz": "Lipschitz", "distance": "logits move", "sensitivity": "ANS"}
    rows = [
        (n["name"], *(f"{n[key]:{form}}".replace(",", "\u202f") for key, form in shown.items()))
        for n in choice["layers"]
    ]

    def total(name: str, **cells: str) -> tuple[str, ...]:
        return name, *(cells.get(key, "") for key in shown)

    share = text.percent(choice["bytes"] / choice["ternary_bytes"], 0)
    whole = {"bytes": f"{text.count(choice['bytes'])} ({share} of ternary)", "distance": f"{choice['loss']:.4g}"}
    measured = choice.get("instructions") is not None
    if measured:
        whole["instructions"] = text.count(choice["instructions"])
    rows += [total("attack", distance=f"{choice['attacked']:.4g}"), total("all", **whole)]
    columns = ("layer", *(names.get(key, key) for key in shown))
    table(f"Layer-wise choice: {choice['method']}", columns, rows, right=range(1, len(columns)))
    if measured:
        others = (f"{text.count(count)} at {bits} bits" for bits, count in choice["uniform_instructions"].items())
        stdout(f"instructions (executed, emulated) with one width for all layers: {', '.join(others)}")
    if (bits := choice.get("faster_uniform")) is not None:
        stdout(f"warning: {bits} bits for all layers take fewer instructions, within the same budget")
    bits = ", ".join(f"{layer['name']} = {layer['bits']}" for layer in choice["layers"])
    stdout(f"to train at these bits: layer_bits = {{ {bits} }} in [model]")


def _accuracy_row(name: str, eps: str, steps: str, point: Mapping[str, Any], success: str) -> tuple[str, ...]:
    shares = (text.percent(point[who]) for who in ("keras", "twin", "device"))
    return (name, eps, steps, *shares, text.count(point["n"]), success)


def _one_line() -> Any:
    from rich.table import Column

    return Column(no_wrap=True, overflow="ellipsis")
