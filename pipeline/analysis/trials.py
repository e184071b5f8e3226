"""Results of a sweep: what is stored of a trial, and the table and page of them all."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from pipeline.core import templates, text
from pipeline.core.schema import Label, Strict

FORMAT = 1
"""Of the JSON; changes when a key changes its meaning or goes away."""


class Accuracy(Strict):
    """Accuracy of the integer network."""

    accuracy: float
    """Share of right answers, 0 to 1."""
    interval: tuple[float, float]
    """Its 95 % Wilson interval."""
    n: int
    """How many test samples."""

    def __str__(self) -> str:
        """Percent, with the interval in parentheses."""
        low, high = (f"{100 * share:.1f}" for share in self.interval)
        return f"{100 * self.accuracy:.1f} ({low}–{high})"


class Attacked(Accuracy):
    """The same under one attack or suite."""

    data: Label
    """Its name and budget, such as "pgd eps=8/255"."""


class Record(Strict):
    """What is known of a trial that has ended."""

    study: Label
    """Of the sweep."""
    row: Label
    """Of the study."""
    seed: int
    """Of its job."""
    fold: Label = ""
    """Of its data set, such as "1/5"; "": its own splits."""
    key: str
    """Digest of what a person can change about it."""
    state: Literal["done", "diverged", "failed"] = "done"
    """ "diverged": its loss was not finite; "failed": something else ended it, and it is tried again."""
    message: str = ""
    """Why it is not done, one line."""
    bits: dict[str, int] = Field(default_factory=dict)
    """Bits of every layer, where [layerwise] chose them."""
    epochs: int = 0
    """Trained."""
    clean: Accuracy | None = None
    """On the whole test split; None unless it is done."""
    robust: tuple[Attacked, ...] = ()
    """What each attack or suite of its job leaves."""
    attacks: int = 0
    """Version of the attacks that measured it (`suites.VERSION`); 0: before they had one, through the Keras model."""
    weights_bytes: int = 0
    """Of the packed weights."""
    tables_bytes: int = 0
    """The same with biases and requantization."""
    seconds: float = 0.0
    """It took, in the process that ended it."""


@dataclass(frozen=True)
class Line:
    """The trials of one row of one study."""

    study: str
    """Its name."""
    row: str
    """Its name."""
    wanted: int
    """How many trials it has."""
    records: tuple[Record, ...]
    """Of those that have ended."""

    @property
    def done(self) -> tuple[Record, ...]:
        """The records of trials that have results."""
        return tuple(record for record in self.records if record.state == "done")

    @property
    def state(self) -> str:
        """How many trials are done, and what became of others: "3/5, 1 diverged"."""
        others = [record.state for record in self.records if record.state != "done"]
        counts = "".join(f", {others.count(state)} {state}" for state in dict.fromkeys(others))
        return f"{len(self.done)}/{self.wanted}{counts}"

    def shares(self, data: str) -> list[float]:
        """Accuracies, 0 to 1, of the trials that measured this data, "clean" or an attack."""
        return [found.accuracy for record in self.done if (found := measured(record, data)) is not None]


def measured(record: Record, data: str) -> Accuracy | None:
    """What the trial answers to the data, "clean" or an attack; None: not measured."""
    if data == CLEAN:
        return record.clean
    return next((point for point in record.robust if point.data == data), None)


CLEAN = "clean"
"""The data without an attack."""


def spread(shares: Sequence[float]) -> str:
    """Mean in percent, with the standard deviation where there are several.

    >>> spread([0.5, 0.52]), spread([0.5]), spread([])
    ('51.0 ± 1.4', '50.0', '–')
    """
    values = [100 * share for share in shares]
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}" if values else "–"


def data(lines: Sequence[Line]) -> list[str]:
    """Every kind of data that a trial of these lines measured, "clean" first."""
    return list(dict.fromkeys((CLEAN, *(p.data for line in lines for r in line.records for p in r.robust))))


def columns(lines: Sequence[Line]) -> list[str]:
    """Headings of `cells`."""
    return ["study", "recipe", "trials", *data(lines), "bytes"]


def cells(lines: Sequence[Line]) -> Iterator[list[str]]:
    """A row of text for each line: percent, mean and standard deviation over its trials."""
    for line in lines:
        sizes = [record.weights_bytes for record in line.done]
        size = text.count(statistics.mean(sizes)) if sizes else "–"
        yield [line.study, line.row, line.state, *(spread(line.shares(name)) for name in data(lines)), size]


def numbers(lines: Sequence[Line]) -> dict[str, Any]:
    """The content of the JSON: every row with the records of its trials."""
    rows = [
        {"study": line.study, "row": line.row, "wanted": line.wanted, "trials": _plain(line.records)} for line in lines
    ]
    return {"format": FORMAT, "rows": rows}


def _plain(records: Sequence[Record]) -> list[Mapping[str, Any]]:
    return [record.model_dump(mode="json") for record in records]


def page(name: str, lines: Sequence[Line]) -> str:
    """The HTML page of a sweep: a table for each study, and what did not finish. It opens offline."""
    studies = {
        study: [line for line in lines if line.study == study] for study in dict.fromkeys(n.study for n in lines)
    }
    tables = [(study, columns(mine)[1:], [row[1:] for row in cells(mine)]) for study, mine in studies.items()]
    records = [record for line in lines for record in line.records]
    return (
        templates.pages()
        .get_template("sweep.html.j2")
        .render(
            name=name,
            tables=tables,
            apart=[record for record in records if record.state != "done"],
            done=sum(record.state == "done" for record in records),
            wanted=sum(line.wanted for line in lines),
        )
    )
