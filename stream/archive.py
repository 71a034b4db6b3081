"""A film coloured in segments, so that a power cut costs seconds: the same command goes on where it was.

Segment after segment is coded into a file of its own (stream/job.py); in the end their packets are joined with the
other streams of the film, as if it had been written in one go. Where segments begin depends on the film alone
(stream/seams.py), and the smoothing's state goes from one to the next, so that it makes no difference how often the
work was interrupted, or who did which of them. With a list of shots each shot is a film of its own in this, and its
segments are kept, so that a corrected list costs the shots that were changed.
"""

import hashlib
import os
import re
import shutil
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import chain
from math import lcm
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import numpy as np

from stream import media, mux, pipeline
from stream import source as sources
from stream.config import Settings
from stream.engine import Engine, Geometry
from stream.engine_gpu import engine_for
from stream.errors import InputError, ResourceError
from stream.film import Info, Luma, ReadTally
from stream.frame import Frame
from stream.grading import Grading
from stream.job import Entry, JobFolder, Listed, Manifest, Place, check_same, check_unchanged, describe_source
from stream.looks import Look
from stream.metrics import Meter
from stream.mux import SegmentWriter, Writer
from stream.packets import PacketFile, digest, read_coded
from stream.part import naming_failures
from stream.plan import NVENC, SEQUENCE, Output
from stream.proof import listing
from stream.runtime import Choice, Runtime, find_release, open_runtime, version
from stream.runtime_gpu import LARGEST_BATCH, GpuRuntime, describe
from stream.seams import Start
from stream.shotlist import Shot, ShotList
from stream.shots import LEAD, Carry, Seam

WORTHWHILE_S: Final = 30.0
"""A shorter film is written in one go: at most half a minute of it can be lost."""
_BEFORE_S: Final = (0.0, 10.0)
"""How long before a place the film is looked at: a key picture there is enough, unless the pictures after it need one
before; whatever is read is compared, and the film is read from its beginning if all else fails."""
# Bytes of a picture's sample, at most, on grainy film: x264 and x265 at crf 16; ffv1 comes near the raw samples.
_LOSSY_BYTES: Final = 0.15
_COUNTED: Final = ("frames_damaged", "frames_lost", "packets_damaged", "truncated", "missing_s")


Watch: TypeAlias = Callable[[Iterator[Frame]], Iterator[Frame]]
"""Sees the frames of the source pass, and hands them on."""
Painter: TypeAlias = Engine | Grading
"""What colours a film: an engine, or one for each shot of a list."""


class Cluster(Protocol):
    """Many machines that work on one film (stream/cluster.py)."""

    def prepare(self, film: "Film", *, mixed: bool, tell: Callable[[str], None]) -> dict[str, str]:
        """Makes them ready; the identity of the engine that they have in common."""

    def colour(self, film: "Film", folder: JobFolder, watch: "Watch") -> Generator[int, None, None]:
        """Makes all segments that aren't there yet; yields the frames of each as it is finished."""


