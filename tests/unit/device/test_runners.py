"""Flashing: the exact command line of every tool, what counts as its success, and what it says without a board.

The last part runs the installed tools themselves. They are always given the serial number of a unit that does not
exist, so that a board that happens to be plugged in stays as it is.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.config import board
from pipeline.config.board import Board
from pipeline.core import paths, registry, schema, shell
from pipeline.core.errors import ConfigError, DeviceError, ToolError
from pipeline.core.shell import Result
from pipeline.device import runners
from pipeline.device.runners import _drives, mass_storage, openocd, qemu, uf2
from tests.golden import commands

FLASHING_TOOLS = [name for name in registry.names("runners") if not registry.load("runners", name).EMULATOR]
REQUIRED = {
    "openocd": 'config = ["interface/stlink.cfg", "target/stm32f4x.cfg"]',
    "pyocd": 'target = "stm32f446re"',
    "stm32loader": 'family = "F4"',
    "dfu_util": 'usb_id = "0483:df11"',
    "bossac": "native_usb = false",
    "avrdude": 'part = "m328p"',
    "mass_storage": 'volume = "NODE_F446RE"',
    "uf2": 'family = 0x57755a57\nboard_id = "STM32F4-x"',
    "arduino_cli": 'fqbn = "arduino:mbed_giga:giga"',
}
"""The least a board must say for a tool."""


def make(tool: str, arguments: str | None = None, **changes: object) -> Board:
    """A board with 512 KB flash at 0x08000000 that is flashed by `tool`; arguments: body of its table."""
    data = schema.read_toml(paths.shipped("boards") / "netduinoplus2.toml")
    body = REQUIRED.get(tool, "") if arguments is None else arguments
    data["flashing"] = {tool: tomllib.loads(body)} if body else {}
    data["runner"] = tool
    data.pop("emulator")
    return schema.validate(Board, {**data, **changes}, "test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A built firmware: 32 bytes, in a folder whose name has a space."""
    place = tmp_path / "a b"
    place.mkdir()
    (place / "firmware.bin").write_bytes(bytes(range(32)))
    (place / "firmware.hex").write_text(":020000040800F2\n:0400000001020304F2\n:00000001FF\n")
    (place / "firmware.uf2").write_bytes(bytes(512))
    (place / "firmware.elf").write_bytes(b"\x7fELF" + bytes(60))
    return place


