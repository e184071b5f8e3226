"""`tritmcu doctor`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from pipeline.cli import options
from pipeline.cli.command import Command


class Doctor(Command):
    """Exit code 1 when something is missing."""

    NAME = "doctor"
    HELP = "check for missing programs, packages and data; show how to install them"
    OPTIONS = (options.JSON,)

    def invoke(self, arguments: argparse.Namespace) -> int:
        from pipeline.cli import console, doctor

        findings = doctor.examine()
        lacking = doctor.missing(findings)
        if arguments.json:
            console.stdout(json.dumps({name: [asdict(f) for f in group] for name, group in findings.items()}, indent=1))
        else:
            rows = [(f.name, f.version or "MISSING", f.needed_by) for group in findings.values() for f in group]
            console.table("", ("", "found", "needed by"), rows)
            for finding in lacking:
                console.stdout(f"{finding.name} is missing: {finding.hint}")
        return 1 if lacking else 0
