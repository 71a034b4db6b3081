"""A folder into which films are dropped: each is taken once it has come whole, and again if it changes after that.

    folder = DropFolder(Path("inbox"), Path("colour"), patterns=())
    while True:
        batch.work(folder.ripe(time.monotonic()))
        time.sleep(2)

A copy may stall for longer than anybody would wait: that a file is still is not enough, it must also reach its end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from stream import media, sequence, stills
from stream.errors import InputError, KinochromeError
from stream.film import ReadTally
from stream.shelf import Task, find_tasks
from stream.source import is_one_file, stamp

SETTLE_S: Final = 10.0
"""So long must a file be as it is before it is looked at."""
SCANS_SETTLE_S: Final = 60.0
"""The same of what has a number in its name: a scanner takes its time for each picture, and few are no film yet."""
PATIENCE_S: Final = 600.0
"""After so long without a change a file is taken as it is: nobody is writing to it any more."""
_TAIL_S: Final = 5.0
_AT_ONCE: Final = 8  # the others wait for the next call, so that Ctrl-C needn't wait for a thousand of them


@dataclass(kw_only=True)
class _Seen:
    """A film as it was found."""

    stamp: dict[str, Any]
    since_s: float
    lack: str | None = None
    """What speaks against its being whole, "" where nothing does; None until it was looked at."""


class DropFolder:
    """Finds what comes into a folder."""

    def __init__(
        self,
        source: Path,
        out: Path,
        *,
        patterns: Sequence[str],
        joined: bool = False,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        """As in `find_tasks`; tell: also called with what a film waits for."""
        self._find = partial(find_tasks, source, out, patterns=patterns, joined=joined, tell=self._tell)
        self._say, self._told = tell, set[str]()
        self._seen: dict[Path, _Seen] = {}
        self._taken: dict[Path, dict[str, Any]] = {}

    def ripe(self, now_s: float) -> list[Task]:
        """Films that have come whole, or won't change any more, and that were not given out as they are now.

        now_s: the time, by any clock. At most 8 at a time.
        """
        tasks = self._find()
        self._seen = {task.source: self._look_at(task.source, now_s) for task in tasks}
        # What was taken away and comes again under the same name is another film: its result must not cost the first's.
        self._taken = {path: stamp for path, stamp in self._taken.items() if path in self._seen}
        ripe: list[Task] = []
        for task in tasks:
            seen, before = self._seen[task.source], self._taken.get(task.source)
            if len(ripe) < _AT_ONCE and seen.stamp != before and self._is_ripe(task, seen, now_s):
                self._taken[task.source] = seen.stamp
                ripe.append(replace(task, again=before is not None))
        return ripe

    def _tell(self, line: str) -> None:
        """Once, though the folder is looked at again and again."""
        if line not in self._told:
            self._told.add(line)
            self._say(line)

    def _look_at(self, path: Path, now_s: float) -> _Seen:
        try:
            found = stamp(path)
        except KinochromeError:  # a link to nowhere, say; its failure is told once it has been so for long
            found = {}
        seen = self._seen.get(path)
        return seen if seen is not None and seen.stamp == found else _Seen(stamp=found, since_s=now_s)

    def _is_ripe(self, task: Task, seen: _Seen, now_s: float) -> bool:
        still_s = now_s - seen.since_s
        numbered = not is_one_file(task.source) or sequence.is_numbered(task.source)
        if still_s < (SCANS_SETTLE_S if numbered else SETTLE_S):
            return False
        if seen.lack is None:
            seen.lack = "" if task.trouble else find_lack(task.source)
            if seen.lack:
                self._tell(
                    f"{task.source}: {seen.lack}; waits, and is taken as it is after {PATIENCE_S / 60:g} minutes"
                )
        return not seen.lack or still_s >= PATIENCE_S


def find_lack(path: Path) -> str:
    """What speaks against a film's or a picture's being whole, in words; "" where nothing does."""
    try:
        if not is_one_file(path):
            found = sequence.find_sequence(path)
            path = path if found is None else found.pattern.path(found.numbers[-1])
            frame = sequence.read_picture(path)
            return "its last picture is damaged" if frame.damaged else ""
        if stills.is_still(path):
            damaged = any(frame.damaged for frame in stills.read_pictures(path, luma="bt601"))
            return "the picture is damaged" if damaged else ""
        return _lack_of_film(path)
    except InputError as error:
        return str(error).removeprefix(f"{path}: ")
    except KinochromeError:
        return ""  # its failure won't wait


def _lack_of_film(path: Path) -> str:
    """Reads its end, as the header says where that is."""
    info, tally = media.probe(path, luma="bt601"), ReadTally()
    if info.duration_s is None:
        return "its header doesn't say how long it is"
    since_s = max(0.0, info.duration_s - _TAIL_S)
    for _ in media.read_frames(path, luma="bt601", tally=tally, since_s=since_s or None):
        pass
    if tally.truncated:
        return f"it ends {tally.missing_s:.1f} s before its header says"
    if info.container == "avi" and _is_cut_avi(path):
        return "it ends before its header says"
    return "its end can't be decoded" if tally.packets_damaged or not tally.frames else ""


def _is_cut_avi(path: Path) -> bool:
    """A file of RIFF chunks that ends within one: FFmpeg takes what is there of an AVI for all of it."""
    size, place = path.stat().st_size, 0
    with path.open("rb") as file:
        while place < size:
            file.seek(place + 4)
            place += 8 + int.from_bytes(file.read(4), "little")
    return place > size
