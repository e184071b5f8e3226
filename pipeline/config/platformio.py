"""Board files from PlatformIO board descriptions (JSON): MCU, clock, memory, USB ids, flashing tools.

An imported board runs the exported Arduino sketch on its Arduino core: such a description names neither pins nor clock
tree, which a bare-metal port needs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import ConfigDict, Field, field_validator

from pipeline.config import board as boards
from pipeline.config.board import Board
from pipeline.config.cores import CORE_FLAGS
from pipeline.core import schema, store
from pipeline.core.errors import ConfigError, UnsupportedError
from pipeline.core.registry import unknown
from pipeline.core.schema import Strict

CORES = {
    "cortex-m0": "cortex-m0",
    "cortex-m0plus": "cortex-m0plus",
    "cortex-m3": "cortex-m3",
    "cortex-m4": "cortex-m4f",
    "cortex-m7": "cortex-m7",
    "cortex-m33": "cortex-m33f",
}
"""PlatformIO's cpu to this project's core; an M7 may have a double-precision FPU, see DOUBLE_PRECISION."""
DOUBLE_PRECISION = ("stm32f76", "stm32f77", "stm32h7", "imxrt106")
NO_CYCLE_COUNTER = frozenset({"cortex-m0", "cortex-m0plus"})
"""Armv6-M has no DWT cycle counter (Arm DDI 0419E, C1.8)."""


FOLDER = Path("boards")
"""A user's own boards: where imported ones are written, in the current folder."""


class Origins(NamedTuple):
    """First addresses of flash and RAM."""

    flash: int
    """Of what is programmed."""
    ram: int
    """Of the variables."""


ORIGINS = {
    "stm32h7": Origins(0x0800_0000, 0x2400_0000),
    "stm32": Origins(0x0800_0000, 0x2000_0000),
    "at91sam3x": Origins(0x0008_0000, 0x2007_0000),
    "rp2040": Origins(0x1000_0000, 0x2000_0000),
    "atmega2560": Origins(0, 0x0200),
    "atmega": Origins(0, 0x0100),
    "": Origins(0, 0x2000_0000),
}
"""By the beginning of the MCU's name, longest first. STM32H7: AXI SRAM; SAM3X: where both SRAMs meet."""
STM32_DFU = "0483:df11"
STM32_FAMILIES = ("F0", "F1", "F3", "F4", "F7", "H7", "L4", "L0", "G0")
PLATFORMS = {
    "stm32": "ststm32",
    "atmega": "atmelavr",
    "at91sam": "atmelsam",
    "samd": "atmelsam",
    "nrf51": "nordicnrf51",
    "nrf52": "nordicnrf52",
    "rp2040": "raspberrypi",
    "ra4m1": "renesas-ra",
}
"""PlatformIO's name of the platform whose folder holds a board, by the beginning of the MCU's name."""
_NUCLEO = re.compile(r"nucleo_[a-z]\d\w\w([krz])\w(_[a-z])?")
_NUCLEO_MENUS = {"k": "Nucleo_32", "r": "Nucleo_64", "z": "Nucleo_144"}
"""Of ST's Arduino core, by the letter that says how many pins the MCU has."""


HexWord = Annotated[str, Field(pattern=r"^0[xX][0-9a-fA-F]{1,4}$")]


class _Loose(Strict):
    """What is not used here may be there."""

    model_config = ConfigDict(extra="ignore")


class _Build(_Loose):
    mcu: Annotated[str, Field(min_length=1)]
    f_cpu: str
    cpu: str = ""
    hwids: tuple[tuple[HexWord, HexWord], ...] = ()

    @field_validator("f_cpu")
    @classmethod
    def _a_number(cls, text: str) -> str:
        if not re.fullmatch(r"[1-9]\d*[UuLl]*", text):
            raise ValueError('must be a frequency in Hz such as "16000000L"')
        return text


class _Debug(_Loose):
    onboard_tools: tuple[str, ...] = ()
    openocd_board: str = ""
    openocd_target: str = ""


