"""A result lies under NAME.part.EXT until it is complete; then it is synced to the disk and gets its name."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stream.container import is_url
from stream.errors import KinochromeError, OutputError, ResourceError, UsageError

FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "the file-size limit is reached",
}
"""Numbers of the errors that say there is no room."""
GOES_ON = "make room, and the same command goes on where it was"
_LONGEST_END = ".part.framemd5"  # of all that lies beside a result while it is made, or for good
_NAME_BYTES = 255


def part_of(path: Path) -> Path:
    """Where the result is written until it is complete."""
    return path.with_name(f"{path.stem}.part{path.suffix}")


def sidecar_of(path: Path) -> Path:
    """The JSON beside the result that says where its colours come from."""
    return path.with_name(path.name + ".json")


@contextmanager
def claim(part: Path, *, stands_for: Path | None = None, unless: Path | None = None) -> Iterator[None]:
    """Keeps the part file, or folder, for this run alone; leaves no empty file behind.

    stands_for: what to name instead where another run has it. unless: the result where it must not be overwritten; it
    may have come after it was looked for, from a run that has just let go of the part.
    """
    handle = _lock(part, stands_for or part)
    try:
        try:
            if unless is not None and (unless.is_file() or (unless.is_dir() and any(unless.iterdir()))):
                raise OutputError(f"{unless}: exists already, another run has just made it; -y overwrites it")
            yield
        finally:
            with suppress(FileNotFoundError):
                if part.is_file() and not part.stat().st_size and _is_at(handle, part):
                    part.unlink()
    finally:
        os.close(handle)


def _lock(part: Path, named: Path) -> int:
    """A locked handle of the file, or folder, that has this name now."""
    while True:
        handle = os.open(part, os.O_RDONLY if part.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise OutputError(f"{named}: another run is writing it; wait for it, or name another output") from error
        # Between the two calls a run that was done may have renamed or removed it: then the lock keeps nobody out.
        if _is_at(handle, part):
            return handle
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    """Whether the name is still that of the open file, or folder."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def check_name(path: Path) -> None:
    """Refuses a name that leaves no room for the names beside it; OutputError."""
    most = os.pathconf(path.parent, "PC_NAME_MAX") if path.parent.is_dir() else _NAME_BYTES
    length, room = len(os.fsencode(path.name)), most - len(_LONGEST_END)
    if length > room:
        raise OutputError(f"{path}: its name has {length} bytes, and {room} at most leave room for the files beside it")


def check_target(path: Path, *, source: str | Path, overwrite: bool) -> None:
    """Refuses a path that can't or mustn't be written; `source` is what it is made from, a path or URL."""
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(f"{path}: the folder {folder} doesn't exist; create it first")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file in it")
    names = {path: "is the input itself", part_of(path): "its part file is the input"}
    names[sidecar_of(path)] = "its sidecar is the input"
    for taken, what in names.items():
        if taken.exists() and not is_url(source) and Path(source).exists() and taken.samefile(source):
            raise UsageError(f"{path}: {what}")
    if not overwrite:
        for taken in (path, part_of(path), sidecar_of(path)):
            if taken.exists():
                raise OutputError(f"{taken}: exists already; -y overwrites it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: no permission to write in {folder}")


@contextmanager
def naming_failures(
    part: Path, *more: type[Exception], kept: str = "what was written up to there is kept in it"
) -> Iterator[None]:
    """The system's errors as ours, in one line; `more` are a library's errors with errno and strerror.

    kept: what to say where there is no more room.
    """
    kinds: tuple[type[Exception], ...] = (OSError, *more)
    try:
        yield
    except KinochromeError:
        raise
    except MemoryError as error:
        raise ResourceError(f"{part}: not enough memory to write it") from error
    except kinds as error:
        number, reason = getattr(error, "errno", None), getattr(error, "strerror", None) or str(error)
        if number in FULL:
            raise ResourceError(f"{part}: {FULL[number]}; {kept}") from error
        raise OutputError(f"{part}: can't be written ({reason})") from error


def finish_part(part: Path, path: Path) -> None:
    """Waits until the part is on the disk, then gives it its name."""
    sync(part)
    part.replace(path)
    sync(path.parent)


def seal(part: Path, made: Path) -> None:
    """Puts what belongs to a result on the disk before that gets its name; it bears the time of `made`, the result."""
    time_ns = made.stat().st_mtime_ns
    os.utime(part, ns=(time_ns, time_ns))
    sync(part)


def belongs(path: Path, result: Path) -> bool:
    """Whether `path` was sealed for the very result that is there."""
    try:
        return path.stat().st_mtime_ns == result.stat().st_mtime_ns
    except FileNotFoundError:
        return False


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
