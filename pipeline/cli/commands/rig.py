"""`tritmcu rig`: which boards are connected, and which of them are noted in rig.toml."""

from __future__ import annotations

import argparse
import json

from pipeline.cli import options
from pipeline.cli.command import Command, Option

NOTING = "to add a board to rig.toml"
ADD = Option("--add", "board that is connected to --port", {"metavar": "BOARD"}, NOTING)
PORT = Option(
    "--port", "serial port; may be omitted if only one fits", {"type": options.place, "metavar": "PORT"}, NOTING
)
UNIT = Option("--name", "its name for --unit", {"metavar": "NAME", "default": ""}, NOTING)
PROBE = Option(
    "--probe", "serial number of a separate debug probe", {"metavar": "SERIAL", "default": ""}, NOTING
)  # fmt: skip


class Rig(Command):
    """Lists everything, or with --add notes one unit more."""

    NAME = "rig"
    HELP = "list ports and debug probes; note which board is connected to which"
    OPTIONS = (ADD, PORT, UNIT, PROBE, options.JSON)

    def invoke(self, arguments: argparse.Namespace) -> int:
        if arguments.add:
            _note(arguments)
            return 0
        from pipeline.core.errors import ConfigError

        for option in (PORT, UNIT, PROBE):
            if option.given(arguments):
                raise ConfigError(f"{option.flag}: only with --add", "tritmcu rig --add BOARD")
        _list(arguments.json)
        return 0


def _note(arguments: argparse.Namespace) -> None:
    from pipeline.cli import console
    from pipeline.config import board as boards
    from pipeline.device import rig

    board = boards.load(arguments.add)
    port = rig.pick(board, rig.ports(), arguments.port or "")
    rig.save(rig.add(rig.load(), board, port, name=arguments.name, probe=arguments.probe))
    console.stderr(f"{board.name} is connected to {port.device}: {rig.FILE}")


def _list(as_json: bool) -> None:
    from pipeline.cli import console
    from pipeline.device import rig
    from pipeline.device.rig import Port, Probe, Unit

    ports, probes, units = rig.ports(), rig.probes(), rig.load().unit
    if as_json:
        found = {"ports": [p._asdict() for p in ports], "probes": [p._asdict() for p in probes]}
        console.stdout(json.dumps({**found, "units": [u.model_dump() for u in units]}, indent=1))
        return
    may_be = [", ".join(rig.candidates(port)) for port in ports]
    console.table("ports", (*Port._fields, "may be"), [(*p, m) for p, m in zip(ports, may_be, strict=True)])
    console.table("debug probes and bootloaders", Probe._fields, probes)
    console.table(str(rig.FILE), tuple(Unit.model_fields), [tuple(u.model_dump().values()) for u in units])
