"""The one place that chooses the C kernel of a layer, and how its weights lie in flash."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from pipeline.codegen import cascade, cascading, planner, trits
from pipeline.codegen.cascade import Cascade
from pipeline.codegen.kernels import module_of
from pipeline.config import job
from pipeline.config.board import Board
from pipeline.config.cores import LINKED, kernel_families
from pipeline.config.job import FirmwareConfig
from pipeline.core import paths, registry
from pipeline.core.errors import ConfigError, UnsupportedError
from pipeline.core.nouns import KernelCall, QLayer, QModel, TensorSpec, Trits

Kernels = job.Kernels
"""Whose kernels, as a job says."""
FILTER = "filter"
"""The table that holds a layer's weights, in every kernel."""
COMPARED: tuple[Kernels, Kernels] = ("auto", "cmsis-nn")
"""Kernels of which "best" takes, layer by layer, the cheaper."""
COPY_COST, EXPAND_COST = 4, 100
"""Instructions, roughly, of copying a weight on AVR, and of expanding a group of trits."""
DEFAULT = FirmwareConfig()


@dataclass(frozen=True)
class Program:
    """What a network becomes."""

    calls: tuple[KernelCall | None, ...]
    """The kernel call of every layer as a whole, None for a renamed input."""
    memory: planner.MemoryPlan
    """Where everything is in the arena, and which layers are computed together."""


def program(
    model: QModel,
    board: Board,
    kernels: Kernels = "auto",
    firmware: FirmwareConfig = DEFAULT,
    linked: Collection[str] = (),
) -> Program:
    """The kernels of all layers, see `kernel`, and the memory plan. What firmware asks to be kept at five trits a byte
    is. linked: of kernels "best", names of the layers that become what they are with "cmsis-nn" (`cheaper`); the others
    what they are with "auto". ConfigError names a layer that the network does not have, UnsupportedError one that
    cannot be kept so."""
    if kernels == "best":
        ours, theirs = (program(model, board, kind, firmware) for kind in COMPARED)
        return _combined(model, ours, theirs, linked)
    chosen = [kernel(layer, model.input_specs(layer), board, kernels) for layer in model.layers]
    names = [layer.name for layer in model.layers]
    wanted = firmware.layer_trits_per_byte
    for name in wanted:
        if name not in names:
            raise ConfigError(*registry.unknown(f"layer in firmware.layer_trits_per_byte of {model.name}", name, names))
    if board.is_avr and trits.BYTE_TRITS in (firmware.trits_per_byte, *wanted.values()):
        message = f"board {board.name!r}: no weights at 5 trits per byte, its RAM cannot hold them expanded"
        raise UnsupportedError(message, "trits_per_byte = 4")
    for i, name in enumerate(names):
        if wanted.get(name) == trits.BYTE_TRITS:
            chosen[i] = _required(chosen[i], model.layers[i])
    same_kernel = again(board)
    cascaded = firmware.cascades and not links(kernels)  # whose calls are for whole layers
    cascades = cascading.choose(model, chosen, same_kernel) if cascaded else ()
    if firmware.trits_per_byte == trits.BYTE_TRITS:
        free = [i for i, name in enumerate(names) if name not in wanted]
        cascades = _expand_where_room(model, chosen, cascades, free, same_kernel)
    return Program(tuple(chosen), planner.plan(model, chosen, cascades))


def cheaper(model: QModel, ours: Program, ticks: Mapping[Kernels, Mapping[str, int]]) -> tuple[str, ...]:
    """Names of the layers that take fewer ticks with "cmsis-nn" than with "auto". ours: the program of "auto"; ticks:
    of every layer, by kernels and name. The layers of a cascade go together: only our kernels compute them so."""
    mine, theirs = (ticks[kind] for kind in COMPARED)
    groups = ([model.layers[i].name for i in group] for group in _groups(model, ours))
    taken = (group for group in groups if sum(theirs[name] for name in group) < sum(mine[name] for name in group))
    return tuple(name for group in taken for name in group)


def _groups(model: QModel, program: Program) -> Iterator[Sequence[int]]:
    """Numbers of the layers of each cascade, and of each layer that is in none."""
    cascades = {c.first: c.layers for c in program.memory.cascades}
    number = 0
    while number < len(model.layers):
        group = cascades.get(number, range(number, number + 1))
        yield group
        number = group.stop


