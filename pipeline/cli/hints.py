"""Commands in hints: whoever raises an error names the command, in backquotes, with what it knows; the command line
adds what else it was given, so that the line can be copied as it is."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Mapping, Sequence

from pipeline.cli.command import Command
from pipeline.core.errors import PipelineError

NAMING = ("job", "--model", "network")
"""Options that say which network is meant; a command line has one of them."""
_COMMAND = re.compile(r"`tritmcu ([^\s`]+)([^`]*)`")


def completed(hint: str, commands: Mapping[str, Command], arguments: argparse.Namespace | None) -> str:
    """The hint without backquotes. Its commands repeat what the command line `arguments` says and they know too, unless
    they say it themselves; None: there is no such command line."""

    def whole(found: re.Match[str]) -> str:
        name, rest = found.groups()
        try:
            words = shlex.split(rest)
        except ValueError:  # a path with a backquote in it
            return found[0]
        if arguments is not None and name in commands:
            words = _completed(words, commands[name], commands[arguments.command], arguments)
        return shlex.join(["tritmcu", name, *words])

    return _COMMAND.sub(whole, hint)


def _completed(words: Sequence[str], command: Command, asker: Command, arguments: argparse.Namespace) -> list[str]:
    """The command's words and those that it repeats, in the order of its options."""
    said = _by_option(words, command)
    asked = {option.flag: option for option in asker.OPTIONS if option.flag not in NAMING}
    for option in command.repeated(asker):
        given = asked.get(option.flag)
        if given is not None and given.takes_as(option):
            said.setdefault(option.flag, given.cli_args(arguments))
    if said.keys().isdisjoint(NAMING):
        said |= _naming(command, arguments)
    return [word for option in command.OPTIONS for word in said.get(option.flag, ())]


def _by_option(words: Sequence[str], command: Command) -> dict[str, list[str]]:
    """The words by the option that they give; those before the first flag belong to the positional argument."""
    flag = next((option.flag for option in command.OPTIONS if not option.flag.startswith("-")), "")
    found: dict[str, list[str]] = {}
    for word in words:
        flag = word if word.startswith("--") else flag
        found.setdefault(flag, []).append(word)
    return found


def _naming(command: Command, arguments: argparse.Namespace) -> dict[str, list[str]]:
    """The words, by option, with which the command names the network that the arguments mean."""
    job, model, network, run = (getattr(arguments, name, None) for name in ("job", "model", "network", "run_dir"))
    flags = {option.flag for option in command.OPTIONS}
    if "network" in flags:
        from pipeline.cli.runs import MAIN_JOB

        return {"network": [str(network or model or run or job or MAIN_JOB)]}
    if network and "job" in flags:
        job, model = _as_job_or_model(network)
    named = {"job": job and [str(job)], "--model": model and ["--model", str(model)]}
    return {flag: words for flag, words in named.items() if words and flag in flags}


def _as_job_or_model(word: str) -> tuple[str | None, str | None]:
    """(job, stored network) that the word names; one of them is None, both where it names nothing."""
    from pipeline.cli.runs import RUNS
    from pipeline.workflow import subjects

    try:
        stored = subjects.stored(word, RUNS)
    except PipelineError:
        return None, None
    return (word, None) if stored is None else (None, subjects.as_model(word, RUNS))