@dataclass(frozen=True, kw_only=True)
class Film:
    """A film on its way: what is read, how, and what is written."""

    source: str | Path
    """As it was given: a file, an address, or numbered pictures; `info.path` may be another name of the same."""
    info: Info
    output: Output
    settings: Settings
    look: Look | None
    """What to paint it in; None for natural colour."""
    luma: Luma | None = None
    rate: Fraction | None = None
    """Frames a second of numbered pictures."""
    deinterlace: bool = False
    nvdec: bool = False
    """An NVIDIA card decodes the film."""
    shots: ShotList | None = None
    """What a person wants of each shot."""

    def frames(self, tally: ReadTally, since_s: float | None = None) -> Iterator[Frame]:
        """Its pictures; `since_s` leaves out most of those before."""
        if self.info.container == SEQUENCE:
            return sources.read_frames(
                self.source, luma=self.luma, keep_colour=self.settings.source_colours, rate=self.rate, tally=tally
            )
        return media.read_frames(
            self.info.path,
            luma=self.luma,
            keep_colour=self.settings.source_colours,
            deinterlace=self.deinterlace,
            nvdec=self.nvdec,
            tally=tally,
            since_s=since_s,
        )

    @property
    def geometry(self) -> Geometry:
        """How its pictures become working pictures."""
        return self.geometry_of(self.settings.short_side)

    def geometry_of(self, short_side: int) -> Geometry:
        """The same at another working size."""
        info = self.info
        return Geometry.of(
            info.width, info.height, short_side=short_side, pixel_aspect=info.pixel_aspect, rotation=info.rotation
        )

    @property
    def keeps_luma(self) -> bool:
        """Nothing of the film is repainted."""
        if self.shots is not None:
            return not any(shot.paints(self.settings) for shot in self.shots.shots)
        return self.settings.style is None or not self.settings.strength

    @property
    def worthwhile(self) -> bool:
        """Long enough, and of a kind that can be taken up in the middle."""
        rate = self.info.frame_rate
        clock = mux.clock_of(self.output, self.info)
        lasts = self.info.duration_s is None or self.info.duration_s >= WORTHWHILE_S
        wanted = lasts or self.shots is not None  # a correction must cost its shot alone
        return wanted and self.resumable and (rate is None or 1 / rate >= 2 * clock)

    @property
    def resumable(self) -> bool:
        """Can be taken up in the middle at all.

        What NVENC codes can't: a film has one head for all its pictures, and NVENC's depends on the card and driver,
        which a manifest doesn't name. Joined under another head segments would not play, and no card was there to try.
        """
        settings = self.settings
        own = settings.style is not None and not settings.strength and settings.source_colours
        untouched = own and self.shots is None
        of_files = SEQUENCE not in (self.info.container, self.output.container) and Path(self.info.path).is_file()
        return of_files and settings.lag > 0 and not untouched and self.output.codec not in NVENC

    def begin_of(self, number: int) -> int:
        """The first frame that frame `number` may depend on: of its shot, or of the film where there is no list."""
        return 0 if self.shots is None else self.shots.first_of(number)

    def identity(self) -> dict[str, Any]:
        """Everything that decides what the segments are, but the source and the engine."""
        settings = asdict(self.settings)
        for without_effect in ("runtime", "threads"):
            del settings[without_effect]
        output = self.output
        return {
            "shots": "found by the program" if self.shots is None else "of a list",
            "version": version(),
            "weights": find_release(self.settings.weights).sha256,
            "ffmpeg": media.ffmpeg_facts()[0],
            "settings": settings,
            "style_code": self._style_code(),
            "luma": self.luma,
            "deinterlace": self.deinterlace,
            "nvdec": self.nvdec,
            "output": {
                "container": output.container,
                "codec": output.codec,
                "options": output.options,
                "pixel_format": output.pix_fmt,
                "chroma": list(output.subsampling),
            },
        }

    def _style_code(self) -> str | None:
        """What tells a look from another one of the same name; with a list, each shot may have one of its own."""
        if self.look is not None:
            return hashlib.sha256(self.look.code.tobytes()).hexdigest()
        style = self.settings.style
        return None if style is None else Shot(first=0, look=style).digest


def open_engine(film: Film, meter: Meter) -> tuple[Choice, Painter]:
    """What colours this film."""
    settings, shots = film.settings, film.shots
    if shots is not None:
        shots.check_film(film.info.path, film.info.duration_s)
        subsampling = film.output.subsampling
        grading = Grading(shots, film.geometry_of, subsampling=subsampling, settings=settings, meter=meter)
        return grading.choice, grading
    choice = open_runtime(settings, film.geometry.padded, styled=film.look is not None)
    subsampling = film.output.subsampling
    return choice, engine_for(
        choice.runtime, film.geometry, subsampling=subsampling, settings=settings, look=film.look, meter=meter
    )


def engine_identity(runtime: Runtime, *, named: bool = True) -> dict[str, str]:
    """What else must be the same for the same numbers. named: False where each shot of a list states its runtime."""
    return {"runtime": _numbers_of(runtime.name) if named else "", "processor": _processor_of(runtime)}


