"""Colours frames: luma to working size, network, steadiness, chroma back onto the film's planes.

for frame in engine.run(read_frames("reel.mkv")):
    writer.write(frame)
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import cast

import cv2
import numpy as np
import torch

from model import temporal
from stream.config import Settings
from stream.errors import EngineError
from stream.frame import Frame, Plane
from stream.geometry import Geometry, chroma_planes, placement, working_chroma, working_luma
from stream.looks import Look
from stream.metrics import Meter
from stream.runtime import Array, Painted, Runtime, Style
from stream.seams import Start, given, parted, rule
from stream.shots import AHEAD, LEAD, Marked, Picture, Seam, in_one, mark_ahead
from stream.steady import Online, hold, hold_ahead, stride


class Engine:
    """Colours the frames of one film, or paints them in a look. In the natural look the Y' plane that comes out is the
    one that went in.

    Memory is constant in the film's length: a batch or two of frames, those that the smoothing looks ahead
    (`settings.lag`; 0 for live) and its state.
    """

    def __init__(
        self,
        runtime: Runtime,
        geometry: Geometry,
        *,
        subsampling: tuple[int, int] = (1, 1),
        settings: Settings | None = None,
        look: Look | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.runtime = runtime
        self.geometry = geometry
        self.subsampling = subsampling
        self.settings = settings or Settings()
        if self.settings.style is not None and look is None:
            raise ValueError(
                f"settings name the style {self.settings.style!r}; its look is needed: open_look(settings)"
            )
        self.meter = meter or Meter()
        self.notices: list[str] = []
        """What a person should know about how the frames were made."""
        self._code: Array | None = None
        self._looks_seen = 0
        self.restyle(look, self.settings.strength)

    @property
    def batch(self) -> int:
        """Frames that are handed to the network at once."""
        return self.settings.batch

    def restyle(self, look: Look | None, strength: float = 1.0) -> None:
        """Gives the frames that are read from now on another look; None is the natural one, and so is no strength,
        unless the source's own colours are kept.
        """
        code = None
        if look is not None and strength:
            code = look.code_for(min(self.geometry.content)) * np.float32(strength)
        # A style without strength over the source's own colours is the source.
        self._untouched = look is not None and not strength and self.settings.source_colours
        if not _same(code, self._code):
            self._looks_seen += 1
        self._code = code
        self._detail = 1 - strength * (1 - self.settings.detail)

    def run(self, frames: Iterable[Frame], *, one_shot: bool = False) -> Iterator[Frame]:
        """The frames in their order, with chroma of `subsampling` in place of what they had.

        one_shot: they are known to be one shot, so no cut is looked for.
        One batch is always in the network while the one before is finished, so that the cores are never idle.
        """
        settings = self.settings
        if self._untouched:
            yield from (own_colours(frame, self.subsampling) for frame in frames)
            return
        pictures = self._predict(frames)
        held = hold(pictures, steady=settings.steady, lag=settings.lag, meter=self.meter, one_shot=one_shot)
        yield from self._coloured(held, settings.saturation)

    def run_segments(self, frames: Iterable[Frame], start: Start) -> Iterator[tuple[Frame, Seam | None]]:
        """What `run` makes of a film, from any seam on; with each frame that begins a segment, its seam.

        frames: of the film, from `start.lead` frames before the seam on; of those as many are left out as leave batches
        beginning where those of the whole film do, because a network may round a batch otherwise than its pictures. So
        the number of the first one, in the film or the listed shot, must be a multiple of `batch`. For films alone
        (lag > 0).
        """
        if self._untouched:
            for frame, seam in parted(islice(frames, start.lead, None)):
                yield own_colours(frame, self.subsampling), seam
            return
        spare = max(0, start.lead - (LEAD if start.marks is None else 0)) // self.batch * self.batch
        frames, start = islice(frames, spare, None), replace(start, lead=start.lead - spare)
        seams: deque[Seam | None] = deque()
        pictures = _noting(self._hold_segments(self._predict(frames), start), seams)
        for coloured in self._coloured(pictures, self.settings.saturation):
            yield coloured, seams.popleft()

    def _hold_segments(self, pictures: Iterator[Picture], start: Start) -> Iterator[Picture]:
        steady, lag, midst = self.settings.steady, self.settings.lag - AHEAD, start.carry is not None
        if start.marks is not None:
            marked = given(pictures, start)
        elif steady:
            marked = mark_ahead(pictures, lead=start.lead, midst=midst)
            marked = rule(in_one(marked, midst=midst) if start.one_shot else marked, stride=stride(lag))
        else:
            marked = rule((Marked(picture, "same") for picture in islice(pictures, start.lead, None)), stride=1)
        if not steady:
            return (picture for picture, _ in marked)
        return hold_ahead(marked, steady=steady, lag=lag, meter=self.meter, carry=start.carry)

    def _predict(self, frames: Iterable[Frame]) -> Iterator[Picture]:
        """The frames with what the network says about each."""
        source = iter(frames)
        pending: deque[tuple[list[Frame], Array, Callable[[], Painted]]] = deque()
        while True:
            batch = list(islice(source, self.batch))
            if batch:
                with self.meter.stage("prepare"):
                    luma, style = self._prepare(batch)
                pending.append((batch, luma, self.runtime.start(luma, style)))
            if pending and (not batch or len(pending) > 1):
                yield from self._receive(*pending.popleft())
            elif not batch:
                return

    def one(self, frame: Frame, online: Online) -> Frame:
        """One frame of live video in colour; online: what went before, kept in it.

        The network doesn't have the next frame meanwhile: that gives a tenth more frames a second, and each is older.
        """
        if self._untouched:
            return own_colours(frame, self.subsampling)
        with self.meter.stage("prepare"):
            luma, style = self._prepare([frame])
        (picture,) = self._receive([frame], luma, self.runtime.start(luma, style))
        settings = self.settings
        held = online.hold(picture, steady=settings.steady, meter=self.meter)
        with self.meter.stage("chroma"):
            return self._colour(held, settings.saturation)

    def _prepare(self, batch: list[Frame]) -> tuple[Array, Style | None]:
        fields = [(frame, field) for frame in batch for field in fields_of(frame)]
        luma = np.stack([working_luma(field.luma, frame, self.geometry) for frame, field in fields])[:, None]
        if self._code is None:
            return luma, None
        known = self.settings.source_colours
        chroma = np.stack([working_chroma(field, self.geometry) for _, field in fields]) if known else None
        return luma, Style(code=self._code, chroma=chroma)

    def _coloured(self, pictures: Iterator[Picture], saturation: float) -> Iterator[Frame]:
        """The pictures' frames in their colours."""
        for picture in pictures:
            with self.meter.stage("chroma"):
                coloured = self._colour(picture, saturation)
            yield coloured

    def _receive(self, batch: list[Frame], luma: Array, wait: Callable[[], Painted]) -> Iterator[Picture]:
        with self.meter.stage("network"):
            made = wait()
        if not all(np.isfinite(part).all() for part in made if part is not None):
            raise EngineError(f"{self.runtime.name}: gave colours that are no numbers; try --runtime torch")
        at = 0
        for frame in batch:
            part = slice(at, at + len(fields_of(frame)))
            at = part.stop
            with self.meter.stage("steady"), torch.inference_mode():
                guide = temporal.guide(torch.from_numpy(luma[part]))
            chroma = torch.from_numpy(made.chroma[part])
            picture = Picture(frame=frame, guide=guide, chroma=chroma, look=self._looks_seen)
            if made.luma is not None:
                styled = torch.from_numpy(made.luma[part])
                picture = replace(picture, styled_luma=styled, luma=luma[part], detail=self._detail)
            yield picture

    def _colour(self, picture: Picture, saturation: float) -> Frame:
        frame, painted = picture.frame, []
        for index, field in enumerate(fields_of(frame)):
            if picture.styled_luma is not None and picture.luma is not None:
                styled = picture.styled_luma[index, 0].numpy()
                field = replace(field, planes=(self._repaint(field, styled, picture.luma[index, 0], picture.detail),))
            chroma = picture.chroma[index].numpy()
            planes = chroma_planes(chroma, field.luma, frame, self.geometry, self.subsampling, saturation)
            painted.append((field.luma, *planes))
        luma, cb, cr = painted[0] if len(painted) == 1 else _weave(frame, painted, self.subsampling)
        if picture.styled_luma is None:
            return frame.with_chroma(cb, cr, self.subsampling)
        return frame.painted(luma, cb, cr, self.subsampling)

    def _repaint(self, field: Frame, styled: Array, seen: Array, detail: float) -> Plane:
        """The Y' plane of a frame or field: painted, and of its own detail the share that it shall keep."""
        low, high, _ = field.levels
        placed = cv2.warpAffine(
            styled - np.float32(detail) * seen,
            placement(field.luma.shape, self.geometry, (0, 0), 2, stride=1),
            field.luma.shape[::-1],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        own = (field.luma.astype(np.float32) - np.float32(low)) * np.float32(detail)
        codes = np.rint(own + placed * np.float32(high - low) + np.float32(low))
        return np.asarray(codes.clip(low, high).astype(field.luma.dtype))


def _noting(pictures: Iterable[Picture], seams: deque[Seam | None]) -> Iterator[Picture]:
    """The same pictures; the seam of each is put to the others."""
    for picture in pictures:
        seams.append(picture.seam)
        yield picture


def own_colours(frame: Frame, subsampling: tuple[int, int]) -> Frame:
    """The frame in the colours that it has, none if it is grey, with chroma of `subsampling`."""
    if len(frame.planes) == 3 and frame.subsampling == subsampling:
        return frame
    wanted = replace(frame, planes=(frame.luma,), subsampling=subsampling).chroma_shape
    chroma = frame.planes[1:] or (np.full_like(frame.luma, 2 ** (frame.depth - 1)),) * 2
    cb, cr = (cast(Plane, cv2.resize(plane, wanted[::-1], interpolation=cv2.INTER_LINEAR)) for plane in chroma)
    return frame.with_chroma(cb, cr, subsampling)


def _same(first: Array | None, second: Array | None) -> bool:
    return first is second or (first is not None and second is not None and np.array_equal(first, second))


def fields_of(frame: Frame) -> list[Frame]:
    """What to colour: the frame, or its two fields, which were taken at different times."""
    if not frame.interlaced or frame.height < 4:
        return [frame]
    _, step_y = frame.subsampling
    halves = []
    for parity in (0, 1):
        luma, *chroma = (plane[parity::2] for plane in frame.planes)
        # Chroma lines of a field can be one short of what its luma asks for; its last line then serves twice.
        rows = -(-luma.shape[0] >> step_y)
        chroma = [plane[np.minimum(np.arange(rows), len(plane) - 1)] for plane in chroma]
        halves.append(replace(frame, planes=(luma, *chroma), interlaced=False))
    return halves


def _weave(frame: Frame, fields: Sequence[tuple[Plane, ...]], subsampling: tuple[int, int]) -> tuple[Plane, ...]:
    """Planes (Y, Cb, Cr) of a whole frame: their lines alternate between the fields."""
    chroma_height = -(-frame.height >> subsampling[1])
    woven = []
    for height, top, bottom in zip((frame.height, chroma_height, chroma_height), *fields, strict=True):
        plane = np.empty((height, top.shape[1]), top.dtype)
        # Heights that 4:2:0 can't halve twice leave a field a line short; its last line then serves twice.
        plane[0::2] = top[np.minimum(np.arange(len(plane[0::2])), len(top) - 1)]
        plane[1::2] = bottom[np.minimum(np.arange(len(plane[1::2])), len(bottom) - 1)]
        woven.append(plane)
    return tuple(woven)
