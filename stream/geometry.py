"""Film samples as working pictures, and working chroma back at the film's size."""

from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
import numpy.typing as npt

from model import color
from model.generator import CHROMA_STRIDE, STRIDE
from stream.frame import LUMA_WEIGHTS, Frame, Plane
from stream.runtime import Array

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


def working_chroma(frame: Frame, geometry: Geometry) -> Array:
    """Chroma `[2, H, W]` -0.5..0.5 in BT.601 scaling, at the padded working size, that a frame or field has."""
    if len(frame.planes) == 1:
        return np.zeros((2, *geometry.padded), np.float32)
    rows, columns = geometry.content if geometry.turns % 2 == 0 else geometry.content[::-1]
    kr, kb = LUMA_WEIGHTS[frame.tags.matrix]
    middle, (_, _, swing) = float(2 ** (frame.depth - 1)), frame.levels
    down, right = (padded - side for padded, side in zip(geometry.padded, geometry.content, strict=True))
    made = []
    for plane, weight, to_ours in ((frame.planes[1], kb, color.CB_TO_B), (frame.planes[2], kr, color.CR_TO_R)):
        shrinks = plane.shape[0] >= rows and plane.shape[1] >= columns
        small = cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        values = (small.astype(np.float32) - middle) * np.float32(2 * (1 - weight) / to_ours / swing)
        turned = np.ascontiguousarray(np.rot90(values, geometry.turns))
        made.append(cv2.copyMakeBorder(turned, 0, down, 0, right, cv2.BORDER_REFLECT_101))
    return np.asarray(np.stack(made), np.float32)


def chroma_planes(
    chroma: Array, plane: Plane, frame: Frame, geometry: Geometry, subsampling: tuple[int, int], saturation: float
) -> tuple[Plane, Plane]:
    """Cb and Cr planes, at the frame's depth, for a Y' plane of the frame.

    chroma: float `[2, h, w]` in BT.601 scaling at the padded working size over CHROMA_STRIDE.
    """
    step_x, step_y = subsampling
    height, width = -(-plane.shape[0] >> step_y), -(-plane.shape[1] >> step_x)
    to_working = placement(plane.shape, geometry, subsampling, frame.tags.chroma_location)
    # One by one: OpenCV 5 takes two channels at once to a 32nd of a sample only, and a third slower.
    cb, cr = (
        cv2.warpAffine(
            part,
            to_working,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for part in np.ascontiguousarray(chroma)
    )
    small = plane if (step_x, step_y) == (0, 0) else cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA)
    low, high, swing = frame.levels
    luma = (small.astype(np.float32) - low) * (1 / (high - low))
    red, blue = color.CR_TO_R * saturation * cr, color.CB_TO_B * saturation * cb
    kr, kb = LUMA_WEIGHTS[frame.tags.matrix]
    scale = _room(luma, red, blue, kr, kb)
    middle, top = float(2 ** (frame.depth - 1)), float(2**frame.depth - 1)
    kind = np.uint8 if frame.depth == 8 else np.uint16
    planes = []
    for difference, weight in ((blue, kb), (red, kr)):
        codes = difference * scale * (swing / (2 * (1 - weight))) + middle
        planes.append(np.clip(np.rint(codes), 0, top).astype(kind))
    return planes[0], planes[1]


def placement(
    shape: tuple[int, ...],
    geometry: Geometry,
    subsampling: tuple[int, int],
    location: int,
    *,
    stride: int = CHROMA_STRIDE,
) -> npt.NDArray[np.float64]:
    """The affine map from chroma samples of the film to samples, `stride` apart, of the working picture.

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
    ratio = np.array(geometry.content[::-1]) / shown / stride
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
