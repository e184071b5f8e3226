"""The ablation: the sweep bench/ablation.toml, and its results as they are kept in the repository.

python -m bench.ablation            # or make ablation; goes on where it stopped
python -m bench.results             # docs/RESULTS.md from what is stored
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.analysis.trials import Record
from pipeline.cli import main as cli
from pipeline.config import sweep
from pipeline.config.sweep import Sweep, Trial
from pipeline.core import schema, store
from pipeline.workflow.sweep import FILE, SweepRun

HERE = Path(__file__).parent
TABLE = HERE / "ablation.toml"
STORED = HERE / "results" / "ablation.json"
RUNS = Path("runs") / "ablation"


def load() -> Sweep:
    """ablation.toml."""
    return sweep.load(TABLE)


def wanted(table: Sweep) -> tuple[Trial, ...]:
    """Every trial of the table."""
    return sweep.trials(table, TABLE.name)


def stored() -> list[Record]:
    """The records that are kept."""
    content = json.loads(STORED.read_text(encoding="utf-8"))["runs"] if STORED.exists() else []
    return [schema.validate(Record, record, STORED.name) for record in content]


def plant(run: SweepRun, records: Iterable[Record]) -> None:
    """Puts kept records where the sweep looks for them, so that it repeats none."""
    places = {trial.key: run.folder(trial) / FILE for trial in run.trials}
    for record in records:
        if record.key in places and not places[record.key].exists():
            store.write_text(places[record.key], record.model_dump_json(indent=1) + "\n")


def keep(records: Sequence[Record]) -> None:
    """Writes the kept records, what is at its default left out."""
    plain: list[dict[str, Any]] = [record.model_dump(mode="json", exclude_defaults=True) for record in records]
    store.write_text(STORED, json.dumps({"runs": plain}, indent=1) + "\n")


def main(words: Sequence[str] | None = None) -> int:
    """Runs what is missing; the exit code."""
    parser = argparse.ArgumentParser(description="Run what is missing of the ablation.")
    parser.add_argument("--study", help="only this one")
    parser.add_argument("--cluster", help="on a Ray cluster: its address, or local")
    given = {name: value for name, value in vars(parser.parse_args(words)).items() if value}
    trials = wanted(load())
    plant(SweepRun(TABLE.stem, trials, RUNS), stored())
    options = [word for name, value in given.items() for word in (f"--{name}", value)]
    code = cli.main(["sweep", str(TABLE), "--run-dir", str(RUNS), *options])
    found = SweepRun(TABLE.stem, trials, RUNS).records
    keep([found[trial.key] for trial in trials if trial.key in found and found[trial.key].state == "done"])
    return code


if __name__ == "__main__":
    raise SystemExit(main())
