"""What makes segments of a film on some machine of a cluster (stream/cluster.py): an engine that stays open."""

import hashlib
import os
import tempfile
from collections.abc import Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stream.errors import EngineError, KinochromeError
from stream.frame import Frame
from stream.metrics import Meter
from stream.numbered import Numbered
from stream.packets import SegmentFile
from stream.painter import Painter, engine_identity, open_engine
from stream.pipeline import pump
from stream.plan import SEQUENCE
from stream.reel import Film
from stream.runtime import Choice
from stream.scan import Planned
from stream.seams import Start, pack, unpack
from stream.segment_writer import SegmentWriter
from stream.segments import segments_of
from stream.sequence_writer import SegmentPictures
from stream.shots import Seam
from stream.source import stamp


@dataclass(frozen=True, kw_only=True)
class Order:
    """A segment to be made."""

    planned: Planned
    carry: bytes | None
    """What is known before it (seams.pack)."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A segment that was made."""

    data: bytes | None
    """Its file; None where the worker has put it into the job's folder."""
    sha256: str
    size: int
    carry: bytes | None
    """For the next one."""
    notices: tuple[str, ...] = ()
    """What a person should know about how it was made."""


class Worker:
    """Runs on some machine, in a process of its own; keeps the engine of the last film."""

    def __init__(self, threads: int, *, gpu: bool = False) -> None:
        self._threads = threads
        self._gpu = gpu
        self._film: Film | None = None
        self._choice: Choice | None = None
        self._engine: Painter | None = None
        self._kind: Hashable = None
        self._mixed = False
        self._copy: Any = None
        self._has_film = False
        self._shares_folder = False

    def find(self, film: Film, known: dict[str, Any], token: str) -> str:
        """What this machine lacks for making a film, in words, "" for nothing; forgets the last one.

        known: what `know` says of it. token: a file in the job's folder, for who sees it. A film that isn't here can be
        sent, and its segments back; numbered pictures must lie where all machines see them.
        """
        if self._copy is not None:
            self._copy.close()
            self._copy = None
        self._has_film = know(film) == known
        self._shares_folder = Path(token).is_file() and os.access(Path(token).parent, os.W_OK)
        if film.info.container == SEQUENCE and not self._has_film:
            return f"it doesn't see the pictures {film.info.path} as they are"
        if film.output.container == SEQUENCE and not (self._shares_folder and os.access(film.output.part, os.W_OK)):
            return f"it can't write into {film.output.part}"
        return ""

    def has_film(self) -> bool:
        """Whether the film that was looked for lies here, under the same path."""
        return self._has_film

    def receive(self, block: bytes) -> None:
        """The next part of a film that isn't there; it lies in a file without a name, of which nothing can be left."""
        if self._copy is None:
            self._copy = tempfile.TemporaryFile()  # noqa: SIM115  (kept open until the next film)
        self._copy.write(block)

    def prepare(self, film: Film, *, mixed: bool = False) -> dict[str, str]:
        """Opens the engine for a film, unless it is that of the last one; which runtime and processor it has.

        mixed: it may make what differs by a level from what others make.
        """
        if self._copy is not None:
            self._copy.flush()
            film = replace(film, info=replace(film.info, path=f"/proc/{os.getpid()}/fd/{self._copy.fileno()}"))
        settings = replace(film.settings, threads=self._threads)
        if not self._gpu and settings.runtime == "auto":
            # Ray (2.60) hides no GPU from those that were given none.
            settings = replace(settings, runtime="openvino")
        film = replace(film, settings=settings)
        choice = self._open(film)
        self._film, self._mixed = film, mixed
        return engine_identity(choice.runtime)

    def _open(self, film: Film) -> Choice:
        look = None if film.look is None else film.look.codes.tobytes()
        kind = film.settings, film.geometry, film.output.subsampling, look
        if self._choice is None or kind != self._kind:
            self._choice = self._engine = None  # a GPU may have no room for both
            self._choice, self._engine = open_engine(film, Meter())
            self._kind = kind
        return self._choice

    def code_with(self, threads: int) -> None:
        """The encoder's threads, which are the job's and not this machine's."""
        if self._film is not None:
            self._film = replace(self._film, output=replace(self._film.output, threads=threads))

    def make(self, order: Order, path: str) -> Made:
        """Makes a segment; `path` is its file's in the job's folder."""
        if self._film is None or self._engine is None:
            raise ValueError("prepare comes first")
        if self._shares_folder:
            file, carry = self._write(order, Path(path))
            return self._made(None, file, carry)
        with tempfile.TemporaryDirectory(prefix="kinochrome-") as folder:
            file, carry = self._write(order, Path(folder) / Path(path).name)
            return self._made(file.path.read_bytes(), file, carry)

    def _made(self, data: bytes | None, file: SegmentFile, carry: bytes | None) -> Made:
        notices = () if self._engine is None else tuple(self._engine.notices)
        return Made(data=data, sha256=file.sha256, size=file.bytes, carry=carry, notices=notices)

    def _write(self, order: Order, path: Path) -> tuple[SegmentFile, bytes | None]:
        planned, film, engine = order.planned, self._film, self._engine
        if film is None or engine is None:
            raise ValueError("prepare comes first")
        place, length = planned.place, planned.end - planned.place.number
        count = place.number - place.first + len(planned.marks)
        count += (
            -count % film.settings.batch
        )  # the last batch is whole, as in the film: a processor rounds others otherwise
        frames = _some(iter(Numbered(film, place)), count)
        start = Start(
            lead=place.number - place.first,
            carry=None if order.carry is None else unpack(order.carry),
            marks=planned.marks,
            seams=frozenset({0, length}),
            mixed=self._mixed,
        )
        file, opened = segments_of(film).open(path, place.number)
        with file:
            with opened as writer:
                carry = self._fill(writer, frames, start, length)
            file.finish()
        return file, carry

    def _fill(
        self, writer: SegmentWriter | SegmentPictures, frames: Iterator[Frame], start: Start, length: int
    ) -> bytes | None:
        engine, carry, done = self._engine, None, 0
        if engine is None:
            raise ValueError("prepare comes first")

        def write(item: tuple[Frame, Seam | None]) -> None:
            nonlocal carry, done
            if done < length:
                writer.write(item[0])
            elif done == length and item[1] is not None and item[1].carry is not None:
                carry = pack(item[1].carry)
            done += 1

        for _ in pump(frames, lambda source: engine.run_segments(source, start), write, meter=engine.meter):
            pass
        if done < length:
            raise EngineError(f"{writer.frames} of {length} frames came")
        return carry


def _some(frames: Iterator[Frame], count: int) -> Iterator[Frame]:
    """The first ones; reads none beyond."""
    for _ in range(count):
        frame = next(frames, None)
        if frame is None:
            return
        yield frame


def know(film: Film) -> dict[str, Any]:
    """By what a film is taken for the same on another machine: its size and ends; of numbered pictures, their stamp."""
    path = Path(film.info.path)
    if film.info.container == SEQUENCE:
        with suppress(KinochromeError):
            return stamp(path)
        return {}
    return {"size": path.stat().st_size, "ends": _ends(path)} if path.is_file() else {}


def _ends(path: Path) -> str:
    """Digest of a file's first and last megabyte."""
    with path.open("rb") as file:
        first = file.read(1 << 20)
        file.seek(max(0, path.stat().st_size - (1 << 20)))
        return hashlib.sha256(first + file.read()).hexdigest()