def _numbers_of(runtime: str) -> str:
    """A runtime's name without what its numbers don't depend on: how many streams it has."""
    return re.sub(r", \d+ streams.*", "", runtime)


def _processor_of(runtime: Runtime) -> str:
    """What computes: the GPU, or the processor."""
    if isinstance(runtime, GpuRuntime) and runtime.device.type == "cuda":
        return describe(runtime.device)
    return processor()


def processor() -> str:
    """The processor's family: another one may round otherwise."""
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.is_file() else ""
    words = [re.search(rf"^{name}\s*: (.*)$", text, re.MULTILINE) for name in ("vendor_id", "cpu family", "model")]
    return " ".join(word[1] for word in words if word) or "unknown"


def scratch_need(film: Film) -> int:
    """Bytes that the segments and the film joined from them take together, at most."""
    info, output = film.info, film.output
    frames = info.expected_frames or 0
    samples = info.width * info.height * (1 + 2 / (1 << sum(output.subsampling)))
    return 2 * round(frames * samples * ((output.depth + 7) // 8 if output.lossless else _LOSSY_BYTES))


def say_begin(film: Film, folder: JobFolder) -> str:
    """How much room the work will take, or where it goes on."""
    shots = len(folder.begun.shots)
    changed = f"{folder.changed} of {shots} shots changed; " if folder.changed else ""
    if folder.frames:
        expected = film.info.expected_frames or "unknown"
        return f"{changed}goes on after {folder.frames} of {expected} frames, kept in {folder.path}"
    free = shutil.disk_usage(folder.path).free
    need = scratch_need(film)
    words = f"{changed}works in segments kept in {folder.path}: at most about {_size(need)} there and for the result, "
    return words + f"{_size(free)} are free" + ("; that may not be enough" if need > free else "")


def say_kept(folder: JobFolder) -> str:
    """Why the folder stays."""
    return (
        f"the segments stay in {folder.path} ({_size(folder.bytes)}): with a corrected list of shots and -y the same "
        "command makes only the shots again that were changed; remove the folder once the film is right"
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"


class Numbered:
    """The frames of a film from a place on, with what is needed to find each again, and what was counted up to it."""

    def __init__(self, film: Film, place: Place) -> None:
        self._film = film
        self._place = place
        self._known: dict[int, tuple[tuple[int, int], ReadTally]] = {}
        self.tally = ReadTally()
        self.number = place.first
        self.coloured = False

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._found():
            self._known[self.number] = ((frame.pts or 0, crc_of(frame)), replace(self.tally))
            self.number += 1
            yield frame

    def _found(self) -> Iterator[Frame]:
        wanted = self._place.lead
        if not wanted:
            return self._film.frames(self.tally)
        time_s = float(wanted[0][0] * self._film.info.time_base)
        for since_s in (*(time_s - before for before in _BEFORE_S), None):
            self.tally = ReadTally()
            frames = self._film.frames(self.tally, since_s)
            if found := _find(frames, wanted):
                return chain(found, frames)
        raise InputError(
            f"{self._film.info.path}: frame {self._place.number} can't be found again at {time_s:.2f} s; "
            "start over with --fresh"
        )

    def place(self, number: int, *, carried: bool) -> Place:
        """How the frame `number`, which has been read, is found again; forgets those long before it."""
        first = first_needed(number, self._film.settings.batch, since=self._film.begin_of(number))
        lead = tuple(self._known[index][0] for index in range(first, number + 1))
        for index in list(self._known):  # a copy: the decoder's thread goes on adding to it
            if index < first:
                del self._known[index]
        return Place(number=number, carried=carried, lead=lead)

    def counts(self, start: int, end: int | None) -> dict[str, int | float | bool]:
        """What was counted from frame `start` up to frame `end`, or the film's end."""
        before = self._known[start][1] if start else ReadTally()
        after = self._known[end][1] if end is not None else self.tally
        return {name: getattr(after, name) - getattr(before, name) for name in _COUNTED}


def first_needed(number: int, batch: int, *, since: int = 0) -> int:
    """The first frame to be read so that `number` comes out as if all had been: with the cut detector's memory full,
    and where a batch begins, on a CPU as on any GPU: whoever goes on makes the batches of the whole film.

    since: the frame from which on batches are counted, and before which nothing matters.
    """
    whole = lcm(batch, LARGEST_BATCH)
    return since + max(0, number - since - LEAD) // whole * whole


def crc_of(frame: Frame) -> int:
    """CRC-32 of the luma."""
    return zlib.crc32(np.ascontiguousarray(frame.luma).data)


def _find(frames: Iterator[Frame], wanted: tuple[tuple[int, int], ...]) -> list[Frame]:
    """The frames with these times and checksums, one after the other; none if they aren't there."""
    found: list[Frame] = []
    for frame in frames:
        if not found and (frame.pts or 0) < wanted[0][0]:
            continue
        if (frame.pts or 0, crc_of(frame)) != wanted[len(found)]:
            return []
        found.append(frame)
        if len(found) == len(wanted):
            return found
    return []


class _Sink:
    """Takes frames in the encoder's thread; closes a segment and opens the next at every seam."""

    def __init__(self, film: Film, folder: JobFolder, source: Numbered, number: int) -> None:
        self._film = film
        self._folder = folder
        self._source = source
        self._writer: SegmentWriter | None = None
        self._file: PacketFile | None = None
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
        with naming_failures(path, kept=mux.GOES_ON):
            self._file = self._folder.open_segment(self._start)
        self._writer = SegmentWriter(self._film.output, self._film.info, self._file)

    def _close(self, carry: Carry | None, *, last: bool = False) -> None:
        writer, file = self._writer, self._file
        if writer is None or file is None:
            raise ValueError("no segment is open")
        with naming_failures(file.path, kept=mux.GOES_ON):
            writer.close()
            file.finish()
            counts = self._source.counts(self._start, None if last else self._number)
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


def join(film: Film, folder: JobFolder, metadata: dict[str, str], report: dict[str, Any]) -> Writer:
    """Writes the film from its segments; the writer, closed, knows what became of the other streams.

    A segment that isn't what was written is dropped, and ResourceError tells to start again.
    """
    check_unchanged(folder.begun.source)
    output, info = film.output, film.info
    with (
        Writer(output, info, metadata=metadata) as writer,
        listing(writer, output, info, wanted=film.keeps_luma) as note,
    ):
        for entry in folder.in_order():
            path = folder.file(entry.start)
            if digest(path) != entry.sha256:
                folder.drop(entry.start)
                raise ResourceError(f"{path}: was damaged on the disk; the same command makes this segment again")
            for packet in read_coded(path):
                writer.write_coded(packet)
                note(packet.luma_md5, packet.pts)
        folder.begun.finished = report | {"packets_lost": writer.packets_lost}
        folder.save()
    return writer


def list_shots(film: Film, engine: Painter | None = None) -> tuple[Listed, ...]:
    """The shots of the film's list as the engine makes them; none without a list."""
    if film.shots is None:
        return ()
    runtimes = engine.runtimes if isinstance(engine, Grading) else [""] * len(film.shots.shots)
    return tuple(
        Listed(first=shot.first, end=end, digest=shot.digest, runtime=_numbers_of(runtime))
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
        folder.begin(now)
    else:
        check_same(folder.manifest, now, folder.path, mixed=mixed)
        folder.manifest.source = now.source
        if shots:
            folder.relist(shots)
    return replace(film, output=replace(film.output, threads=folder.begun.encoder_threads))


def encoder_threads() -> int:
    """As many as x264 takes by itself, written down: another machine must take the same."""
    return min(16, max(1, 3 * len(os.sched_getaffinity(0)) // 2))


def total(folder: JobFolder) -> ReadTally:
    """What was counted, over all segments."""
    entries = list(folder.in_order())
    counts: dict[str, Any] = {name: sum(entry.counts[name] for entry in entries) for name in _COUNTED}
    counts["truncated"] = bool(counts["truncated"])
    return ReadTally(**counts | {"frames": sum(entry.end - entry.start for entry in entries)})