class _Upload(_Loose):
    maximum_size: Annotated[int, Field(gt=0)]
    maximum_ram_size: Annotated[int, Field(gt=0)]
    protocol: str = ""
    protocols: tuple[str, ...] = ()
    speed: int = 115200
    native_usb: bool = True
    use_1200bps_touch: bool = False
    offset_address: Annotated[str, Field(pattern=r"^(0[xX][0-9a-fA-F]+|\d+)$")] = "0"


class Description(_Loose):
    """A PlatformIO board description, as far as it is used here."""

    name: Annotated[str, Field(min_length=1)]
    """What people call the board."""
    vendor: str = ""
    """Who makes it."""
    build: _Build
    """MCU, clock, USB ids."""
    upload: _Upload
    """Sizes and upload protocols."""
    debug: _Debug = _Debug()
    """Debug probes and OpenOCD's files."""

    @property
    def mcu(self) -> str:
        return self.build.mcu.lower()


def import_board(path: Path, *, name: str = "", folder: Path = FOLDER) -> Path:
    """The board file written into `folder` from the description at `path`; name: of the board, by default the file's.

    ConfigError for a damaged description or a board that exists, UnsupportedError for an unknown core or tools only.
    """
    described = read(path)
    name = name or re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")
    target = folder / f"{name}.toml"
    if target.exists():
        raise ConfigError(f"{target}: exists", "give the new board another --name, or delete the file")
    if folder == FOLDER and name in boards.names():
        raise ConfigError(f"board {name!r} exists elsewhere", "give the new board another --name")
    table = convert(described, name, path.stem)
    schema.validate(Board, table, str(path))
    store.write_text(target, to_toml(table, f"From PlatformIO's {path.name!a}. Not tried on silicon."))
    return target


def read(path: Path) -> Description:
    """The description in the file. ConfigError when it cannot be read or lacks something."""
    data = schema.parse_json(schema.read_text(path), path)
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: not a board description", "a JSON file of PlatformIO's boards folders is needed")
    return schema.validate(Description, data, str(path))


def convert(described: Description, name: str, known_as: str) -> dict[str, Any]:
    """The content of a board file, as `board.Board` checks it; known_as: PlatformIO's name of the board."""
    core = _core(described)
    clock_hz = int(described.build.f_cpu.rstrip("UuLl"))
    counts_cycles = core not in NO_CYCLE_COUNTER
    flashing = dict(_flashing(described))
    if not flashing:
        known = "stlink, cmsis-dap, jlink, sam-ba, dfu, serial, arduino, wiring"
        raise UnsupportedError(f"{described.name}: none of its upload protocols is known here", f"known: {known}")
    flashing |= _arduino_cli(known_as)
    tools = list(flashing)
    arguments: dict[str, Any] = {tool: table for tool, table in flashing.items() if table}
    if described.upload.use_1200bps_touch:
        arguments["touch_1200_baud"] = True
    return {
        "name": name,
        "description": described.name,
        "mcu": described.build.mcu.upper(),
        "core": core,
        "port": "arduino",
        "clock_hz": clock_hz,
        "tick": "cycles" if counts_cycles else "us",
        "tick_hz": clock_hz if counts_cycles else 1_000_000,
        "runner": tools[0],
        "fallback_runners": tools[1:],
        "usb_ids": sorted(
            {f"{int(vendor, 16):04x}:{int(product, 16):04x}" for vendor, product in described.build.hwids}
        ),
        **_platformio(described, known_as),
        "memory": _memory(described),
        # The receive buffer most Arduino cores have: 64 places, of which 63 can be filled.
        "link": {"kind": "serial", "baud": 115200, "rx_buffer_bytes": 63, "max_payload": 80},
        "flashing": arguments,
    }


def _core(described: Description) -> str:
    cpu = described.build.cpu
    core = CORES.get(cpu, "") if cpu else described.mcu
    if core == "cortex-m7" and described.mcu.startswith(DOUBLE_PRECISION):
        core = "cortex-m7d"
    if core not in CORE_FLAGS:
        message, hint = unknown("core", cpu or described.mcu, [*CORES, *(c for c in CORE_FLAGS if c.startswith("at"))])
        raise UnsupportedError(f"{described.name}: {message}", hint)
    return core


