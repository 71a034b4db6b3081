"""A film coloured in segments, so that a power cut costs seconds: the same command goes on where it was.

Segment after segment is coded into a file of its own (stream/job.py); in the end their packets are joined with the
other streams of the film, as if it had been written in one go; numbered pictures stay as they are (stream/segments.py).
Where segments begin depends on the film alone
(stream/seams.py), and the smoothing's state goes from one to the next, so that it makes no difference how often the
work was interrupted, or who did which of them. With a list of shots each shot is a film of its own in this, and its
segments are kept, so that a corrected list costs the shots that were changed.
"""

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from stream import pipeline
from stream.film import ReadTally
from stream.frame import Frame
from stream.grading import Grading
from stream.job import JobFolder, check_same, check_unchanged, describe_source
from stream.manifest import Entry, Listed, Manifest, Place
from stream.numbered import COUNTED, Numbered
from stream.packets import SegmentFile
from stream.painter import Painter, numbers_of
from stream.part import GOES_ON, naming_failures
from stream.reel import Film, Watch
from stream.seams import Start
from stream.segment_writer import SegmentWriter
from stream.segments import Ready, segments_of
from stream.sequence_writer import SegmentPictures
from stream.shots import Carry, Seam


class Cluster(Protocol):
    """Many machines that work on one film (stream/cluster.py)."""

    def prepare(self, film: Film, *, mixed: bool, tell: Callable[[str], None]) -> dict[str, str]:
        """Makes them ready; the identity of the engine that they have in common."""

    def colour(self, film: Film, folder: JobFolder, watch: Watch) -> Generator[int, None, None]:
        """Makes all segments that aren't there yet; yields the frames of each as it is finished."""


class _Sink:
    """Takes frames in the encoder's thread; closes a segment and opens the next at every seam."""

    def __init__(self, film: Film, folder: JobFolder, source: Numbered, number: int) -> None:
        self._film = film
        self._folder = folder
        self._source = source
        self._segments = segments_of(film)
        self._writer: SegmentWriter | SegmentPictures | None = None
        self._file: SegmentFile | None = None
        self._start = self._number = number
        self.ended = False

    def write(self, item: tuple[Frame, Seam | None]) -> None:
        """One more frame; those behind the seam of a segment that is there already are left out."""
        frame, seam = item
        if self.ended:
            return
        if seam is not None:
            if self._writer is not None:
                self._close(seam.carry)
            if self._number in self._folder.begun.entries:
                self.ended = True
                return
            self._open()
        if self._writer is None:
            raise ValueError("a segment begins with a seam")
        self._writer.write(frame)
        self._number += 1

    def finish(self) -> None:
        """The film has ended."""
        if self._writer is not None:
            self._close(None, last=True)

    def abandon(self) -> None:
        """The work has ended in the middle of a segment."""
        if self._file is not None:
            self._file.abandon()

    def _open(self) -> None:
        self._start = self._number
        path = self._folder.file(self._start)
        with naming_failures(path, kept=GOES_ON):
            self._file, self._writer = self._segments.open(path, self._start)

    def _close(self, carry: Carry | None, *, last: bool = False) -> None:
        writer, file = self._writer, self._file
        if writer is None or file is None:
            raise ValueError("no segment is open")
        with naming_failures(file.path, kept=GOES_ON):
            writer.close()
            file.finish()
            end = None if last else self._number
            counts, remarks = self._source.counts(self._start, end), self._source.remarks(self._start, end)
            place = None if last else self._source.place(self._number, carried=carry is not None)
            if carry is not None:
                self._folder.keep_carry(self._number, carry)
            self._folder.enter(
                Entry(
                    start=self._start,
                    end=self._number,
                    sha256=file.sha256,
                    bytes=file.bytes,
                    counts=counts,
                    next=place,
                    remarks=remarks,
                )
            )
        self._writer = self._file = None


