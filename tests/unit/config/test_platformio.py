"""Boards from PlatformIO descriptions, written here with the keys and values of the published ones."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import board, clocks, platformio
from pipeline.core import paths, registry
from pipeline.core.errors import ConfigError, PipelineError, UnsupportedError
from pipeline.device.runners import commands

NUCLEO = {
    "build": {"cpu": "cortex-m4", "extra_flags": "-DSTM32F446xx", "f_cpu": "180000000L", "mcu": "stm32f446ret6"},
    "connectivity": ["can"],
    "debug": {"default_tools": ["stlink"], "onboard_tools": ["stlink"], "openocd_board": "st_nucleo_f4"},
    "frameworks": ["arduino", "mbed"],
    "name": "ST Nucleo F446RE",
    "upload": {
        "maximum_ram_size": 131072,
        "maximum_size": 524288,
        "protocol": "stlink",
        "protocols": ["jlink", "stlink", "blackmagic", "mbed", "serial"],
    },
    "vendor": "ST",
}
UNO = {
    "build": {"f_cpu": "16000000L", "hwids": [["0x2341", "0x0043"], ["0x2A03", "0x0043"]], "mcu": "atmega328p"},
    "name": "Arduino Uno",
    "upload": {"maximum_ram_size": 2048, "maximum_size": 32256, "protocol": "arduino", "speed": 115200},
}
GIGA = {
    "build": {
        "cpu": "cortex-m7",
        "f_cpu": "480000000L",
        "mcu": "stm32h747xih6",
        "extra_flags": ["-DARDUINO_GIGA"],
        "hwids": [["0x2341", "0x0366"]],
    },
    "debug": {"openocd_target": "stm32h7x_dual_bank"},
    "name": "Arduino Giga R1 (M7 core)",
    "upload": {
        "maximum_ram_size": 523624,
        "maximum_size": 786432,
        "protocol": "dfu",
        "protocols": ["cmsis-dap", "dfu", "jlink", "stlink", "mbed"],
        "use_1200bps_touch": True,
        "offset_address": "0x08040000",
    },
}
DUE = {
    "build": {"cpu": "cortex-m3", "f_cpu": "84000000L", "mcu": "at91sam3x8e", "hwids": [["0x2341", "0x003D"]]},
    "debug": {"openocd_target": "at91sam3XXX"},
    "name": "Arduino Due (Programming Port)",
    "upload": {
        "maximum_ram_size": 98304,
        "maximum_size": 524288,
        "native_usb": False,
        "protocol": "sam-ba",
        "protocols": ["sam-ba", "jlink", "stlink"],
        "use_1200bps_touch": True,
    },
}
UNO_R4 = {
    "build": {"cpu": "cortex-m4", "f_cpu": "48000000L", "mcu": "ra4m1", "hwids": [["0x2341", "0x1002"]]},
    "debug": {"onboard_tools": ["cmsis-dap"], "openocd_config": "openocd.cfg"},
    "name": "Arduino Uno R4 WiFi",
    "upload": {
        "maximum_ram_size": 32768,
        "maximum_size": 262144,
        "protocol": "sam-ba",
        "protocols": ["cmsis-dap", "sam-ba", "jlink"],
        "use_1200bps_touch": True,
        "offset_address": "0x4000",
    },
}
G0 = {
    "build": {"cpu": "cortex-m0plus", "f_cpu": "64000000L", "mcu": "stm32g0b1ret6"},
    "debug": {"onboard_tools": ["stlink"], "openocd_target": "stm32g0x"},
    "name": "ST Nucleo G0B1RE",
    "upload": {
        "maximum_ram_size": 147456,
        "maximum_size": 262144,
        "protocol": "stlink",
        "protocols": ["dfu", "serial"],
    },
}


def imported(tmp_path: Path, description: dict[str, Any], stem: str = "my_board") -> board.Board:
    """The board, read back from the file that was written."""
    source = tmp_path / f"{stem}.json"
    source.write_text(json.dumps(description))
    (tmp_path / "boards").mkdir(exist_ok=True)
    return board.load(str(platformio.import_board(source, folder=tmp_path / "boards")))


@pytest.mark.parametrize(
    ("description", "core", "flash", "ram", "tick", "runners"),
    [
        (NUCLEO, "cortex-m4f", (0x0800_0000, 524288), (0x2000_0000, 131072), "cycles",
         ("openocd", "st_flash", "stm32flash", "stm32loader")),
        (UNO, "atmega328p", (0, 32256), (0x100, 2048), "cycles", ("avrdude",)),
        (GIGA, "cortex-m7d", (0x0804_0000, 786432), (0x2400_0000, 523624), "cycles",
         ("dfu_util", "openocd", "st_flash")),
        (DUE, "cortex-m3", (0x0008_0000, 524288), (0x2007_0000, 98304), "cycles", ("bossac", "openocd")),
        (UNO_R4, "cortex-m4f", (0x4000, 262144), (0x2000_0000, 32768), "cycles", ("bossac",)),
        (G0, "cortex-m0plus", (0x0800_0000, 262144), (0x2000_0000, 147456), "us",
         ("openocd", "st_flash", "dfu_util", "stm32flash", "stm32loader")),
    ],
    ids=["nucleo", "uno", "giga", "due", "uno-r4", "g0"],
)  # fmt: skip
def test_a_description_becomes_a_board(tmp_path, description, core, flash, ram, tick, runners):
    b = imported(tmp_path, description)
    assert b.name == "my-board"
    assert b.description == description["name"]
    assert b.mcu == description["build"]["mcu"].upper()
    assert (b.core, b.port, b.tick, b.runners) == (core, "arduino", tick, runners)
    assert b.clock_hz == int(description["build"]["f_cpu"][:-1])
    assert (b.memory.flash.origin, b.memory.flash.length) == flash
    assert (b.memory.ram.origin, b.memory.ram.length) == ram
    assert b.flashing.touch_1200_baud == description["upload"].get("use_1200bps_touch", False)
    assert not b.silicon_tested


def test_tools_get_their_arguments(tmp_path):
    (tmp_path / "firmware.elf").touch()
    (tmp_path / "firmware.bin").touch()
    (tmp_path / "firmware.hex").touch()

    def lines(b: board.Board) -> list[str]:
        steps = [commands(registry.load("runners", r), b, tmp_path, "/dev/ttyACM0", "") for r in b.runners]
        return [" ".join(line).replace(f"{tmp_path}/", "") for runner in steps for line in runner]

    assert lines(imported(tmp_path, NUCLEO, "nucleo"))[0] == (
        "openocd -f board/st_nucleo_f4.cfg -c program {firmware.elf} verify reset exit"
    )
    assert lines(imported(tmp_path, G0, "g0"))[2] == "dfu-util -d 0483:df11 -a 0 -s 0x08000000:leave -D firmware.bin"
    giga = lines(imported(tmp_path, GIGA, "giga"))
    assert giga[:2] == [
        "stty -F /dev/ttyACM0 1200 hupcl",
        "dfu-util -d 2341:0366 -a 0 -s 0x08040000:leave -D firmware.bin",
    ]
    assert giga[3].startswith("openocd -f interface/cmsis-dap.cfg -f target/stm32h7x_dual_bank.cfg ")
    assert lines(imported(tmp_path, UNO, "uno"))[0].startswith(
        "avrdude -p atmega328p -c arduino -P /dev/ttyACM0 -b 115200"
    )


F411 = {
    **NUCLEO,
    "build": {"cpu": "cortex-m4", "f_cpu": "100000000L", "mcu": "stm32f411ret6", "variant": "NUCLEO_F4x1RE"},
    "name": "ST Nucleo F411RE",
}


@pytest.mark.parametrize(
    ("description", "stem", "platform", "fqbn"),
    [
        (F411, "nucleo_f411re", "ststm32", "STMicroelectronics:stm32:Nucleo_64:pnum=NUCLEO_F411RE"),
        (NUCLEO, "my_board", "ststm32", ""),
        (UNO, "uno", "atmelavr", "arduino:avr:uno"),
        (DUE, "due", "atmelsam", "arduino:sam:arduino_due_x_dbg"),
        (UNO_R4, "uno_r4_wifi", "renesas-ra", "arduino:renesas_uno:unor4wifi"),
    ],
)
def test_a_board_keeps_what_the_other_tools_call_it(tmp_path, description, stem, platform, fqbn):
    b = imported(tmp_path, description, stem)
    assert b.platformio == board.PlatformIO(platform=platform, board=stem)
    assert b.fqbn == fqbn
    assert ("arduino_cli" in b.runners) == bool(fqbn)
    assert b.clock_hz == int(description["build"]["f_cpu"][:-1])


def test_the_rule_for_nucleo_boards_gives_what_the_board_files_say():
    for shipped in map(board.load, board.names()):
        if "Nucleo" in shipped.fqbn:
            assert platformio._NUCLEO.fullmatch(shipped.platformio.board)
            found = platformio._NUCLEO_MENUS[platformio._NUCLEO.fullmatch(shipped.platformio.board)[1]]
            assert shipped.fqbn == f"STMicroelectronics:stm32:{found}:pnum={shipped.platformio.board.upper()}"


def test_a_clock_that_the_part_does_not_allow_is_refused(tmp_path):
    """Another F4 runs at 180 MHz, which an F411 does not."""
    fast = {**F411, "build": {**F411["build"], "f_cpu": "180000000L"}}
    with pytest.raises(ConfigError, match="clock_hz = 180000000: above what the STM32F411RET6 may run at, 100000000"):
        imported(tmp_path, fast, "nucleo_f411re")
    assert list((tmp_path / "boards").iterdir()) == []
    copied = (paths.RESOURCES / "boards" / "nucleo-f446re.toml").read_text().replace("STM32F446RE", "STM32F411RE")
    (tmp_path / "mine.toml").write_text(copied.replace('name = "nucleo-f446re"', 'name = "mine"'))
    with pytest.raises(ConfigError, match="clock_hz = 180000000: above what the STM32F411RE"):
        board.load(str(tmp_path / "mine.toml"))


def test_every_board_here_is_of_a_part_whose_limit_is_known():
    for shipped in map(board.load, board.names()):
        emulated_or_host = shipped.mcu.startswith("AN") or shipped.is_host
        assert emulated_or_host or clocks.max_hz(shipped.mcu), shipped.name


def test_the_repositorys_uno_is_the_described_one(tmp_path):
    described, own = imported(tmp_path, UNO), board.load("uno")
    assert set(described.usb_ids) <= set(own.usb_ids)
    assert (described.mcu, described.core, described.clock_hz) == (own.mcu.upper(), own.core, own.clock_hz)
    assert described.memory.flash == own.memory.flash
    assert described.memory.ram == own.memory.ram


def changed(path: str, value: Any) -> dict[str, Any]:
    """NUCLEO with one value replaced, or removed when it is None."""
    description = copy.deepcopy(NUCLEO)
    *folders, key = path.split(".")
    place = description
    for folder in folders:
        place = place[folder]
    if value is None:
        del place[key]
    else:
        place[key] = value
    return description


@pytest.mark.parametrize(
    ("description", "kind", "message"),
    [
        (changed("build.mcu", None), ConfigError, "key 'build.mcu' is missing"),
        (changed("build.f_cpu", "fast"), ConfigError, "key 'build.f_cpu' = 'fast': must be a frequency"),
        (changed("upload.maximum_size", 0), ConfigError, "key 'upload.maximum_size' = 0"),
        (changed("upload.offset_address", "top"), ConfigError, "key 'upload.offset_address' = 'top'"),
        (changed("build.hwids", [["0x2341", "43x"]]), ConfigError, "build.hwids"),
        (changed("build.cpu", "cortex-a7"), UnsupportedError, "unknown core 'cortex-a7'"),
        (changed("upload", {"maximum_size": 9, "maximum_ram_size": 9, "protocol": "teensy-gui"}), UnsupportedError,
         "none of its upload protocols is known here"),
        ([], ConfigError, "not a board description"),
        ("text", ConfigError, "not a board description"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_explained(tmp_path, description, kind, message):
    with pytest.raises(PipelineError) as caught:
        imported(tmp_path, description)
    assert type(caught.value) is kind
    assert message in str(caught.value)
    assert list((tmp_path / "boards").iterdir()) == [], "nothing half-written"


def test_files_that_are_no_descriptions(tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text('{"name": ')
    with pytest.raises(ConfigError, match="not valid JSON"):
        platformio.import_board(broken, folder=tmp_path)
    with pytest.raises(ConfigError, match="No such file"):
        platformio.import_board(tmp_path / "none.json", folder=tmp_path)


def test_a_board_is_not_overwritten(tmp_path):
    imported(tmp_path, UNO)
    with pytest.raises(ConfigError, match="exists"):
        imported(tmp_path, GIGA)
    source = tmp_path / "my_board.json"
    assert platformio.import_board(source, name="giga", folder=tmp_path / "boards").name == "giga.toml"
