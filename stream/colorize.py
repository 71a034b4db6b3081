"""Colours a film or a picture from file to file: the Python API behind `kinochrome colorize`.

from stream.colorize import colorize

report = colorize("reel.mkv", "reel-colour.mkv")
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from stream import media, mux, pipeline, stills
from stream.config import Settings
from stream.engine import Engine, Geometry
from stream.errors import Interrupted
from stream.film import Info, Luma, ReadTally
from stream.frame import Frame
from stream.metrics import Meter, Report
from stream.part import finish_part, naming_failures, part_of, sidecar_of
from stream.runtime import find_release, open_runtime, version

PROVENANCE = "colours are machine-made"


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
    deinterlace: bool = False
    """Makes whole pictures of fields; else both fields are kept and coloured by themselves."""


def colorize(
    source: str | Path,
    target: str | Path,
    *,
    settings: Settings | None = None,
    job: Job | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Report:
    """Writes `source`, a film or a picture, in natural colour to `target`; the report says what became of every frame.

    progress: called with the frames done and those expected (None if the film doesn't say).
    Raises KinochromeError (stream/errors.py); an interrupted film lies, playable, in NAME.part.EXT.
    """
    settings, job, target = settings or Settings(), job or Job(), Path(target)
    told = progress or (lambda done, expected: None)
    if not media.is_url(source) and stills.is_still(Path(source)):
        report = _colorize_pictures(Path(source), target, settings, job, told)
    else:
        report = _colorize_film(source, target, settings, job, told)
    _write_sidecar(target, report, settings)
    return report


def _colorize_film(
    source: str | Path, target: Path, settings: Settings, job: Job, progress: Callable[[int, int | None], None]
) -> Report:
    meter = Meter()
    info = media.probe(source, luma=job.luma)
    if job.deinterlace:
        info = replace(info, interlaced=False)
    output = mux.plan_output(info, target, codec=job.codec, overwrite=job.overwrite, strict=job.strict)
    geometry = Geometry.of(
        info.width,
        info.height,
        short_side=settings.short_side,
        pixel_aspect=info.pixel_aspect,
        rotation=info.rotation,
    )
    choice = open_runtime(settings, geometry.padded)
    engine = Engine(choice.runtime, geometry, subsampling=output.subsampling, settings=settings, meter=meter)
    report = _new_report(source, target, settings)
    report.runtime = f"{choice.runtime.name} ({choice.reason})"
    report.working_size = geometry.content
    report.notices = [*_notices(info, job), *output.notices]
    tally = ReadTally()
    frames = media.read_frames(source, luma=job.luma, deinterlace=job.deinterlace, tally=tally)
    frames = _watch_colour(frames, report.notices)
    with mux.Writer(output, info, metadata={"kinochrome": _provenance(settings)}) as writer:
        try:
            with closing(pipeline.run(frames, engine, writer.write, meter=meter)) as painted:
                for _ in painted:
                    progress(writer.frames, info.expected_frames)
        except Interrupted as stop:
            raise _told(stop, writer.frames, f"{writer.position_s:.1f} s", output.part) from None
        report.frames_out = writer.frames
    report.packets_lost = writer.packets_lost
    _count(report, tally)
    report.measure(meter)
    return report


def _told(stop: Interrupted, frames: int, reached: str, part: Path) -> Interrupted:
    """The interruption in a line that says how far the work got."""
    left = f"{part} plays up to there" if frames else "nothing was written"
    return Interrupted(f"interrupted after {frames} frames, {reached}; {left}", stop.exit_code - 128)


def _notices(info: Info, job: Job) -> list[str]:
    notices = []
    if info.rgb and job.luma:
        notices.append(f"the source is RGB; its luma was made with the weights of {job.luma}")
    return notices


def _watch_colour(frames: Iterator[Frame], notices: list[str]) -> Iterator[Frame]:
    """The same frames; the first one in colour (tinting, toning, a colour film) adds a notice that colours get lost."""
    told = False
    for frame in frames:
        if not told and _has_colour(frame):
            told = True
            notices.append("the source has colours of its own (tinting, toning or a colour film); they are replaced")
        yield frame


def _has_colour(frame: Frame) -> bool:
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


def _colorize_pictures(
    source: Path, target: Path, settings: Settings, job: Job, progress: Callable[[int, int | None], None]
) -> Report:
    """Every page of a picture file; each has a size of its own, so the reference runs them and no engine is built."""
    meter = Meter()
    report = _new_report(source, target, settings)
    settings = replace(settings, runtime="torch", steady=0.0, batch=1)

    def coloured() -> Iterator[Frame]:
        choice = None
        for frame in stills.read_pictures(source, luma=job.luma):
            geometry = Geometry.of(frame.width, frame.height, short_side=settings.short_side)
            choice = choice or open_runtime(settings, geometry.padded)
            report.runtime = f"{choice.runtime.name} (a picture is not worth an engine)"
            report.working_size = geometry.content
            report.frames_in += 1
            engine = Engine(choice.runtime, geometry, subsampling=(0, 0), settings=settings, meter=meter)
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
    return f"{PROVENANCE}; Kinochrome {version()}, weights {release.name} {release.sha256[:12]}"


def _write_sidecar(target: Path, report: Report, settings: Settings) -> None:
    """NAME.EXT.json beside the result: what a later archivist needs to know about these colours."""
    content = {
        "provenance": PROVENANCE,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "settings": asdict(settings),
        "report": report.as_dict(),
    }
    path = sidecar_of(target)
    part = part_of(path)
    with naming_failures(part):
        part.write_text(json.dumps(content, indent=1) + "\n")
        finish_part(part, path)
