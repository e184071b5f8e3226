"""Stages: each makes one noun from others. No stage imports a stage; the workflow chains them."""

from __future__ import annotations

from collections.abc import Mapping

STAGES: Mapping[str, str] = {
    "train": "train the network of a job",
    "lower": "turn the trained network into the integer network",
    "attack": "attack the network on the test samples; print its robust accuracy",
    "render": "write the firmware project",
    "build": "build the firmware",
    "flash": "flash the board and have it confirm its firmware",
    "stream": "send the test samples to the board and keep its answers",
    "report": "write report.html, report.md and report.json",
}
"""What each stage does, in the order in which they run: the names of modules here, of commands, and of Workflow's
methods."""
