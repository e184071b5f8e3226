"""What every board promises: it is described without gaps, its project builds, and where it can run here, its firmware
serves every message as pipeline/protocol/wire.py says, counts instructions exactly and reports its own crash."""

from __future__ import annotations

import contextlib
import re
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from unicorn import UC_ARCH_ARM, UC_MODE_MCLASS, UC_MODE_THUMB, Uc
from unicorn import arm_const as arm

from pipeline.codegen import buffers
from pipeline.config import board
from pipeline.config.board import Board
from pipeline.core import paths, registry, schema, shell
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Sources
from pipeline.device.links import Link
from pipeline.network import packing, twin
from pipeline.protocol import wire
from pipeline.stages import build, render
from tests.support import tiny
from tests.support.uf2 import flashed

MODEL = tiny.qmodel()
SAMPLES = tiny.samples(MODEL, 3)
TIMEOUT_S = 20.0
REPEATS = 3
PORT = paths.shipped("firmware") / "port"


def first_of_each(names: Iterable[str], kind: Callable[[Board], object]) -> list[str]:
    """One board for each value of `kind`: an emulated one where there is one, else the first by name."""
    found: dict[object, str] = {}
    for name in sorted(names, key=lambda name: (board.load(name).emulator is None, name)):
        found.setdefault(kind(board.load(name)), name)
    return sorted(found.values())


def driver(b: Board) -> tuple[Path, str]:
    """Folder of the port.c that serves the link, and the core where each is a port of its own."""
    folder = PORT / b.port
    while not (folder / "port.c").exists():
        folder = folder.parent
    return folder, b.core if b.is_avr else ""


CORTEX_M = [name for name in board.names() if "arm-none-eabi-gcc" in board.load(name).build_programs]
A_PORT_EACH = first_of_each(CORTEX_M, lambda b: (b.port, b.core))
EMULATED = [name for name in board.names() if board.load(name).emulator]
COUNTING = [name for name in EMULATED if board.load(name).tick == "instructions"]
"""A Cortex-M each: tells instructions apart and reports its own crash."""
A_CORE_EACH = first_of_each(COUNTING, lambda b: b.core)
ARMV6_M = [name for name in A_CORE_EACH if board.load(name).core in {"cortex-m0", "cortex-m0plus"}]
REPORTING = sorted(set(A_CORE_EACH) - set(ARMV6_M))
"""With the flags of the fault, which an Armv6-M core has not."""


def marked(names: Iterable[str]) -> list[Any]:
    """The host, and boards that need toolchain and emulator."""
    return ["host", *(pytest.param(n, marks=[pytest.mark.toolchain, pytest.mark.emulator]) for n in names)]


RUNNING = marked(EMULATED)
DRIVERS = marked(first_of_each(EMULATED, driver))
"""A link of each kind: what lies above it is the same code."""


