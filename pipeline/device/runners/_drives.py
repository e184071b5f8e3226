"""Drives that boards and their debug adapters show, as udev and the kernel list them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

DISKS = Path("/dev/disk")
MOUNTS = Path("/proc/mounts")


def mounted() -> Mapping[str, Path]:
    """Folder by device, such as /dev/sda, of everything that is mounted."""
    lines = (line.split() for line in MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines())
    return {device: Path(_unescaped(folder)) for device, folder, *_ in lines}


def by_serial_number(serial_number: str) -> Path | None:
    """The whole disk of the unit, as udev names it, usb-<vendor>_<product>_<serial number>-0:0; None: there is none."""
    found = sorted((DISKS / "by-id").glob(f"usb-*_{serial_number}-0:0"))
    return found[0] if found else None


def _unescaped(text: str) -> str:
    """Spaces, tabs, line ends and backslashes are octal numbers in the kernel's list."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
