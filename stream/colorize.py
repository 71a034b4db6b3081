"""Colours or paints a film or a picture from file to file: the Python API behind `kinochrome colorize` and `stylize`.

from stream.colorize import colorize, stylize

report = colorize("reel.mkv", "reel-colour.mkv")
report = stylize("clip.mp4", "clip-painted.mp4", style="painting.jpg", strength=0.8)
"""

import json
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stream import archive, media, mux, pipeline, plan, stills
from stream import source as sources
from stream.archive import Cluster, Film, engine_identity, open_engine
from stream.config import STYLE_SIDE, Settings
from stream.engine import Engine, Geometry
from stream.errors import Interrupted, OutputError, UsageError
from stream.film import Info, Luma, ReadTally
from stream.frame import Frame
from stream.job import MANIFEST, JobFolder, check_unchanged, folder_of, is_unchanged, open_job, stamp
from stream.looks import Look, find_look
from stream.metrics import Meter, Report
from stream.part import finish_part, naming_failures, part_of, sidecar_of
from stream.proof import proof_of, proving
from stream.runtime import find_release, load_generator, open_reference, version
from stream.sequence import parse_pattern
from stream.sequence_writer import SequenceWriter, is_sequence, open_writer, plan_sequence
from stream.shotlist import ShotList

_REMARKS = 20
PROVENANCE = "colours are machine-made"
NO_CLUSTER = "--shots and --cluster can't both be; without --cluster this machine makes the film"


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


