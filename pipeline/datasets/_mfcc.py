"""Mel-frequency cepstral coefficients with the settings of MLPerf-Tiny keyword spotting."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import FloatArray

SAMPLE_RATE_HZ = 16000
WINDOW = 480
"""30 ms."""
STRIDE = 320
"""20 ms."""
MEL_BINS = 40
LOW_HZ, HIGH_HZ = 20.0, 4000.0
COEFFICIENTS = 10
FRAMES = 1 + (SAMPLE_RATE_HZ - WINDOW) // STRIDE
LOG_OFFSET = 1e-6


def normalized(pcm: NDArray[Any]) -> FloatArray:
    """Waveforms (n, samples) divided by their largest sample, float32; silence stays silence."""
    wave = pcm.astype(np.float32)
    return np.asarray(wave / np.maximum(wave.max(axis=1, keepdims=True), 1.0), dtype=np.float32)


def mfcc(wave: FloatArray) -> FloatArray:
    """Features (n, 49, 10, 1) float32 of one-second waveforms (n, 16000) at 16 kHz, largest sample about 1.

    Magnitude of a Hann-windowed Fourier transform, 40 mel bins of 20 to 4000 Hz, log(. + 1e-6), the first ten
    coefficients of an orthonormal DCT-II; not scaled any further.
    """
    from pipeline.training.keras_backend import tf

    spectrum = tf.abs(tf.signal.stft(wave, WINDOW, STRIDE, window_fn=tf.signal.hann_window))
    matrix = tf.signal.linear_to_mel_weight_matrix(MEL_BINS, spectrum.shape[-1], SAMPLE_RATE_HZ, LOW_HZ, HIGH_HZ)
    mel = tf.tensordot(spectrum, matrix, 1)
    coefficients = tf.signal.mfccs_from_log_mel_spectrograms(tf.math.log(mel + LOG_OFFSET))[..., :COEFFICIENTS]
    return np.asarray(coefficients.numpy()[..., np.newaxis], dtype=np.float32)
