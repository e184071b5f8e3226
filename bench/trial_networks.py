"""What needs the networks of a sweep themselves. They are not kept in the repository, so they are measured where they
were trained, and what was measured is kept. Part of `python -m bench.comparison train`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.measure import M4, Network, network_row
from bench.sweeps import HERE, Kept
from pipeline.config.sweep import Trial
from pipeline.core import store
from pipeline.core.errors import FitError
from pipeline.core.nouns import Progress, QModel

COSTS = ("instructions", "arena_bytes", "ram_extra_bytes")
"""What is kept of a network's costs, as in kernels.json."""
STORED = HERE / "results" / "comparison_networks.json"
"""Results by the trial's key."""


def stored() -> Mapping[str, Mapping[str, Any]]:
    """What is kept, by the trial's key."""
    return dict(json.loads(STORED.read_text(encoding="utf-8"))) if STORED.exists() else {}


def measure(sweep: Kept, of: Callable[[Trial, QModel], dict[str, Any]], progress: Progress) -> None:
    """Measures every trial of the sweep whose network lies in runs/ and is not the one that was measured; keeps that
    and what is stored of the others. Folds of a cross-validation are left out."""
    run, known = sweep.run(), dict(stored())
    trials = [trial for trial in run.trials if not trial.fold]
    for done, trial in enumerate(trials):
        progress("measure", done, len(trials), f"{trial.study}, {trial.row}")
        folder = run.folder(trial) / "qmodel"
        if not folder.exists():
            continue
        model = store.load(folder, QModel)
        if known.get(trial.key, {}).get("network") != model.digest:
            known[trial.key] = {"network": model.digest, **of(trial, model)}
    kept = {trial.key: known[trial.key] for trial in trials if trial.key in known}
    store.write_text(STORED, json.dumps(kept, indent=1) + "\n")
    progress("measure", len(trials), len(trials), "")


def costs(model: QModel) -> dict[str, int]:
    """COSTS of a network with the project's kernels, instructions of one inference; empty when it does not fit the
    board. MismatchError when its outputs are not the specification's."""
    with tempfile.TemporaryDirectory(prefix="tritmcu-bench-") as folder:
        network = Network(model, M4, Path(folder))
        try:
            row = network_row(network, network.count(), {})
        except FitError:
            return {}
    return {part: row[part] for part in COSTS}