def colorize(
    source: str | Path,
    target: str | Path,
    *,
    settings: Settings | None = None,
    job: Job | None = None,
    shots: ShotList | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    see: Callable[[Frame], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Report:
    """Writes `source`, a film or a picture, in natural colour to `target`; the report says what became of every frame.

    shots: what a person wants of each shot of a film (stream/shotlist.py); else cuts are found by the program.
    progress: called with the frames done and those expected (None if the film doesn't say).
    see: called with every coloured frame of a film, while it is made.
    tell: called with what a person should know beforehand, in a line.
    Raises KinochromeError (stream/errors.py). An interrupted film goes on if the same is asked again; a short one
    without a list of shots lies, playable, in NAME.part.EXT.
    """
    settings, job, target = settings or Settings(), job or Job(), Path(target)
    if settings.source_colours and job.luma is None:
        # The luma is painted over, so which matrix it is made with matters little; pictures are BT.601 (JFIF).
        job = replace(job, luma="bt601")
    if shots is not None and job.cluster is not None:
        raise UsageError(NO_CLUSTER)
    told = progress or (lambda done, expected: None)
    if not media.is_url(source) and stills.is_still(Path(source)) and sources.is_one_file(source):
        if see is not None:
            raise UsageError(f"{source}: a picture isn't a stream; only films are published while they are made")
        if shots is not None:
            raise UsageError(f"{source}: is a picture; a list of shots is for films")
        report = _colorize_pictures(Path(source), target, settings, job, told)
    else:
        watchers = _Watchers(told, see or (lambda frame: None), tell or (lambda line: None))
        return _colorize_film(source, target, settings, job, (watchers, shots))
    _write_sidecar(target, report, settings, None)
    return report


def default_target(source: str | Path) -> tuple[Path, str]:
    """Where the result lies if nobody says, and a notice on it: NAME-colour beside the source, in its own format where
    that can be written, else as Matroska, which holds all that any other film format does.
    """
    if media.is_url(source):
        raise UsageError(f"{source}: an address has no place for the result; name one with -o OUT")
    path = Path(source)
    pattern = parse_pattern(path)
    if not sources.is_one_file(path):
        folder = path if pattern is None else pattern.folder
        target = folder.resolve().with_name(f"{folder.resolve().name}-colour")
        return (target if pattern is None else target / path.name), f"no -o was given: written to {target}"
    kept = path.suffix.lower() in (*plan.CONTAINERS, *stills.JPEG, *stills.PNG, *stills.TIFF)
    suffix = path.suffix if kept else ".png" if stills.is_still(path) else ".mkv"
    target = path.with_name(f"{path.stem}-colour{suffix}")
    reason = "" if kept else f", because {path.suffix or 'its format'} isn't written and {suffix} keeps everything"
    return target, f"no -o was given: written to {target}{reason}"


class _Watchers(NamedTuple):
    """Who is told how it goes."""

    progress: Callable[[int, int | None], None]
    see: Callable[[Frame], None]
    tell: Callable[[str], None]


def stylize(
    source: str | Path,
    target: str | Path,
    *,
    style: str,
    strength: float | None = None,
    settings: Settings | None = None,
    job: Job | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Report:
    """Writes `source` painted like `style`, a named look or a picture's path, over the colours that it has.

    The rest is as in `colorize`, which does the same over predicted colours if its settings name a style.
    """
    settings = replace(settings or Settings(short_side=STYLE_SIDE), style=style, source_colours=True)
    if strength is not None:
        settings = replace(settings, strength=strength)
    return colorize(source, target, settings=settings, job=job, progress=progress)


def _colorize_film(
    source: str | Path, target: Path, settings: Settings, job: Job, told: tuple[_Watchers, ShotList | None]
) -> Report:
    watchers, shots = told
    with ExitStack() as stack:
        folder = None if job.segments is False else _earlier(stack, target)
        again = partial(_film, source, target, settings, replace(job, overwrite=True), shots)
        report = None if folder is None or job.fresh else _finished(folder, target, again)
        if report is None:
            if folder is not None:
                part_of(target).unlink(missing_ok=True)  # a film that was being joined
            film = _film(source, target, settings, job, shots)
            if folder is not None and job.fresh:
                folder.empty()
            if folder is None and _in_parts(film, job):
                folder = stack.enter_context(open_job(folder_of(target)))
            if folder is not None and not film.resumable:
                raise UsageError(f"{folder.path}: another kind of run left it; name another output, or remove it")
            report = _make(film, folder, job, watchers)
        pattern = parse_pattern(target)
        _write_sidecar(target if pattern is None else pattern.folder, report, settings, shots)
        if folder is not None and shots is None:
            folder.remove()
        return report


def _in_parts(film: Film, job: Job) -> bool:
    """Whether the film is worked on in segments."""
    if job.segments is None and job.cluster is None:
        return film.worthwhile
    asked = job.segments is not False
    if asked and not film.resumable:
        raise UsageError(
            f"{film.info.path}: can't be worked on in segments or on a cluster; a file is needed, smoothing that looks "
            "ahead (lag > 0), something to paint, and an encoder other than NVENC's"
        )
    return asked


def _earlier(stack: ExitStack, target: Path) -> JobFolder | None:
    """What an earlier run left, if it left anything; locked."""
    if not (folder_of(target) / MANIFEST).is_file():
        return None
    return stack.enter_context(open_job(folder_of(target)))


def _finished(folder: JobFolder, target: Path, again: Callable[[], Film]) -> Report | None:
    """The report of an earlier run of the same that did all but the tidying up, or left its segments for another list.

    again: makes the film as it is asked for now.
    """
    begun = folder.manifest
    if begun is None or begun.finished is None or not target.exists() or part_of(target).exists():
        return None
    film, report = again(), Report(**begun.finished)
    same = film.identity() == begun.made_with and set(archive.list_shots(film)) == set(begun.shots)
    return report if same and report.source == str(film.source) and is_unchanged(begun.source) else None


def _film(source: str | Path, target: Path, settings: Settings, job: Job, shots: ShotList | None) -> Film:
    info = sources.probe(source, luma=job.luma, rate=job.rate)
    if job.nvdec and info.container == plan.SEQUENCE:
        raise UsageError(f"{source}: --nvdec decodes films, not numbered pictures; leave it out")
    if job.deinterlace:
        info = replace(info, interlaced=False)
    return Film(
        source=source,
        info=info,
        output=_plan(info, target, job),
        settings=settings,
        look=None if shots is not None else open_look(settings),
        luma=job.luma,
        rate=job.rate,
        deinterlace=job.deinterlace,
        nvdec=job.nvdec,
        shots=shots,
    )


def _plan(info: Info, target: Path, job: Job) -> mux.Output:
    if not job.overwrite and proof_of(target).exists():
        raise OutputError(f"{proof_of(target)}: exists already; -y overwrites it")
    if not is_sequence(target):
        return mux.plan_output(info, target, codec=job.codec, overwrite=job.overwrite, strict=job.strict)
    if job.codec is not None:
        raise UsageError(f"{target}: numbered pictures have no codec; leave -c {job.codec} out")
    return plan_sequence(info, target, overwrite=job.overwrite, strict=job.strict)


def _make(film: Film, folder: JobFolder | None, job: Job, watchers: _Watchers) -> Report:
    """Colours the film: in one go, in segments, or in segments on many machines."""
    meter = Meter()
    report = _new_report(film.source, film.output.path, film.settings)
    report.working_size = film.geometry.content
    report.notices = [*_notices(film.info, job), *film.output.notices]
    if folder is not None and job.cluster is not None:
        identity = job.cluster.prepare(film, mixed=job.mixed, tell=watchers.tell)
        report.runtime = identity["runtime"]
        film = archive.begin(folder, film, identity, mixed=job.mixed)
        made = job.cluster.colour(film, folder, partial(_watched, film, notices=folder.begun.notices))
        _in_segments(film, folder, made, report, (watchers, meter))
    else:
        if folder is None:
            _in_one_go(film, report, watchers, meter)
        else:
            choice, engine = open_engine(film, meter)
            report.runtime = f"{choice.runtime.name} ({choice.reason})"
            report.notices += choice.notices
            listed = archive.list_shots(film, engine)
            identity = engine_identity(choice.runtime, named=not listed)
            film = archive.begin(folder, film, identity, mixed=job.mixed, shots=listed)
            frames = archive.colour(film, folder, engine, partial(_watched, film, notices=folder.begun.notices))
            _in_segments(film, folder, _seen(frames, watchers), report, (watchers, meter))
    report.measure(meter)
    return report


def _seen(frames: Generator[Frame, None, None], watchers: _Watchers) -> Generator[int, None, None]:
    """Counts frames, which who wants to sees."""
    with closing(frames):
        for frame in frames:
            watchers.see(frame)
            yield 1


def _watched(film: Film, frames: Iterator[Frame], notices: list[str]) -> Iterator[Frame]:
    return frames if film.settings.source_colours else _watch_colour(frames, notices)


def _in_one_go(film: Film, report: Report, watchers: _Watchers, meter: Meter) -> None:
    info, output, shots = film.info, film.output, film.shots
    choice, engine = open_engine(film, meter)
    report.runtime = f"{choice.runtime.name} ({choice.reason})"
    report.notices += choice.notices
    tally = ReadTally()
    before = stamp(Path(info.path)) if Path(info.path).is_file() else None
    frames = _watched(film, film.frames(tally), report.notices)
    with (
        open_writer(output, info, {"kinochrome": _provenance(film.settings)}) as writer,
        proving(writer, output, info, wanted=film.keeps_luma) as write,
    ):
        try:
            with closing(pipeline.run(frames, engine, write, meter=meter)) as painted:
                for frame in painted:
                    watchers.see(frame)
                    watchers.progress(writer.frames, info.expected_frames)
        except Interrupted as stop:
            raise _told(stop, writer.frames, f"{writer.position_s:.1f} s", output.part) from None
        if before is not None:
            check_unchanged(before)
        report.frames_out = writer.frames
    _count_others(report, writer)
    report.notices += [notice for notice in engine.notices if notice not in report.notices]
    _count(report, tally)
    if shots is not None:
        report.notices += [*shots.beyond(tally.frames), "made in one go: a corrected list makes all shots again"]


def _in_segments(
    film: Film, folder: JobFolder, made: Generator[int, None, None], report: Report, told: tuple[_Watchers, Meter]
) -> None:
    """Waits for all segments and joins them. made: frames as they are finished."""
    watchers, meter = told
    report.frames_before = done = folder.frames
    watchers.tell(archive.say_begin(film, folder))
    try:
        with closing(made):
            for frames in made:
                meter.note_frame()
                done += frames
                watchers.progress(done, film.info.expected_frames)
    except Interrupted as stop:
        raise Interrupted(
            f"interrupted after {done} frames; {folder.frames} are kept in {folder.path}, and the same command goes on",
            stop.exit_code - 128,
        ) from None
    report.notices += folder.begun.notices
    tally = archive.total(folder)
    report.frames_out = tally.frames
    _count(report, tally)
    if film.shots is not None:
        report.notices += [*film.shots.beyond(tally.frames), archive.say_kept(folder)]
    report.measure(meter)
    metadata = {"kinochrome": _provenance(film.settings)}
    _count_others(report, archive.join(film, folder, metadata, report.as_dict()))
    folder.begun.finished = report.as_dict()
    folder.save()


def open_look(settings: Settings) -> Look | None:
    """The look that the settings name, None for the natural one."""
    if settings.style is None:
        return None
    release = find_release(settings.weights)
    return find_look(settings.style, release, lambda: load_generator(release))


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


def has_colour(frame: Frame) -> bool:
    """Whether chroma is further from neutral than coding noise: 2 of 256 levels in the mean."""
    middle, tolerance = 2 ** (frame.depth - 1), 2 * 2 ** (frame.depth - 8)
    samples = (plane[::8, ::8].astype(np.int32) for plane in frame.planes[1:])
    return any(np.abs(sample - middle).mean() > tolerance for sample in samples)


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


def _colorize_pictures(
    source: Path, target: Path, settings: Settings, job: Job, progress: Callable[[int, int | None], None]
) -> Report:
    """Every page of a picture file; each has a size of its own, so the reference runs them and no engine is built."""
    meter = Meter()
    report = _new_report(source, target, settings)
    settings = replace(settings, runtime="torch", steady=0.0, batch=1)

    def coloured() -> Iterator[Frame]:
        look, runtime = open_look(settings), open_reference(settings)
        for frame in stills.read_pictures(source, luma=job.luma, keep_colour=settings.source_colours):
            geometry = Geometry.of(frame.width, frame.height, short_side=settings.short_side)
            report.runtime = f"{runtime.name} (a picture is not worth an engine)"
            report.working_size = geometry.content
            report.frames_in += 1
            engine = Engine(runtime, geometry, subsampling=(0, 0), settings=settings, look=look, meter=meter)
            for painted in engine.run([frame]):
                yield painted
                meter.note_frame()
                report.frames_out += 1
                progress(report.frames_out, None)

    description = _provenance(settings)
    try:
        stills.write_pictures(target, coloured(), source=source, overwrite=job.overwrite, description=description)
    except Interrupted as stop:
        pages = max(0, report.frames_out - 1)  # the last one may not have reached the file
        left = f"{pages} pages are in {part_of(target)}" if pages else "nothing was written"
        raise Interrupted(f"interrupted; {left}", stop.exit_code - 128) from None
    report.measure(meter)
    return report


def _new_report(source: str | Path, target: Path, settings: Settings) -> Report:
    return Report(
        source=str(source),
        result=str(target),
        version=version(),
        weights_sha256=find_release(settings.weights).sha256,
    )


def _provenance(settings: Settings) -> str:
    release = find_release(settings.weights)
    painted = "" if settings.style is None else f", repainted in the style {Path(settings.style).name!r}"
    painted += f" at strength {settings.strength:g}" if painted else ""
    return f"{PROVENANCE}{painted}; Kinochrome {version()}, weights {release.name} {release.sha256[:12]}"


def _write_sidecar(target: Path, report: Report, settings: Settings, shots: ShotList | None) -> None:
    """NAME.EXT.json beside the result: what a later archivist needs to know about these colours."""
    content = {
        "provenance": _provenance(settings),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(target.stat().st_mtime)),
        "settings": asdict(settings),
        "report": report.as_dict(),
    } | ({} if shots is None else {"shots": [asdict(shot) | {"digest": shot.digest} for shot in shots.shots]})
    path = sidecar_of(target)
    part = part_of(path)
    with naming_failures(part):
        part.write_text(json.dumps(content, indent=1) + "\n")
        finish_part(part, path)
