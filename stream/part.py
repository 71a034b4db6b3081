"""A result lies under NAME.part.EXT until it is complete; then it is synced to the disk and gets its name."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stream.errors import KinochromeError, OutputError, ResourceError, UsageError
from stream.media import is_url

FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "the file-size limit is reached",
}
"""Numbers of the errors that say there is no room."""


def part_of(path: Path) -> Path:
    """Where the result is written until it is complete."""
    return path.with_name(f"{path.stem}.part{path.suffix}")


def sidecar_of(path: Path) -> Path:
    """The JSON beside the result that says where its colours come from."""
    return path.with_name(path.name + ".json")


@contextmanager
def claim(part: Path) -> Iterator[None]:
    """Keeps the part file for this run alone; leaves no empty one behind."""
    handle = os.open(part, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"{part}: another run is writing it; wait for it, or name another output") from error
        try:
            yield
        finally:
            with suppress(FileNotFoundError):
                if not part.stat().st_size:
                    part.unlink()
    finally:
        os.close(handle)


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
    _sync(part)
    part.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
