"""A mailbox with one slot: the newest picture is there, older ones are counted and forgotten."""

import threading
from dataclasses import dataclass
from typing import Generic, TypeVar

from stream.film import Info
from stream.frame import Frame

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class Taken:
    """A picture as it came in."""

    frame: Frame
    info: Info
    capture_ns: int
    """Monotonic clock."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """A picture as it goes out."""

    frame: Frame
    """Coloured."""
    taken: Taken
    """What it was made of."""
    look: str


class Mailbox(Generic[T]):
    """Between one thread that puts and one that takes."""

    def __init__(self, *, patient: bool = False) -> None:
        """patient: `put` waits until the slot is empty, so that nothing is dropped."""
        self._changed = threading.Condition()
        self._patient = patient
        self._item: T | None = None
        self._closed = False
        self._error: BaseException | None = None
        self.dropped = 0

    def put(self, item: T) -> bool:
        """Puts the newest in place of what is there; False if nobody takes any more."""
        with self._changed:
            while self._patient and self._item is not None and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self.dropped += self._item is not None
            self._item = item
            self._changed.notify_all()
            return True

    def take(self, timeout_s: float) -> T | None:
        """The newest, or None when none comes in time or after the end; raises what ended the other thread."""
        with self._changed:
            if self._item is None and not self._closed:
                self._changed.wait(timeout_s)
            item, self._item = self._item, None
            self._changed.notify_all()
            if item is None and self._error is not None:
                raise self._error
            return item

    def close(self, error: BaseException | None = None) -> None:
        """Nothing follows; what is in the slot can still be taken."""
        with self._changed:
            self._closed = True
            self._error = self._error or error
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """Nothing is there and nothing follows."""
        with self._changed:
            return self._closed and self._item is None and self._error is None