STLINK = "-f interface/stlink.cfg -f target/stm32f4x.cfg"
COMMANDS = [
    ("openocd", None, None, "", f"openocd {STLINK} -c 'program {{ELF}} verify reset exit'"),
    ("openocd", None, "/dev/ttyACM0", "0670FF",
     f"openocd {STLINK} -c 'adapter serial 0670FF' -c 'program {{ELF}} verify reset exit'"),
    ("openocd", 'config = ["board/st_nucleo_f4.cfg"]\ncommands = ["reset_config srst_only"]', None, "7",
     "openocd -f board/st_nucleo_f4.cfg -c 'adapter serial 7' -c 'reset_config srst_only'"
     " -c 'program {ELF} verify reset exit'"),
    ("pyocd", None, None, "", "pyocd flash -W -t stm32f446re HEX"),
    ("pyocd", None, "/dev/ttyACM0", "0670FF", "pyocd flash -W -t stm32f446re -u 0670FF HEX"),
    ("pyocd", 'target = "r7fa4m1ab"\npack = "ra.pack"', None, "", "pyocd flash -W -t r7fa4m1ab --pack ra.pack HEX"),
    ("st_flash", None, None, "", "st-flash --reset write BIN 0x08000000"),
    ("st_flash", None, "/dev/ttyACM0", "0670FF", "st-flash --serial 0670FF --reset write BIN 0x08000000"),
    ("st_flash", "connect_under_reset = true", None, "",
     "st-flash --connect-under-reset --reset write BIN 0x08000000"),
    ("stm32flash", None, "/dev/ttyUSB0", "", "stm32flash -b 115200 -m 8e1 -w BIN -v -g 0x08000000 /dev/ttyUSB0"),
    ("stm32flash", 'baud = 57600\nmode = "8n1"\ngpio = "rts,dtr:-rts"', "/dev/pts/3", "",
     "stm32flash -b 57600 -m 8n1 -i rts,dtr:-rts -w BIN -v -g 0x08000000 /dev/pts/3"),
    ("stm32loader", None, "/dev/ttyUSB0", "",
     "stm32loader -p /dev/ttyUSB0 -b 115200 -P even -f F4 -n -e -w -v -a 0x08000000 -g 0x08000000 BIN"),
    ("stm32loader", 'family = "L4"\nbaud = 57600\nparity = "none"', "/dev/ttyUSB1", "",
     "stm32loader -p /dev/ttyUSB1 -b 57600 -P none -f L4 -n -e -w -v -a 0x08000000 -g 0x08000000 BIN"),
    ("dfu_util", None, None, "", "dfu-util -d 0483:df11 -a 0 -s 0x08000000:leave -D BIN"),
    ("dfu_util", 'usb_id = "2341:0366"\nalt = 1', "/dev/ttyACM0", "0036",
     "dfu-util -d 2341:0366 -S 0036 -a 1 -s 0x08000000:leave -D BIN"),
    ("dfu_util", 'usb_id = "2341:0369"\ndfuse = false', None, "", "dfu-util -d 2341:0369 -a 0 -R -D BIN"),
    ("bossac", None, "/dev/ttyACM0", "",
     "bossac --port=ttyACM0 --usb-port=false --erase --write --verify --boot --reset BIN"),
    ("bossac", "native_usb = true\noffset = 0x1_0000", "/dev/ttyACM1", "",
     "bossac --port=ttyACM1 --usb-port=true --offset=0x10000 --erase --write --verify --boot --reset BIN"),
    ("avrdude", None, "/dev/ttyACM0", "",
     "avrdude -p m328p -c arduino -P /dev/ttyACM0 -b 115200 -D -U flash:w:HEX:i"),
    ("avrdude", 'part = "m2560"\nprogrammer = "wiring"\nbaud = 57600', "/dev/ttyACM0", "",
     "avrdude -p m2560 -c wiring -P /dev/ttyACM0 -b 57600 -D -U flash:w:HEX:i"),
    ("arduino_cli", None, "/dev/ttyACM0", "",
     "arduino-cli upload --fqbn arduino:mbed_giga:giga --port /dev/ttyACM0 --verify --input-file BIN"),
    ("arduino_cli", 'fqbn = "arduino:avr:uno"\nsuffix = "hex"', "/dev/ttyACM0", "",
     "arduino-cli upload --fqbn arduino:avr:uno --port /dev/ttyACM0 --verify --input-file HEX"),
    ("mass_storage", None, None, "", "dd if=BIN of=DRIVE/firmware.bin bs=64k conv=fsync"),
    ("mass_storage", None, "/dev/ttyACM0", "0671", "dd if=BIN of=OTHER/firmware.bin bs=64k conv=fsync"),
    ("uf2", None, "/dev/ttyUSB0", "", "dd if=UF2 of=BOOT/firmware.uf2 bs=64k conv=fsync"),
    ("uf2", None, "/dev/ttyUSB0", "E0C9", "dd if=UF2 of=BOOT/firmware.uf2 bs=64k conv=fsync"),
]  # fmt: skip
"""Runner, body of its table, port, serial number, command line."""


def expected(line: str, folder: Path, media: Path) -> list[str]:
    """The words of a line of the table; upper-case names stand for paths."""
    paths = {suffix.upper(): f"{folder}/firmware.{suffix}" for suffix in ("elf", "hex", "bin", "uf2")}
    paths |= {"DRIVE": f"{media}/NODE F446RE", "OTHER": f"{media}/NODE_F446RE1", "BOOT": f"{media}/F4\tBOOT"}
    return [re.sub("|".join(paths), lambda name: paths[name[0]], word) for word in shell_words(line)]