class Device:
    """One request at a time, nothing repeated: what the firmware says is what the test sees."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._decoder = wire.Decoder()
        self._frames: list[wire.Frame] = []
        self._seq = 0

    def send(self, data: bytes) -> None:
        self._link.write(data)

    def receive(self, timeout_s: float = TIMEOUT_S) -> wire.Frame | None:
        """The next frame, or None when none comes in time."""
        deadline_s = time.monotonic() + timeout_s
        while not self._frames:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return None
            self._frames += self._decoder.feed(self._link.read(left_s))
        return self._frames.pop(0)

    def ask(self, name: str, tail: bytes = b"", **fields: Any) -> tuple[dict[str, Any], bytes]:
        """(fields, tail) of the reply; an ERROR's or FAULT's fields carry "message". RUN keeps no base unless told."""
        self._seq = (self._seq + 1) % 256
        self.send(wire.request(name, self._seq, tail, **{"keep": 0, **fields}))
        frame = self.receive()
        assert frame is not None, f"no answer to {name}"
        answered = next(m.name for m in wire.MESSAGES if m.code == frame.type ^ wire.REPLY)
        values, rest = wire.reply(answered, frame)
        if answered != name:
            return {"message": answered, **values}, rest
        assert frame.seq == self._seq
        return values, rest

    def hello(self) -> dict[str, Any]:
        """The answer to HELLO, which is repeated: a UART that is not enabled yet hears nothing."""
        for _ in range(100):
            self.send(wire.request("HELLO", 0, protocol=wire.PROTOCOL))
            if frame := self.receive(timeout_s=0.2):
                while self.receive(timeout_s=0.05):
                    pass
                return wire.reply("HELLO", frame)[0]
        raise AssertionError("no answer to HELLO")

    def upload(self, ticket: int, sample: bytes, piece: int = 24) -> None:
        for offset in range(0, len(sample), piece):
            part = sample[offset : offset + piece]
            values, _ = self.ask("INPUT", part, ticket=ticket, offset=offset)
            assert values == {"ticket": ticket, "received": offset + len(part)}


def error(request: str, code: str, detail: int) -> tuple[dict[str, Any], bytes]:
    """The ERROR answer."""
    codes = {name: number for name, number, _ in wire.ERRORS}
    number = wire.BY_NAME[request].code
    return {"message": "ERROR", "request": number, "code": codes[code], "detail": detail}, b""


@dataclass(frozen=True)
class Built:
    """A firmware ready to be started."""

    board: Board
    sources: Sources
    folder: Path

    @contextlib.contextmanager
    def start(self) -> Iterator[Device]:
        """A freshly started device."""
        runner = registry.load("runners", self.board.runner)
        links = registry.load("links", self.board.link.kind)
        with (
            runner.attach(self.board, self.folder, None) as place,
            contextlib.closing(links.open_link(self.board, place)) as link,
        ):
            yield Device(link)


Builder = Callable[..., Built]


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """builder(board name, model.c text or None, changes of its link) builds once per session."""
    done: dict[object, Built] = {}

    def make(name: str, model: str | None = None, layers: int = 0, **link: str) -> Built:
        key = (name, model, *sorted(link.items()))
        if key not in done:
            plain = board.load(name)
            chosen = plain.model_copy(update={"link": plain.link.model_copy(update=link)})
            sources = render.render(MODEL, chosen)
            if model is not None:
                sources = replace(sources, files={**sources.files, **by_hand(model, layers)}, layers=())
            folder = tmp_path_factory.mktemp(name)
            build.build(sources, chosen, folder, sanitize=chosen.is_host)
            done[key] = Built(chosen, sources, folder)
        return done[key]

    return make


def by_hand(source: str, layers: int) -> dict[str, str]:
    """A model written in C: its input is 4 bytes, every layer's output the first 4 bytes of the arena."""
    sizes = {"ARENA_BYTES": 64, "INPUT_OFFSET": 0, "INPUT_BYTES": 4, "OUTPUT_BYTES": 4, "LAYERS": layers}
    defines = "".join(f"#define MODEL_{name} {value}U\n" for name, value in sizes.items())
    layer = "typedef struct { void (*run)(int8_t *arena); uint32_t output_offset, output_bytes; } model_layer;\n"
    header = (
        f"#pragma once\n#include <stdint.h>\n{defines}{layer}extern const model_layer model_layers[MODEL_LAYERS];\n"
    )
    return {"generated/model.h": header, "generated/model.c": f'#include "model.h"\n{source}'}


@pytest.fixture(params=RUNNING)
def built(request: pytest.FixtureRequest, builder: Builder) -> Built:
    return builder(request.param)


over_every_link = pytest.mark.parametrize("built", DRIVERS, indirect=True)


@pytest.fixture
def device(built: Built) -> Iterator[Device]:
    with built.start() as started:
        started.hello()
        yield started


@pytest.mark.parametrize("name", board.names())
def test_description_has_no_gaps(name: str) -> None:
    b = board.load(name)
    assert b.port in board.ports()
    assert b.runner in registry.names("runners")
    assert b.link.kind in registry.names("links")
    assert (b.emulator is not None) == (b.runner in {"qemu", "simavr"})
    assert (b.tick_hz == 0) == (b.tick == "instructions")
    assert len(b.name) <= 32, "the field of HELLO"
    assert not (b.silicon_tested and b.emulator), "an emulator is no silicon"


def test_ports_are_the_innermost_folders() -> None:
    known = board.ports()
    assert {"host", "arduino", "cortexm/mps2", "cortexm/stm32/f/f4", "cortexm/stm32/h7"} <= set(known)
    assert not {"cortexm", "cortexm/stm32", "cortexm/stm32/f"} & set(known)


@pytest.mark.parametrize("port", ["stm32f4", "cortexm/stm32", "cortexm/stm32/f/f9"])
def test_an_unknown_port_is_refused_with_what_there_is(port: str, tmp_path: Path) -> None:
    text = (paths.RESOURCES / "boards" / "netduinoplus2.toml").read_text()
    file = tmp_path / "netduinoplus2.toml"
    file.write_text(text.replace('port = "cortexm/stm32/f/f4"', f'port = "{port}"'))
    with pytest.raises(ConfigError, match=re.escape(f"unknown port {port!r}")) as caught:
        board.load(str(file))
    assert "cortexm/stm32/f/f4" in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("port", ["../firmware/port/host", "", "/host"])
