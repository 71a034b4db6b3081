"""The folder beside a film in which its finished segments wait for each other: NAME.part.EXT.d.

    manifest.json        what the work was begun with, and an entry for each finished segment
    000000240.segment    the coded pictures from frame 240 on (stream/packets.py)
    000000240.carry      what is known of the shot before frame 240, where that isn't a cut (safetensors)

It goes once the film has got its name; that of a film with a list of shots stays, for the next correction of the list.

A file counts once the manifest names it; the manifest is replaced whole, and only after the file is on the disk. So a
power cut leaves the folder as it was before or after a segment, never in between.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from stream.errors import InputError, OutputError, UsageError
from stream.packets import PacketFile, digest
from stream.part import finish_part, part_of
from stream.seams import pack, unpack
from stream.shots import Carry

MANIFEST: Final = "manifest.json"
_LOCK: Final = "lock"
_ENOUGH_TO_TELL = 3


@dataclass(frozen=True, kw_only=True)
class Place:
    """A seam, and how to find it in the film."""

    number: int
    """Of the segment's first frame, from 0."""
    carried: bool = False
    """It goes on with a shot; the state of that lies in a file."""
    lead: tuple[tuple[int, int], ...] = ()
    """(pts, CRC-32 of the luma) of some frames before the first one, and of that; by them it is found again."""

    @property
    def first(self) -> int:
        """Number of the first frame that must be read."""
        return self.number - max(0, len(self.lead) - 1)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A finished segment."""

    start: int
    end: int
    """Number of the first frame behind it."""
    sha256: str
    """Of its file."""
    bytes: int
    counts: dict[str, int | float | bool]
    """What the reader's tally grew by."""
    next: Place | None
    """Where the next segment begins; None at the end of the film."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A shot of a list, as its segments are made."""

    first: int
    end: int | None
    """Number of the first frame behind it; None at the end of the film."""
    digest: str
    """What is wanted of it (`Shot.digest`)."""
    runtime: str = field(default="", compare=False)
    """Its name, which must stay the same while the shot does, unless mixing is allowed; "" where it is left grey."""


@dataclass(kw_only=True)
class Manifest:
    """All that is known of a job."""

    source: dict[str, Any]
    """path, size, mtime_ns, sha256."""
    made_with: dict[str, Any]
    """Version, weights, settings and output: the same, or the segments don't fit together."""
    engine: dict[str, str]
    """Runtime with its precision, and the GPU or the processor's family: the same, unless mixing is allowed."""
    encoder_threads: int
    entries: dict[int, Entry] = field(default_factory=dict)
    """By the number of their first frame."""
    shots: tuple[Listed, ...] = ()
    """Those of the film's list; none without one."""
    notices: list[str] = field(default_factory=list)
    finished: dict[str, Any] | None = None
    """The report, from just before the film gets its name."""

    def as_json(self) -> str:
        """The file's text."""
        content = asdict(self) | {"entries": [asdict(entry) for _, entry in sorted(self.entries.items())]}
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def of_json(cls, text: str) -> "Manifest":
        """The reverse."""
        content = json.loads(text)
        entries = [Entry(**entry | {"next": _place(entry["next"])}) for entry in content.pop("entries")]
        shots = tuple(Listed(**shot) for shot in content.pop("shots", ()))
        return cls(**content, shots=shots, entries={entry.start: entry for entry in entries})


def _place(content: dict[str, Any] | None) -> Place | None:
    if content is None:
        return None
    return Place(**content | {"lead": tuple((pts, crc) for pts, crc in content["lead"])})


def folder_of(target: Path) -> Path:
    """Where the segments of a result are kept until it is complete."""
    part = part_of(target)
    return part.with_name(part.name + ".d")


def describe_source(path: Path) -> dict[str, Any]:
    """What tells a film from another one; reads all of it."""
    try:
        before = path.stat()
        sha256 = digest(path)
        after = path.stat()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise InputError(f"{path}: is still being written; try again once it is complete")
    return {"path": str(path), "size": after.st_size, "mtime_ns": after.st_mtime_ns, "sha256": sha256}


