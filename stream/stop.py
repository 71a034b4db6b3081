"""Ctrl-C and SIGTERM end the work in order: what is written is closed and plays."""

import os
import signal
from types import FrameType

from stream.errors import Interrupted

OPENING = "kinochrome-opening"
"""The name of a thread in which a library converts a network: nothing can stop it."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Turns a signal into Interrupted: at once while the program starts, between two frames once it works.

    At any other moment it could hit the closing of the file, and what a codec still holds would be lost. A second
    signal only says that the file is being closed; a third gives up at once.
    """

    def __init__(self) -> None:
        self._asked = 0
        self._number = 0
        self._deferred = False

    def listen(self) -> None:
        """From here on, for the rest of the program."""
        for number in SIGNALS:
            signal.signal(number, self._ask)

    def defer(self) -> None:
        """From here on a signal waits for `check`."""
        self._deferred = True

    def check(self) -> None:
        """Raises Interrupted if a signal waits, or if its exception got lost in a library that swallows any."""
        if self._asked:
            raise Interrupted("interrupted" + ("" if self._deferred else "; nothing was written"), self._number)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked += 1
        if self._asked == 1:
            self._number = number
            if not self._deferred:
                self.check()
        elif self._asked == 2:
            os.write(2, b"kinochrome: closing what is written; once more gives up at once\n")
        else:
            os._exit(128 + number)
