"""Attacks on sound as a microphone delivers it: int16 samples, which the data set's own front end turns into what the
network receives. Answers are those to the front end's own features; gradients pass it as if nothing were rounded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline import datasets
from pipeline.codegen import mfcc
from pipeline.config.dataset import MfccConfig
from pipeline.core.nouns import FloatArray, Int8Array, Quantization, TensorSpec
from pipeline.robustness.losses import Loss
from pipeline.robustness.oracle import GradientOracle, LossGradient, Oracle, shards

PCM = Quantization(1 / 32768, 0, bits=16)
"""The lattice of 16-bit sound; full scale is 1."""
Recordings = NDArray[np.int16]
AT_ONCE = 256
"""Recordings whose features are computed together."""


@dataclass(frozen=True)
class Sound:
    """The recordings behind the test samples of a data set, and how they become samples."""

    read: Callable[[NDArray[np.int64]], Recordings]
    """int16 (n, samples): the recordings of the samples with these positions in the official split."""
    front: MfccConfig
    """Settings of the front end."""
    quantization: Quantization
    """Of the network's input."""
    shift: float = 0.0
    """What is added to the real features before they are put on that lattice."""

    def features(self, pcm: Recordings) -> Int8Array:
        """int8 (n, frames, coefficients, 1): what the network receives of recordings (n, samples)."""
        parts = [pcm[start : start + AT_ONCE] for start in range(0, len(pcm), AT_ONCE)]
        real = [datasets.features(part, self.front) for part in parts]
        empty = np.zeros((0, self.front.frames, self.front.coefficients, 1), np.int8)
        return np.concatenate([empty, *(self.quantization.quantize(part + self.shift) for part in real)])

    def backward(self, pcm: Recordings, slope: FloatArray) -> FloatArray:
        """float32 like pcm: the derivative by its samples of what has the derivative `slope` (n, frames, coefficients,
        1) by the features, per lattice step; zero passes from features beyond the lattice's ends."""
        found = _Pass.of(pcm, self.front)
        q = self.quantization
        steps = (found.cepstrum + self.shift) / q.scale + q.zero_point
        inside = (steps >= q.qmin) & (steps <= q.qmax)
        return found.backward(slope[..., 0] * inside / q.scale)


@dataclass(frozen=True)
class _Pass:
    """The front end's values of recordings, float64: what its derivative is taken at."""

    front: MfccConfig
    """Settings."""
    wave: NDArray[np.float64]
    """(n, samples): divided by the peak."""
    peak: NDArray[np.float64]
    """(n, 1): the largest sample, at least 1."""
    top: NDArray[np.int64]
    """(n,): where the largest sample is."""
    spectrum: NDArray[np.complex128]
    """(n, frames, bins)."""
    mel: NDArray[np.float64]
    """(n, frames, mel_bins)."""

    @staticmethod
    def of(pcm: Recordings, front: MfccConfig) -> _Pass:
        """Of recordings (n, samples)."""
        peak = np.maximum(pcm.max(axis=1, keepdims=True), 1).astype(np.float64)
        wave = pcm / peak
        frames = np.lib.stride_tricks.sliding_window_view(wave, front.window, axis=1)[:, :: front.stride]
        spectrum = np.fft.rfft(frames * mfcc.hann(front), n=mfcc.fft_points(front))
        return _Pass(front, wave, peak, pcm.argmax(axis=1), spectrum, np.abs(spectrum) @ mfcc.triangles(front))

    @property
    def cepstrum(self) -> NDArray[np.float64]:
        """(n, frames, coefficients): the features in real units."""
        return np.asarray(np.log(self.mel + datasets.LOG_OFFSET) @ mfcc.dct(self.front).T)

    def backward(self, slope: NDArray[np.float64]) -> FloatArray:
        """float32 (n, samples): the derivative by the recordings, `slope` being that by the cepstrum."""
        front = self.front
        by_mel = slope @ mfcc.dct(front) / (self.mel + datasets.LOG_OFFSET)
        frames = self._by_frame(by_mel @ mfcc.triangles(front).T)
        by_wave = np.zeros_like(self.wave)
        for number in range(front.frames):
            start = number * front.stride
            by_wave[:, start : start + front.window] += frames[:, number]
        by_pcm = by_wave / self.peak
        by_pcm[np.arange(len(by_pcm)), self.top] -= self._by_peak(by_wave)
        return by_pcm.astype(np.float32)

    def _by_frame(self, by_size: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, frames, window) from the derivative by the magnitudes of the spectrum. d|S_k| / dx_t is the real part of
        S_k / |S_k| exp(2 pi i k t / n): a sum that an inverse transform makes, which counts the inner bins twice."""
        points = mfcc.fft_points(self.front)
        size = np.abs(self.spectrum)
        direction = self.spectrum / np.where(size > 0, size, 1.0)
        terms = by_size * direction * points
        terms[..., 1:-1] /= 2
        return np.asarray(np.fft.irfft(terms, n=points)[..., : self.front.window] * mfcc.hann(self.front))

    def _by_peak(self, by_wave: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,): what the largest sample loses as the divisor of all; 0 where 1 divides."""
        falls = (by_wave * self.wave).sum(axis=1) / self.peak[:, 0]
        return np.where(self.wave.max(axis=1) >= 1, falls, 0.0)


class WaveformOracle:
    """An Oracle about recordings int16 (n, samples): what `inner` answers to their features, with its gradients where
    it has any."""

    def __init__(self, sound: Sound, inner: Oracle) -> None:
        self._sound, self._inner = sound, inner
        self.input = TensorSpec((sound.front.samples,), PCM)
        self.classes, self.logit_scale = inner.classes, inner.logit_scale
        self.shards: tuple[Oracle, ...] = tuple(WaveformOracle(sound, shard) for shard in shards(inner))
        """Of the inner oracle's, see oracle.shards."""

    def logits(self, x: NDArray[Any]) -> Int8Array:
        """int8 (n, classes): the deployed integers."""
        return self._inner.logits(self._sound.features(x))

    def gradient(self, x: NDArray[Any], y: NDArray[np.int64], loss: Loss) -> LossGradient:
        """See GradientOracle; the gradient is (n, samples), per step of int16."""
        assert hasattr(self._inner, "gradient"), "an attack that needs gradients got an oracle without any"
        found = cast(GradientOracle, self._inner).gradient(self._sound.features(x), y, loss)
        return replace(found, gradient=self._sound.backward(x, found.gradient))
