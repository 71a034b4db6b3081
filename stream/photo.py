"""Colours or paints a picture file, page by page."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from stream import stills
from stream.config import Settings
from stream.engine import Engine
from stream.errors import Interrupted
from stream.frame import Frame
from stream.geometry import Geometry
from stream.job import describe_source
from stream.making import Job, new_report
from stream.metrics import Meter, Report
from stream.painter import open_look
from stream.part import part_of
from stream.runtime import find_release, open_reference
from stream.sidecar import Origin, name_sidecar, prepare_sidecar, provenance


def colorize_pictures(
    source: Path, target: Path, settings: Settings, job: Job, progress: Callable[[int, int | None], None]
) -> Report:
    """Every page of a picture file; each has a size of its own, so the reference runs them and no engine is built."""
    meter = Meter()
    report = new_report(source, target, settings)
    asked, made_of, made_with = settings, describe_source(source), picture_recipe(settings, job)
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

    def ready() -> None:
        report.measure(meter)
        origin = Origin(source=made_of, made_with=made_with, settings=asked)
        prepare_sidecar(target, part_of(target), report, origin)

    description = provenance(settings)
    try:
        stills.write_pictures(
            target, coloured(), source=source, overwrite=job.overwrite, description=description, ready=ready
        )
    except Interrupted as stop:
        pages = max(0, report.frames_out - 1)  # the last one may not have reached the file
        left = f"{pages} pages are in {part_of(target)}" if pages else "nothing was written"
        raise Interrupted(f"interrupted; {left}", stop.exit_code - 128) from None
    name_sidecar(target)
    return report


def picture_recipe(settings: Settings, job: Job) -> dict[str, Any]:
    """As `Film.recipe`, for a picture."""
    look = open_look(settings)
    return {
        "weights": find_release(settings.weights).sha256,
        "short_side": settings.short_side,
        "saturation": settings.saturation,
        "style": None if settings.style is None else Path(settings.style).name,
        "style_code": None if look is None else hashlib.sha256(look.codes.tobytes()).hexdigest(),
        "strength": settings.strength,
        "detail": settings.detail,
        "source_colours": settings.source_colours,
        "luma": job.luma,
    }
