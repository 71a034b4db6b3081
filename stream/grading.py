"""Colours a film shot by shot, each as its list (stream/shotlist.py) wants it.

    grading = Grading(shots, geometry_of, subsampling=output.subsampling, settings=settings, meter=meter)
    for frame in grading.run(read_frames("reel.mkv")):
        writer.write(frame)

Nothing is carried over a cut, so a shot by itself comes out as it does in the whole film.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import islice

import numpy as np

from stream.config import STYLE_SIDE, Settings
from stream.engine import Engine
from stream.engine_gpu import engine_for
from stream.frame import Frame
from stream.geometry import Geometry
from stream.looks import Look, find_look
from stream.metrics import Meter
from stream.runtime import Array, Choice, Painted, Runtime, Style, find_release, load_generator, open_runtime
from stream.seams import Start, parted
from stream.shotlist import Shot, ShotList
from stream.shots import Seam


class ColoursAlone:
    """A runtime whose luma is thrown away: what is left of a painted picture is its colours."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.name = runtime.name

    def start(self, luma: Array, style: Style | None = None) -> Callable[[], Painted]:
        """As the runtime within."""
        wait = self._runtime.start(luma, style)
        return lambda: Painted(wait().chroma, None)


class Grading:
    """Gives every shot its engine; all engines, looks and reference pictures are opened before the first frame."""

    def __init__(
        self,
        shots: ShotList,
        geometry_of: Callable[[int], Geometry],
        *,
        subsampling: tuple[int, int],
        settings: Settings,
        meter: Meter,
        opening: Callable[..., Choice] = open_runtime,
    ) -> None:
        """geometry_of: makes the geometry of the film's pictures from a short side.

        opening: stands in for `open_runtime`.
        """
        self._opening = opening
        self._geometry_of = geometry_of
        self._subsampling = subsampling
        self._settings = settings
        self.meter = meter
        self._open = cache(self._open_runtime)
        self._look = cache(self._find_look)
        self._list, self._shots = shots, shots.shots
        self._engines = [self._engine(shot) for shot in self._shots]

    @property
    def choice(self) -> Choice:
        """The first shot's runtime and why it was taken, for the report; there is one even for a film left grey."""
        coloured = next((shot for shot in self._shots if not shot.grey), self._shots[0])
        return self._open(self._geometry(coloured).padded)

    @property
    def notices(self) -> list[str]:
        """What a person should know about how the frames were made."""
        return [notice for engine in self._engines if engine is not None for notice in engine.notices]

    @property
    def runtimes(self) -> list[str]:
        """The name of each shot's runtime, "" where it is left grey."""
        return ["" if engine is None else engine.runtime.name for engine in self._engines]

    def run(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The frames in their order, each coloured as its shot wants."""
        source = iter(frames)
        for engine, first, end in self._parts():
            shot = _upto(source, end, first)
            yield from map(self._uncoloured, shot) if engine is None else engine.run(shot, one_shot=True)

    def run_segments(self, frames: Iterable[Frame], start: Start) -> Iterator[tuple[Frame, Seam | None]]:
        """What `run` makes of a film, from any seam on; with each frame that begins a segment, its seam.

        frames: from `start.lead` frames before `start.number` on, which must be of the same shot. The first frame of a
        shot that is there already comes as it is, and is the last.
        """
        source = iter(frames)
        for engine, first, end in self._parts():
            if end is not None and end <= start.number:
                continue
            if first > start.number and first in start.made:
                yield from ((frame, Seam(None)) for frame in islice(source, 1))
                return
            begin = replace(start, one_shot=True) if first <= start.number else Start(one_shot=True, mixed=start.mixed)
            shot = _upto(source, end, max(first, start.number - start.lead))
            if engine is not None:
                yield from engine.run_segments(shot, begin)
                continue
            for frame, seam in parted(islice(shot, begin.lead, None)):
                yield self._uncoloured(frame), seam

    def one(self, number: int, frame: Frame) -> Frame:
        """A single frame of shot `number` (from 0), as on a contact sheet."""
        engine = self._engines[number]
        return self._uncoloured(frame) if engine is None else next(engine.run([frame], one_shot=True))

    def _parts(self) -> Iterator[tuple[Engine | None, int, int | None]]:
        """Each shot's engine, its first frame, and the first one behind it; None at the film's end."""
        for engine, (shot, end) in zip(self._engines, self._list.spans(), strict=True):
            yield engine, shot.first, end

    def _uncoloured(self, frame: Frame) -> Frame:
        shape = replace(frame, planes=(frame.luma,), subsampling=self._subsampling).chroma_shape
        neutral = np.full(shape, 1 << frame.depth - 1, frame.luma.dtype)
        return frame.with_chroma(neutral, neutral, self._subsampling)

    def _engine(self, shot: Shot) -> Engine | None:
        if shot.grey:
            return None
        settings = shot.settings(self._settings)
        geometry = self._geometry(shot)
        look = None if settings.style is None else self._look(settings.style)
        runtime = self._open(geometry.padded).runtime
        return engine_for(
            ColoursAlone(runtime) if shot.reference is not None else runtime,
            geometry,
            subsampling=self._subsampling,
            settings=settings,
            look=look,
            meter=self.meter,
        )

    def _geometry(self, shot: Shot) -> Geometry:
        """Strokes want a larger working size, unless another one than the usual was asked for."""
        usual = self._settings.short_side
        return self._geometry_of(STYLE_SIDE if shot.paints(self._settings) and usual == Settings.short_side else usual)

    def _open_runtime(self, size: tuple[int, int]) -> Choice:
        """One for all shots of a size; it can paint if any of them asks for it."""
        of_size = [shot for shot in self._shots if not shot.grey and self._geometry(shot).padded == size]
        styled = any(shot.settings(self._settings).style is not None for shot in of_size)
        return self._opening(self._settings, size, styled=styled)

    def _find_look(self, style: str) -> Look:
        release = find_release(self._settings.weights)
        return find_look(style, release, lambda: load_generator(release))


def _upto(source: Iterator[Frame], end: int | None, first: int) -> Iterator[Frame]:
    """The frames from the next one, which is number `first`, up to `end`; None for all."""
    return source if end is None else islice(source, end - first)
