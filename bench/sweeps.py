"""Sweeps whose records are kept in the repository, so that nobody needs to repeat hours of training."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.analysis.trials import Record
from pipeline.cli import main as cli
from pipeline.config import sweep
from pipeline.config.sweep import Sweep, Trial
from pipeline.core import schema, store
from pipeline.workflow.sweep import FILE, SweepRun

HERE = Path(__file__).parent
RUNS = Path("runs")


@dataclass(frozen=True)
class Kept:
    """A sweep of bench/ by the name of its file."""

    name: str

    @property
    def table(self) -> Path:
        """The sweep."""
        return HERE / f"{self.name}.toml"

    @property
    def stored(self) -> Path:
        """Its records."""
        return HERE / "results" / f"{self.name}.json"

    def load(self) -> Sweep:
        """What the table says."""
        return sweep.load(self.table)

    def trials(self) -> tuple[Trial, ...]:
        """Every trial of the table."""
        return sweep.trials(self.load(), self.table.name, HERE)

    def records(self) -> list[Record]:
        """The records that are kept."""
        content = json.loads(self.stored.read_text(encoding="utf-8"))["runs"] if self.stored.exists() else []
        return [schema.validate(Record, record, self.stored.name) for record in content]

    def run(self) -> SweepRun:
        """The sweep in runs/, the kept records planted where it looks for them."""
        run = SweepRun(self.name, self.trials(), RUNS / self.name)
        places = {trial.key: run.folder(trial) / FILE for trial in run.trials}
        for record in self.records():
            if record.key in places and not places[record.key].exists():
                store.write_text(places[record.key], record.model_dump_json(indent=1) + "\n")
        return SweepRun(self.name, run.trials, RUNS / self.name)

    def keep(self, run: SweepRun) -> None:
        """Keeps the records of the trials that are done, what is at its default left out. One that older attacks
        measured stays until its trial is done again."""
        earlier = {record.key: record for record in self.records()}
        stored = {**earlier, **run.records}
        known = [stored[trial.key] for trial in run.trials if trial.key in stored]
        plain = [record.model_dump(mode="json", exclude_defaults=True) for record in known if record.state == "done"]
        store.write_text(self.stored, json.dumps({"runs": plain}, indent=1) + "\n")

    def main(self, words: Sequence[str] | None = None) -> int:
        """Runs what is missing and keeps it; the exit code."""
        parser = argparse.ArgumentParser(description=f"Run what is missing of bench/{self.name}.toml, and keep it.")
        parser.add_argument("--study", help="only this one")
        parser.add_argument("--cluster", help="on a Ray cluster: its address, or local")
        given = {name: value for name, value in vars(parser.parse_args(words)).items() if value}
        self.run()
        options = [word for name, value in given.items() for word in (f"--{name}", value)]
        code = cli.main(["sweep", str(self.table), "--run-dir", str(RUNS / self.name), *options])
        self.keep(self.run())
        return code
