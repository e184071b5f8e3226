"""`make bench-kernels`: what every layer of ResNet-8 and DS-CNN costs on every core, beside CMSIS-NN's int8 kernels.

Counts of executed instructions are exact, from emulated boards; cycles come from a model of the Cortex-M4, not from
silicon.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import measure, networks, publish
from bench import zoo as cards
from bench.measure import BOARDS, M4, Counted, Network
from pipeline.cli import console
from pipeline.codegen import cmsis_nn
from pipeline.codegen.cmsis_nn import Library
from pipeline.config.job import FirmwareConfig
from pipeline.core import shell
from pipeline.core.errors import ConfigError, PipelineError, ToolError
from pipeline.core.nouns import Progress, QModel, no_progress
from pipeline.core.registry import unknown
from pipeline.workflow import zoo

EXPECTED_FAILURE, INTERRUPTED = 2, 130
DEVELOPMENT = ("unicorn", "capstone", "matplotlib")
"""Python packages the bench needs beyond the project's own."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 an expected failure, 130 interrupted."""
    try:
        arguments = _parser().parse_args(argv)
        _run(arguments)
    except PipelineError as error:
        console.stderr(f"error: {error}")
        if error.hint:
            console.stderr(f"hint: {error.hint}")
        return EXPECTED_FAILURE
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def bench(
    core: str, models: Sequence[QModel], library: Library | None, progress: Progress = no_progress
) -> dict[str, Any]:
    """What the models cost on the core: {layers: [...], networks: {core: {name: ...}}}, rows as in
    kernels.json. library: the core's CMSIS-NN."""
    layers: list[dict[str, Any]] = []
    totals: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="tritmcu-bench-") as folder:
        for done, model in enumerate(models):
            progress(core, done, len(models), model.name)
            network = Network(model, core, Path(folder))
            whole = replace(network, firmware=FirmwareConfig(cascades=False))
            ours = network.count()
            others = {"reference": whole.count("reference")} if core in PLAIN else {}
            if library:
                others["cmsis_nn"] = network.count_cmsis(library)
            layers += measure.layer_rows(whole, whole.count() if network.program.memory.cascades else ours, others)
            totals[model.name] = measure.network_row(network, ours, others)
            if core == M4 and model.name == DENSER:
                totals[f"{model.name}_5_trits"] = _denser(network, others)
    progress(core, len(models), len(models), "")
    return publish.with_recorded({"layers": layers, "networks": {core: totals}})


def _denser(network: Network, others: dict[str, Counted]) -> dict[str, Any]:
    """The row of the network with its weights at five trits a byte."""
    packed = replace(network, firmware=FirmwareConfig(trits_per_byte=5))
    return measure.network_row(packed, packed.count(), others)


DENSER = "resnet8"
"""The network that is measured at 1.6 bits a weight too."""
PLAIN = ("cortex-m0", "cortex-m3")
"""Cores without DSP instructions, where the reference kernels are measured too."""


def _run(arguments: argparse.Namespace) -> None:
    _require_packages()
    cores = _cores(arguments.core)
    root = cmsis_nn.root()
    libraries = cmsis_nn.libraries(root, {core: measure.target(core) for core in cores}) if root else {}
    if root and arguments.core:
        _require_each(cores, libraries, root)
    models = _models(arguments.only)
    results = [_bench_and_keep(core, models, libraries.get(core), keep=not arguments.only) for core in cores]
    found = publish.together(results)
    if arguments.json:
        console.stdout(json.dumps(publish.laid_out(found), indent=1))
    else:
        publish.show(found, arguments.only)


def _bench_and_keep(core: str, models: Sequence[QModel], library: Library | None, keep: bool) -> dict[str, Any]:
    """The results of one core, written at once, so that a later failure or interruption does not lose them."""
    display = console.display()
    try:
        found = bench(core, models, library, display.progress)
    finally:
        display.close()
    found["compiler"] = shell.run(["arm-none-eabi-gcc", "--version"]).output.splitlines()[0]
    if keep:
        publish.write(publish.merged(found))
        for name in set(found["networks"].get(M4, ())) & set(zoo.names()):
            cards.cost(name)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.kernels", description=__doc__, allow_abbrev=False)
    parser.add_argument("--core", action="append", metavar="CORE", help=f"one of {', '.join(BOARDS)}; may be repeated")
    parser.add_argument(
        "--only", default="", metavar="WORD", help="layers and networks with this in the name; writes no file"
    )
    parser.add_argument("--json", action="store_true", help="write JSON, and nothing else, to standard output")
    return parser


def _cores(asked: Sequence[str] | None) -> list[str]:
    for core in asked or ():
        if core not in BOARDS:
            raise ConfigError(*unknown("core", core, BOARDS))
    return list(dict.fromkeys(asked or BOARDS))


def _models(only: str) -> list[QModel]:
    """Networks that hold a layer whose name has `only` in it."""
    models = [networks.resnet8(), networks.dscnn(), networks.dense512(), *networks.stored()]
    wanted = [model for model in models if any(only in f"{model.name}/{layer.name}" for layer in model.layers)]
    if not wanted:
        raise ConfigError(*unknown("layer or network", only, [model.name for model in models]))
    return wanted


def _require_each(cores: Sequence[str], libraries: dict[str, Library], root: Path) -> None:
    """A core that was asked for by name must have its library."""
    for core in cores:
        if core not in libraries:
            cmsis_nn.libraries(root, {core: measure.target(core)})


def _require_packages() -> None:
    missing = [name for name in DEVELOPMENT if importlib.util.find_spec(name) is None]
    if missing:
        raise ToolError(f"Python packages are missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")


if __name__ == "__main__":
    sys.exit(main())
