"""The front end of an exported network that hears: C in single precision against what made the training data."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import datasets
from pipeline.codegen import library, mfcc
from pipeline.config import board
from pipeline.config.dataset import DatasetConfig, MfccConfig
from pipeline.core import paths, shell
from pipeline.core.nouns import QModel, Quantization, TensorSpec
from pipeline.datasets import _mfcc, speech_commands
from pipeline.stages import lower
from tests.support import tiny

WARNINGS = ("-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow", "-Wdouble-promotion")
OTHER = MfccConfig(
    sample_rate=8000, seconds=0.5, window_ms=32, stride_ms=15, mel_bins=25, low_hz=0, high_hz=4000, coefficients=12
)
"""Windows of just a power of two, the highest bin in use, no gap below."""
PROGRAM = """#include <stdio.h>
#include "hears_model.h"
int main(void) {
    static int16_t sound[HEARS_SOUND_SAMPLES];
    while (fread(sound, 2, HEARS_SOUND_SAMPLES, stdin) == HEARS_SOUND_SAMPLES) {
        hears_features(sound, hears_input()), fwrite(hears_input(), 1, HEARS_INPUT_SIZE, stdout);
    }
}
"""


def network(front: MfccConfig) -> QModel:
    """One that takes these features."""
    shape = (front.frames, front.coefficients, 1)
    b = tiny.Builder(shape)
    b.weighted("logits", "dense", b.add("flat", "flatten", ["input"]), (front.frames * front.coefficients, 4))
    return replace(lower.lower(b.model("hears")), input=TensorSpec(shape, Quantization(0.6022494895785463, 77)))


def sounds(front: MfccConfig) -> np.ndarray:
    """int16 (4, samples): silence, faint and loud noise, a tone with a little noise after silence. Something in every
    bin: what is left of exact zeros is the rounding of either program, and its logarithm no feature of the sound."""
    random, time = np.random.default_rng(0), np.arange(front.samples)
    faint, loud, little = (random.integers(-n, n + 1, front.samples) for n in (3, 32767, 30))
    tone = (9000 * np.sin(2 * np.pi * 440 * time / front.sample_rate) + little) * (time > front.samples // 3)
    return np.stack([0 * time, faint, loud, tone]).astype(np.int16)


def heard(pcm: np.ndarray, front: MfccConfig, tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(features that the exported C makes of the sounds, those of the training data), int8. At most one step apart, and
    only where a coefficient lies halfway up to the rounding of single precision."""
    model = network(front)
    for path, text in library.library(model, board.load("host"), "reference", front_end=front).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "main.c").write_text(PROGRAM)
    sources = ["main.c", "src/hears_model.c", *(tmp_path / "src" / "nn").glob("nn_de*.c")]
    shell.run(["gcc", "-std=c11", *WARNINGS, "-Isrc", *sources, "-lm", "-o", "main"], cwd=tmp_path)
    done = subprocess.run([tmp_path / "main"], input=pcm.tobytes(), capture_output=True, check=True)
    got = np.frombuffer(done.stdout, np.int8).reshape(len(pcm), front.frames, front.coefficients, 1)
    features, lattice = _mfcc.mfcc(_mfcc.normalized(pcm), front), model.input.quantization
    wanted = lattice.quantize(features)
    assert np.abs(got.astype(int) - wanted).max() <= 1
    steps = features.astype(np.float64) / lattice.scale
    halfway = np.abs(np.abs(steps - np.floor(steps)) - 0.5) < 0.001
    assert np.array_equal(got[~halfway], wanted[~halfway])
    assert halfway.mean() < 0.01, "nearly all were compared"
    return got, wanted


@pytest.mark.parametrize("front", [MfccConfig(), OTHER], ids=["mlperf", "other"])
def test_features_of_sound_are_those_of_the_training_data(front: MfccConfig, tmp_path: Path) -> None:
    heard(sounds(front), front, tmp_path)


@pytest.mark.data
@pytest.mark.skipif(paths.data_folder() is None, reason="TRITMCU_DATA is not set")
def test_features_of_real_clips_are_those_of_the_training_data(tmp_path: Path) -> None:
    """Every recording of the test split, as a microphone would deliver it."""
    folder, clips = speech_commands._clips(paths.data_folder())
    pcm = np.stack([speech_commands._read(folder, clip) for clip in clips if clip.split == "test"])
    got, wanted = heard(pcm, MfccConfig(), tmp_path)
    assert len(got) > 500
    assert np.mean(got != wanted) < 1e-4


def test_who_hears_is_told_by_the_data_set() -> None:
    assert datasets.front_end(DatasetConfig(name="speech_commands")) == MfccConfig()
    assert datasets.front_end(DatasetConfig(name="wav", path="sounds", mfcc=OTHER)) == OTHER
    assert datasets.front_end(DatasetConfig(name="digits")) is None


def test_a_library_says_what_its_front_end_takes() -> None:
    files = library.library(network(OTHER), board.load("netduinoplus2"), front_end=OTHER)
    header, keywords = files["src/hears_model.h"], files["keywords.txt"]
    assert "#define HEARS_SOUND_HZ 8000\n" in header and "#define HEARS_SOUND_SAMPLES 4000\n" in header
    assert "hears_features\tKEYWORD2" in keywords and "HEARS_SOUND_HZ\tLITERAL1" in keywords
    assert str(mfcc.sound(OTHER).ram_bytes) in header and "src/sound/mfcc.h" in files
    assert " m)" in files["CMakeLists.txt"]
    deaf = library.library(network(OTHER), board.load("uno"), front_end=OTHER)
    assert "features" not in deaf["src/hears_model.h"] and "src/sound/mfcc.h" not in deaf, "no AVR holds a clip"


@pytest.mark.toolchain
def test_the_front_end_compiles_for_a_microcontroller(tmp_path: Path) -> None:
    target = board.load("netduinoplus2")
    for path, text in library.library(network(OTHER), target, front_end=OTHER).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    flags = ["-std=c11", "-O1", *target.core_flags, *WARNINGS, "-c"]
    shell.run(["arm-none-eabi-gcc", *flags, "src/hears_model.c"], cwd=tmp_path)
    called = shell.run(["arm-none-eabi-nm", "-u", "hears_model.o"], cwd=tmp_path).output
    assert "logf" in called and not any(name in called for name in ("__aeabi_d", "malloc", "printf"))
