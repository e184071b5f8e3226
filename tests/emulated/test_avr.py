"""AVR boards on the real Arduino core: every portable kernel bit for bit, true cycles, nothing but variables in RAM, in
simavr and in QEMU, built by the project's CMake and by Arduino's own builder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from pipeline.config import board
from pipeline.config.board import Board
from pipeline.core import paths, shell
from pipeline.core.errors import DeviceError, FitError, ToolError
from pipeline.core.nouns import QModel, Sources, no_progress
from pipeline.device import mismatch, session
from pipeline.device.links import serial
from pipeline.device.runners import simavr
from pipeline.device.session import Session
from pipeline.network import arith, twin
from pipeline.stages import build, export, lower, render
from tests.support import tiny
from tests.unit.config.test_board import by_hand

UNO, MEGA = board.load("uno"), board.load("mega2560")
ARDUINO = Path("/usr/share/arduino/hardware")
WATCHDOG_RESET = 1 << 3
"""MCUSR.WDRF."""
CLOCK_INTERRUPT_PERIOD, CLOCK_INTERRUPT_MOST = 16384, 130
"""Cycles: Timer 0 overflows every 64 * 256; its interrupt, entry and return included."""
pytestmark = [pytest.mark.toolchain, pytest.mark.emulator]


def built(model: QModel, target: Board, folder: Path) -> Sources:
    sources = render.render(model, target)
    build.build(sources, target, folder)
    return sources


def assert_bit_exact(device: Session, model: QModel, x: np.ndarray) -> None:
    """Every layer of every sample."""
    layers = twin.specification(model, x)
    for i, sample in enumerate(x):
        for number, expected in enumerate(layers, 1):
            size = expected[i].size
            output = device.run_sample(sample.tobytes(), layers=number, output_bytes=size).output
            name = model.layers[number - 1].name
            assert np.array_equal(output, expected[i].ravel()), f"sample {i}, layer {name}"


def packed_widths() -> QModel:
    """Every kind of weighted layer in every width of packed weights, and a concatenation."""
    b = tiny.Builder((6, 5, 3), 3)
    x = "input"
    for bits in (3, 4, 8):
        x = b.activation(b.weighted(f"conv{bits}", "conv2d", x, (3, 2, 3, 3), bits, strides=(1, 1)), tiny.LINEAR)
        x = b.activation(b.weighted(f"dw{bits}", "depthwise_conv2d", x, (2, 3, 3, 1), bits), tiny.RELU)
    y = b.activation(b.weighted("side", "conv2d", "input", (1, 1, 3, 2)))
    x = b.activation(b.add("both", "concatenate", [x, y]), tiny.LINEAR)
    for bits in (3, 4, 8):
        x = b.activation(b.weighted(f"dense{bits}", "dense", x, (150 if bits == 3 else 11, 11), bits), tiny.LINEAR)
    b.weighted("logits", "dense", x, (11, 4))
    return lower.lower(b.model("widths"))


def with_edge_requantization(model: QModel) -> QModel:
    """The same network with multipliers and shifts at the ends of what is legal, as far as no accumulator overflows."""
    layer = model.layers[-1]
    assert layer.weights is not None and layer.bias is not None
    bound = 255 * np.abs(layer.weights.astype(np.int64)).sum(axis=1) + np.abs(layer.bias.astype(np.int64))
    shift = np.array([-31, -1, 0, 9], np.int8)
    assert arith.requantization_is_safe(bound, shift).all()
    multiplier = np.array([arith.INT32_MAX, 1 << 30, 0, arith.INT32_MAX], np.int32)
    return replace(model, layers=(*model.layers[:-1], replace(layer, multiplier=multiplier, shift=shift)))


@pytest.mark.parametrize("target", [UNO, MEGA], ids=lambda b: b.name)
def test_every_kernel_computes_the_same_bits(target: Board, tmp_path: Path) -> None:
    for number, model in enumerate((tiny.qmodel(), with_edge_requantization(packed_widths()))):
        folder = tmp_path / str(number)
        built(model, target, folder)
        with session.connect(target, folder) as device:
            device.hello()
            assert_bit_exact(device, model, tiny.samples(model, 2))


@pytest.mark.parametrize("target", [UNO, MEGA], ids=lambda b: b.name)
def test_constants_stay_in_flash(target: Board, tmp_path: Path) -> None:
    """Neither tables nor parameters of layers, nor the call list: RAM addresses carry the bias 0x800000."""
    sources = built(tiny.qmodel(), target, tmp_path)
    with (tmp_path / "firmware.elf").open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".symtab")
        placed = {s.name: s["st_value"] for s in symbols.iter_symbols() if s["st_info"]["type"] == "STT_OBJECT"}
    constants = [name for name in placed if name.startswith(("layer0_", "layer8_", "model_layers", "handlers"))]
    assert len(constants) > 15
    assert all(placed[name] < 0x10000 for name in constants), "within reach of LPM"
    image = build.build(sources, target, tmp_path / "again")
    assert image.ram_bytes < sources.arena_bytes + target.link.max_payload + 512
    assert image.weights_bytes == sum(sources.layer_table_bytes.values())


COUNTED = """
#pragma GCC diagnostic ignored "-Wunused-parameter"
static void loop(int8_t *arena) {
    uint32_t n = *(volatile uint32_t *)arena;
    __asm volatile("1: subi %A0, 1\\n sbci %B0, 0\\n sbci %C0, 0\\n sbci %D0, 0\\n brne 1b" : "+d"(n));
}
static void nothing(int8_t *arena) { *(volatile uint32_t *)arena; }
const model_layer model_layers[MODEL_LAYERS] = {{loop, 0, 4}, {nothing, 0, 4}};
"""
LOOP_CYCLES = 6
"""subi and sbci 1 each, brne 2 when taken (AVR instruction set manual)."""


def test_cycles_are_true(tmp_path: Path) -> None:
    """To the cycle where the core's clock interrupt does not fall into the loop, else within its share."""
    sources = render.render(tiny.qmodel(), UNO)
    sources = replace(sources, files={**sources.files, **by_hand(COUNTED, 2)}, layers=())
    build.build(sources, UNO, tmp_path)
    with session.connect(UNO, tmp_path) as device:
        device.hello()

        def cycles(n: int, runs: int) -> int:
            ticks = [device.run_sample(n.to_bytes(4, "little")).layer_ticks for _ in range(runs)]
            loops, nothings = zip(*ticks, strict=True)  # the interrupt falls into either
            return int(min(loops)) - int(min(nothings))

        base = cycles(1, runs=64)
        for n in (2, 3, 10, 100, 1000, 2000):
            assert cycles(n, runs=64) - base == LOOP_CYCLES * (n - 1)
        for n in (11_000, 50_000, 1_000_000):
            expected = LOOP_CYCLES * (n - 1)
            interrupts = expected // CLOCK_INTERRUPT_PERIOD + 1
            assert 0 < cycles(n, runs=6) - base - expected < interrupts * CLOCK_INTERRUPT_MOST


