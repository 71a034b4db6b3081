"""Publishes a film while it is made: `--publish` of the commands that work from file to file."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from stream.endpoint import Endpoint
from stream.film import Info
from stream.frame import Frame
from stream.keys import Security
from stream.pubsub import Publisher
from stream.upright import is_upright, upright, upright_info
from stream.wire import public_look

_WAIT_S: Final = 0.2
_BEAT_S: Final = 0.5


class Announcer:
    """A publisher whose heart beats by itself; watchers may miss frames, a `push+` consumer gets every one."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        check: Callable[[], None],
        security: Security | None = None,
        look: str = "natural",
        info: Info | None = None,
    ) -> None:
        """check: called while a consumer is waited for; raises what ends the waiting.

        look: what subscribers are told; of a picture only its file name.
        info: of the film that the frames are of; they are published upright.
        """
        self._check = check
        self._patient = endpoint.kind == "push"
        # The socket may be used by one thread at a time: the lock hands it over.
        self._lock = threading.Lock()
        self._publisher = Publisher(endpoint, security=security, look=public_look(look))
        self._turned = info if info is not None and not is_upright(info) else None
        if info is not None:
            self._publisher.describe(upright_info(info))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="kinochrome-heartbeat", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Where it is published, with the port that was taken."""
        return self._publisher.address

    def see(self, frame: Frame) -> None:
        """Publishes a frame; waits for the consumer where there has to be one."""
        now_ns = time.monotonic_ns()
        frame = frame if self._turned is None else upright(frame, self._turned)
        while True:
            with self._lock:
                taken = self._publisher.send(frame, capture_ns=now_ns, timeout_s=_WAIT_S)
            if taken or not self._patient:
                return
            self._check()

    def _beat(self) -> None:
        while not self._stopped.wait(_BEAT_S):
            with self._lock:
                self._publisher.beat()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()
        self._publisher.close()