def test_a_port_that_is_no_folder_of_the_firmware_is_refused(port: str, tmp_path: Path) -> None:
    text = (paths.RESOURCES / "boards" / "netduinoplus2.toml").read_text()
    file = tmp_path / "netduinoplus2.toml"
    file.write_text(text.replace('port = "cortexm/stm32/f/f4"', f'port = "{port}"'))
    with pytest.raises(ConfigError, match="must be a relative path"):
        board.load(str(file))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("port", "host", "port = 'host': not for core 'cortex-m4f'; its ports: arduino, cortexm/mps2, "),
        ("core", "host", "port = 'cortexm/stm32/f/f4': not for core 'host'; its ports: host"),
        ("core", "atmega328p", "port = 'cortexm/stm32/f/f4': not for core 'atmega328p'; its ports: arduino"),
        ("tick_hz", 5, "tick_hz = 5: must be 0 where tick = 'instructions'"),
        ("tick", "cycles", "tick_hz = 0: must be above 0 where tick = 'cycles'"),
        ("clock_hz", 1 << 32, "key 'clock_hz' = 4294967296: Input should be less than 4294967296"),
        ("flash", (0xFFFF_FF00, 0x101), "table 'memory.flash': ends at 0x100000001, beyond 32 bits"),
        ("ram", (0x0800_0000, 8), "memory.flash ends at 0x8100000, memory.ram begins at 0x8000000"),
        ("flash", (0x1FFF_FFFF, 2), "memory.flash ends at 0x20000001, memory.ram begins at 0x20000000"),
        ("ram", (0x2000_0004, 0x8000), "memory.ram.origin = 0x20000004: must be a multiple of 8"),
        ("defines", {"PIN": "1; x"}, "key 'defines.PIN' = '1; x': Input should be a valid integer, or String should"),
        ("usb_ids", "0483:374b", "key 'usb_ids' = '0483:374b': must be a list"),
    ],
)
def test_what_no_board_can_be_is_refused(key: str, value: Any, message: str) -> None:
    """With the key and what may be, before anything is built. The board itself is in order: one key is changed."""
    described = schema.read_toml(paths.shipped("boards") / "netduinoplus2.toml")
    if isinstance(value, tuple):
        described["memory"][key] = dict(zip(("origin", "length"), value, strict=True))
    else:
        described[key] = value
    with pytest.raises(ConfigError, match=f"^mine: {re.escape(message)}"):
        schema.validate(Board, described, "mine")


@pytest.mark.toolchain
@pytest.mark.parametrize("name", A_PORT_EACH)
def test_image_lies_in_the_memory_of_the_chip(name: str, builder: Builder) -> None:
    """Vector table at the start of the flash, stack at the bottom of the RAM, every section inside its region, initial
    values behind the code."""
    built = builder(name)
    flash, ram, boot = built.board.memory.flash, built.board.memory.ram, built.board.memory.boot
    read_only = {s: boot for s in (".boot", ".boot_checksum") if boot}
    with (built.folder / "firmware.elf").open("rb") as file:
        elf = ELFFile(file)
        sections = {s.name: s for s in elf.iter_sections() if s["sh_flags"] & SH_FLAGS.SHF_ALLOC and s["sh_size"]}
        stack_top, reset = struct.unpack("<II", sections[".vectors"].data()[:8])
        loaded = [s for s in elf.iter_segments("PT_LOAD") if s["p_filesz"]]
        assert sections[".vectors"]["sh_addr"] == flash.origin
        assert reset == elf["e_entry"] | 1
        assert sections[".port"]["sh_addr"] <= reset - 1 < sections[".port"]["sh_addr"] + sections[".port"]["sh_size"]
        assert sections[".stack"]["sh_addr"] == ram.origin
        assert stack_top == ram.origin + built.board.memory.stack_bytes
        assert stack_top % 8 == 0
        for name, section in sections.items():
            region = ram if section["sh_flags"] & SH_FLAGS.SHF_WRITE else read_only.get(name, flash)
            assert region.origin <= section["sh_addr"]
            assert section["sh_addr"] + section["sh_size"] <= region.origin + region.length
        for segment in loaded:
            assert (boot or flash).origin <= segment["p_paddr"]
            assert segment["p_paddr"] + segment["p_filesz"] <= flash.origin + flash.length


def crc32_of_the_rom(data: bytes) -> int:
    """As the RP2040's data sheet has it: polynomial 0x04C11DB7, initial value 0xFFFFFFFF, not reflected."""
    crc = 0xFFFF_FFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C1_1DB7 if crc >> 31 else 0)) & 0xFFFF_FFFF
    return crc


@pytest.mark.toolchain
def test_the_boot_stage_ends_in_its_checksum(builder: Builder) -> None:
    """The RP2040's ROM starts what it finds at the start of the flash, 256 bytes, only with the right last word."""
    assert crc32_of_the_rom(b"123456789") == 0x0376_E6E7, "the published check value of this CRC"
    built = builder("pico")
    image = (built.folder / "firmware.bin").read_bytes()
    boot = built.board.memory.boot
    assert boot is not None
    stage, checksum = image[: boot.length - 4], image[boot.length - 4 : boot.length]
    assert any(stage)
    assert int.from_bytes(checksum, "little") == crc32_of_the_rom(stage)
    with (built.folder / "firmware.elf").open("rb") as file:
        assert ELFFile(file).get_section_by_name(".boot_checksum").data() == checksum, "what a debug probe writes"


