"""Ternary convolution for cores with the DSP extension: firmware/nn/dsp/nn_conv2d_t2_dsp.c."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.codegen.kernels import _dsp, _fit, _ternary
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing

MACS_PER_INSTRUCTION = 4
DISTANCES = (4, 8, 16, 20, 24, 32, 40, 56, 64, 80, 128, 256)
"""Bytes between the inputs of neighbouring pixels for which there is a block of three pixels."""
GO_ON, FLUSH, FLUSH_MORE, FINISH = range(4)
PIECE_BYTES, INTERVAL_BYTES = 16, 8
WORD2_BYTES = {"": 60, "_odd": 68}
"""Code of nn_dsp_piece2... that a word of filter takes."""
SHIFTS = (11, 15, 8)
HALF_SHIFTS = (12, 15)
"""Of fits and of those of sums of 16 bits, as there is code for them."""
MAX_PIECES = 255
ROW_BYTES = 3328
"""Inputs of a 1x1 convolution are cut into rows that take no more."""
GATHERED_BYTES = 1024
"""The same of gathered windows, of layers whose activations are the largest: the arena must not grow for a few rows
less."""
POINTER_BYTES, OVERREAD = 4, 3
"""Of the start of a kernel row; at most read after the last row of the ring that windows are gathered from."""
WORD_COST = {True: 23 / 3, False: 17 / 2}
PIECE_COST, FLUSH_COST = 4, 10
"""Instructions a pixel of a block, roughly, of three pixels or two: what the choice of a plan weighs."""


@dataclass(frozen=True)
class Piece:
    """Consecutive granules of a kernel row."""

    row: int
    """Of the kernel, from 0."""
    first: int
    """Number of its first granule in the row."""
    last: int
    """Number of the granule after its last one."""
    then: int = GO_ON
    """GO_ON, or what follows: an NN_DSP_... constant of nn_dsp.h."""


@dataclass(frozen=True)
class WindowPlan:
    """How windows are read."""

    granules: int
    """Of a pixel: the layer's channels, then zeros."""
    granule: int
    """Inputs in a granule."""
    pieces: tuple[Piece, ...]
    """The kernel's rows, in the order they are read."""
    gather: str = ""
    """The nn_dsp_gather_code that makes a pixel of every window; "" where windows are read from expanded rows."""

    @property
    def intervals(self) -> int:
        return sum(piece.then != GO_ON for piece in self.pieces)

    @property
    def pixel(self) -> int:
        return self.granules * self.granule

    def expanded(self, channels: int) -> bool:
        """Whether inputs of so many channels are expanded by nn_dsp_expand."""
        return not self.gather and self.pixel == channels and self.granule % _dsp.WORD == 0

    def words(self, piece: Piece) -> int:
        """Words of filter of a piece."""
        return -(-(piece.last - piece.first) * self.granule // _dsp.WORD)

    def cost(self, stride: int) -> float:
        """Instructions a block takes for a pixel, roughly; stride: between the pixels of a block."""
        words = sum(self.words(piece) for piece in self.pieces)
        word_cost = WORD_COST[2 * stride * self.pixel in DISTANCES]
        return words * word_cost + len(self.pieces) * PIECE_COST + self.intervals * FLUSH_COST


@dataclass(frozen=True)
class Geometry:
    """The convolution as the C file sees it: without the columns that no window reads; a 1x1 convolution or gathered
    windows, which know no neighbors, have rows of any width, or with a stride of several rows of outputs."""

    input: tuple[int, int, int]
    """Height, width, channels."""
    output: tuple[int, int, int]
    """Height, width, channels."""
    column_step: int
    """The C file sees every so many-th column of the input."""
    stride: int
    """Columns, of those the C file sees, between neighboring windows."""
    last_width: int = 0
    """Width of the last row, 0 when it is as wide as the others."""
    joined: int = 1
    """Rows of outputs that a row consists of."""

    def columns(self, kernel_width: int) -> int:
        """Columns of an expanded row."""
        return (self.output[1] - 1) * self.stride + kernel_width


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    reason = _dsp.objection(layer, "conv2d", specs[0])
    if reason:
        return reason
    if not _dsp.second_channels_fit(_ternary.rows(layer)):
        return "a sum over its window takes more than 18 bits"
    return "" if plan(layer) else "its windows have too many pieces"


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    packing.require_range(layer)
    p = plan(layer)
    assert p is not None and layer.weights is not None
    oc, kh, kw, ic = layer.weights.shape
    filters = _filters(layer, p.gather)
    g = geometry(layer, specs[0], p)
    size = row_size(g, p, filters.shape[2])
    pitch = _pitch(layer, specs[0]) if p.gather else 0
    gather_bytes = _gather_bytes(kh, pitch) if p.gather else 0
    distance = 2 * g.stride * p.pixel
    odd = "_odd" if g.stride * p.pixel % 2 else ""
    requant, codes = _outputs(layer, specs[0], "more" if p.intervals > 1 else "first", distance in DISTANCES)
    same = layer.output.shape == specs[0].shape
    return KernelCall(
        function="nn_conv2d_t2_dsp",
        args=(
            calls.CTX,
            calls.params(
                "nn_dsp_conv_params",
                conv=calls.conv_fields(layer, specs[0]),
                column_step=g.column_step,
                granules=p.granules,
                granule=p.granule,
                pieces=len(p.pieces),
                intervals=p.intervals,
                words=sum(p.words(piece) for piece in p.pieces),
                row_size=size,
                joined=g.joined,
                last_width=g.last_width,
                gather="nn_dsp_gather_windows" if p.gather else 0,
                gather_code=p.gather or 0,
                gather_bytes=gather_bytes,
                pitch=pitch,
                across=layer.output.shape[1],
                piece3=f"nn_dsp_piece3_{distance}" if distance in DISTANCES else 0,
                piece2=f"nn_dsp_piece2{odd}",
                word2_bytes=WORD2_BYTES[odd],
                quant_words=requant.shape[1],
                **codes,
            ),
            calls.map_dims(g.input),
            calls.input_arg(),
            calls.dims(oc, kh, kw, ic),
            calls.table("filter"),
            calls.table("plan"),
            calls.table("requant"),
            calls.map_dims(g.output),
            calls.OUTPUT,
        ),
        tables={"filter": pack(filters, p), "plan": _plan_table(p), "requant": requant},
        scratch_bytes=scratch_bytes(filters.shape[1], size, g.output[1], p) + gather_bytes,
        in_place=0 if same and not p.gather else None,
        start_cost=_dsp.rows_cost(layer, specs[0]),
    )


def _outputs(layer: QLayer, spec: TensorSpec, end: str, three: bool) -> tuple[NDArray[np.int32], dict[str, str]]:
    """(requantization, code of the ends of windows, which write outputs). end: "more" where windows have flushes, else
    "first"; three: whether there are blocks of three pixels."""
    half = _fit.find_half(layer, spec, HALF_SHIFTS)
    fit = half or _fit.find(layer, spec, SHIFTS)
    if half:
        table, finish = _dsp.half_fitted(half, end == "more"), f"nn_dsp_half{{}}_{end}_{half.shift}"
    elif fit:
        table, finish = _dsp.fitted(fit), f"nn_dsp_{'fit' if fit.ties is None else 'ties'}{{}}_{end}_{fit.shift}"
    else:
        table, finish = _dsp.unpacked(layer, spec), f"nn_dsp_any{{}}_{end}"
    pixels = (2, 3) if three else (2,)
    return table, {f"finish{n}": finish.format(n) for n in pixels}


def plan(layer: QLayer) -> WindowPlan | None:
    """The cheapest way found to read the windows of the layer with every field proven to hold; None when there is
    none."""
    gather = _gather_code(layer)
    if gather:
        filters = _filters(layer, gather)
        window = filters.shape[3] + -filters.shape[3] % _dsp.WORD
        pieces = _pieces(filters, 1, window)
        if pieces:
            return WindowPlan(1, window, pieces, gather)
    assert layer.weights is not None
    stride = layer.params["stride"][1] if layer.weights.shape[2] > 1 else 1
    plans = (p for p in _plans(_filters(layer)) if len(p.pieces) <= MAX_PIECES)
    return min(plans, key=lambda p: p.cost(stride), default=None)


def _gather_code(layer: QLayer) -> str:
    """The nn_dsp_gather_code for windows of the layer's size, "" where there is none. Gathering pays where a kernel row
    is about a word: few pieces, and words of filter that are full."""
    assert layer.weights is not None
    _, kh, kw, ic = layer.weights.shape
    if kw > 1 and kw * ic <= _dsp.WORD:
        return "nn_dsp_gather_4"
    return "nn_dsp_gather_3x9" if (kh, kw * ic) == (3, 9) and kw > 1 else ""


def _plans(filters: NDArray[np.int64]) -> Iterator[WindowPlan]:
    channels = filters.shape[3]
    for pixel in sorted({channels, channels + channels % 2, channels + -channels % _dsp.WORD}):
        for granules in range(1, 1 + -(-pixel // 16)):
            granule = -(-pixel // granules)
            granule += -granule % _dsp.WORD if granules > 1 else 0
            pieces = _pieces(filters, granules, granule)
            if pieces:
                yield WindowPlan(granules, granule, pieces)


def _pieces(filters: NDArray[np.int64], granules: int, granule: int) -> tuple[Piece, ...]:
    """Pieces as long as the fields hold them, () when a single granule is too much. What ends inside a kernel row is
    whole words."""
    kh, kw = filters.shape[1:3]
    step = 1 if granule % _dsp.WORD == 0 else kw
    runs = _runs(filters, granules * granule)
    pieces: list[Piece] = []
    since: list[NDArray[np.int64]] = []
    for row in range(kh):
        first = 0
        for start in range(0, kw * granules, step):
            more = runs[:, row, start * granule : (start + step) * granule]
            if step * granule > _dsp.MAX_INPUTS or not _dsp.fits(more):
                return ()
            full = not _dsp.fits(np.concatenate([*since, more], axis=1))
            if start > first and (full or (start + step - first) * granule > _dsp.MAX_INPUTS):
                pieces.append(Piece(row, first, start))
                first = start
            if full:
                pieces[-1] = replace(pieces[-1], then=FLUSH)
                since = []
            since.append(more)
        pieces.append(Piece(row, first, kw * granules))
    pieces[-1] = replace(pieces[-1], then=FINISH)
    return tuple(_after_a_flush(pieces))


def _after_a_flush(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Flushes that are not the first add to totals."""
    flushed = False
    for piece in pieces:
        yield replace(piece, then=FLUSH_MORE) if flushed and piece.then == FLUSH else piece
        flushed = flushed or piece.then == FLUSH


def _runs(filters: NDArray[np.int64], pixel: int) -> NDArray[np.int64]:
    """(channels, kh, inputs of a kernel row) with pixels filled up by zeros."""
    oc, kh, kw, ic = filters.shape
    return np.pad(filters, ((0, 0), (0, 0), (0, 0), (0, pixel - ic))).reshape(oc, kh, kw * pixel)


def _filters(layer: QLayer, gather: str = "") -> NDArray[np.int64]:
    """(channels, kh, kw, ic), or (channels, 1, 1, inputs) as windows are gathered."""
    assert layer.weights is not None
    weights = layer.weights.astype(np.int64)
    if not gather:
        return weights
    oc, kh, kw, ic = weights.shape
    rows = weights.reshape(oc, kh, kw * ic)
    rows = np.pad(rows, ((0, 0), (0, 0), (0, max(0, _dsp.WORD - kw * ic))))
    return _dsp.windows(rows)[:, None, None]


def geometry(layer: QLayer, spec: TensorSpec, p: WindowPlan) -> Geometry:
    """What the C function must know about the layer's shapes."""
    (ih, iw, ic), (oh, ow, oc) = spec.shape, layer.output.shape
    assert layer.weights is not None
    _, kh, kw, _ = layer.weights.shape
    stride, pixels = layer.params["stride"], oh * ow
    if p.gather:
        width = _row_width(pixels, p.pixel, 1, GATHERED_BYTES)
        return Geometry((ih, iw, ic), (-(-pixels // width), width, oc), 1, 1, pixels % width)
    if kw > 1:
        return Geometry((ih, iw, ic), (oh, ow, oc), 1, stride[1])
    padded = any(layer.params["padding"]) or (oh - 1) * stride[0] >= ih or (ow - 1) * stride[1] >= iw
    if kh > 1 or padded:
        return Geometry((ih, iw, ic), (oh, ow, oc), stride[1], 1)
    unit = 1 if tuple(stride) == (1, 1) else ow
    width = _row_width(pixels, p.pixel, unit, ROW_BYTES)
    rows = -(-pixels // width)
    if unit == 1:
        return Geometry((rows, width, ic), (rows, width, oc), 1, 1, pixels % width)
    return Geometry((ih, iw, ic), (rows, width, oc), stride[1], 1, pixels % width, width // ow)


def _row_width(pixels: int, pixel: int, unit: int, limit: int) -> int:
    """The cheapest width of rows that `pixels` pixels of `pixel` inputs can be cut into, a multiple of `unit` that
    takes no more than `limit` bytes where that is possible; the last one may be narrower."""
    three = 2 * pixel in DISTANCES

    def cost(width: int) -> int:
        return sum(4 * max(n, 2) + 3 for n in _dsp.blocks(width, three)) + 1 if width else 0

    widths = range(unit, max(unit, min(pixels, limit // (2 * pixel))) + 1, unit)
    return min(widths, key=lambda w: (pixels // w * cost(w) + cost(pixels % w), w))


def row_size(g: Geometry, p: WindowPlan, kernel_width: int) -> int:
    """Inputs of 16 bits that an expanded row takes: its pixels, the totals of its granules, of which there are at least
    three, as a last incomplete word reads so many beyond the pixels; even."""
    columns = g.columns(kernel_width)
    size = columns * p.pixel + max(columns * p.granules + 1, _dsp.WORD - 1)
    return size + size % 2


def scratch_bytes(kernel_height: int, size: int, width: int, p: WindowPlan) -> int:
    """Bytes of the C file's workspace: ring, sums of a row's windows, records."""
    records = PIECE_BYTES * len(p.pieces) + INTERVAL_BYTES * p.intervals
    return 2 * kernel_height * size + 4 * p.intervals * width + records


def _pitch(layer: QLayer, spec: TensorSpec) -> int:
    """Bytes of a row of the ring that windows are gathered from; 0 where neither they nor the words that they are read
    by reach beyond the input."""
    assert layer.weights is not None
    _, _, kw, ic = layer.weights.shape
    return _dsp.padded_row(layer, ic) if kw * ic < _dsp.WORD else _dsp.pitch(layer, spec)


def _gather_bytes(kernel_height: int, pitch: int) -> int:
    """Bytes of the C file's workspace for gathering, whole words: the starts of kernel rows, the ring."""
    rows = kernel_height * pitch + OVERREAD if pitch else 0
    return POINTER_BYTES * kernel_height + rows + -rows % POINTER_BYTES


def pack(filters: NDArray[np.int64], p: WindowPlan) -> NDArray[np.uint32]:
    """uint32 words of filters (channels, kh, kw, ic), for every block of channels, every piece of the plan."""
    runs = _runs(filters, p.pixel)
    if p.expanded(filters.shape[3]):
        runs = np.stack([_dsp.expanded(row) for row in runs.transpose(1, 0, 2)], axis=1)
    parts = [_dsp.pack(runs[:, piece.row, piece.first * p.granule : piece.last * p.granule]) for piece in p.pieces]
    return np.concatenate(parts, axis=1).ravel()


def _plan_table(p: WindowPlan) -> NDArray[np.uint8]:
    rows = [(piece.row, piece.first, piece.last, p.words(piece), piece.then) for piece in p.pieces]
    return np.array(rows, np.uint8)
