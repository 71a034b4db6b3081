"""What can go wrong, and the exit code of each.

KinochromeError
├── UsageError      2   the request itself makes no sense (a bad value, input equals output)
├── InputError      3   the film or picture can't be read
├── OutputError     4   the result can't be written
├── ResourceError   6   memory or disk does not suffice
├── EngineError     7   the network can't be run
└── Interrupted     130 or 143   Ctrl-C or SIGTERM; what was done lies in the part file

Exit code 5 is no exception: the run finished, but its report names damage or loss (metrics.Report).
A message is one line: what was given, what is allowed, what to do.
"""

EXIT_DONE = 0
EXIT_DAMAGED = 5


class KinochromeError(Exception):
    """Base of all errors that are the world's fault and not the program's."""

    exit_code: int = 1


class UsageError(KinochromeError, ValueError):
    """A request that makes no sense as it stands."""

    exit_code = 2


class InputError(KinochromeError):
    """A source that can't be read."""

    exit_code = 3


class OutputError(KinochromeError):
    """A result that can't be written."""

    exit_code = 4


class ResourceError(KinochromeError):
    """Memory, disk or a limit on size does not suffice."""

    exit_code = 6


class EngineError(KinochromeError):
    """The network can't be loaded, compiled or run."""

    exit_code = 7


class Interrupted(KinochromeError):  # noqa: N818  (the event is not an error of anyone's)
    """A signal asked to stop; `exit_code` is 128 + the signal's number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


def plain(line: str) -> str:
    """A line as every terminal shows it: names of files may hold line breaks and bytes that are no text."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)