def test_a_reset_is_one_and_says_so(tmp_path: Path) -> None:
    built(tiny.qmodel(), UNO, tmp_path)
    with session.connect(UNO, tmp_path) as device:
        device.hello()
        device.run_sample(bytes(64))
        before = device.stats()
        assert before["reset_cause"] & WATCHDOG_RESET == 0
        assert 100 < before["stack_high_water"] < UNO.memory.stack_bytes < before["stack_size"]
        device.reset()
        device.hello()
        after = device.stats()
        assert after["reset_cause"] & WATCHDOG_RESET
        assert after["arena_touched"] == 0


@pytest.mark.parametrize("target", [UNO, MEGA], ids=lambda b: b.name)
def test_qemu_agrees(target: Board, tmp_path: Path) -> None:
    """Another emulator computes the same. Its CPU and UART cannot wait quietly, so the port does without."""
    link = target.link.model_copy(update={"kind": "tcp"})
    emulated = target.model_copy(update={"runner": "qemu", "link": link, "defines": {"ARDUINO_QEMU": 1}})
    model = tiny.qmodel()
    x = tiny.samples(model, 4)
    built(model, emulated, tmp_path)
    with session.connect(emulated, tmp_path) as device:
        device.hello()
        answers = np.stack([result.output for result in device.run(sample.tobytes() for sample in x)])
    assert np.array_equal(answers, twin.specification(model, x)[-1])