def _combined(model: QModel, ours: Program, theirs: Program, linked: Collection[str]) -> Program:
    """The layers of those names as `theirs` has them, the others and their cascades as ours does, in an arena of their
    own."""
    pairs = zip(model.layers, ours.calls, theirs.calls, strict=True)
    chosen = tuple(its if layer.name in linked else mine for layer, mine, its in pairs)
    kept = [c for c in ours.memory.cascades if model.layers[c.last].name not in linked]
    return Program(chosen, planner.plan(model, chosen, kept))


def calls(
    model: QModel, board: Board, kernels: Kernels = "auto", firmware: FirmwareConfig = DEFAULT
) -> list[KernelCall | None]:
    """The kernel call of every layer as a whole; see `program`."""
    return list(program(model, board, kernels, firmware).calls)


def again(board: Board) -> cascade.Again:
    """Chooses, for a part of a layer, the kernel that was chosen for the whole."""

    def again(whole: KernelCall, layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
        if name := module_of(whole.function):
            part: KernelCall = registry.load("kernels", name).call(layer, specs)
        else:
            part = registry.load("layers", layer.kind).kernel(layer, specs)
            part = _with_weight_buffer(part) if board.is_avr else part
        return part if whole.trits is None else _required(part, layer)

    return again


def table_bytes(model: QModel) -> dict[str, int]:
    """Bytes of the constant tables of all layers by the portable kernels: `weights_bytes` of packed weights,
    `tables_bytes` with biases and requantization."""
    weights = tables = 0
    for layer in model.layers:
        call = registry.load("layers", layer.kind).kernel(layer, model.input_specs(layer))
        bytes_of = {name: table.nbytes for name, table in call.tables.items()} if call else {}
        tables += sum(bytes_of.values())
        weights += bytes_of.get(FILTER, 0)
    return {"weights_bytes": weights, "tables_bytes": tables}


def _required(call: KernelCall | None, layer: QLayer) -> KernelCall:
    expanding = _expanding(call, layer)
    if expanding is None:
        what = f"{layer.weight_bits}-bit weights of {call.function}" if call else layer.kind
        raise UnsupportedError(
            f"layer {layer.name!r}: no {what} at 5 trits per byte",
            "only ternary weights that their kernel reads at 2 bits can be stored so: leave it out",
        )
    return expanding


def _expand_where_room(
    model: QModel,
    chosen: list[KernelCall | None],
    cascades: tuple[Cascade, ...],
    layers: Sequence[int],
    again: cascade.Again,
) -> tuple[Cascade, ...]:
    """Replaces calls by expanding ones, the largest filter first, as long as the arena stays as large as it is; returns
    the cascades with these."""
    room = planner.plan(model, chosen, cascades).arena_bytes
    expanding = {i: call for i in layers if (call := _expanding(chosen[i], model.layers[i]))}
    for i in sorted(expanding, key=lambda i: -expanding[i].tables[FILTER].nbytes):
        before, chosen[i] = chosen[i], expanding[i]
        with_it = tuple(cascade.with_calls(model, c, chosen, again) if i in c.layers else c for c in cascades)
        if planner.plan(model, chosen, with_it).arena_bytes <= room:
            cascades = with_it
        else:
            chosen[i] = before
    return cascades


def _expanding(call: KernelCall | None, layer: QLayer) -> KernelCall | None:
    """The call with its filter at five trits a byte; None where it has no ternary filter or nothing is saved."""
    if call is None or layer.weights is None or layer.weight_bits != 2:
        return None
    packed = trits.pack_trits(call.tables[FILTER])
    if packed is None or packed[0].nbytes >= call.tables[FILTER].nbytes:
        return None
    digits, threes = packed
    groups, offset = len(digits) // trits.GROUP_BYTES, -(-call.scratch_bytes // 4) * 4
    return replace(
        call,
        tables={**call.tables, FILTER: digits},
        scratch_bytes=offset + 4 * trits.GROUP_WORDS * groups,
        start_cost=call.start_cost + EXPAND_COST * groups,
        trits=Trits(FILTER, groups, threes, offset),
    )


def kernel(layer: QLayer, specs: Sequence[TensorSpec], board: Board, kernels: Kernels = "auto") -> KernelCall | None:
    """The kernel call of a layer on a board: "auto" the fastest family that serves it, "reference" the portable one,
    "cmsis-nn" CMSIS-NN where it serves it, else as "auto".

    None when the layer only renames its input. UnsupportedError when no kernel computes it.
    """
    call: KernelCall | None = registry.load("layers", layer.kind).kernel(layer, specs)
    if call is None or board.is_host:
        return call
    if board.is_avr:
        return _with_weight_buffer(call)
    return (_optimized(layer, specs, board.core, links(kernels)) if kernels != "reference" else None) or call


def least_instructions(model: QModel, functions: Sequence[str | None]) -> dict[str, int]:
    """Instructions that the layers computed by these C functions, by name, take at the least, whatever the weights:
    their multiply-accumulates, as many at a time as the kernel does at best. Layers of kernels that do not say how many
    are left out."""
    found = {}
    for layer, function in zip(model.layers, functions, strict=True):
        name = module_of(function or "")
        most = getattr(registry.load("kernels", name), "MACS_PER_INSTRUCTION", 0) if name else 0
        if most:
            macs = registry.load("layers", layer.kind).macs(layer, model.input_specs(layer))
            found[layer.name] = -(-macs // most)
    return found


def least_weights_bytes(model: QModel) -> int:
    """Bytes of flash that the weights take at the least, whatever they are and whichever kernels read them: ternary
    ones five to a byte."""
    weighted = [(layer.weights.size, layer.weight_bits) for layer in model.layers if layer.weights is not None]
    return sum(-(-count // trits.BYTE_TRITS) if bits == 2 else -(-count * bits // 8) for count, bits in weighted)


def links(kernels: Kernels) -> bool:
    """Whether a firmware with these kernels is linked with CMSIS-NN."""
    return kernels in ("cmsis-nn", "best")


def _optimized(layer: QLayer, specs: Sequence[TensorSpec], core: str, linked: bool) -> KernelCall | None:
    """The call of the fastest family that serves the layer on the core, None when none does."""
    for family in kernel_families(core, linked):
        more = [core] if family == LINKED else []
        for name in _of_family(family):
            module = registry.load("kernels", name)
            if not module.serves(layer, specs, *more):
                call: KernelCall = module.call(layer, specs, *more)
                return call
    return None


def unserved(
    model: QModel, chosen: Sequence[KernelCall | None], board: Board, kernels: Kernels = "auto"
) -> dict[str, str]:
    """By name of the layers whose chosen call is the portable kernel although the core has faster ones of their kind:
    what these ask for, kernel by kernel. Nothing where the portable kernels were asked for."""
    if kernels == "reference" or board.is_host:
        return {}
    pairs = zip(model.layers, chosen, strict=True)
    portable = (layer for layer, call in pairs if call and not module_of(call.function))
    asked = {layer.name: _objections(layer, model.input_specs(layer), board.core) for layer in portable}
    return {name: "; ".join(reasons) for name, reasons in asked.items() if reasons}


def _objections(layer: QLayer, specs: Sequence[TensorSpec], core: str) -> list[str]:
    """Why each of the core's optimized kernels of the layer's kind does not compute it."""
    names = [name for family in kernel_families(core) for name in _of_family(family)]
    mine = [name for name in names if name.startswith(f"{layer.kind}_")]
    return [f"{name}: {registry.load('kernels', name).serves(layer, specs)}" for name in mine]


@cache
def _of_family(family: str) -> tuple[str, ...]:
    """The optimized kernels whose C files lie in this folder of firmware/nn."""
    folder = paths.shipped("firmware") / "nn" / family
    return tuple(name for name in registry.names("kernels") if (folder / f"nn_{name}.c").is_file())


def _with_weight_buffer(call: KernelCall) -> KernelCall:
    """The call with scratch for what nn_loadable (nn_flash.h) copies on AVR: one filter, h * w * c bytes."""
    if call.scratch_bytes or FILTER not in call.tables:
        return call
    _, filter_dims, *_ = (arg.fields for arg in call.args if arg.kind == "dims")
    count = filter_dims["h"] * filter_dims["w"] * filter_dims["c"]
    return replace(call, scratch_bytes=count, start_cost=COPY_COST * count * filter_dims["n"])
