"""Links: byte streams between host and device, one module per kind: open_link(board, place) -> Link.

serial: `place` is a port ("/dev/ttyACM0"); tcp: "HOST:PORT"; pipe: a program that speaks the protocol on its standard
input and output.
"""

from __future__ import annotations

from typing import Protocol


class Link(Protocol):
    """An open byte stream. Every failure is a DeviceError that names the link; Ctrl-C passes through.

    name: what a person calls the place, for messages.
    """

    @property
    def name(self) -> str: ...

    def read(self, timeout_s: float, least: int = 1) -> bytes:
        """What has arrived; waits up to timeout_s (0: not at all) for the first byte; b"" when none came. least: bytes
        that the caller would rather wait for; a link that can does, within timeout_s, and then gives what there is."""
        ...

    def write(self, data: bytes) -> None:
        """Hands all of data to the operating system."""
        ...

    def close(self) -> None:
        """Releases the place. Safe to call twice."""
        ...