@pytest.mark.skipif(shell.find("arduino-builder") is None, reason="needs arduino-builder")
@pytest.mark.parametrize("target", [UNO, MEGA], ids=lambda b: b.name)
def test_the_exported_sketch_runs_as_arduino_builds_it(target: Board, tmp_path: Path) -> None:
    """Compiled and linked by Arduino's own recipes, link-time optimization and linker script included; no warning."""
    model = tiny.qmodel()
    sources = render.render(model, target)
    library = tmp_path / "libraries" / "tritmcu_tiny"
    export.export(sources, target, model.name, library, "arduino")
    out = tmp_path / "out"
    out.mkdir()
    output = arduino_builder(library, out, target.fqbn)
    assert "tritmcu_tiny" not in output, f"warnings: {output}"
    shell.run(["avr-objcopy", "-I", "ihex", "-O", "binary", out / "serve.ino.hex", out / "firmware.bin"])
    with session.connect(target, out) as device:
        info = device.hello()
        session.check_identity(info, sources.digest, target)
        assert_bit_exact(device, model, tiny.samples(model, 1))


@pytest.mark.skipif(shell.find("arduino-builder") is None, reason="needs arduino-builder")
def test_a_sketch_with_an_input_of_its_own_computes_the_twins_logits(tmp_path: Path) -> None:
    """The example of an exported library, its sensor replaced by one whose readings are known."""
    model, folder, out = tiny.qmodel(), tmp_path / "libraries" / "tiny_model", tmp_path / "out"
    out.mkdir()
    export.export_library(model, UNO, folder)
    sketch = folder / "examples" / "sensor" / "sensor.ino"
    pin, known = (
        "(void)element;\n    return (float)analogRead(A0) / 1023.0f;",
        "return (float)(element * 37 % 256) / 255.0f;",
    )
    assert pin in sketch.read_text()
    sketch.write_text(sketch.read_text().replace(pin, known))
    output = arduino_builder(folder, out, UNO.fqbn, "sensor")
    assert "tiny_model" not in output, f"warnings: {output}"
    shell.run(["avr-objcopy", "-I", "ihex", "-O", "binary", out / "sensor.ino.hex", out / "firmware.bin"])
    sample = (np.arange(64) * 37 % 256 - 128).astype(np.int8).reshape(1, 8, 8, 1)
    logits = twin.specification(model, sample)[-1][0]
    wanted = f"{' '.join(map(str, logits))} {model.classes[logits.argmax()]}\r\n"
    with simavr.attach(UNO, out) as terminal:
        link = serial.open_link(UNO, terminal)
        heard = ""
        while heard.count("\n") < 3 and (piece := link.read(10.0)):
            heard += piece.decode("ascii")
        link.close()
    assert heard.splitlines(keepends=True)[1] == wanted, "the first line may have begun before anyone listened"


def arduino_builder(library: Path, out: Path, fqbn: str, sketch: str = "serve") -> str:
    """What the builder of the Arduino IDE says to this example, all warnings on."""
    # What IDE packages set and Debian's builder alone does not, and a macro that avr-gcc 5 hides from C++.
    ctags = '"arduino-ctags" -u --language-force=c++ -f - --c++-kinds=svpf --fields=KSTtzns --line-directives'
    preferences = {
        "tools.ctags.pattern": f'{ctags} "{{source_file}}"',
        "compiler.cpp.extra_flags": "-DDECIMAL_DIG=__DECIMAL_DIG__",
    }
    command: list[str | Path] = ["arduino-builder", "-compile", "-warnings", "all", "-ide-version", "10819"]
    command += ["-hardware", "/usr/share/arduino-builder", "-hardware", ARDUINO, "-tools", "/usr/bin"]
    command += ["-libraries", library.parent, "-fqbn", fqbn, "-build-path", out]
    command += [f"-prefs={key}={value}" for key, value in preferences.items()]
    return shell.run([*command, library / "examples" / sketch / f"{sketch}.ino"]).output


