"""Colours or paints a film or a picture from file to file: the Python API behind `kinochrome colorize` and `stylize`.

from stream.colorize import colorize, stylize

report = colorize("reel.mkv", "reel-colour.mkv")
report = stylize("clip.mp4", "clip-painted.mp4", style="painting.jpg", strength=0.8)
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from stream import archive, container, mux, plan, stills
from stream import source as sources
from stream.config import STYLE_SIDE, Settings
from stream.errors import OutputError, UsageError
from stream.film import Info
from stream.frame import Frame
from stream.job import MANIFEST, JobFolder, folder_of, is_unchanged, open_job
from stream.making import Job, Watchers, make, sign
from stream.metrics import Report
from stream.painter import open_look
from stream.part import check_name, part_of, sidecar_of
from stream.photo import colorize_pictures, picture_recipe
from stream.proof import is_due, proof_of
from stream.reel import Film
from stream.sequence import parse_pattern
from stream.sequence_writer import is_sequence, plan_sequence
from stream.shotlist import ShotList
from stream.sidecar import name_sidecar, result_of

__all__ = ["NO_CLUSTER", "Job", "colorize", "default_target", "recipe", "stylize", "tidy"]

NO_CLUSTER = "--shots and --cluster can't both be; without --cluster this machine makes the film"


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
    check_name(target)
    if settings.source_colours and job.luma is None:
        # The luma is painted over, so which matrix it is made with matters little; pictures are BT.601 (JFIF).
        job = replace(job, luma="bt601")
    if shots is not None and job.cluster is not None:
        raise UsageError(NO_CLUSTER)
    name_sidecar(result_of(target))  # where a run was killed as soon as the film had got its name
    told = progress or (lambda done, expected: None)
    if not container.is_url(source) and stills.is_still(Path(source)) and sources.is_one_file(source):
        if see is not None:
            raise UsageError(f"{source}: a picture isn't a stream; only films are published while they are made")
        if shots is not None:
            raise UsageError(f"{source}: is a picture; a list of shots is for films")
        return colorize_pictures(Path(source), target, settings, job, told)
    watchers = Watchers(told, see or (lambda frame: None), tell or (lambda line: None))
    return _colorize_film(source, target, settings, job, (watchers, shots))


def recipe(source: Path, target: Path, settings: Settings, job: Job) -> dict[str, Any]:
    """What `colorize` would make `target` with: all that changes its pictures, but `source` itself.

    Raises KinochromeError where `source` can't be read, or can't be written so.
    """
    if stills.is_still(source) and sources.is_one_file(source):
        return picture_recipe(settings, job)
    return _film(source, target, settings, replace(job, overwrite=True), None).recipe()


def default_target(source: str | Path) -> tuple[Path, str]:
    """Where the result lies if nobody says, and a notice on it: NAME-colour beside the source, in its own format where
    that can be written, else as Matroska, which holds all that any other film format does.
    """
    if container.is_url(source):
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
    source: str | Path, target: Path, settings: Settings, job: Job, told: tuple[Watchers, ShotList | None]
) -> Report:
    (watchers, shots), result = told, result_of(target)
    with ExitStack() as stack:
        folder = None if job.segments is False else _earlier(stack, result, fresh=job.fresh)
        again = partial(_film, source, target, settings, replace(job, overwrite=True), shots)
        finished = None if folder is None or job.fresh else _finished(folder, result, again)
        if finished is None:
            if folder is not None:
                job = _over_parts(target, job)
            film = _film(source, target, settings, job, shots)
            if folder is not None and job.fresh:
                folder.empty()
            if folder is None and _in_parts(film, job):
                folder = stack.enter_context(open_job(folder_of(result)))
            if folder is not None and not film.resumable:
                raise UsageError(f"{folder.path}: another kind of run left it; name another output, or remove it")
            report = make(film, folder, job, watchers)
        else:
            film, report, made_of = finished
            sign(film, result, report, made_of)
        name_sidecar(film.output.path)
        if folder is not None and shots is None:
            folder.remove()
        return report


def _over_parts(target: Path, job: Job) -> Job:
    """The job as it may write over what lies unfinished, since its segments are known."""
    if not is_sequence(target):
        part_of(target).unlink(missing_ok=True)  # a film that was being joined
        return job
    return replace(job, overwrite=job.overwrite or not result_of(target).exists())


def _in_parts(film: Film, job: Job) -> bool:
    """Whether the film is worked on in segments."""
    if job.segments is None and job.cluster is None:
        return film.worthwhile
    asked = job.segments is not False
    if asked and not film.resumable:
        raise UsageError(
            f"{film.info.path}: can't be worked on in segments or on a cluster; a file or numbered pictures, smoothing "
            "that looks ahead (lag > 0), something to paint, and an encoder other than NVENC's are needed"
        )
    return asked


def _earlier(stack: ExitStack, result: Path, *, fresh: bool) -> JobFolder | None:
    """What an earlier run left, if it left anything; locked."""
    # A folder such as "." has no name; the plan says what is wrong with it.
    if not result.name or not (folder_of(result) / MANIFEST).is_file():
        return None
    return stack.enter_context(open_job(folder_of(result), fresh=fresh))


def tidy(result: Path) -> None:
    """Takes away the segments of a film that is done with, where a run was killed before it could."""
    with ExitStack() as stack:
        folder = _earlier(stack, result, fresh=True)
        begun = None if folder is None else folder.manifest
        if folder is not None and begun is not None and begun.finished is not None and not begun.shots:
            folder.remove()


def _finished(folder: JobFolder, result: Path, again: Callable[[], Film]) -> tuple[Film, Report, dict[str, Any]] | None:
    """What an earlier run of the same made that did all but the tidying up, or left its segments for another list: the
    film, its report, and what it was made of.

    again: makes the film as it is asked for now.
    """
    begun = folder.manifest
    if begun is None or begun.finished is None or not result.exists():
        return None
    film, report = again(), Report(**begun.finished)
    proven = not is_due(film.output, film.info, wanted=film.keeps_luma) or proof_of(result).exists()
    unnamed = film.output.part.exists() or part_of(sidecar_of(result)).exists()  # what lies there is what was before
    if unnamed or not proven:
        return None
    same = film.identity() == begun.made_with and set(archive.list_shots(film)) == set(begun.shots)
    if same and report.source == str(film.source) and is_unchanged(begun.source):
        return film, report, begun.source
    return None


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
    if is_sequence(target) and job.codec is not None:
        raise UsageError(f"{target}: numbered pictures have no codec; leave -c {job.codec} out")
    if is_sequence(target):
        output: mux.Output = plan_sequence(info, target, overwrite=job.overwrite, strict=job.strict)
    else:
        output = mux.plan_output(info, target, codec=job.codec, overwrite=job.overwrite, strict=job.strict)
    if not job.overwrite and proof_of(target).exists():  # of a film that isn't there, or it would have been named
        raise OutputError(f"{proof_of(target)}: exists already; -y overwrites it")
    return output
