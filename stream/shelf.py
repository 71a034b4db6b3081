"""What there is to do on a shelf of films: in a folder or in a list."""

import codecs
import fnmatch
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from stream import stills
from stream.errors import InputError, KinochromeError, OutputError, UsageError
from stream.part import claim, naming_failures
from stream.plan import CONTAINERS
from stream.sequence import DPX, Pattern, find_patterns, find_sequence, parse_pattern
from stream.sidecar import result_of
from stream.source import is_one_file

# fmt: off
FILMS: Final = frozenset({
    *CONTAINERS, ".avi", ".mpg", ".mpeg", ".vob", ".webm", ".mxf", ".dv", ".mts", ".wmv", ".flv", ".3gp", ".ogv",
    ".y4m", ".nut",
})
# fmt: on
# job.folder_of, numbered pictures that are being written, and those that they replace.
_OUR_FOLDER: Final = re.compile(r"\.part((\.\w+)?\.d|\.before)?$")
RUN: Final = 12
"""So many numbered pictures, TIFF or PNG, are a film; fewer are pictures."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One film and what is to be made of it."""

    source: Path
    target: Path
    trouble: str | None = None
    """Why it can't be tried at all."""
    again: bool = False
    """It was tried before, and the film has changed since: what that made of it is out of date."""

    @property
    def result(self) -> Path:
        """What lies there in the end: the target, or the folder of numbered pictures."""
        return self.target if is_one_file(self.source) else result_of(self.target)


class _Found(NamedTuple):
    """A film on the shelf."""

    path: Path
    """Its file; of numbered pictures their pattern."""
    place: Path
    """Where it lies on the shelf, and its result among the results."""
    trouble: str = ""


def find_tasks(
    source: Path,
    out: Path,
    *,
    patterns: Sequence[str],
    joined: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Task]:
    """The films of a folder with all folders in it, or those that a list names, in order of their names.

    A list is text, a path a line, or separated by zero bytes (find -print0), which every name survives; paths are
    relative to the list. patterns: shell patterns for names, or for paths within the folder; none take what is a film
    or a picture by its extension. joined: numbered pictures become a film in one file, not numbered pictures.
    tell: called with what is taken otherwise than it looks, or left out, in a line.
    """
    if source.is_dir():
        if out.is_dir() and out.samefile(source):
            raise UsageError(f"{out}: results among the films would be taken for films; name another folder for them")
        found = list(_walk(source, out, patterns, tell))
    elif source.suffix.lower() in (".txt", ".lst"):
        if patterns:
            raise UsageError(f"{source}: --pattern chooses from a folder; a list names what it wants")
        found = list(dict.fromkeys(_listed(path) for path in _read_list(source)))
    else:
        raise UsageError(f"{source}: a folder, or a list of films ending in .txt, is needed; colorize takes one film")
    return _with_targets(found, out, joined=joined)


def _walk(source: Path, out: Path, patterns: Sequence[str], tell: Callable[[str], None]) -> Iterator[_Found]:
    """What lies in the folder and all below it; what can't be listed comes as it is, to be reported.

    Linked folders come last, so that none is gone through twice and links in a circle end.
    """
    unreadable: list[Path] = []
    results, visited, roots = out.resolve(), set[Path](), deque([source])
    while roots:
        root = roots.popleft()
        if root != source and (root.resolve() in visited or source.resolve().is_relative_to(root.resolve())):
            tell(f"{root}: leads to {root.resolve()}, where the films come from anyway; the link is left out")
            continue
        for folder, folders, names in os.walk(root, onerror=lambda error: unreadable.append(Path(error.filename))):
            here = Path(folder)
            if here.resolve() in visited:
                folders.clear()
                continue
            visited.add(here.resolve())
            below = [here / name for name in sorted(folders) if not _is_ours(here / name, results)]
            roots.extend(path for path in below if path.is_symlink())
            folders[:] = [path.name for path in below if not path.is_symlink()]
            for path, remark in _films_in(here, sorted(names)):
                if _wanted(path.relative_to(source), patterns):
                    if remark:
                        tell(f"{path}: {remark}")
                    yield _Found(path, path.relative_to(source))
    for path in unreadable:
        yield _Found(path, path.relative_to(source), "the folder can't be read")


