"""What there is to do on a shelf of films: in a folder, in a list, or in a folder into which films are dropped."""

import codecs
import fnmatch
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stream import stills
from stream.errors import InputError, OutputError, UsageError
from stream.plan import CONTAINERS

# fmt: off
FILMS: Final = frozenset({
    *CONTAINERS, ".avi", ".mpg", ".mpeg", ".vob", ".webm", ".mxf", ".dv", ".mts", ".wmv", ".flv", ".3gp", ".ogv",
    ".y4m", ".nut",
})
# fmt: on


@dataclass(frozen=True, kw_only=True)
class Task:
    """One film and what is to be made of it."""

    source: Path
    target: Path
    trouble: str | None = None
    """Why it can't be tried at all."""


def find_tasks(source: Path, out: Path, *, patterns: Sequence[str]) -> list[Task]:
    """The films of a folder with all folders in it, or those that a list names, in order of their names.

    A list is text, a path a line, or separated by zero bytes (find -print0), which every name survives; paths are
    relative to the list. patterns: shell patterns for names, or for paths within the folder; none take what is a film
    or a picture by its extension.
    """
    if source.is_dir():
        found = list(_walk(source, out, patterns))
    elif source.suffix.lower() in (".txt", ".lst"):
        if patterns:
            raise UsageError(f"{source}: --pattern chooses from a folder; a list names what it wants")
        found = [(path, Path(path.name)) for path in _read_list(source)]
    else:
        raise UsageError(f"{source}: a folder, or a list of films ending in .txt, is needed; colorize takes one film")
    return _with_targets(found, out)


def _walk(source: Path, out: Path, patterns: Sequence[str]) -> Iterator[tuple[Path, Path]]:
    """Paths and their place within the folder; what can't be listed comes as it is, to be reported."""
    unreadable: list[Path] = []
    results = out.resolve()
    for folder, folders, names in os.walk(source, onerror=lambda error: unreadable.append(Path(error.filename))):
        folders[:] = sorted(name for name in folders if not _is_ours(Path(folder) / name, results))
        for name in sorted(names):
            path = Path(folder) / name
            if _wanted(path.relative_to(source), patterns):
                yield path, path.relative_to(source)
    for path in unreadable:
        yield path, path.relative_to(source)


def _is_ours(folder: Path, results: Path) -> bool:
    """The results themselves, or what is kept of an unfinished film or of one with a list of shots."""
    return ".part." in folder.name or folder.resolve() == results


def _wanted(path: Path, patterns: Sequence[str]) -> bool:
    if ".part." in path.name or path.name.startswith("._"):  # ours, unfinished; macOS's shadows of files
        return False
    if patterns:
        return any(fnmatch.fnmatch(path.name, pattern) or fnmatch.fnmatch(str(path), pattern) for pattern in patterns)
    return path.suffix.lower() in FILMS or stills.is_still(path)


def _read_list(path: Path) -> list[Path]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from error
    data = data.removeprefix(codecs.BOM_UTF8)
    if b"\0" in data:
        names = data.split(b"\0")
    else:
        names = [line.strip() for line in data.splitlines() if not line.lstrip().startswith(b"#")]
    return [path.parent / os.fsdecode(name) for name in names if name]


def _with_targets(found: list[tuple[Path, Path]], out: Path) -> list[Task]:
    """Results keep their place, and their extension where it can be written: reel.avi becomes reel.mkv, or reel.avi.mkv
    where there is a reel.mkv as well.
    """
    targets: dict[Path, int] = {}
    for _, place in found:
        targets[_target(place)] = targets.get(_target(place), 0) + 1
    tasks, taken = [], set[Path]()
    for path, place in found:
        target = _target(place)
        if targets[target] > 1 and target.name != place.name:
            target = target.with_name(place.name + target.suffix)
        trouble = f"{target} is already what comes of another film" if target in taken else None
        if path.is_dir():
            trouble = "the folder can't be read"
        taken.add(target)
        tasks.append(Task(source=path, target=out / target, trouble=trouble))
    return tasks


def _target(place: Path) -> Path:
    suffix = place.suffix.lower()
    return place if suffix in CONTAINERS or stills.is_still(place) else place.with_suffix(".mkv")


def check_out(out: Path) -> None:
    """Makes the folder for the results; OutputError where nothing can be written in it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: can't be made ({error.strerror})") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise OutputError(f"{out}: no permission to write in it")


class DropFolder:
    """Finds what comes into a folder, once it has stopped growing."""

    def __init__(self, source: Path, out: Path, *, patterns: Sequence[str]) -> None:
        self._source, self._out, self._patterns = source, out, patterns
        self._seen: dict[Path, tuple[int, int]] = {}
        self._taken: dict[Path, tuple[int, int]] = {}

    def ripe(self) -> list[Task]:
        """Films that are as they were at the last call, and that were not given out as they are now."""
        ripe = []
        for task in find_tasks(self._source, self._out, patterns=self._patterns):
            with suppress(OSError):
                found = task.source.stat()
                now = (found.st_size, found.st_mtime_ns)
                if self._seen.get(task.source) == now != self._taken.get(task.source):
                    self._taken[task.source] = now
                    ripe.append(task)
                self._seen[task.source] = now
        return ripe
