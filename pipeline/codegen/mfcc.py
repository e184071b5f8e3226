"""Constant tables of firmware/sound/mfcc.h: Hann window, twiddle factors, mel triangles, cosine transform."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.codegen import source
from pipeline.codegen.source import Table
from pipeline.config.dataset import MfccConfig
from pipeline.core import templates
from pipeline.core.nouns import FloatArray


@dataclass(frozen=True)
class Sound:
    """The front end of a network that hears, as the templates see it."""

    config: MfccConfig
    """Its settings."""
    tables: tuple[Table, ...]
    """Every array of mfcc_settings, named after its field."""

    @property
    def fft(self) -> int:
        """Points of the Fourier transform."""
        return fft_points(self.config)

    @property
    def ram_bytes(self) -> int:
        """Of the buffers of one frame: spectrum, mel bins, coefficients."""
        return 4 * (self.fft + self.config.mel_bins + self.config.coefficients)

    @property
    def tables_bytes(self) -> int:
        """Of all tables in flash."""
        return sum(table.size_bytes for table in self.tables)


def sound(config: MfccConfig) -> Sound:
    """The front end of these settings."""
    return Sound(config, tuple(_table(name, values) for name, values in tables(config).items()))


def _table(name: str, values: NDArray[np.float32] | NDArray[np.uint16]) -> Table:
    if values.dtype == np.float32:
        return Table(name, "float", tuple(map(templates.c_float, values.tolist())), values.nbytes)
    return Table(name, source.C_TYPES[values.dtype.name], tuple(values.tolist()), values.nbytes)


def fft_points(config: MfccConfig) -> int:
    """Points of the Fourier transform: the smallest power of two that holds a window."""
    return 1 << (config.window - 1).bit_length()


def hann(config: MfccConfig) -> FloatArray:
    """float32 (window,): 0.5 - 0.5 cos(2 pi n / window), the periodic window."""
    return _float32(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.window) / config.window))


def triangles(config: MfccConfig) -> FloatArray:
    """float32 (bins of the spectrum, mel_bins): weights that rise and fall linearly on the scale 1127 ln(1 + f / 700)
    between edges at equal distances on it; bin 0 counts nowhere, as in tf.signal.linear_to_mel_weight_matrix."""
    frequencies = np.linspace(0.0, config.sample_rate / 2, fft_points(config) // 2 + 1)
    edges = np.linspace(_mel(np.float64(config.low_hz)), _mel(np.float64(config.high_hz)), config.mel_bins + 2)
    low, centre, high, place = edges[:-2], edges[1:-1], edges[2:], _mel(frequencies)[:, np.newaxis]
    weights = np.maximum(0.0, np.minimum((place - low) / (centre - low), (high - place) / (high - centre)))
    weights[0] = 0.0
    return _float32(weights)


def dct(config: MfccConfig) -> FloatArray:
    """float32 (coefficients, mel_bins): sqrt(2 / n) cos(pi k (m + 1/2) / n), n = mel_bins: DCT-II as in
    tf.signal.mfccs_from_log_mel_spectrograms."""
    n = config.mel_bins
    k, m = np.arange(config.coefficients)[:, np.newaxis], np.arange(n)
    return _float32(np.sqrt(2 / n) * np.cos(np.pi * k * (m + 0.5) / n))


def tables(config: MfccConfig) -> dict[str, NDArray[np.float32] | NDArray[np.uint16]]:
    """Every array of mfcc_settings, by its field; of the triangles only the bins from the first to the last above 0."""
    angles = 2 * np.pi * np.arange(fft_points(config) // 2) / fft_points(config)
    weights = triangles(config)
    used = [np.flatnonzero(column) for column in weights.T]
    spans = [(int(bins[0]), int(bins[-1]) + 1) if len(bins) else (0, 0) for bins in used]
    return {
        "hann": hann(config),
        "cosine": _float32(np.cos(angles)),
        "sine": _float32(np.sin(angles)),
        "first": np.array([first for first, _ in spans], np.uint16),
        "end": np.array([end for _, end in spans], np.uint16),
        "weights": np.concatenate([weights[first:end, m] for m, (first, end) in enumerate(spans)]),
        "dct": dct(config).ravel(),
    }


def _mel(hertz: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    return np.asarray(1127.0 * np.log1p(hertz / 700.0))


def _float32(values: NDArray[np.float64]) -> FloatArray:
    return values.astype(np.float32)