def _films_in(folder: Path, names: list[str]) -> Iterator[tuple[Path, str]]:
    """The files, and of runs of numbered pictures that are films their patterns; with what is to be said of them."""
    runs = [(run, numbers) for run, numbers in find_patterns(folder, names) if _is_run(run, numbers)]
    inside = {run.path(number).name for run, numbers in runs for number in numbers}
    for run, numbers in runs:
        remark = f"{len(numbers)} numbered pictures are taken for one film; in a list of their names they are pictures"
        yield Path(str(run)), "" if run.suffix.lower() in DPX else remark
    yield from ((folder / name, "") for name in names if name not in inside)


def _is_run(run: Pattern, numbers: list[int]) -> bool:
    """A film's pictures, not single ones: scanners number them without many gaps, and cameras write JPEG."""
    if run.suffix.lower() in stills.JPEG:
        return False
    return run.suffix.lower() in DPX or (len(numbers) >= RUN and numbers[-1] - numbers[0] < 2 * len(numbers))


def _listed(path: Path) -> _Found:
    """What a line of a list means."""
    if path.is_dir():
        try:
            found = find_sequence(path)
        except KinochromeError as error:
            return _Found(path, Path(path.name), str(error).removeprefix(f"{path}: "))
        path = path if found is None else Path(str(found.pattern))
    # Pictures of many films are named alike: their folder tells them apart.
    return _Found(path, Path(path.name) if is_one_file(path) else Path(path.absolute().parent.name, path.name))


def _is_ours(folder: Path, results: Path) -> bool:
    """The results themselves, or what is kept of an unfinished film or of one with a list of shots."""
    return bool(_OUR_FOLDER.search(folder.name)) or folder.resolve() == results


def _wanted(path: Path, patterns: Sequence[str]) -> bool:
    if path.stem.endswith(".part") or path.name.startswith("._"):  # ours, unfinished; macOS's shadows of files
        return False
    if patterns:
        return any(fnmatch.fnmatch(path.name, pattern) or fnmatch.fnmatch(str(path), pattern) for pattern in patterns)
    return path.suffix.lower() in (*FILMS, *DPX) or stills.is_still(path)


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


def _with_targets(found: list[_Found], out: Path, *, joined: bool) -> list[Task]:
    """Results keep their place, and their extension where it can be written: reel.avi becomes reel.mkv, or reel.avi.mkv
    where there is a reel.mkv as well. Numbered pictures, scan_%04d.dpx, get a folder, scan, or become scan.mkv.
    """
    results = [_result(each, joined=joined) for each in found]
    count, tasks, taken = Counter(results), [], set[Path]()
    for (path, place, trouble), wanted in zip(found, results, strict=True):
        same = count[wanted] > 1 and wanted.name != place.name
        result = wanted.with_name(wanted.stem + place.suffix + wanted.suffix) if same else wanted
        if result in taken:
            trouble = trouble or f"{result} is already what comes of another film"
        if path.is_file() and (out / result).is_file() and path.samefile(out / result):
            trouble = "its result would take its place; name another folder for the results"
        taken.add(result)
        numbered = _pattern_of(path) is not None and not joined
        target = result / place.with_suffix(_written(place.suffix)).name if numbered else result
        tasks.append(Task(source=path, target=out / target, trouble=trouble or None))
    return tasks


def _result(found: _Found, *, joined: bool) -> Path:
    """The place of what comes of a film: a file, or a folder of numbered pictures."""
    place, pattern = found.place, _pattern_of(found.path)
    if pattern is not None:
        name = pattern.prefix.rstrip("._- ") or place.parent.name or "pictures"
        return place.with_name(name + (".mkv" if joined else ""))
    kept = place.suffix.lower() in CONTAINERS or stills.is_still(place)
    return place if kept else place.with_suffix(".mkv")


def _pattern_of(path: Path) -> Pattern | None:
    """That of numbered pictures; None for a file."""
    return None if is_one_file(path) else parse_pattern(path)


def _written(suffix: str) -> str:
    """The format of numbered pictures that is written for these."""
    return ".png" if suffix.lower() in stills.JPEG else suffix


@contextmanager
def claim_out(out: Path) -> Iterator[None]:
    """Makes the folder for the results and keeps it for this run alone; OutputError where nothing can be written in it.

    Two runs at once would make the same films, and each would write over the other's report.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: can't be made ({error.strerror})") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise OutputError(f"{out}: no permission to write in it")
    lock = out / "batch.lock"  # a file: other machines see the lock on it, and not that on a shared folder
    with ExitStack() as stack:
        with naming_failures(lock):
            stack.enter_context(claim(lock, stands_for=out))
        yield