def stamp(path: Path) -> dict[str, Any]:
    """By what a film is known not to have been written to meanwhile."""
    facts = path.stat()
    return {"path": str(path), "size": facts.st_size, "mtime_ns": facts.st_mtime_ns}


def check_unchanged(source: Mapping[str, Any]) -> None:
    """Refuses a film that was written to while it was read."""
    if not is_unchanged(source):
        raise InputError(
            f"{source['path']}: was changed while it was read; nothing was made of it, start again once it is complete"
        )


def is_unchanged(source: Mapping[str, Any]) -> bool:
    """Whether a film was not written to since it was described."""
    now = Path(source["path"]).stat()
    return (now.st_size, now.st_mtime_ns) == (source["size"], source["mtime_ns"])


class JobFolder:
    """The folder of one job, locked; the only place that writes its manifest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest: Manifest | None = None
        self.changed = 0
        """Shots of the list that aren't as they were in the one before."""
        self.mixed = False
        """This run was told that colours may differ by a level from one segment to the next."""
        if (path / MANIFEST).exists():
            try:
                self.manifest = Manifest.of_json((path / MANIFEST).read_text())
            except (ValueError, KeyError, TypeError) as error:
                raise OutputError(f"{path}: its {MANIFEST} can't be read ({error}); --fresh starts over") from error

    @property
    def begun(self) -> Manifest:
        """The manifest of a job that has begun."""
        if self.manifest is None:
            raise ValueError("the job has not begun")
        return self.manifest

    def begin(self, manifest: Manifest) -> None:
        """From here on there is a job."""
        self.manifest = manifest
        self.save()

    def relist(self, shots: Sequence[Listed]) -> None:
        """Takes over a list of shots, and drops the segments of all that aren't wanted as they were."""
        manifest, known = self.begun, {shot: shot for shot in self.begun.shots}
        kept = [known[shot] for shot in shots if shot in known]
        self.changed = len(shots) - len(kept)
        if self.changed:
            manifest.entries = {
                start: entry for start, entry in manifest.entries.items() if any(_holds(shot, start) for shot in kept)
            }
            manifest.shots = tuple(known.get(shot, shot) for shot in shots)
            manifest.finished = None
            self.save()
        self._sweep()

    def _sweep(self) -> None:
        """Takes away what no entry names: of a list before, and of a run that was killed in between."""
        entries = self.begun.entries
        named = {self.file(start) for start in entries}
        named |= {self.carry_file(entry.next.number) for entry in entries.values() if entry.next is not None}
        for path in (*self.path.glob("*.segment*"), *self.path.glob("*.carry*")):
            if path not in named:
                path.unlink()

    def save(self) -> None:
        """Puts the manifest on the disk."""
        part = self.path / (MANIFEST + ".part")
        part.write_text(self.begun.as_json())
        finish_part(part, self.path / MANIFEST)

    def file(self, start: int) -> Path:
        """Of the segment that begins with frame `start`."""
        return self.path / f"{start:09d}.segment"

    def carry_file(self, start: int) -> Path:
        """Of what is known before frame `start`."""
        return self.path / f"{start:09d}.carry"

    def keep_carry(self, start: int, carry: Carry) -> None:
        """Puts it on the disk."""
        self.keep_packed(start, pack(carry))

    def keep_packed(self, start: int, carry: bytes) -> None:
        """The same, of what `pack` gave."""
        path = self.carry_file(start)
        part = path.with_name(path.name + ".part")
        part.write_bytes(carry)
        finish_part(part, path)

    def carry(self, place: Place) -> Carry | None:
        """What is known before a place."""
        return unpack(self.carry_file(place.number).read_bytes()) if place.carried else None

    def open_segment(self, start: int) -> PacketFile:
        """A file for the segment that begins with frame `start`."""
        return PacketFile(self.file(start))

    def enter(self, entry: Entry) -> None:
        """A segment is on the disk, and what the next one needs of it as well: from here on it counts."""
        self.begun.entries[entry.start] = entry
        self.save()
        self.carry_file(entry.start).unlink(missing_ok=True)

    def drop(self, start: int) -> None:
        """A segment is not what it was."""
        del self.begun.entries[start]
        self.save()
        self.file(start).unlink(missing_ok=True)

    def first_hole(self) -> Place | None:
        """Where work goes on: the first place that no segment begins at and that can be begun at; None at the end.

        A segment whose file is gone or of another size, and one that the next can't be begun behind, is dropped.
        """
        place: Place | None = Place(number=0)
        path: list[Entry] = []
        while place is not None:
            entry = self.begun.entries.get(place.number)
            if entry is not None and self._is_whole(entry):
                path.append(entry)
                place = entry.next
                continue
            if entry is not None:
                self.drop(entry.start)
            if not place.carried or self.carry_file(place.number).exists():
                return place
            before = path.pop()
            self.drop(before.start)
            place = path[-1].next if path else Place(number=0)
        return None

    def _is_whole(self, entry: Entry) -> bool:
        path = self.file(entry.start)
        return path.exists() and path.stat().st_size == entry.bytes

    @property
    def frames(self) -> int:
        """In all segments that are there."""
        return sum(entry.end - entry.start for entry in self.manifest.entries.values()) if self.manifest else 0

    @property
    def bytes(self) -> int:
        """Of all segments that are there."""
        return sum(entry.bytes for entry in self.begun.entries.values())

    def in_order(self) -> Iterator[Entry]:
        """The segments from the first one on, as far as they follow each other."""
        entry = self.begun.entries.get(0)
        while entry is not None:
            yield entry
            entry = self.begun.entries.get(entry.end) if entry.next is not None else None

    def empty(self) -> None:
        """Forgets everything but the lock."""
        self.manifest = None
        for path in self.path.iterdir():
            if path.name != _LOCK:
                path.unlink()

    def remove(self) -> None:
        """All is done with. The manifest goes last: while it is there, the rest is known to be done with."""
        for path in sorted(self.path.iterdir(), key=lambda path: path.name in (MANIFEST, _LOCK)):
            path.unlink()
        self.path.rmdir()