def shell_words(line: str) -> list[str]:
    """Words of a line in which only '...' quotes."""
    parts = line.split("'")
    return [word for i, part in enumerate(parts) for word in ([part] if i % 2 else part.split())]


@pytest.fixture
def media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two drives of one kind, as udev and the kernel show them, sdb is the one that got the label first; one of a UF2
    bootloader, with a partition."""
    place = tmp_path / "media"
    for name in ("dev/disk/by-label", "dev/disk/by-id", "media/NODE F446RE", "media/NODE_F446RE1", "media/F4\tBOOT"):
        (tmp_path / name).mkdir(parents=True)
    (place / "F4\tBOOT" / "INFO_UF2.TXT").write_text("UF2 Bootloader v1\r\nModel: x\r\nBoard-ID: STM32F4-x\r\n")
    for disk in ("sdb", "sdc", "sdd", "sde"):
        (tmp_path / "dev" / disk).touch()
    disks = tmp_path / "dev" / "disk"
    (disks / "by-label" / "NODE_F446RE").symlink_to("../../sdb")
    (disks / "by-label" / "UNMOUNTED").symlink_to("../../sdd")
    (disks / "by-id" / "usb-MBED_microcontroller_0670-0:0").symlink_to("../../sdb")
    (disks / "by-id" / "usb-MBED_microcontroller_0671-0:0").symlink_to("../../sdc")
    (disks / "by-id" / "usb-RPI_RP2_E0C9-0:0").symlink_to("../../sde")
    mounts = [
        "proc /proc proc rw 0 0",
        f"{tmp_path}/dev/sdb {place}/NODE\\040F446RE vfat rw 0 0",
        f"{tmp_path}/dev/sdc {place}/NODE_F446RE1 vfat rw 0 0",
        f"{tmp_path}/dev/sde1 {place}/F4\\011BOOT vfat rw 0 0",
    ]
    (tmp_path / "mounts").write_text("\n".join(mounts) + "\n")
    monkeypatch.setattr(_drives, "DISKS", disks)
    monkeypatch.setattr(_drives, "MOUNTS", tmp_path / "mounts")
    return place


@pytest.mark.parametrize(
    ("runner", "arguments", "place", "serial_number", "line"),
    COMMANDS,
    ids=[f"{c[0]}-{i}" for i, c in enumerate(COMMANDS)],
)
def test_command_lines(runner, arguments, place, serial_number, line, folder, media):
    module = registry.load("runners", runner)
    made = module.command(make(runner, arguments), folder, place, serial_number)
    assert made == expected(line, folder, media)
    assert made[0] == module.PROGRAM


def test_command_lines_of_every_board():
    """Golden: `python -m tests.golden.update` writes them anew."""
    golden = Path(commands.__file__).with_name("commands.txt").read_text().splitlines()
    assert commands.lines() == golden


def test_openocd_refuses_a_path_that_its_language_cannot_quote(tmp_path):
    folder = tmp_path / "a{b"
    folder.mkdir()
    (folder / "firmware.elf").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"a\{b/firmware\.elf: OpenOCD reads no path with braces"):
        openocd.command(board.load("nucleo-f446re"), folder)


OPENOCD_FILES = sorted(
    {board.load(name).flashing.openocd.config for name in board.names() if board.load(name).flashing.openocd}
)


@pytest.mark.skipif(shell.find("openocd") is None, reason="openocd is not installed")
@pytest.mark.parametrize("files", OPENOCD_FILES, ids="+".join)
def test_openocd_has_the_files_boards_name(files):
    words = [word for file in files for word in ("-f", file)]
    assert shell.run(["openocd", *words, "-c", "shutdown"], timeout_s=20).returncode == 0


@pytest.mark.skipif(shell.find("pyocd") is None, reason="pyocd is not installed")
def test_pyocd_has_the_targets_boards_name():
    listed = json.loads(shell.run(["pyocd", "json", "--targets"]).output)
    builtin = {target["name"] for target in listed["targets"]}
    named = [board.load(name).flashing.pyocd for name in board.names()]
    assert {pyocd.target for pyocd in named if pyocd and not pyocd.pack} <= builtin


def test_every_tool_has_command_lines_in_the_table():
    assert {row[0] for row in COMMANDS} == set(FLASHING_TOOLS)


def test_flash_starts_where_the_board_says(folder):
    """Behind a bootloader, for instance."""
    memory = board.load("netduinoplus2").memory.model_dump()
    memory["flash"]["origin"] = 0x0804_0000
    for runner, word in (("dfu_util", "0x08040000:leave"), ("st_flash", "0x08040000"), ("stm32flash", "0x08040000"),
                         ("stm32loader", "0x08040000")):  # fmt: skip
        made = registry.load("runners", runner).command(make(runner, memory=memory), folder, "/dev/ttyACM0", "")
        assert word in made
        assert "0x08000000" not in made


def test_a_touch_comes_before_the_tool_where_the_board_needs_one(folder):
    arduino = make("bossac", flashing={"touch_1200_baud": True, "bossac": {"native_usb": True}})
    module = registry.load("runners", "bossac")
    touch, command = runners.commands(module, arduino, folder, "/dev/ttyACM0")
    assert touch == ["stty", "-F", "/dev/ttyACM0", "1200", "hupcl"]
    assert command[0] == "bossac"
    assert len(runners.commands(module, make("bossac"), folder, "/dev/ttyACM0")) == 1
    itself = make("arduino_cli", flashing={"touch_1200_baud": True, "arduino_cli": {"fqbn": "arduino:sam:due"}})
    assert len(runners.commands(registry.load("runners", "arduino_cli"), itself, folder, "/dev/ttyACM0")) == 1


@pytest.mark.parametrize("runner", [n for n in FLASHING_TOOLS if registry.load("runners", n).NEEDS_PORT])
def test_a_tool_that_needs_a_port_says_so(runner, folder):
    with pytest.raises(DeviceError, match="no serial port named"):
        registry.load("runners", runner).command(make(runner), folder, None, "")


@pytest.mark.parametrize("runner", FLASHING_TOOLS)
def test_nothing_to_flash_is_an_error(runner, tmp_path, media):
    with pytest.raises(DeviceError, match=r"no firmware to flash") as caught:
        registry.load("runners", runner).command(make(runner), tmp_path, "/dev/ttyACM0", "")
    assert caught.value.hint == "`tritmcu build --board netduinoplus2`"


@pytest.mark.parametrize(
    ("volume", "serial_number", "message"),
    [
        ("NODE_L476RG", "", "drive NODE_L476RG: not plugged in"),
        ("NODE_F446RE", "0672", "drive NODE_F446RE of unit 0672: not plugged in"),
        ("UNMOUNTED", "", "not mounted"),
    ],
)
def test_a_drive_that_is_not_there(volume, serial_number, message, folder, media):
    with pytest.raises(DeviceError, match=message):
        mass_storage.command(make("mass_storage", f'volume = "{volume}"'), folder, None, serial_number)


@pytest.mark.parametrize(
    ("board_id", "serial_number", "message"),
    [
        ("RPI-RP2", "", r"no drive of a bootloader RPI-RP2 is mounted \(.*F4.BOOT is that of STM32F4-x\)"),
        ("STM32F4-x", "0671", "no drive of a bootloader STM32F4-x is mounted$"),
        ("STM32F4-x", "0672", "no drive of a bootloader STM32F4-x is mounted$"),
    ],
)
def test_a_drive_of_another_bootloader_is_not_written_to(board_id, serial_number, message, folder, media):
    with pytest.raises(DeviceError, match=message) as caught:
        uf2.command(make("uf2", f'family = 1\nboard_id = "{board_id}"'), folder, None, serial_number)
    assert "BOOTSEL" in caught.value.hint


@pytest.mark.parametrize("info", [b"", b"Model: STM32F4-x\n", b"xBoard-ID: STM32F4-x\n", b"\xff" * 8192, b"\n" * 8192])
def test_a_drive_that_does_not_say_its_board_is_not_written_to(info, folder, media):
    (media / "F4\tBOOT" / "INFO_UF2.TXT").write_bytes(info)
    with pytest.raises(DeviceError, match="no drive of a bootloader"):
        uf2.command(make("uf2"), folder)


def test_two_drives_of_one_bootloader_are_told_apart_by_their_unit(folder, media):
    (media / "NODE_F446RE1" / "INFO_UF2.TXT").write_text("Board-ID: STM32F4-x\x1b[2J\n")
    uf2.command(make("uf2"), folder)  # another id, without its control characters
    (media / "NODE_F446RE1" / "INFO_UF2.TXT").write_text("Board-ID: STM32F4-x\n")
    with pytest.raises(DeviceError, match="2 drives of boards STM32F4-x") as caught:
        uf2.command(make("uf2"), folder)
    assert "--unit" in caught.value.hint
    assert "NODE_F446RE1" in uf2.command(make("uf2"), folder, None, "0671")[2]


# Which tool


def test_the_first_installed_tool_is_taken():
    target = make("openocd", fallback_runners=["pyocd", "st_flash"],
                  flashing={"openocd": {"config": ["a.cfg"]}, "pyocd": {"target": "t"}})  # fmt: skip
    assert runners.choose(target, find=lambda program: True).PROGRAM == "openocd"
    assert runners.choose(target, find={"pyocd", "st-flash"}.__contains__).PROGRAM == "pyocd"
    assert runners.choose(target, find={"st-flash"}.__contains__).PROGRAM == "st-flash"
    assert runners.choose(target, "st_flash", find=lambda program: True).PROGRAM == "st-flash"


def test_a_place_means_a_real_board():
    both = make("qemu", flashing={"st_flash": {}}, fallback_runners=["st_flash"], emulator={"machine": "x"})
    installed = {"qemu-system-arm", "st-flash"}.__contains__
    assert runners.choose(both, find=installed).PROGRAM == "qemu-system-arm"
    assert runners.choose(both, place="/dev/ttyACM0", find=installed).PROGRAM == "st-flash"
    with pytest.raises(ConfigError, match="only emulated"):
        runners.choose(board.load("netduinoplus2"), place="/dev/ttyACM0")


def test_no_tool_names_the_package():
    target = make("st_flash", fallback_runners=["stm32flash"], flashing={})
    with pytest.raises(ToolError) as caught:
        runners.choose(target, find=lambda program: None)
    assert str(caught.value) == "board 'netduinoplus2': st-flash or stm32flash is not installed"
    assert caught.value.hint == "sudo apt-get install stlink-tools"
    with pytest.raises(ToolError, match="stm32flash is not installed"):
        runners.choose(target, "stm32flash", find={"st-flash"}.__contains__)


def test_a_tool_of_another_board_is_refused():
    with pytest.raises(ConfigError) as caught:
        runners.choose(make("st_flash"), "openocd")
    assert caught.value.hint == "known: st_flash"


@pytest.mark.parametrize("runner", FLASHING_TOOLS)
def test_what_brings_a_tool_is_known(runner):
    program = registry.load("runners", runner).PROGRAM
    assert program in shell.PACKAGES or program in shell.OTHER_SOURCES or program == "dd"


# What a board file may say


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runner": "openocd"}, r"runner 'openocd' needs the table \[flashing.openocd\]"),
        ({"runner": "opencd"}, "unknown runner 'opencd'; did you mean 'openocd'"),
        ({"fallback_runners": ["pyocd"]}, r"runner 'pyocd' needs the table \[flashing.pyocd\]"),
        ({"flashing": {"pyocd": {"target": "x"}}}, r"'pyocd' is neither runner nor fallback_runners"),
        ({"flashing": {"pyocdd": {"target": "x"}}}, "unknown key 'flashing.pyocdd'; did you mean 'pyocd'"),
        ({"flashing": {"stm32flash": {"mode": "7e1"}}}, "must be|should be '8e1' or '8n1'"),
        ({"flashing": {"dfu_util": {"usb_id": "2341:366"}}}, "flashing.dfu_util.usb_id"),
        ({"flashing": {"openocd": {"config": []}}}, "flashing.openocd.config"),
        ({"usb_ids": ["0483:374B"]}, "usb_ids.0"),
        ({"runner": "qemu", "emulator": None}, r"runner 'qemu' needs the table \[emulator\]"),
        ({"fallback_runners": ["simavr"]}, r"runner 'simavr' needs an AVR core \(atmega2560, atmega328p\)"),
        ({"fallback_runners": ["host"]}, "runner 'host' needs core = \"host\""),
        ({"flashing": {"uf2": {"family": 0x1_0000_0000, "board_id": "x"}}}, "flashing.uf2.family"),
        (
            {
                "flashing": {"uf2": {"family": 1, "board_id": "x"}},
                "fallback_runners": ["uf2"],
                "memory": {"flash": {"origin": 0x80, "length": 4096}, "ram": {"origin": 0x2000_0000, "length": 4096}},
            },
            "the first address, 0x80, must be a multiple of 256",
        ),
    ],
)
def test_mistakes_in_a_board_file_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        make("st_flash", **changes)


# What a tool's words mean

PYOCD = (
    "I Erased 0 bytes (0 sectors), programmed {} bytes (1 page), identical {} bytes (1 page) at 9.00 kB/s [loader]\n"
)
DONE = {
    "openocd": ["** Programming Finished **\n** Verify Started **\n** Verified OK **\n** Resetting Target **\n"],
    "pyocd": [PYOCD.format(12288, 0), PYOCD.format(0, 12288)],
    "st_flash": ["INFO common.c: Flash written and verified! jolly good!\n"],
    "stm32flash": [
        "Wrote and verified address 0x08000100 (50.00%) \rWrote and verified address 0x08000200 (100.00%) Done.\n"
        "\nStarting execution at address 0x08000000... done.\n"
    ],
    "stm32loader": ["Activating bootloader (select UART)\nVerification OK\n"],
    "dfu_util": ["Download done.\nFile downloaded successfully\n"],
    "bossac": ["Verify 4096 bytes of flash with firmware.bin\nVerify successful\nSet boot flash true\n"],
    "avrdude": ["avrdude: 8214 bytes of flash verified\n\navrdude done.  Thank you.\n"],
    "arduino_cli": ["", "Used platform Version Path\n"],
    "mass_storage": ["1+0 records in\n1+0 records out\n12288 bytes (12 kB, 12 KiB) copied, 0.0011 s, 11.0 MB/s\n"],
    "uf2": ["1+0 records in\n1+0 records out\n12288 bytes (12 kB, 12 KiB) copied, 0.0011 s, 11.0 MB/s\n"],
}
"""What each tool says when all went well."""
SILENT_FAILURES = {
    "openocd": "Error: Debug adapter does not support any transports? Check config file order.\n",
    "pyocd": PYOCD.format(0, 0),
    "st_flash": "WARN usb.c: Couldn't find any ST-Link devices\n",
    "stm32flash": "Wrote and verified address 0x08000100 (50.00%) \r",
    "bossac": "Write 4096 bytes to flash\n",
    "avrdude": "avrdude: 0 bytes of flash verified\n",
    "mass_storage": "0 bytes copied, 0.0001 s, 0.0 kB/s\n",
    "uf2": "0 bytes copied, 0.0001 s, 0.0 kB/s\n",
}
"""Output without proof that came, or might come, with exit code 0."""


def result(runner: str, output: str, returncode: int = 0) -> Result:
    return Result((registry.load("runners", runner).PROGRAM, "x", "of=/nowhere/firmware.bin"), returncode, output)


@pytest.mark.parametrize("runner", FLASHING_TOOLS)
def test_success_is_believed(runner):
    for output in DONE[runner]:
        registry.load("runners", runner).verify(make(runner), result(runner, output))


@pytest.mark.parametrize("runner", sorted(SILENT_FAILURES))
def test_exit_code_0_alone_is_not_believed(runner):
    with pytest.raises(DeviceError):
        registry.load("runners", runner).verify(make(runner), result(runner, SILENT_FAILURES[runner]))


@pytest.mark.parametrize("runner", [n for n in FLASHING_TOOLS if n != "dfu_util"])
def test_an_error_exit_code_is_believed_whatever_was_said(runner):
    with pytest.raises(DeviceError, match=r"exit code 3") as caught:
        registry.load("runners", runner).verify(make(runner), result(runner, DONE[runner][0], 3))
    assert caught.value.hint.startswith("repeat by hand: ")


def test_dfu_util_may_lose_a_board_that_starts_at_once():
    output = DONE["dfu_util"][0] + "dfu-util: Error during download get_status\n"
    registry.load("runners", "dfu_util").verify(make("dfu_util"), result("dfu_util", output, 74))


def test_a_uf2_bootloader_may_be_gone_before_the_copy_ends():
    output = "dd: fsync failed for '/media/x/firmware.uf2': Input/output error\n0+1 records in\n"
    registry.load("runners", "uf2").verify(make("uf2"), result("uf2", output, 1))


FAILURES = [
    ("openocd", "Error: open failed\n", "no debug probe found (Error: open failed)"),
    ("openocd", "Error: init mode failed (unable to connect to the target)\n", "the probe does not reach the MCU"),
    ("openocd", "Error: libusb_open() failed with LIBUSB_ERROR_ACCESS\nError: open failed\n", "no permission"),
    ("openocd", "** Verify Started **\n** Verify Failed **\n", "differs from what was written"),
    ("openocd", "embedded:startup.tcl:28: Error: Can't find board/none.cfg\n", "does not know the board"),
    ("pyocd", "No connected debug probe matches unique ID '12'\n", "no debug probe found"),
    ("pyocd", "C Target type stm32f446re not recognized. Use 'pyocd list --targets' to see\n", "target not built in"),
    ("pyocd", "C Memory transfer fault (No ACK) @ 0x0 [main]\n", "does not reach the MCU"),
    ("st_flash", "ERROR common.c: Verification of flash failed at offset: 12\n", "differs from what was written"),
    ("stm32flash", "Starting execution at address 0x08000000... Got NACK from device\nfailed.\n", "does not start it"),
    ("stm32flash", "Failed to init device, timeout.\n", "the bootloader does not answer"),
    ("stm32flash", "Failed to verify at address 0x08000100, expected 0x12 and found 0x13\n", "differs from what was"),
    ("stm32flash", "Failed to read memory at address 0x08000000, target write-protected?\n", "refuses to read"),
    ("stm32loader", "Can't init into bootloader. Ensure that BOOT0 is enabled\n", "does not answer"),
    ("stm32loader", "Verification FAILED: data mismatch at byte 1\n", "differs from what was written"),
    ("stm32loader", "[Errno 13] could not open port /dev/ttyUSB0: [Errno 13] Permission denied\n", "no permission"),
    ("dfu_util", "dfu-util: More than one DFU capable USB device found! Try `--list'\n", "more than one bootloader"),
    ("bossac", "\nSAM-BA operation failed\n", "the bootloader refused"),
    ("bossac", "Verify failed\nPage errors: 128\n", "differs from what was written"),
    ("avrdude", "avrdude: stk500_recv(): programmer is not responding\n", "the bootloader does not answer"),
    ("avrdude", "avrdude: Expected signature for ATmega328P is 1E 95 0F\n", "the MCU that answers"),
    ("avrdude", 'avrdude: ser_open(): can\'t open device "/dev/ttyACM0": Device or resource busy\n', "held by another"),
    ("arduino_cli", "Unknown FQBN: platform arduino:mbed_giga is not installed\n", "core is not installed"),
    ("mass_storage", "dd: error writing '/media/x/firmware.bin': No space left on device\n", "larger than the drive"),
    ("uf2", "dd: failed to open '/media/x/firmware.uf2': Read-only file system\n", "the drive cannot be written"),
]  # fmt: skip


@pytest.mark.parametrize(("runner", "output", "message"), FAILURES)
def test_failures_are_explained(runner, output, message):
    with pytest.raises(DeviceError) as caught:
        registry.load("runners", runner).verify(make(runner), result(runner, output, 1))
    assert message in str(caught.value)
    assert not caught.value.hint.startswith("repeat by hand")


def test_the_adapters_report_is_read(tmp_path):
    (tmp_path / "FAIL.TXT").write_text(
        "error: The interface firmware FAILED to reset/halt the target MCU\r\ntype: target\r\n"
    )
    done = Result(("dd", "if=x", f"of={tmp_path}/firmware.bin"), 0, DONE["mass_storage"][0])
    with pytest.raises(DeviceError, match="FAILED to reset/halt the target MCU"):
        mass_storage.verify(make("mass_storage"), done)


# The tools themselves, without a board

ABSENT = [
    ("openocd", "no-such-unit", "no debug probe found"),
    ("pyocd", "no-such-unit", "no debug probe found"),
    ("st_flash", "0000FFFF0000", "no ST-LINK found"),
    ("stm32flash", "", "no such port"),
    ("stm32loader", "", "no such port"),
    ("dfu_util", "no-such-unit", "no bootloader found"),
    ("bossac", "", "the bootloader does not answer"),
    ("avrdude", "", "no such port"),
]


@pytest.mark.parametrize(("runner", "serial_number", "message"), ABSENT, ids=[row[0] for row in ABSENT])
def test_the_tool_itself_without_a_board(runner, serial_number, message, folder):
    module = registry.load("runners", runner)
    if shell.find(module.PROGRAM) is None:
        pytest.skip(f"{module.PROGRAM} is not installed: {shell.install_hint(module.PROGRAM)}")
    with pytest.raises(DeviceError) as caught:
        runners.flash(make(runner), folder, "/dev/tritmcu-no-such-port", serial_number=serial_number)
    assert str(caught.value).startswith(f"{module.PROGRAM}: {message}")


@pytest.mark.skipif(shell.find("openocd") is None, reason="openocd is not installed")
def test_openocd_exits_with_0_without_an_adapter_and_is_not_believed(folder):
    target = make("openocd", 'config = ["board/olimex_stm32_h405.cfg"]')
    command = registry.load("runners", "openocd").command(target, folder)
    assert shell.run(command, check=False).returncode == 0
    with pytest.raises(DeviceError, match="no adapter in the configuration"):
        runners.flash(target, folder)


@pytest.mark.parametrize(("program", "listing"), [("pyocd", "list"), ("st-info", "--probe"), ("dfu-util", "-l")])
def test_listing_tools_exit_with_0_without_a_probe(program, listing):
    """Why nothing in the project asks them."""
    if shell.find(program) is None:
        pytest.skip(f"{program} is not installed")
    assert shell.run([program, listing], check=False).returncode == 0


def test_a_copy_is_a_copy(folder, media):
    runners.flash(make("mass_storage"), folder)
    copied = media / "NODE F446RE" / "firmware.bin"
    assert copied.read_bytes() == (folder / "firmware.bin").read_bytes()
    runners.flash(make("uf2"), folder)
    assert (media / "F4\tBOOT" / "firmware.uf2").read_bytes() == (folder / "firmware.uf2").read_bytes()


def test_emulators_spread_over_the_cpus(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 5})
    monkeypatch.setattr(shell, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(qemu, "MOST_ON_A_CPU", 2)
    with ExitStack() as running:
        assert [running.enter_context(qemu._least_used_cpu()) for _ in range(4)] == [2, 5, 2, 5]
        assert running.enter_context(qemu._least_used_cpu()) in (2, 5)
    with qemu._least_used_cpu() as again:
        assert again == 2
