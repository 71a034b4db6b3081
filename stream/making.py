"""Makes a film: in one go, in segments, or in segments on many machines; and reports what became of every frame."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from stream import announce, archive, mux, pipeline
from stream.archive import Cluster
from stream.config import Settings
from stream.errors import Interrupted
from stream.film import Info, Luma, ReadTally
from stream.frame import Frame, has_colour
from stream.job import JobFolder, check_unchanged, describe_source
from stream.metrics import Meter, Report
from stream.painter import Painter, engine_identity, open_engine
from stream.proof import listing, proving
from stream.reel import Film
from stream.runtime import Choice, find_release, version
from stream.segments import segments_of
from stream.sequence_writer import SequenceWriter, open_writer
from stream.sidecar import Origin, prepare_sidecar, provenance

_REMARKS = 20


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is asked of one file, beside how it is coloured."""

    codec: str | None = None
    """libx264, libx265 or ffv1; None chooses by the film's depth."""
    overwrite: bool = False
    """An output that exists is replaced."""
    strict: bool = False
    """Refuses an output that can't hold all that the input has."""
    luma: Luma | None = None
    """The matrix that makes Y' of an RGB source in colour."""
    rate: Fraction | None = None
    """Frames a second of numbered pictures; None takes what their headers say, else 24."""
    deinterlace: bool = False
    """Makes whole pictures of fields; else both fields are kept and coloured by themselves."""
    nvdec: bool = False
    """An NVIDIA card decodes the film."""
    segments: bool | None = None
    """Works in segments (stream/archive.py), so that what is interrupted goes on; None: if a film is worth it."""
    fresh: bool = False
    """Forgets what an earlier run left of the same result."""
    mixed: bool = False
    """Goes on with what another engine or processor began, and where a GPU's memory runs out, in smaller batches."""
    cluster: Cluster | None = None
    """Works on the machines of a cluster (stream/cluster.py)."""


class Watchers(NamedTuple):
    """Who is told how it goes."""

    progress: Callable[[int, int | None], None]
    see: Callable[[Frame], None]
    tell: Callable[[str], None]


def make(film: Film, folder: JobFolder | None, job: Job, watchers: Watchers) -> Report:
    """Colours the film: in one go, in segments, or in segments on many machines."""
    meter = Meter()
    report = new_report(film.source, film.output.path, film.settings)
    report.working_size = film.geometry.content
    report.notices = [*_notices(film.info, job), *film.output.notices]
    if folder is None:
        _in_one_go(film, report, watchers, meter)
        return report
    with segments_of(film).hold():
        if job.cluster is not None:
            identity = job.cluster.prepare(film, mixed=job.mixed, tell=watchers.tell)
            report.runtime = identity["runtime"]
            film = archive.begin(folder, film, identity, mixed=job.mixed)
            made = job.cluster.colour(film, folder, partial(_watched, film, notices=folder.begun.notices))
        else:
            choice, engine = _open_engine(film, meter, watchers)
            report.runtime = f"{choice.runtime.name} ({choice.reason})"
            report.notices += choice.notices
            listed = archive.list_shots(film, engine)
            identity = engine_identity(choice.runtime, named=not listed)
            film = archive.begin(folder, film, identity, mixed=job.mixed, shots=listed)
            frames = archive.colour(film, folder, engine, partial(_watched, film, notices=folder.begun.notices))
            made = _seen(frames, watchers)
        _in_segments(film, folder, made, report, (watchers, meter))
    return report


def _seen(frames: Generator[Frame, None, None], watchers: Watchers) -> Generator[int, None, None]:
    """Counts frames, which who wants to sees."""
    with closing(frames):
        for frame in frames:
            watchers.see(frame)
            yield 1


def _watched(film: Film, frames: Iterator[Frame], notices: list[str]) -> Iterator[Frame]:
    return frames if film.settings.source_colours else _watch_colour(frames, notices)


def _open_engine(film: Film, meter: Meter, watchers: Watchers) -> tuple[Choice, Painter]:
    """The engine; preparing the network for a size that is new is told, and can be interrupted."""
    try:
        check = partial(watchers.progress, 0, film.info.expected_frames)
        return open_engine(film, meter, tell=watchers.tell, check=check)
    except Interrupted as stop:
        raise Interrupted("interrupted before a frame was made; nothing was written", stop.exit_code - 128) from None


