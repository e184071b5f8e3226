"""A connection that outlives losses: opened when it is first needed, and again when a device is lost under way."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from pipeline.config.board import Board
from pipeline.core.errors import DeviceError
from pipeline.core.nouns import Image, QModel
from pipeline.device import session
from pipeline.device.links import serial
from pipeline.device.session import Result, Session

RECONNECT_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Before each attempt to get a lost device back; a sample answered in between starts the count again."""
T = TypeVar("T")


def keep_trying(attempt: Callable[[int], T], answers: Callable[[], int]) -> T:
    """What attempt(reconnects) returns; after a DeviceError it is called again as long as that brings further answers.

    answers: how many there are by now; a device that has given none is not waited for. DeviceError: the device is gone.
    A device that crashed, is another one or gives a sample no result is not tried again.
    """
    attempts = reconnects = 0
    before = 0
    while True:
        try:
            return attempt(reconnects)
        except (session.DeviceFaultError, session.IdentityError, session.NoResultError):
            raise
        except DeviceError:
            gained = answers() > before
            attempts = 0 if gained else attempts + 1
            if (not gained and not reconnects) or attempts == len(RECONNECT_PAUSES_S):
                raise
            time.sleep(RECONNECT_PAUSES_S[attempts])
            before, reconnects = answers(), reconnects + 1


class Connection:
    """One device that runs `image` of `model`. place: the port of a real board; None: an emulator is started."""

    def __init__(self, model: QModel, image: Image, image_folder: Path, board: Board, place: str | None = None) -> None:
        self._model, self._image, self._image_folder, self._board = model, image, image_folder, board
        self._place = place
        self._port = serial.identify(place) if place else None
        self._stack = ExitStack()
        self._session: Session | None = None
        self._answers = 0

    def ask(self, samples: Sequence[bytes], take: Callable[[Result], None]) -> None:
        """Calls `take` with the Result of every sample, in order; a lost device is waited for a few times. DeviceError:
        it is gone for good; what was taken before is right."""
        left = deque(samples)

        def attempt(_: int) -> None:
            with self._open() as device:
                for result in device.run(tuple(left)):
                    left.popleft()
                    take(result)
                    self._answers += 1

        keep_trying(attempt, lambda: self._answers)

    def close(self) -> None:
        """Ends the connection, and its emulator. Safe to call twice."""
        self._session = None
        self._stack.close()

    @contextmanager
    def _open(self) -> Iterator[Session]:
        """The session, opened if there is none; an exception in the block ends it."""
        try:
            if self._session is None:
                self._session = self._connect()
            yield self._session
        except BaseException as error:
            # The runner sees the error too: it may add its emulator's last words.
            self._session = None
            self._stack.__exit__(type(error), error, error.__traceback__)
            raise

    def _connect(self) -> Session:
        place = serial.follow(self._port) if self._port else self._place
        device = self._stack.enter_context(session.connect(self._board, self._image_folder, place))
        info = device.hello()
        session.check_identity(info, self._image.digest, self._board)
        session.check_sizes(info, self._model)
        return device
