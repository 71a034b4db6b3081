"""What keeps a person informed, and able to stop, while an engine is opened: seconds, or minutes the first time."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Final, TypeVar

from stream.stop import OPENING

T = TypeVar("T")
_ASK_S: Final = 0.05


def silent(line: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """Whom to tell, and whom to ask whether to go on."""

    tell: Callable[[str], None] = silent
    """Called with a line before what takes long."""
    check: Callable[[], None] = lambda: None
    """Asked again and again meanwhile; raises what ends the opening."""

    def beside(self, work: Callable[[], T]) -> T:
        """What `work` returns, done in a thread of its own while this one goes on asking `check`.

        Nothing can stop that thread: where `check` raises it is left behind, and ends with the program (stream/cli.py).
        """
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001  (raised again in the thread that waits)
                done.set_exception(error)

        threading.Thread(target=run, name=OPENING, daemon=True).start()
        while not wait([done], _ASK_S).done:
            self.check()
        return done.result()


def preparing(size: tuple[int, int], how: str, *, styled: bool) -> str:
    """The line before it; `size` is rows and columns, `how` says what happens and how long that takes."""
    kind = "painted looks" if styled else "natural colour"
    return f"preparing the network for {kind} at a working size of {size[1]}x{size[0]}: {how}"