@pytest.mark.toolchain
def test_the_drive_of_the_rom_gets_the_boot_stage_and_the_firmware(builder: Builder) -> None:
    """firmware.uf2 holds what is written by a debug probe, from a 4 KB sector's start on without a gap: the ROM erases
    by the number of the block. A board whose file does not ask for it gets none."""
    built = builder("pico")
    pages = flashed((built.folder / "firmware.uf2").read_bytes(), 0xE48B_FF56)
    assert list(pages) == [0x1000_0000 + 256 * i for i in range(len(pages))]
    content = b"".join(pages.values())
    image = (built.folder / "firmware.bin").read_bytes()
    assert content[: len(image)] == image
    assert len(content) - len(image) < 256
    with (built.folder / "firmware.elf").open("rb") as file:
        for load in ELFFile(file).iter_segments("PT_LOAD"):
            at = load["p_paddr"] - 0x1000_0000
            assert content[at : at + load["p_filesz"]] == load.data()
    assert not (builder("microbit").folder / "firmware.uf2").exists()


@pytest.mark.toolchain
def test_the_boot_stage_makes_the_flash_memory_and_starts_the_firmware(builder: Builder) -> None:
    """Executed where the ROM copies it to, by what the core may do there: reach registers, and the flash afterwards."""
    built = builder("pico")
    memory, copied_to = built.board.memory, 0x2004_1F00
    assert memory.boot is not None
    image = (built.folder / "firmware.bin").read_bytes()
    uc = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS)
    uc.ctl_set_cpu_model(arm.UC_CPU_ARM_CORTEX_M0)
    written: dict[int, int] = {}
    uc.mem_map(memory.boot.origin, 0x10_0000)
    uc.mem_map(memory.ram.origin, 0x4_2000)
    uc.mmio_map(
        0x1800_0000, 0x1000, lambda *_: 0, None, lambda _, at, size, value, data: written.update({at: value}), None
    )
    uc.mem_write(memory.boot.origin, image)
    uc.mem_write(copied_to, image[: memory.boot.length])
    uc.reg_write(arm.UC_ARM_REG_SP, copied_to)
    reset = int.from_bytes(image[memory.boot.length + 4 : memory.boot.length + 8], "little")
    uc.emu_start(copied_to | 1, reset & ~1, count=1000)
    assert uc.reg_read(arm.UC_ARM_REG_PC) == reset & ~1
    # Registers by offset: SSIENR, BAUDR, RX_SAMPLE_DLY, SER; CTRLR0: 32 bits on two wires, read after a command;
    # SPI_CTRLR0: 3Bh, eight cycles of waiting, a command of 8 bits, an address of 24.
    assert written == {
        **{0x08: 1, 0x14: 2, 0xF0: 1, 0x10: 1, 0x04: 0},
        **{0x00: 31 << 16 | 1 << 21 | 3 << 8, 0xF4: 0x3B << 24 | 8 << 11 | 2 << 8 | 6 << 2},
    }


@pytest.mark.toolchain
@pytest.mark.parametrize("name", A_PORT_EACH)
def test_everything_but_the_arena_is_small(name: str, builder: Builder) -> None:
    """Stack, buffers and all state of link, port and application: under 4 KiB with the default sizes."""
    b = builder(name)
    sections = shell.run(["arm-none-eabi-size", "-A", b.folder / "firmware.elf"]).output.splitlines()
    used = sum(int(line.split()[1]) for line in sections if line.startswith((".stack", ".data", ".bss")))
    assert used - b.sources.arena_bytes < 4096


@pytest.mark.toolchain
@pytest.mark.parametrize("name", sorted(set(CORTEX_M) - set(A_PORT_EACH)))
def test_the_port_takes_the_settings_of_every_board(name: str, tmp_path: Path) -> None:
    """Clock tree, pins and rate: each limit of a manual is an assertion of the compiler."""
    chosen = board.load(name)
    files = render.render(MODEL, chosen).files
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    folders = {f"-I{Path(path).parent}" for path in files if path.endswith(".h")}
    sources = [path for path in files if path.startswith("port/") and path.endswith((".c", ".S"))]
    warnings = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-fsyntax-only")
    shell.run(["arm-none-eabi-gcc", *chosen.core_flags, *warnings, *sorted(folders), *sources], cwd=tmp_path)


def test_hello_says_who_it_is(built: Built) -> None:
    with built.start() as device:
        values = device.hello()
    b, model = built.board, MODEL
    sizes = buffers.plan(b, built.sources.arena_bytes, model.input.size_bytes)
    assert values == {
        "protocol": wire.PROTOCOL,
        "tick_unit": wire.TICK_UNITS.index(b.tick),
        "tick_hz": b.tick_hz,
        "max_payload": b.link.max_payload,
        "rx_buffer_bytes": sizes.rx_bytes,
        "base_bytes": sizes.base_bytes,
        "layers": len(model.layers),
        "arena_bytes": built.sources.arena_bytes,
        "input_bytes": model.input.size_bytes,
        "output_bytes": model.output.size_bytes,
        "digest": bytes.fromhex(built.sources.digest),
        "board": b.name,
    }