def _in_one_go(film: Film, report: Report, watchers: Watchers, meter: Meter) -> None:
    info, output, shots = film.info, film.output, film.shots
    if words := announce.say_one_go(film):
        watchers.tell(words)
        report.notices.append(words)
    choice, engine = _open_engine(film, meter, watchers)
    report.runtime = f"{choice.runtime.name} ({choice.reason})"
    report.notices += choice.notices
    tally = ReadTally()
    made_of = describe_source(info.path)
    frames = _watched(film, film.frames(tally), report.notices)
    with (
        listing(output, info, wanted=film.keeps_luma) as proof,
        open_writer(output, info, {"kinochrome": provenance(film.settings)}) as writer,
    ):
        write = proving(writer, proof)
        try:
            with closing(pipeline.run(frames, engine, write, meter=meter)) as painted:
                for frame in painted:
                    watchers.see(frame)
                    watchers.progress(writer.frames, info.expected_frames)
            watchers.progress(writer.frames, info.expected_frames)  # the writer lags behind: a short film ended untold
        except Interrupted as stop:
            raise _told(stop, writer.frames, f"{writer.position_s:.1f} s", output.part) from None
        check_unchanged(made_of)
        report.frames_out = writer.frames
        report.notices += [notice for notice in engine.notices if notice not in report.notices]
        _count(report, tally)
        if shots is not None:
            report.notices += [*shots.beyond(tally.frames), "made in one go: a corrected list makes all shots again"]

        def ready() -> None:
            if proof is not None:
                proof.finish(output.part)
            _count_others(report, writer)
            report.measure(meter)
            sign(film, output.part, report, made_of)

        writer.ready = ready


def _in_segments(
    film: Film, folder: JobFolder, made: Generator[int, None, None], report: Report, told: tuple[Watchers, Meter]
) -> None:
    """Waits for all segments and joins them. made: frames as they are finished."""
    watchers, meter = told
    report.frames_before = done = folder.frames
    watchers.tell(announce.say_begin(film, folder))
    try:
        with closing(made):
            for frames in made:
                meter.note_frame()
                done += frames
                watchers.progress(done, film.info.expected_frames)
    except Interrupted as stop:
        raise Interrupted(
            f"interrupted after {done} frames; {folder.frames} are kept in {announce.kept_in(film, folder)}, "
            "and the same command goes on",
            stop.exit_code - 128,
        ) from None
    report.notices += folder.begun.notices
    tally = archive.total(folder)
    report.frames_out = tally.frames
    _count(report, tally)
    if film.shots is not None:
        report.notices += [*film.shots.beyond(tally.frames), announce.say_kept(film, folder)]

    def ready(writer: mux.Writer | None) -> None:
        if writer is not None:
            _count_others(report, writer)
        report.measure(meter)
        sign(film, film.output.part, report, folder.begun.source)
        folder.begun.finished = report.as_dict()
        folder.save()

    archive.join(film, folder, ready)


def sign(film: Film, made: Path, report: Report, made_of: dict[str, Any]) -> None:
    """Says of a film that is complete, and lies at `made`, how it was made of what."""
    origin = Origin(source=made_of, made_with=film.recipe(), settings=film.settings, shots=film.shots)
    prepare_sidecar(film.output.path, made, report, origin)


def _told(stop: Interrupted, frames: int, reached: str, part: Path) -> Interrupted:
    """The interruption in a line that says how far the work got."""
    left = f"{part} plays up to there" if frames else "nothing was written"
    return Interrupted(f"interrupted after {frames} frames, {reached}; {left}", stop.exit_code - 128)


def _notices(info: Info, job: Job) -> list[str]:
    notices = []
    films = [stream for stream in info.others if stream.kind == "video" and not stream.cover]
    if films:
        notices.append(f"stream {films[0].index} is another film: it goes along as it is, and the first is coloured")
    if info.rgb and job.luma:
        notices.append(f"the source is RGB; its luma was made with the weights of {job.luma}")
    return notices


def _watch_colour(frames: Iterator[Frame], notices: list[str]) -> Iterator[Frame]:
    """The same frames; the first one in colour (tinting, toning, a colour film) adds a notice that colours get lost."""
    notice = "the source has colours of its own (tinting, toning or a colour film); they are replaced"
    told = notice in notices  # an earlier run of the same job may have said so
    for frame in frames:
        if not told and has_colour(frame):
            told = True
            notices.append(notice)
        yield frame


def _count(report: Report, tally: ReadTally) -> None:
    report.frames_in = tally.frames + tally.frames_lost
    report.frames_damaged = tally.frames_damaged
    report.frames_lost = tally.frames_lost
    report.packets_damaged = tally.packets_damaged
    report.truncated = tally.truncated
    report.missing_s = round(tally.missing_s, 3)
    report.notices += tally.remarks[:_REMARKS]
    if len(tally.remarks) > _REMARKS:
        report.notices.append(f"and {len(tally.remarks) - _REMARKS} more such lines")


def _count_others(report: Report, writer: mux.Writer | SequenceWriter) -> None:
    """What became of the other streams."""
    if writer.moved_s:
        suffix = Path(report.result).suffix
        report.notices.append(f"all streams come {writer.moved_s:.3f} s later: {suffix} has no times below zero")
    report.packets_lost = writer.packets_lost


def new_report(source: str | Path, target: Path, settings: Settings) -> Report:
    """A report that nothing is in yet but of what, and with what."""
    return Report(
        source=str(source),
        result=str(target),
        version=version(),
        weights_sha256=find_release(settings.weights).sha256,
    )
