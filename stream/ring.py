"""Buffers that are sent from without copying, each free again once ZeroMQ has let go of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

SLOTS: Final = 12
"""More than a few watchers' queues of 4 hold; one 1080p picture of 8 bits is 3 MB."""


def _idle() -> bool:
    return False


@dataclass(kw_only=True)
class Buffer:
    """One of the ring's buffers."""

    view: npt.NDArray[np.uint8]
    """`[bytes]`."""
    busy: Callable[[], bool] = _idle
    """Whether it is still being sent."""


class Ring:
    """At most SLOTS buffers, made when first needed; they grow with the pictures and never more than that."""

    def __init__(self) -> None:
        self._buffers: list[Buffer] = []

    def take(self, size: int) -> Buffer | None:
        """A free buffer of at least `size` bytes; None if all are being sent, and then nobody waits."""
        for number, buffer in enumerate(self._buffers):
            if not buffer.busy():
                if buffer.view.size < size:
                    self._buffers[number] = buffer = Buffer(view=np.empty(size, np.uint8))
                # The one that was taken is looked at last the next time.
                self._buffers.append(self._buffers.pop(number))
                return buffer
        if len(self._buffers) < SLOTS:
            self._buffers.append(Buffer(view=np.empty(size, np.uint8)))
            return self._buffers[-1]
        return None