def test_logits_are_the_twins(device: Device) -> None:
    expected = twin.run(MODEL, SAMPLES)
    for ticket, (sample, logits) in enumerate(zip(SAMPLES, expected, strict=True), 1):
        device.upload(ticket, sample.tobytes())
        values, tail = device.ask("RUN", ticket=ticket, layers=wire.ALL_LAYERS)
        assert tail[: logits.size] == logits.tobytes()
        ticks = struct.unpack(f"<{len(MODEL.layers)}I", tail[logits.size :])
        assert values == {"ticket": ticket, "ticks": sum(ticks)}
        assert device.ask("RUN", ticket=ticket, layers=len(MODEL.layers)) == (values, tail), "the answer is repeated"
        assert device.ask("TICKS", first=2) == ({"first": 2}, struct.pack(f"<{len(ticks) - 2}I", *ticks[2:]))


@over_every_link
def test_every_layer_can_be_looked_at(device: Device, built: Built) -> None:
    sample = SAMPLES[:1]
    for number, expected in enumerate(twin.trace(MODEL, sample)):
        device.upload(number + 1, sample.tobytes())
        device.ask("RUN", ticket=number + 1, layers=number + 1)
        size = expected.size
        whole = b""
        while len(whole) < size:
            fields, tail = device.ask("TENSOR", layer=number, length=100, offset=len(whole))
            assert fields == {"layer": number, "length": len(tail), "offset": len(whole)}
            assert len(tail) == min(100, built.board.link.max_payload - 8, size - len(whole))
            whole += tail
        assert whole == expected.tobytes()
        assert device.ask("TENSOR", layer=number, length=9, offset=size)[0]["length"] == 0
        assert device.ask("TENSOR", layer=number, length=9, offset=size + 1) == error("TENSOR", "BAD_OFFSET", size)


@over_every_link
def test_samples_arrive_in_order_and_once(device: Device) -> None:
    first, second = (bytes([value] * MODEL.input.size_bytes) for value in (7, 9))
    size = len(first)
    assert device.ask("RUN", ticket=1, layers=1) == error("RUN", "INCOMPLETE", 0)
    assert device.ask("INPUT", first[:10], ticket=1, offset=0)[0] == {"ticket": 1, "received": 10}
    assert device.ask("INPUT", first[:4], ticket=1, offset=20) == error("INPUT", "BAD_OFFSET", 10)
    assert device.ask("INPUT", first[:10], ticket=1, offset=0)[0] == {"ticket": 1, "received": 10}, "repeated"
    assert device.ask("INPUT", first, ticket=1, offset=10) == error("INPUT", "BAD_OFFSET", 10), "beyond the end"
    assert device.ask("INPUT", b"", ticket=1, offset=0xFFFFFFFF) == error("INPUT", "BAD_OFFSET", 10)
    assert device.ask("RUN", ticket=1, layers=1) == error("RUN", "INCOMPLETE", 10)
    assert device.ask("INPUT", second[:4], ticket=5, offset=4) == error("INPUT", "BAD_OFFSET", 0), "gap at the start"
    assert device.ask("INPUT", first[10:], ticket=1, offset=10)[0] == {"ticket": 1, "received": size}
    assert device.ask("RUN", ticket=2, layers=1) == error("RUN", "INCOMPLETE", 0)
    answer = device.ask("RUN", ticket=1, layers=1)
    assert "message" not in answer[0]
    assert device.ask("INPUT", second, ticket=1, offset=0)[0] == {"ticket": 1, "received": size}, "already run: ignored"
    assert device.ask("RUN", ticket=1, layers=1) == answer
    assert device.ask("RUN", ticket=1, layers=2) == error("RUN", "INCOMPLETE", 0), "the sample may be overwritten"
    device.upload(5, second)
    assert device.ask("INPUT", first, ticket=4, offset=0)[0] == {"ticket": 5, "received": size}, "an older ticket"
    assert "message" not in device.ask("RUN", ticket=5, layers=1)[0]
    device.hello()
    assert device.ask("RUN", ticket=5, layers=1) == error("RUN", "INCOMPLETE", 0), "HELLO forgets"
    assert device.ask("INPUT", first, ticket=0, offset=0)[0] == {"ticket": 0, "received": 0}, "0 is no ticket"
    assert device.ask("RUN", ticket=0, layers=1) == error("RUN", "INCOMPLETE", 0)


def fields(bits: int, *values: int) -> bytes:
    """The tail of a DELTA."""
    return packing.pack(np.array([values]), bits).tobytes()


@pytest.fixture(params=["host", pytest.param("netduinoplus2", marks=[pytest.mark.toolchain, pytest.mark.emulator])])
def keeper(request: pytest.FixtureRequest, builder: Builder) -> Iterator[Device]:
    """A device with memory for a base."""
    with builder(request.param, buffers="sample").start() as started:
        assert started.hello()["base_bytes"] == MODEL.input.size_bytes
        yield started


