"""Mel-frequency cepstral coefficients, by default with the settings of MLPerf-Tiny keyword spotting."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.dataset import MfccConfig
from pipeline.core.nouns import FloatArray

MLPERF = MfccConfig()
SAMPLE_RATE_HZ = MLPERF.sample_rate
FRAMES, COEFFICIENTS = MLPERF.frames, MLPERF.coefficients
LOG_OFFSET = 1e-6


def normalized(pcm: NDArray[Any]) -> FloatArray:
    """Waveforms (n, samples) divided by their largest sample, float32; silence stays silence."""
    wave = pcm.astype(np.float32)
    return np.asarray(wave / np.maximum(wave.max(axis=1, keepdims=True), 1.0), dtype=np.float32)


def mfcc(wave: FloatArray, config: MfccConfig = MLPERF) -> FloatArray:
    """Features (n, frames, coefficients, 1) float32 of waveforms (n, samples), largest sample about 1; by default
    (n, 49, 10, 1) of one second at 16 kHz.

    Magnitude of a Hann-windowed Fourier transform over the next power of two, mel triangles, log(. + 1e-6), the first
    coefficients of an orthonormal DCT-II; not scaled any further.
    """
    from pipeline.training.keras_backend import tf

    spectrum = tf.abs(tf.signal.stft(wave, config.window, config.stride, window_fn=tf.signal.hann_window))
    matrix = tf.signal.linear_to_mel_weight_matrix(
        config.mel_bins, spectrum.shape[-1], config.sample_rate, config.low_hz, config.high_hz
    )
    mel = tf.tensordot(spectrum, matrix, 1)
    cepstrum = tf.signal.mfccs_from_log_mel_spectrograms(tf.math.log(mel + LOG_OFFSET))
    return np.asarray(cepstrum[..., : config.coefficients].numpy()[..., np.newaxis], dtype=np.float32)
