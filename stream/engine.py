"""Colours frames: luma to working size, network, steadiness, chroma back onto the film's planes.

for frame in engine.run(read_frames("reel.mkv")):
    writer.write(frame)
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

import cv2
import numpy as np
import numpy.typing as npt
import torch

from model import color, temporal
from model.generator import CHROMA_STRIDE, STRIDE
from stream.config import Settings
from stream.errors import EngineError
from stream.frame import LUMA_WEIGHTS, Frame, Plane
from stream.metrics import Meter
from stream.runtime import Array, Runtime

LONGEST = 4
"""The long side of a working picture is at most this many times the short one."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How a film's pictures become working pictures."""

    content: tuple[int, int]
    """Rows and columns that show the picture."""
    padded: tuple[int, int]
    """With the padding to multiples of 32, by reflection."""
    turns: int = 0
    """Quarter turns counter-clockwise by which the film is shown: the network sees people upright."""

    @classmethod
    def of(
        cls, width: int, height: int, *, short_side: int, pixel_aspect: Fraction = Fraction(1), rotation: int = 0
    ) -> "Geometry":
        """For pictures of `width` x `height` samples, each `pixel_aspect` times as wide as high.

        rotation: degrees counter-clockwise by which a player turns them; the nearest quarter turn counts.
        """
        turns = round(rotation / 90) % 4
        ratio = width * float(pixel_aspect or 1) / height
        ratio = min(max(1 / ratio if turns % 2 else ratio, 1 / LONGEST), LONGEST)
        rows = short_side if ratio >= 1 else round(short_side / ratio)
        columns = round(short_side * ratio) if ratio >= 1 else short_side
        padded = tuple(-(-side // STRIDE) * STRIDE for side in (rows, columns))
        return cls(content=(rows, columns), padded=(padded[0], padded[1]), turns=turns)


class Engine:
    """Colours the frames of one film in the natural look. The Y' plane that comes out is the one that went in.

    Memory is constant in the film's length: a batch or two of frames, and the state of the smoothing.
    """

    def __init__(
        self,
        runtime: Runtime,
        geometry: Geometry,
        *,
        subsampling: tuple[int, int] = (1, 1),
        settings: Settings | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.runtime = runtime
        self.geometry = geometry
        self.subsampling = subsampling
        self.settings = settings or Settings()
        self.meter = meter or Meter()

    def run(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The frames in their order, with chroma of `subsampling` in place of what they had.

        One batch is always in the network while the one before is finished, so that the cores are never idle.
        """
        source = iter(frames)
        states: list[temporal.State | None] = [None, None]
        pending: deque[tuple[list[Frame], Array, Callable[[], Array]]] = deque()
        while True:
            batch = list(islice(source, self.settings.batch))
            if batch:
                with self.meter.stage("prepare"):
                    luma = self._prepare(batch)
                pending.append((batch, luma, self.runtime.start(luma)))
            if pending and (not batch or len(pending) > 1):
                yield from self._finish(*pending.popleft(), states)
            elif not batch:
                return

    def _prepare(self, batch: list[Frame]) -> Array:
        return np.stack([working_luma(plane, frame, self.geometry) for frame in batch for plane in _fields(frame)])[
            :, None
        ]

    def _finish(
        self, batch: list[Frame], luma: Array, wait: Callable[[], Array], states: list[temporal.State | None]
    ) -> Iterator[Frame]:
        with self.meter.stage("network"):
            chroma = wait()
        if not np.isfinite(chroma).all():
            raise EngineError(f"{self.runtime.name}: gave colours that are no numbers; try --runtime torch")
        at = 0
        for frame in batch:
            fields = len(_fields(frame))
            part = slice(at, at + fields)
            with self.meter.stage("steady"):
                steady = self._steady(chroma[part], luma[part], states)
            with self.meter.stage("chroma"):
                coloured = self._colour(frame, steady)
            at += fields
            yield coloured

    def _steady(self, chroma: Array, luma: Array, states: list[temporal.State | None]) -> list[Array]:
        """Smoothed chroma of a frame's fields; each parity has a state of its own, half a line apart from the other."""
        if not self.settings.steady:
            return list(chroma)
        smoothed = []
        with torch.inference_mode():
            for parity in range(len(chroma)):
                guide = temporal.guide(torch.from_numpy(luma[parity : parity + 1]))
                state = states[parity]
                cut = torch.ones(1, dtype=torch.bool) if state is None else temporal.is_cut(guide, state.guide)
                now = torch.from_numpy(chroma[parity : parity + 1])
                now, _, states[parity] = temporal.smooth(now, None, guide, cut, state, steady=self.settings.steady)
                smoothed.append(now[0].numpy())
        return smoothed

    def _colour(self, frame: Frame, chroma: list[Array]) -> Frame:
        painted = [
            chroma_planes(c, plane, frame, self.geometry, self.subsampling, self.settings.saturation)
            for c, plane in zip(chroma, _fields(frame), strict=True)
        ]
        cb, cr = painted[0] if len(painted) == 1 else _weave(frame, painted, self.subsampling)
        return frame.with_chroma(cb, cr, self.subsampling)


def _fields(frame: Frame) -> list[Plane]:
    """The Y' planes to colour: the two fields of an interlaced frame were taken at different times."""
    if not frame.interlaced or frame.height < 4:
        return [frame.luma]
    return [frame.luma[0::2], frame.luma[1::2]]


def _weave(frame: Frame, fields: list[tuple[Plane, Plane]], subsampling: tuple[int, int]) -> tuple[Plane, Plane]:
    """Chroma planes of a whole frame: their lines alternate between the fields."""
    height = -(-frame.height >> subsampling[1])
    woven = []
    for top, bottom in zip(*fields, strict=True):
        plane = np.empty((height, top.shape[1]), top.dtype)
        # Heights that 4:2:0 can't halve twice leave a field a line short; its last line then serves twice.
        plane[0::2] = top[np.minimum(np.arange(len(plane[0::2])), len(top) - 1)]
        plane[1::2] = bottom[np.minimum(np.arange(len(plane[1::2])), len(bottom) - 1)]
        woven.append(plane)
    return woven[0], woven[1]


def working_luma(plane: Plane, frame: Frame, geometry: Geometry) -> Array:
    """Luma `[H, W]` 0..1 at the padded working size of a Y' plane (a frame's or a field's)."""
    rows, columns = geometry.content if geometry.turns % 2 == 0 else geometry.content[::-1]
    shrinks = plane.shape[0] >= rows and plane.shape[1] >= columns
    small = cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    low, high, _ = frame.levels
    luma = (small.astype(np.float32) - low) * (1 / (high - low))
    np.clip(luma, 0, 1, out=luma)
    luma = np.ascontiguousarray(np.rot90(luma, geometry.turns))
    down, right = (padded - side for padded, side in zip(geometry.padded, geometry.content, strict=True))
    return np.asarray(cv2.copyMakeBorder(luma, 0, down, 0, right, cv2.BORDER_REFLECT_101), np.float32)


def chroma_planes(
    chroma: Array, plane: Plane, frame: Frame, geometry: Geometry, subsampling: tuple[int, int], saturation: float
) -> tuple[Plane, Plane]:
    """Cb and Cr planes, at the frame's depth, for a Y' plane of the frame.

    chroma: float `[2, h, w]` in BT.601 scaling at the padded working size over CHROMA_STRIDE.
    """
    step_x, step_y = subsampling
    height, width = -(-plane.shape[0] >> step_y), -(-plane.shape[1] >> step_x)
    placed = cv2.warpAffine(
        np.ascontiguousarray(chroma.transpose(1, 2, 0)),
        _placement(plane.shape, geometry, subsampling, frame.tags.chroma_location),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    small = plane if (step_x, step_y) == (0, 0) else cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA)
    low, high, swing = frame.levels
    luma = (small.astype(np.float32) - low) * (1 / (high - low))
    red, blue = color.CR_TO_R * saturation * placed[..., 1], color.CB_TO_B * saturation * placed[..., 0]
    kr, kb = LUMA_WEIGHTS[frame.tags.matrix]
    scale = _room(luma, red, blue, kr, kb)
    middle, top = float(2 ** (frame.depth - 1)), float(2**frame.depth - 1)
    kind = np.uint8 if frame.depth == 8 else np.uint16
    planes = []
    for difference, weight in ((blue, kb), (red, kr)):
        codes = difference * scale * (swing / (2 * (1 - weight))) + middle
        planes.append(np.clip(np.rint(codes), 0, top).astype(kind))
    return planes[0], planes[1]


def _placement(
    shape: tuple[int, ...], geometry: Geometry, subsampling: tuple[int, int], location: int
) -> npt.NDArray[np.float64]:
    """The affine map from chroma samples of the film to chroma samples of the working picture.

    A chroma sample of 4:2:0 lies beside the left luma sample unless the film says otherwise (H.273: type 0).
    """
    centred = (location in (2, 4, 6), location not in (3, 4))
    steps = (2 ** subsampling[0], 2 ** subsampling[1])
    # Positions are those of the samples' centres, x and y, in luma samples of the film.
    first = [step / 2 if middle or step == 1 else 0.5 for step, middle in zip(steps, centred, strict=True)]
    height, width = shape[:2]
    turn, corner = (
        (np.array([[1, 0], [0, 1]]), (0, 0)),
        (np.array([[0, 1], [-1, 0]]), (0, width)),
        (np.array([[-1, 0], [0, -1]]), (width, height)),
        (np.array([[0, -1], [1, 0]]), (height, 0)),
    )[geometry.turns]
    shown = (height, width) if geometry.turns % 2 else (width, height)
    ratio = np.array(geometry.content[::-1]) / shown / CHROMA_STRIDE
    linear = turn * np.array(steps) * ratio[:, None]
    offset = (turn @ first + corner) * ratio - 0.5
    return np.column_stack((linear, offset))


def _room(luma: Array, red: Array, blue: Array, kr: float, kb: float) -> Array:
    """The factor 0..1 that keeps R'G'B' in range, hue kept: R' - Y' = red, B' - Y' = blue; luma 0..1, all `[h, w]`."""
    green = -(kr * red + kb * blue) / (1 - kr - kb)
    up = np.maximum(np.maximum(red, blue), green)
    down = np.minimum(np.minimum(red, blue), green)
    tiny = np.float32(1e-6)
    scale = np.minimum((1 - luma) / np.maximum(up, tiny), luma / np.maximum(-down, tiny))
    return np.asarray(np.clip(scale, 0, 1), np.float32)