@contextmanager
def open_job(path: Path) -> Iterator[JobFolder]:
    """The folder, made if need be, for this run alone; nothing is left of it where no job was begun."""
    path.mkdir(exist_ok=True)
    handle = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"{path}: another run is at work on it; wait for it, or name another output") from error
        try:
            yield JobFolder(path)
        finally:
            if path.exists() and {found.name for found in path.iterdir()} <= {_LOCK, MANIFEST + ".part"}:
                shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(handle)


def check_same(manifest: Manifest, now: Manifest, folder: Path, *, mixed: bool) -> None:
    """Refuses to go on with another source, weights or settings, and on another engine unless `mixed`."""
    if manifest.source["sha256"] != now.source["sha256"]:
        raise UsageError(f"{now.source['path']}: is not the film that {folder} was begun with; --fresh starts over")
    changed = list(_changes(manifest.made_with, now.made_with))
    if changed:
        more = f" and {len(changed) - _ENOUGH_TO_TELL} more" if len(changed) > _ENOUGH_TO_TELL else ""
        raise UsageError(
            f"{folder}: was begun with {'; '.join(changed[:_ENOUGH_TO_TELL])}{more}; ask for the same to go on; "
            "--fresh starts over, and so does removing the folder"
        )
    other = [*_changes(manifest.engine, now.engine), *_other_runtimes(manifest.shots, now.shots)]
    if other and not mixed:
        raise UsageError(
            f"{folder}: was begun on {'; '.join(other)}: its colours may differ by a level from one segment to the "
            "next; --allow-mixed goes on, --fresh starts over"
        )


def _other_runtimes(before: Iterable[Listed], now: Iterable[Listed]) -> list[str]:
    """Of shots that are wanted as they were."""
    known = {shot: shot.runtime for shot in before}
    pairs = {(known[shot], shot.runtime) for shot in now if known.get(shot, shot.runtime) != shot.runtime}
    return [f"runtime {old}, not {new}" for old, new in sorted(pairs)]


def _holds(shot: Listed, number: int) -> bool:
    return shot.first <= number and (shot.end is None or number < shot.end)


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What differs, name by name."""
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _changes(old, new)
        elif old != new:
            yield f"{name.replace('_', ' ')} {old}, not {new}"