def test_differences_are_added_to_the_kept_sample_once(keeper: Device) -> None:
    size = MODEL.input.size_bytes
    change = np.tile([-4, 3, 0, -1], size // 4)
    x = (SAMPLES[0].astype(np.int64) + change.reshape(SAMPLES[0].shape)).astype(np.uint8).view(np.int8)
    keeper.upload(1, SAMPLES[0].tobytes())
    keeper.ask("RUN", ticket=1, layers=wire.ALL_LAYERS, keep=1)
    half, rest = fields(3, *change[:32]), fields(3, *change[32:])
    for ticket in (2, 3):  # the base outlives a run that keeps nothing
        for _ in range(2):
            values, _ = keeper.ask("DELTA", half, ticket=ticket, base=1, offset=0, bits=3)
            assert values == {"ticket": ticket, "received": 32}
        assert keeper.ask("RUN", ticket=ticket, layers=1) == error("RUN", "INCOMPLETE", 32)
        values, _ = keeper.ask("DELTA", rest, ticket=ticket, base=1, offset=32, bits=3)
        assert values == {"ticket": ticket, "received": size}
        _, tail = keeper.ask("RUN", ticket=ticket, layers=wire.ALL_LAYERS)
        assert tail[:10] == twin.run(MODEL, x[None])[0].tobytes()
        late = keeper.ask("DELTA", half, ticket=ticket, base=1, offset=0, bits=3)
        assert late[0] == {"ticket": ticket, "received": size}, "already run: ignored"


def test_a_sample_may_mix_differences_and_elements(keeper: Device) -> None:
    keeper.upload(1, SAMPLES[0].tobytes())
    keeper.ask("RUN", ticket=1, layers=wire.ALL_LAYERS, keep=1)
    x = SAMPLES[0].ravel().copy()
    x[:10], x[10:] = SAMPLES[1].ravel()[:10], x[10:] ^ 1
    keeper.ask("INPUT", x[:10].tobytes(), ticket=2, offset=0)
    change = x[10:].astype(np.int64) - SAMPLES[0].ravel()[10:]
    keeper.ask("DELTA", fields(7, *change), ticket=2, base=1, offset=10, bits=7)
    _, tail = keeper.ask("RUN", ticket=2, layers=wire.ALL_LAYERS)
    assert tail[:10] == twin.run(MODEL, x.reshape(SAMPLES[:1].shape))[0].tobytes()


def test_differences_that_refer_to_nothing_are_refused(keeper: Device) -> None:
    def ask(tail: bytes = b"\0\0\0", ticket: int = 2, base: int = 1, offset: int = 0, bits: int = 3) -> Any:
        return keeper.ask("DELTA", tail, ticket=ticket, base=base, offset=offset, bits=bits)

    keeper.upload(1, SAMPLES[0].tobytes())
    assert ask() == error("DELTA", "NO_BASE", 0), "not run"
    keeper.ask("RUN", ticket=1, layers=1, keep=0)
    assert ask() == error("DELTA", "NO_BASE", 0), "not kept"
    assert ask(base=0) == error("DELTA", "NO_BASE", 0)
    keeper.upload(7, SAMPLES[0].tobytes())
    keeper.ask("RUN", ticket=7, layers=1, keep=1)
    assert ask(ticket=8) == error("DELTA", "NO_BASE", 7)
    for bits in (0, 1, 8, 255):
        assert ask(ticket=8, base=7, bits=bits) == error("DELTA", "BAD_BITS", bits)
    assert ask(ticket=8, base=7, offset=1) == error("DELTA", "BAD_OFFSET", 0)
    assert ask(ticket=8, base=7, offset=0xFFFFFFFF) == error("DELTA", "BAD_OFFSET", 0), "of ticket 8, not of 7"
    assert ask(bytes(25), ticket=8, base=7) == error("DELTA", "BAD_LENGTH", 13 + 25), "beyond the end"
    assert keeper.ask("INPUT", b"", ticket=7, offset=0)[0]["ticket"] == 7, "nothing has changed"
    assert ask(ticket=8, base=7)[0] == {"ticket": 8, "received": 8}
    keeper.hello()
    assert ask(ticket=9, base=7) == error("DELTA", "NO_BASE", 0), "HELLO forgets"


@over_every_link
def test_a_device_without_memory_for_a_base_says_so(device: Device) -> None:
    """keep is no error there."""
    device.upload(1, SAMPLES[0].tobytes())
    assert "message" not in device.ask("RUN", ticket=1, layers=1, keep=1)[0]
    code = wire.BY_NAME["DELTA"].code
    assert device.ask("DELTA", b"", ticket=2, base=1, bits=3, offset=0) == error("DELTA", "UNKNOWN_REQUEST", code)


@over_every_link
def test_nonsense_is_refused(device: Device) -> None:
    layers = len(MODEL.layers)
    device.upload(1, SAMPLES[0].tobytes())
    for number in (0, layers + 1, wire.ALL_LAYERS - 1):
        assert device.ask("RUN", ticket=1, layers=number) == error("RUN", "BAD_LAYER", layers)
    assert device.ask("TENSOR", layer=layers, length=1, offset=0) == error("TENSOR", "BAD_LAYER", layers)
    assert device.ask("TICKS", first=layers) == error("TICKS", "BAD_LAYER", layers)
    assert device.ask("STATS", b"x") == error("STATS", "BAD_LENGTH", 1)
    device.send(wire.encode(wire.Frame(wire.BY_NAME["RUN"].code, 1, b"abc")))
    assert device.receive() == wire.Frame(0xFF, 1, struct.pack("<BBI", wire.BY_NAME["RUN"].code, 2, 3))
    device.send(wire.encode(wire.Frame(0x55, 77, b"")))
    assert device.receive() == wire.Frame(0xFF, 77, struct.pack("<BBI", 0x55, 1, 0x55))


@over_every_link
def test_damaged_frames_are_counted_and_cost_only_themselves(device: Device, built: Built) -> None:
    longest = built.board.link.max_payload
    echo = wire.request("ECHO", 1, b"\0\1\2" * 5)
    broken = bytearray(echo)
    broken[4] ^= 0x10
    too_long = wire.encode(wire.Frame(wire.BY_NAME["ECHO"].code, 2, b"z" * (longest + 1)))
    for data in (bytes(broken), echo[:7] + b"\0", too_long, b"\0\0\0"):
        device.send(data)
    whole = bytes(i % 256 for i in range(longest))
    assert device.ask("ECHO", whole) == ({}, whole)
    stats, _ = device.ask("STATS")
    assert (stats["crc_errors"], stats["rx_dropped"]) == (3, 0)


def test_as_much_as_the_credit_allows_may_be_on_the_wire(device: Device, built: Built) -> None:
    """A burst of unanswered requests fills the receive buffer to the last byte the device promised; none is lost."""
    credit = device.hello()["rx_buffer_bytes"]
    frame = wire.request("ECHO", 3, b"x" * 20)
    for _ in range(20):
        count = credit // len(frame)
        device.send(frame * count)
        for _ in range(count):
            assert device.receive() == wire.Frame(wire.BY_NAME["ECHO"].code | wire.REPLY, 3, b"x" * 20)
    assert device.ask("STATS")[0]["rx_dropped"] == 0


def test_measures_itself(device: Device, built: Built) -> None:
    before, _ = device.ask("STATS")
    assert before["arena_touched"] == 0
    device.upload(1, SAMPLES[0].tobytes())
    device.ask("RUN", ticket=1, layers=wire.ALL_LAYERS)
    after, _ = device.ask("STATS")
    assert after["canaries_ok"] == 1
    assert 0.8 * built.sources.arena_bytes < after["arena_touched"] <= built.sources.arena_bytes
    assert after["frames"] > before["frames"]
    if built.board.is_host:
        assert after["stack_size"] == after["stack_high_water"] == 0
    else:
        # An AVR's stack is all that is left at the end of the RAM.
        reserved = built.board.memory.stack_bytes
        assert after["stack_size"] >= reserved if built.board.is_avr else after["stack_size"] == reserved
        assert 100 < after["stack_high_water"] < after["stack_size"]


def test_reset_starts_afresh(device: Device) -> None:
    device.upload(1, SAMPLES[0].tobytes())
    for _ in range(2):
        assert device.ask("RESET") == ({}, b"")
        device.hello()
        stats, _ = device.ask("STATS")
        assert stats["arena_touched"] == 0
        assert device.ask("RUN", ticket=1, layers=1) == error("RUN", "INCOMPLETE", 0)


@pytest.mark.toolchain
@pytest.mark.emulator
@pytest.mark.parametrize("name", COUNTING)
def test_instruction_counts_repeat_exactly(name: str, builder: Builder) -> None:
    """Over fresh emulators, over samples sent in other pieces, with the next request already on the wire."""
    counts = []
    for start in range(REPEATS):
        with builder(name).start() as device:
            device.hello()
            device.upload(1, SAMPLES[0].tobytes(), piece=8 + 16 * start)
            run = wire.request("RUN", 9, ticket=1, layers=wire.ALL_LAYERS, keep=0)
            device.send(run + wire.request("ECHO", 10, b"x" * 40 * start))
            frame = device.receive()
            assert frame is not None
            counts.append(wire.reply("RUN", frame)[1])
    assert len(set(counts)) == 1


COUNTED = """
#pragma GCC diagnostic ignored "-Wunused-parameter"
__attribute__((naked)) static void loop(int8_t *arena) {
    __asm volatile(".syntax unified\\n ldr r0, [r0]\\n1:\\n subs r0, #1\\n bne 1b\\n bx lr");
}
__attribute__((naked)) static void nothing(int8_t *arena) { __asm volatile("bx lr"); }
const model_layer model_layers[MODEL_LAYERS] = {{loop, 0, 4}, {nothing, 0, 4}};
"""


@pytest.mark.toolchain
@pytest.mark.emulator
@pytest.mark.parametrize("name", COUNTING)
def test_instruction_counts_are_true(name: str, builder: Builder) -> None:
    """A loop of 2 n instructions and a constant around it, whatever the phase between instructions and timer; the
    longest takes more than 2^24 counts, so that a counter of 24 bits runs over."""
    rounds = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1000, 1001, 12_345, 3_000_003]
    with builder(name, COUNTED, 2).start() as device:
        device.hello()
        for ticket, n in enumerate(rounds, 1):
            device.upload(ticket, struct.pack("<I", n))
            _, tail = device.ask("RUN", ticket=ticket, layers=wire.ALL_LAYERS)
            loop, nothing = struct.unpack("<II", tail[4:])
            assert loop - nothing == 2 * n + 1
            assert nothing < 8, "calling a layer costs a handful of instructions"


