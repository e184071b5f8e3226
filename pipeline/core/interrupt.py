"""The request to end: SIGTERM, or Ctrl-C. A handler runs anywhere, also where exceptions are swallowed, as in callbacks
of a library that is being imported; so it sets a flag, and whoever works or waits long looks at it with `check`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LOOK_EVERY_S = 0.2
"""Longest wait between two looks."""
_requested = threading.Event()
"""Of the process, as signals are."""


@contextmanager
def handled() -> Iterator[None]:
    """Both signals are requests to end as long as the block, in the main thread. Ctrl-C is an exception at once, too,
    as a person waits for it; a second SIGTERM ends the process whatever it does."""
    _requested.clear()
    with handlers_kept():
        signal.signal(signal.SIGTERM, _on_terminate)
        signal.signal(signal.SIGINT, _on_interrupt)
        try:
            yield
        finally:
            _requested.clear()


@contextmanager
def handlers_kept() -> Iterator[None]:
    """What the process does on both signals is the same after the block as before it, where that is the main thread's:
    for libraries that set handlers of their own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def check() -> None:
    """KeyboardInterrupt when the process was asked to end: a request leaves through the same doors as Ctrl-C, so that
    nothing half-done stays."""
    if _requested.is_set():
        raise KeyboardInterrupt


def _on_terminate(number: int, frame: object) -> None:
    _requested.set()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _on_interrupt(number: int, frame: object) -> None:
    _requested.set()
    raise KeyboardInterrupt
