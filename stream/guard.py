"""The allow-list of a CURVE socket, by ZeroMQ's authentication protocol (ZAP, RFC 27): unknown keys never connect."""

import threading
from collections.abc import Sequence
from typing import Any, Final, Protocol

from stream.keys import decode_key

ADDRESS: Final = "inproc://zeromq.zap.01"
_SLICE_MS: Final = 100


class ReplySocket(Protocol):
    """What the guard needs of a REP socket; stream/pubsub.py makes it."""

    def poll(self, timeout: int | None = None) -> int:
        """Non-zero if a request came within so many ms."""

    def recv_multipart(self) -> list[bytes]:
        """A request."""

    def send_multipart(self, msg_parts: Sequence[Any]) -> object:
        """Its answer."""

    def close(self) -> None:
        """Lets go."""


class Guard:
    """Answers ZeroMQ's question, for every connection, whether its key is on the list."""

    def __init__(self, socket: ReplySocket, allowed: frozenset[str]) -> None:
        self._socket = socket
        self._allowed = frozenset(decode_key(key) for key in allowed)
        self._stopped = threading.Event()
        self.refused = 0
        self._thread = threading.Thread(target=self._run, name="kinochrome-guard", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.is_set():
            if self._socket.poll(_SLICE_MS):
                self._socket.send_multipart(self._judge(self._socket.recv_multipart()))
        self._socket.close()

    def _judge(self, request: list[bytes]) -> list[bytes]:
        version, number = request[0], request[1] if len(request) > 1 else b""
        welcome = len(request) == 7 and request[5] == b"CURVE" and request[6] in self._allowed
        self.refused += not welcome
        verdict = [b"200", b"OK"] if welcome else [b"400", b"this key is not on the list"]
        return [version, number, *verdict, b"", b""]

    def close(self) -> None:
        """Ends the thread, and with it the socket."""
        self._stopped.set()
        self._thread.join()
