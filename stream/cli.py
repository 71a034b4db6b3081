"""The entry point of `kinochrome`: whatever fails becomes one line on stderr and an exit code (DESIGN 10).

The commands themselves are in stream/commands.py, which is imported only when Ctrl-C is already taken care of.
"""

import errno
import os
import sys
import threading

from stream.errors import Interrupted, KinochromeError, OutputError, ResourceError, plain
from stream.stop import OPENING, Stop

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What torch, OpenCV and C++ say when memory runs out; none of them raises MemoryError.
_NO_MEMORY = ("allocate memory", "out of memory", "insufficient memory", "bad_alloc", "bad allocation")


def main() -> None:
    """Runs the command that argv names and ends the program with its exit code."""
    stop = Stop()
    stop.listen()
    code = run(sys.argv[1:], stop)
    if any(thread.name == OPENING for thread in threading.enumerate()):
        # Ending Python under a thread that is at work inside a library can abort the process.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise SystemExit(code)


def run(arguments: list[str], stop: Stop) -> int:
    """The exit code of a command."""
    try:
        import stream.batch_commands
        import stream.cache_commands
        import stream.live_commands
        import stream.shots_commands  # noqa: F401  (they add their commands to the others)
        from stream import commands

        return commands.run(arguments, stop)
    except Exception as error:
        failure = _as_ours(error, stop)
        if failure is None:
            raise
        sys.stderr.write(f"kinochrome: {plain(str(failure))}\n")
        return failure.exit_code


def _as_ours(error: Exception, stop: Stop) -> KinochromeError | None:
    """What a person should be told; None where it is a mistake in the program, whose traceback is wanted."""
    if isinstance(error, KinochromeError):
        return error
    try:
        stop.check()
    except Interrupted as interrupted:  # a library made another error of it
        return interrupted
    if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _NO_MEMORY):
        return ResourceError("not enough memory; close other programs, or try a smaller --short-side")
    if isinstance(error, OSError):
        kind = ResourceError if error.errno in _FULL else OutputError
        return kind(f"{error.filename or 'output'}: {error.strerror or error}")
    return None
