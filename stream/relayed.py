"""Output that a process of its own sends to a server, and what it says of it."""

import os
import subprocess
import sys
from contextlib import suppress
from types import TracebackType
from typing import IO, Self, cast

from stream import relay
from stream.errors import OutputError


class Relay:
    """The process that sends a film on to a server (stream/relay.py), to write to."""

    def __init__(self, url: str, form: str) -> None:
        self._url = url
        program = [sys.executable, "-P", relay.__file__, form, url, str(relay.TIMEOUT_S)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(program, stdin=pipe, stdout=pipe, stderr=pipe)
        os.set_blocking(cast("IO[bytes]", self._process.stdout).fileno(), False)
        self.handed = 0
        """Pictures that the process was given."""
        self._sent = 0

    @property
    def there(self) -> bool:
        """Whether the server has taken the film's beginning."""
        return self._sent > 0

    @property
    def under_way(self) -> int:
        """Pictures that the process was given and has not sent."""
        return self.handed - self._sent

    def listen(self) -> None:
        """Takes in what the process says: a byte for each picture that has gone out."""
        self._sent += len(cast("IO[bytes]", self._process.stdout).read() or b"")

    def write(self, data: bytes) -> int:
        """Waits where the server is slow, as long as it takes anything at all."""
        pipe = cast("IO[bytes]", self._process.stdin)
        try:
            pipe.write(data)
            pipe.flush()
        except OSError as error:
            raise self._failure() from error
        return len(data)

    def finish(self) -> None:
        """Waits until all is sent; OutputError where it could not be."""
        with suppress(OSError):  # its exit status says more
            cast("IO[bytes]", self._process.stdin).close()
        if self._process.wait() != 0:
            raise self._failure()

    def _failure(self) -> OutputError:
        status = self._process.wait()
        reason = cast("IO[bytes]", self._process.stderr).read().decode(errors="replace").strip()
        if status == relay.SILENT:
            reason = f"the server took nothing for {relay.TIMEOUT_S:g} s"
        return OutputError(f"{self._url}: can't be sent to ({reason or status})")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        with suppress(OSError), self._process:  # its pipes and itself
            pass
