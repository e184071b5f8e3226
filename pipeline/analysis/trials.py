"""Results of a sweep: what is stored of a trial, and the table and page of them all."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline.core import templates, text
from pipeline.core.schema import Label, Positive, Strict

FORMAT = 1
"""Of the JSON; changes when a key changes its meaning or goes away."""


Share = Annotated[float, Field(ge=0, le=1)]


class Accuracy(Strict):
    """Accuracy of the integer network."""

    accuracy: Share
    """Share of right answers, 0 to 1."""
    interval: tuple[Share, Share]
    """Its 95 % Wilson interval."""
    n: Positive
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
    validation: Accuracy | None = None
    """On the validation split, by which to choose between rows; None: not measured."""
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
    over: str = ""
    """Why its job's board or budget could not take the network, one line; "": nothing was known against it."""
    seconds: float = 0.0
    """It took, in the process that ended it."""

    @model_validator(mode="after")
    def _has_a_result(self) -> Record:
        if self.state == "done" and self.clean is None:
            raise ValueError('clean: a trial that is "done" has one')
        return self


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
    against: str = ""
    """The row that it is compared with; "": none."""
    folders: tuple[str, ...] = ()
    """Of the runs of those that have ended, relative to that of the sweep."""

    @property
    def done(self) -> tuple[Record, ...]:
        """The records of trials that have results."""
        return tuple(record for record in self.records if record.state == "done")

    @property
    def state(self) -> str:
        """How many trials are done, what became of others, and how many of the networks are too much for the job's
        board or budget: "3/5, 1 diverged, 2 over limits"."""
        others: list[str] = [record.state for record in self.records if record.state != "done"]
        others += [OVER for record in self.done if record.over]
        counts = "".join(f", {others.count(state)} {state}" for state in dict.fromkeys(others))
        return f"{len(self.done)}/{self.wanted}{counts}"

    def shares(self, data: str) -> list[float]:
        """Accuracies, 0 to 1, of the trials that measured this data, "clean" or an attack."""
        return [found.accuracy for record in self.done if (found := measured(record, data)) is not None]


def measured(record: Record, data: str) -> Accuracy | None:
    """What the trial answers to the data, "clean", "validation" or an attack; None: not measured."""
    if data in (CLEAN, VALIDATION):
        return record.clean if data == CLEAN else record.validation
    return next((point for point in record.robust if point.data == data), None)


CLEAN, VALIDATION = "clean", "validation"
"""The test samples without an attack; those of the validation split."""
OVER = "over limits"
"""A trial whose network its job's board or budget cannot take."""


def spread(shares: Sequence[float]) -> str:
    """Mean in percent, with the standard deviation where there are several.

    >>> spread([0.5, 0.52]), spread([0.5]), spread([])
    ('51.0 ± 1.4', '50.0', '–')
    """
    values = [100 * share for share in shares]
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}" if values else "–"


def data(lines: Sequence[Line]) -> list[str]:
    """Every kind of data that a trial of these lines measured, "validation" first, where one did, then "clean"."""
    records = [record for line in lines for record in line.records]
    validation = [VALIDATION] if any(record.validation for record in records) else []
    return list(dict.fromkeys((*validation, CLEAN, *(point.data for record in records for point in record.robust))))


def columns(lines: Sequence[Line]) -> list[str]:
    """Headings of `cells`."""
    against = ["against"] if any(line.against for line in lines) else []
    return ["study", "recipe", "trials", *data(lines), "bytes", *against]


def cells(lines: Sequence[Line]) -> Iterator[list[str]]:
    """A row of text for each line: percent, mean and standard deviation over its trials, and the difference to the mean
    of the row that it is compared with."""
    rows = {(line.study, line.row): line for line in lines}
    compares = any(line.against for line in lines)
    for line in lines:
        other = rows.get((line.study, line.against))
        sizes = [record.weights_bytes for record in line.done]
        size = text.count(statistics.mean(sizes)) if sizes else "–"
        shares = [spread(line.shares(name)) + _difference(line, other, name) for name in data(lines)]
        yield [line.study, line.row, line.state, *shares, size, *([line.against] if compares else [])]


def _difference(line: Line, other: Line | None, name: str) -> str:
    """ " (+3.4)": points by which the mean of the line is above the other's; "" where one has none."""
    mine, others = line.shares(name), other.shares(name) if other else []
    if not (mine and others):
        return ""
    points = round(100 * (statistics.mean(mine) - statistics.mean(others)), 1)
    return f" ({points + 0.0:+.1f})".replace("-", "\N{MINUS SIGN}")


def numbers(lines: Sequence[Line]) -> dict[str, Any]:
    """The content of the JSON: every row with the records of its trials."""
    rows = [
        {"study": line.study, "row": line.row, "against": line.against, "wanted": line.wanted, "trials": _plain(line)}
        for line in lines
    ]
    return {"format": FORMAT, "rows": rows}


def _plain(line: Line) -> list[Mapping[str, Any]]:
    return [
        {**record.model_dump(mode="json"), "folder": folder}
        for record, folder in zip(line.records, line.folders, strict=True)
    ]


def page(name: str, lines: Sequence[Line]) -> str:
    """The HTML page of a sweep: a table for each study, every trial, and what did not finish. It opens offline."""
    studies = {
        study: [line for line in lines if line.study == study] for study in dict.fromkeys(n.study for n in lines)
    }
    tables = [
        (study, columns(mine)[1:], [row[1:] for row in cells(mine)], data(mine), list(_each(mine)))
        for study, mine in studies.items()
    ]
    records = [record for line in lines for record in line.records]
    return (
        templates.pages()
        .get_template("sweep.html.j2")
        .render(
            name=name,
            tables=tables,
            apart=[record for record in records if record.state != "done"],
            over=[record for record in records if record.over],
            done=sum(record.state == "done" for record in records),
            wanted=sum(line.wanted for line in lines),
        )
    )


def _each(lines: Sequence[Line]) -> Iterator[tuple[Record, list[str], str]]:
    """(its record, percent for each of `data`, its folder) of every trial of these lines that has results."""
    for line in lines:
        for record, folder in zip(line.records, line.folders, strict=True):
            if record.state == "done":
                yield record, [str(measured(record, name) or "–") for name in data(lines)], folder
