"""PCM samples of WAV files."""

from __future__ import annotations

import wave
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ConfigError


def read(
    path: Path, rate: int, samples: int, hint: str, start: int = 0, content: Path | BytesIO | None = None
) -> NDArray[np.int16]:
    """The samples (samples,) of the file from `start` on, zeros after its end. content: where it is read from, by
    default the path, which messages name. ConfigError when it is no mono 16-bit sound of this rate, or has none."""
    source = content or path
    try:
        with wave.open(str(source) if isinstance(source, Path) else source, "rb") as file:
            form = (file.getframerate(), file.getnchannels(), file.getsampwidth())
            file.setpos(min(start, file.getnframes()))
            data = file.readframes(samples)
    except (OSError, EOFError, wave.Error) as error:
        why = getattr(error, "strerror", None) or str(error) or "ends before its sound"
        raise ConfigError(f"{path}: {why}", hint) from error
    if form != (rate, 1, 2):
        raise ConfigError(
            f"{path}: {form[0]} Hz, {form[1]} channels, {8 * form[2]} bit; expected {rate} Hz, mono, 16 bit",
            f"ffmpeg -i IN.wav -ac 1 -ar {rate} -c:a pcm_s16le OUT.wav",
        )
    pcm = np.frombuffer(data[: len(data) // 2 * 2], dtype="<i2")
    if len(pcm) == 0:
        raise ConfigError(f"{path}: holds no sound", hint)
    return np.pad(pcm, (0, samples - len(pcm))).astype(np.int16)