CRASHES = """
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Winfinite-recursion"
static void divide(int8_t *arena) { volatile int zero = 0; *arena = (int8_t)(5 / zero); }
static void trap(int8_t *arena) { __builtin_trap(); }
static void jump(int8_t *arena) { ((void (*)(void))0x5F000001)(); }
static int deeper(volatile int *above) { volatile int here[64]; here[0] = *above + 1; return deeper(here) + here[1]; }
static void overflow(int8_t *arena) { volatile int start = *arena; *arena = (int8_t)deeper(&start); }
static void leap(int8_t *arena) { volatile int8_t huge[8000]; huge[0] = *arena; *arena = huge[0]; }
__attribute__((noinline)) static void chosen(int8_t *arena) {
    if (*arena == 0) divide(arena);
    if (*arena == 1) trap(arena);
    if (*arena == 2) jump(arena);
    if (*arena == 3) overflow(arena);
    if (*arena == 4) leap(arena);
}
const model_layer model_layers[MODEL_LAYERS] = {{chosen, 0, 4}};
"""
IACCVIOL, DACCVIOL, UNDEFINSTR, STKOF, DIVBYZERO = 1 << 0, 1 << 1, 1 << 16, 1 << 20, 1 << 25
"""Bits of CFSR; STKOF is the stack limit register's, Armv8-M. The jump goes where no core may execute: what lies beyond
all memory QEMU's netduino2 takes for zeros."""