ARDUINO_CLI = """#!/bin/sh
# arduino-cli, played by the builder it descends from.
[ "$1" = version ] && exec echo "arduino-builder as arduino-cli"
[ "$1 $2 $4 $6" = "compile --fqbn --library --output-dir" ] || exit 64
mkdir -p "$7"
exec python3 -c 'import sys; from pathlib import Path; from tests.emulated.test_avr import arduino_builder as build
print(build(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[1]))' "$3" "$5" "$7"
"""


@pytest.mark.skipif(shell.find("arduino-builder") is None, reason="needs arduino-builder")
def test_the_way_of_boards_only_arduino_cli_can_build_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Library, compilation, measured image, answers: everything but arduino-cli itself, on the AVR core. The run's
    folder holds what no builder reads, that of temporary files what all of them must read."""
    programs, temporary = tmp_path / "bin", tmp_path / "zwölf = @home~ +1"
    programs.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    (programs / "arduino-cli").write_text(ARDUINO_CLI.replace("python3", sys.executable))
    (programs / "arduino-cli").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(paths.RESOURCES))
    sources, out = render.render(tiny.qmodel(), UNO), tmp_path / 'a b,c;d$e"f\\g'
    image = build._build_with_arduino(sources, UNO, out, no_progress)
    assert image.compiler == "arduino-builder as arduino-cli, arduino:avr:uno"
    assert sources.arena_bytes < image.ram_bytes < UNO.memory.ram.length
    assert sorted(p.name for p in out.iterdir()) == ["firmware.elf", "firmware.hex", "project"]
    shell.run(["avr-objcopy", "-I", "ihex", "-O", "binary", out / "firmware.hex", out / "firmware.bin"])
    with session.connect(UNO, out) as device:
        session.check_identity(device.hello(), sources.digest, UNO)


def test_the_arduino_core_may_lie_in_a_folder_with_spaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CMake finds what boards.txt says and every source, Ninja knows how to make them."""
    core = tmp_path / "my Arduino core"
    core.symlink_to(ARDUINO / "arduino" / "avr")
    monkeypatch.setenv("ARDUINO_AVR", str(core))
    for name, text in render.render(tiny.qmodel(), UNO).files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    shell.run(["cmake", "-G", "Ninja", "-B", "build", "-DCMAKE_TOOLCHAIN_FILE=toolchain.cmake"], cwd=tmp_path)
    planned = shell.run(["ninja", "-C", "build", "-n", "-v"], cwd=tmp_path).output
    assert f'-I"{core}/variants/standard"' in planned.replace('-I\\"', '-I"'), planned
    assert "ARDUINO_AVR_UNO" in planned


def wide(channels: int) -> QModel:
    """A network whose arena grows with the channels."""
    b = tiny.Builder((8, 8, 1), 0)
    x = b.activation(b.weighted("wide", "conv2d", "input", (3, 3, 1, channels)))
    x = b.activation(b.weighted("narrow", "conv2d", x, (3, 3, channels, 2), strides=(2, 2)))
    b.weighted("logits", "dense", x, (32, 10))
    return lower.lower(b.model("wide"))


def test_what_cannot_fit_is_refused_before_building(tmp_path: Path) -> None:
    sources = render.render(wide(40), UNO)
    with pytest.raises(
        FitError, match=r"'uno': needs at least .* RAM, has 2\.0 KiB; largest part: the activation arena"
    ):
        build.build(sources, UNO, tmp_path)
    assert not (tmp_path / "project").exists()


