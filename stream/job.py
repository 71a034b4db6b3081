"""The folder beside a film in which its finished segments wait for each other: NAME.part.EXT.d.

    manifest.json        what the work was begun with, and an entry for each finished segment
    000000240.segment    the coded pictures from frame 240 on (stream/packets.py); where numbered pictures are written,
                         which of them they are (stream/picture_list.py)
    000000240.carry      what is known of the shot before frame 240, where that isn't a cut: sha256, then safetensors

It goes once the film has got its name; that of a film with a list of shots stays, for the next correction of the list.

A file counts once the manifest names it; the manifest is replaced whole, and only after the file is on the disk. So a
power cut leaves the folder as it was before or after a segment, never in between.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from stream.errors import InputError, OutputError, UsageError
from stream.manifest import Entry, Listed, Manifest, Place
from stream.packets import PacketFile, digest
from stream.part import GOES_ON, finish_part, naming_failures, part_of
from stream.seams import pack, unpack
from stream.shots import Carry
from stream.source import stamp

MANIFEST: Final = "manifest.json"
_LOCK: Final = "lock"
_ENOUGH_TO_TELL = 3
_SHA256_BYTES: Final = 32


def folder_of(target: Path) -> Path:
    """Where the segments of a result are kept until it is complete."""
    part = part_of(target)
    return part.with_name(part.name + ".d")


def describe_source(path: str | Path) -> dict[str, Any]:
    """What tells a film from another one; reads all of a file. Numbered pictures are told by their stamp alone."""
    before = stamp(path)
    try:
        sha256 = digest(Path(path)) if Path(path).is_file() else None
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from error
    if stamp(path) != before:
        raise InputError(f"{path}: is still being written; try again once it is complete")
    return before | {"sha256": sha256}


def check_unchanged(source: Mapping[str, Any]) -> None:
    """Refuses a film that was written to while it was read."""
    if not is_unchanged(source):
        raise InputError(
            f"{source['path']}: was changed while it was read; nothing was made of it; once it is complete, --fresh "
            "starts over"
        )


def is_unchanged(source: Mapping[str, Any]) -> bool:
    """Whether a film was not written to since it was described."""
    now = stamp(source["path"])
    return now == {name: source.get(name) for name in now}


class JobFolder:
    """The folder of one job, locked; the only place that writes its manifest."""

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        """fresh: whatever an earlier run left may be beyond reading."""
        self.path = path
        self.manifest: Manifest | None = None
        self.changed = 0
        """Shots of the list that aren't as they were in the one before."""
        self.mixed = False
        """This run was told that colours may differ by a level from one segment to the next."""
        self.holds: Callable[[Path], bool] = lambda path: True
        """Whether what a segment's file names beside itself is there as it was."""
        self._held: set[int] = set()
        if (path / MANIFEST).exists():
            try:
                self.manifest = Manifest.of_json((path / MANIFEST).read_text())
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                if not fresh:
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
        with naming_failures(part, kept=GOES_ON):
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
        """The same, of what `pack` gave; its sha256 goes first."""
        path = self.carry_file(start)
        part = path.with_name(path.name + ".part")
        part.write_bytes(hashlib.sha256(carry).digest() + carry)
        finish_part(part, path)

    def carry(self, place: Place) -> Carry | None:
        """What is known before a place, if anything is."""
        packed = self.packed(place.number) if place.carried else None
        return None if packed is None else unpack(packed)

    def packed(self, start: int) -> bytes | None:
        """What `keep_packed` kept; None where it isn't there as it was."""
        with suppress(FileNotFoundError):
            data = self.carry_file(start).read_bytes()
            carry = data[_SHA256_BYTES:]
            return carry if hashlib.sha256(carry).digest() == data[:_SHA256_BYTES] else None
        return None

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
        self._held.discard(start)
        self.save()
        self.file(start).unlink(missing_ok=True)

    def sift(self) -> None:
        """Drops the segments that aren't there as they were."""
        for entry in list(self.begun.entries.values()):
            if not self._is_whole(entry):
                self.drop(entry.start)

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
            if not place.carried or self.packed(place.number) is not None:
                return place
            before = path.pop()
            self.drop(before.start)
            place = path[-1].next if path else Place(number=0)
        return None

    def _is_whole(self, entry: Entry) -> bool:
        path = self.file(entry.start)
        if not path.exists() or path.stat().st_size != entry.bytes:
            return False
        if entry.start not in self._held and not self.holds(path):
            return False
        self._held.add(entry.start)  # looked at once in a run: they may be a hundred thousand pictures
        return True

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
        self._held.clear()
        for path in self.path.iterdir():
            if path.name != _LOCK:
                path.unlink()

    def remove(self) -> None:
        """All is done with. The manifest goes last: while it is there, the rest is known to be done with."""
        for path in sorted(self.path.iterdir(), key=lambda path: path.name in (MANIFEST, _LOCK)):
            path.unlink()
        self.path.rmdir()


@contextmanager
def open_job(path: Path, *, fresh: bool = False) -> Iterator[JobFolder]:
    """The folder, made if need be, for this run alone; nothing is left of it where no job was begun."""
    path.mkdir(exist_ok=True)
    handle = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"{path}: another run is at work on it; wait for it, or name another output") from error
        lock = path / _LOCK
        if not lock.exists() or not os.path.samestat(os.fstat(handle), lock.stat()):  # taken away before it was ours
            raise OutputError(f"{path}: another run has just finished it; give the same command again")
        try:
            yield JobFolder(path, fresh=fresh)
        finally:
            if path.exists() and {found.name for found in path.iterdir()} <= {_LOCK, MANIFEST + ".part"}:
                shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(handle)


def check_same(manifest: Manifest, now: Manifest, folder: Path, *, mixed: bool) -> None:
    """Refuses to go on with another source, weights or settings, and on another engine unless `mixed`."""
    if any(manifest.source.get(name) != now.source.get(name) for name in ("sha256", "pictures")):
        raise UsageError(f"{now.source['path']}: is not the film that {folder} was begun with; --fresh starts over")
    if changed := say_changes(manifest.made_with, now.made_with):
        raise UsageError(
            f"{folder}: was begun with {changed}; ask for the same to go on; "
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


def say_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs, in words; "" where nothing does."""
    changed = list(_changes(before, now))
    more = f" and {len(changed) - _ENOUGH_TO_TELL} more" if len(changed) > _ENOUGH_TO_TELL else ""
    return "; ".join(changed[:_ENOUGH_TO_TELL]) + more


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What differs, name by name."""
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _changes(old, new)
        elif old != new:
            told = ("unset" if value is None else value for value in (old, new))
            yield f"{name.replace('_', ' ')} {', not '.join(map(str, told))}"
