"""The commands of `tritmcu`, in the order and under the headings of its help."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.cli.command import Command
from pipeline.cli.commands.audit import Audit
from pipeline.cli.commands.boards import Boards
from pipeline.cli.commands.compare import Compare
from pipeline.cli.commands.convert import Convert
from pipeline.cli.commands.doctor import Doctor
from pipeline.cli.commands.export import Export
from pipeline.cli.commands.imports import Import
from pipeline.cli.commands.reproduce import Reproduce
from pipeline.cli.commands.rig import Rig
from pipeline.cli.commands.run import Run
from pipeline.cli.commands.size import Size
from pipeline.cli.commands.stages import Attack, Build, Flash, Lower, Render, Report, Stream, Train
from pipeline.cli.commands.sweep import Sweep
from pipeline.cli.commands.ternarize import Ternarize
from pipeline.cli.commands.zoo import Zoo

GROUPS: Mapping[str, tuple[Command, ...]] = {
    "a whole experiment": (Run(), Ternarize(), Audit(), Export(), Sweep()),
    "one stage of it": (Train(), Lower(), Attack(), Render(), Build(), Flash(), Stream(), Report()),
    "what it costs": (Size(), Compare()),
    "boards and networks": (Boards(), Zoo(), Import(), Convert()),
    "this machine and what is connected to it": (Doctor(), Rig(), Reproduce()),
}