def test_what_only_the_linker_can_know_is_refused_too(tmp_path: Path) -> None:
    """20 channels pass the first check; variables of firmware and core come on top."""
    sources = render.render(wide(20), UNO)
    build.check_fit(sources, UNO)
    with pytest.raises(
        FitError, match=r"'uno': needs \d+ bytes RAM, has 2048 bytes; largest part: the activation arena"
    ):
        build.build(sources, UNO, tmp_path)
    fitting = render.render(wide(16), UNO)
    image = build.build(fitting, UNO, tmp_path)
    assert image.ram_bytes + image.stack_bytes <= UNO.memory.ram.length
    assert image.flash_bytes <= UNO.memory.flash.length


def test_a_crash_of_the_firmware_is_named(tmp_path: Path) -> None:
    """simavr stops at an access outside the memory of the chip."""
    crash = """
static void leave(int8_t *arena) { *(volatile int8_t *)0xF000 = *arena; }
const model_layer model_layers[MODEL_LAYERS] = {{leave, 0, 4}};
"""
    sources = render.render(tiny.qmodel(), UNO)
    sources = replace(sources, files={**sources.files, **by_hand(crash, 1)}, layers=())
    build.build(sources, UNO, tmp_path)
    with (
        pytest.raises(DeviceError, match="the CPU crashed at byte address 0x"),
        session.connect(UNO, tmp_path) as device,
    ):
        device.hello()
        device.run_sample(bytes(4))


def test_a_simulator_that_dies_is_named(tmp_path: Path) -> None:
    built(tiny.qmodel(), UNO, tmp_path)
    with pytest.raises(DeviceError, match="went away"), session.connect(UNO, tmp_path) as device:
        device.hello()
        terminal = device.link.name
        (pid,) = (int(p.name) for p in Path("/proc").glob("[0-9]*") if holds(p, "/dev/ptmx", simavr.SOURCE.stem))
        assert terminal.startswith("/dev/pts/")
        os.kill(pid, signal.SIGKILL)
        device.stats()


def holds(process: Path, device: str, program: str) -> bool:
    """Whether this test's own child of that program has the device open."""
    try:
        parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        mine = parent == os.getpid() and (process / "comm").read_text().startswith(program)
        return mine and any(str(fd.readlink()) == device for fd in (process / "fd").iterdir())
    except OSError:
        return False


def test_a_mismatch_is_seen_again_from_its_folder_alone(tmp_path: Path) -> None:
    """The simulator loads another file than QEMU does."""
    model, image_folder = tiny.qmodel(), tmp_path / "image"
    image_folder.mkdir()
    image = build.build(render.render(model, MEGA), MEGA, image_folder)
    x = tiny.samples(model, 1)
    case = mismatch.Case("clean", 0, x[0], ~twin.run(model, x)[0])
    mismatch.record(tmp_path / "found", case, None, model, image, image_folder, MEGA)
    shutil.rmtree(image_folder)
    recorded, now = mismatch.reproduce(tmp_path / "found")
    assert (recorded.board, recorded.repeatable, now) == (MEGA.name, False, None)


def test_a_missing_simulator_or_core_says_what_brings_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "firmware.bin").touch()
    monkeypatch.setenv("ARDUINO_AVR", str(tmp_path / "nowhere"))
    with pytest.raises(ToolError, match="the Arduino AVR core is missing") as caught:
        built(tiny.qmodel(), UNO, tmp_path / "image")
    assert caught.value.hint == "sudo apt-get install arduino-core-avr"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="simavr is not installed") as caught:
        simavr.command(UNO, tmp_path)
    assert caught.value.hint == "sudo apt-get install simavr libsimavr-dev"


@pytest.mark.slow
def test_the_job_for_the_uno(tmp_path: Path) -> None:
    """Trained briefly, then the whole way to the device: no mismatch on any sample."""
    job = paths.RESOURCES / "jobs" / "digits_uno.toml"
    options = ["--epochs", "2", "--limit", "4", "--run-dir", tmp_path / "run"]
    shell.run(["tritmcu", "run", job, *options], timeout_s=600)
    numbers = json.loads((tmp_path / "run" / "report.json").read_text())
    assert numbers["agreement"]["device_twin_mismatches"] == 0
    assert numbers["agreement"]["samples"] == 28
    assert numbers["board"]["name"] == "uno"
