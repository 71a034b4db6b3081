"""What colours a film, opened for it, and by what it is known to give the same numbers again."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

from stream.config import Settings
from stream.engine import Engine
from stream.engine_gpu import engine_for
from stream.grading import Grading
from stream.looks import Look, find_look
from stream.metrics import Meter
from stream.reel import Film
from stream.runtime import Choice, Runtime, find_release, load_generator, open_beside
from stream.runtime_gpu import GpuRuntime, describe

Painter: TypeAlias = Engine | Grading
"""An engine, or one for each shot of a list."""


def open_engine(
    film: Film,
    meter: Meter,
    *,
    tell: Callable[[str], None] | None = None,
    check: Callable[[], None] = lambda: None,
) -> tuple[Choice, Painter]:
    """What colours this film. tell: called with a line before what takes a minute; check: meanwhile, and may raise."""
    settings, shots = film.settings, film.shots
    opening = partial(open_beside, tell=tell, check=check)
    if shots is not None:
        shots.check_film(film.info.path, film.info.duration_s)
        subsampling = film.output.subsampling
        grading = Grading(
            shots, film.geometry_of, subsampling=subsampling, settings=settings, meter=meter, opening=opening
        )
        return grading.choice, grading
    choice = opening(settings, film.geometry.padded, styled=film.look is not None)
    subsampling = film.output.subsampling
    return choice, engine_for(
        choice.runtime, film.geometry, subsampling=subsampling, settings=settings, look=film.look, meter=meter
    )


def open_look(settings: Settings) -> Look | None:
    """The look that the settings name, None for the natural one."""
    if settings.style is None:
        return None
    release = find_release(settings.weights)
    return find_look(settings.style, release, lambda: load_generator(release))


def engine_identity(runtime: Runtime, *, named: bool = True) -> dict[str, str]:
    """What else must be the same for the same numbers. named: False where each shot of a list states its runtime."""
    return {"runtime": numbers_of(runtime.name) if named else "", "processor": _processor_of(runtime)}


def numbers_of(runtime: str) -> str:
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