def colour(film: Film, folder: JobFolder, engine: Painter, watch: Watch) -> Generator[Frame, None, None]:
    """Makes all segments that aren't there yet; yields each frame as it is made.

    watch: sees the source's frames pass.
    """
    while (place := folder.first_hole()) is not None:
        yield from _colour_from(place, film, folder, engine, watch)


def _colour_from(
    place: Place,
    film: Film,
    folder: JobFolder,
    engine: Painter,
    watch: Watch,
) -> Iterator[Frame]:
    """From a place to the next segment that is there, or to the film's end."""
    source = Numbered(film, place)
    sink = _Sink(film, folder, source, place.number)
    made = frozenset(folder.begun.entries)
    start = Start(
        lead=place.number - place.first,
        carry=folder.carry(place),
        number=place.number,
        made=made,
        mixed=folder.mixed,
    )

    def paint(frames: Iterable[Frame]) -> Iterator[tuple[Frame, Seam | None]]:
        return engine.run_segments(frames, start)

    try:
        with closing(pipeline.pump(watch(iter(source)), paint, sink.write, meter=engine.meter)) as painted:
            for number, (frame, seam) in enumerate(painted, place.number):
                if seam is not None and number in made:
                    break  # as the sink does
                yield frame
        if not sink.ended:
            sink.finish()
        notices = folder.begun.notices
        notices += [notice for notice in engine.notices if notice not in notices]
    finally:
        sink.abandon()


def join(film: Film, folder: JobFolder, ready: Ready) -> None:
    """Makes the film of its segments.

    ready: called once it is complete, before it gets its name. A segment that isn't what was written is dropped, and
    ResourceError tells to start again.
    """
    check_unchanged(folder.begun.source)
    segments_of(film).join(folder, ready)


def list_shots(film: Film, engine: Painter | None = None) -> tuple[Listed, ...]:
    """The shots of the film's list as the engine makes them; none without a list."""
    if film.shots is None:
        return ()
    runtimes = engine.runtimes if isinstance(engine, Grading) else [""] * len(film.shots.shots)
    return tuple(
        Listed(first=shot.first, end=end, digest=shot.digest, runtime=numbers_of(runtime))
        for (shot, end), runtime in zip(film.shots.spans(), runtimes, strict=True)
    )


def begin(
    folder: JobFolder, film: Film, engine: dict[str, str], *, mixed: bool, shots: tuple[Listed, ...] = ()
) -> Film:
    """Begins a job or goes on with one, if it is the same; the film as it must be coded.

    engine: its identity. shots: of the film's list; those that aren't as they were in the job's are made again.
    """
    now = Manifest(
        source=describe_source(Path(film.info.path)),
        made_with=film.identity(),
        engine=engine,
        encoder_threads=encoder_threads(),
        shots=shots,
    )
    folder.mixed = mixed
    if folder.manifest is None:
        segments_of(film).clear()
        folder.begin(now)
    else:
        check_same(folder.manifest, now, folder.path, mixed=mixed)
        folder.manifest.source = now.source
        if shots:
            folder.relist(shots)
    segments_of(film).take_up(folder)
    folder.sift()
    folder.first_hole()  # what can't be joined to that is dropped before anything is said of how much is there
    return replace(film, output=replace(film.output, threads=folder.begun.encoder_threads))


def encoder_threads() -> int:
    """As many as x264 takes by itself, written down: another machine must take the same."""
    return min(16, max(1, 3 * len(os.sched_getaffinity(0)) // 2))


def total(folder: JobFolder) -> ReadTally:
    """What was counted, over all segments."""
    entries = list(folder.in_order())
    counts: dict[str, Any] = {name: sum(entry.counts[name] for entry in entries) for name in COUNTED}
    counts["truncated"] = bool(counts["truncated"])
    counts["remarks"] = list(dict.fromkeys(remark for entry in entries for remark in entry.remarks))
    return ReadTally(**counts | {"frames": sum(entry.end - entry.start for entry in entries)})