def _memory(described: Description) -> dict[str, Any]:
    """What the description allows a program: a bootloader's share of the flash is left out."""
    family = next(prefix for prefix in sorted(ORIGINS, key=len, reverse=True) if described.mcu.startswith(prefix))
    origins, offset = ORIGINS[family], int(described.upload.offset_address, 0)
    flash = offset if offset >= origins.flash else origins.flash + offset
    memory: dict[str, Any] = {
        "flash": {"origin": flash, "length": described.upload.maximum_size},
        "ram": {"origin": origins.ram, "length": described.upload.maximum_ram_size},
    }
    if described.upload.maximum_ram_size <= 2048:
        memory["stack_bytes"] = 384
    return memory


def _flashing(described: Description) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(runner, its table) for every tool that can flash the board, the description's own preference first."""
    upload = described.upload
    protocols = dict.fromkeys((upload.protocol, *upload.protocols))
    done = set()
    for protocol in protocols:
        for runner, table in _tools(described, protocol):
            if runner not in done:
                done.add(runner)
                yield runner, table


def _tools(described: Description, protocol: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    stm32, upload = described.mcu.startswith("stm32"), described.upload
    if protocol in ("stlink", "cmsis-dap", "jlink"):
        if files := _openocd_files(described.debug, protocol):
            yield "openocd", {"config": files}
        if protocol == "stlink" and stm32:
            yield "st_flash", {}
    elif protocol == "sam-ba":
        yield "bossac", {"native_usb": upload.native_usb}
    elif protocol == "dfu":
        ids = described.build.hwids
        yield "dfu_util", {"usb_id": _usb_id(*ids[0]) if ids else STM32_DFU, "dfuse": stm32}
    elif protocol == "serial" and stm32:
        yield "stm32flash", {}
        if (family := described.mcu[5:7].upper()) in STM32_FAMILIES:
            yield "stm32loader", {"family": family}
    elif protocol in ("arduino", "wiring"):
        yield "avrdude", {"part": described.mcu, "programmer": protocol, "baud": upload.speed}


def _platformio(described: Description, known_as: str) -> dict[str, Any]:
    """What PlatformIO calls the board, so that it can be exported for it."""
    platform = next((name for prefix, name in PLATFORMS.items() if described.mcu.startswith(prefix)), None)
    return {} if platform is None else {"platformio": {"platform": platform, "board": known_as}}


def _arduino_cli(known_as: str) -> dict[str, Mapping[str, Any]]:
    """The table of arduino-cli, where what it calls the board is known: from a board file here, or by the rule that the
    names of Nucleo boards follow in ST's Arduino core."""
    for board in map(boards.load, boards.names()):
        if board.platformio is not None and board.platformio.board == known_as and board.flashing.arduino_cli:
            return {"arduino_cli": board.flashing.arduino_cli.model_dump(exclude_defaults=True)}
    if nucleo := _NUCLEO.fullmatch(known_as):
        return {"arduino_cli": {"fqbn": f"STMicroelectronics:stm32:{_NUCLEO_MENUS[nucleo[1]]}:pnum={known_as.upper()}"}}
    return {}


def _usb_id(vendor: str, product: str) -> str:
    return f"{int(vendor, 16):04x}:{int(product, 16):04x}"


def _openocd_files(debug: _Debug, adapter: str) -> list[str]:
    """OpenOCD's files: its own for the board, else the adapter's and the target's."""
    if debug.openocd_board and adapter in (*debug.onboard_tools, "stlink"):
        return [f"board/{debug.openocd_board.removesuffix('.cfg')}.cfg"]
    if debug.openocd_target:
        return [f"interface/{adapter}.cfg", f"target/{debug.openocd_target.removesuffix('.cfg')}.cfg"]
    return []


def to_toml(table: Mapping[str, Any], comment: str) -> str:
    """TOML of a table of values and tables; the tables in it are written inline."""
    plain = [f"{key} = {_value(value)}" for key, value in table.items() if not isinstance(value, Mapping)]
    inner = [
        "\n".join((f"\n[{key}]", *(f"{name} = {_value(value)}" for name, value in value.items())))
        for key, value in table.items()
        if isinstance(value, Mapping)
    ]
    return "\n".join((f"# {comment}", *plain, *inner)) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    # Strings, numbers and truth values look alike in JSON and TOML.
    return json.dumps(value, ensure_ascii=False)