@pytest.mark.toolchain
@pytest.mark.emulator
@pytest.mark.parametrize("name", REPORTING)
@pytest.mark.parametrize(
    ("crash", "flag", "place"),
    [
        (0, DIVBYZERO, "divide"),
        (1, UNDEFINSTR, "trap"),
        (2, IACCVIOL, "0x5F000000"),
        (3, DACCVIOL | STKOF, "stack"),
        (4, DACCVIOL | STKOF, "stack"),
    ],
    ids=["divide", "trap", "jump", "recursion", "huge-frame"],
)
def test_a_crash_is_reported(name: str, crash: int, flag: int, place: str, builder: Builder) -> None:
    """By a FAULT frame that holds the fault flags and the place, even when the stack is gone."""
    b = builder(name, CRASHES, 1)
    with b.start() as device:
        device.hello()
        device.upload(1, bytes([crash, 0, 0, 0]))
        fault, _ = device.ask("RUN", ticket=1, layers=1)
        assert fault["message"] == "FAULT"
        device.send(wire.request("HELLO", 0, protocol=wire.PROTOCOL))
        assert device.receive(timeout_s=0.3) is None, "it stands still"
    assert fault["ipsr"] == 3
    assert fault["cfsr"] & flag
    assert_it_was_at(fault, place, b)


@pytest.mark.toolchain
@pytest.mark.emulator
@pytest.mark.parametrize("name", ARMV6_M)
@pytest.mark.parametrize(("crash", "place"), [(1, "trap"), (3, "stack")], ids=["trap", "recursion"])
def test_a_core_without_fault_flags_tells_the_place(name: str, crash: int, place: str, builder: Builder) -> None:
    """An Armv6-M core: no division traps, and the stack's end is that of the memory."""
    b = builder(name, CRASHES, 1)
    with b.start() as device:
        device.hello()
        device.upload(1, bytes([crash, 0, 0, 0]))
        fault, _ = device.ask("RUN", ticket=1, layers=1)
    assert (fault["message"], fault["ipsr"], fault["cfsr"], fault["bfar"]) == ("FAULT", 3, 0, 0)
    if place != "stack":
        assert_it_was_at(fault, place, b)


def assert_it_was_at(fault: dict[str, Any], place: str, b: Built) -> None:
    """A function's name, an address that was jumped to, or the stack's end."""
    if place == "stack":
        assert fault["cfsr"] & STKOF or fault["mmfar"] < b.board.memory.ram.origin
    elif place.startswith("0x"):
        assert fault["pc"] == int(place, 16)
    else:
        elf = b.folder / "firmware.elf"
        where = shell.run(["arm-none-eabi-addr2line", "-f", "-i", "-e", elf, hex(fault["pc"])]).output
        assert place in where.split()


def test_samples_are_the_ones_meant() -> None:
    """The checks above can fail: different samples have different logits."""
    assert len({logits.tobytes() for logits in twin.run(MODEL, SAMPLES)}) == len(SAMPLES)
    assert np.unique(SAMPLES).size > 100
