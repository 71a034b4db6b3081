"""Planes as 8-bit pictures for viewers: JPEG, PNG, and the packed pixels of a virtual camera.

The film itself never passes through here: viewers alone want R'G'B'.
"""

from fractions import Fraction
from typing import Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from stream.frame import LUMA_WEIGHTS, ColorTags, Frame
from stream.wire import JpegMessage

Pixels: TypeAlias = npt.NDArray[np.uint8]
QUALITY: Final = 85


def encode_picture(
    frame: Frame, *, longest: int | None = None, pixel_aspect: Fraction = Fraction(1), quality: int = QUALITY
) -> tuple[bytes, tuple[int, int]]:
    """JPEG of a frame and its (width, height); no side is longer than `longest`, and its pixels are square."""
    pixels = to_bgr(frame, longest=longest, pixel_aspect=pixel_aspect)
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes(), (pixels.shape[1], pixels.shape[0])


def encode_png(frame: Frame, *, pixel_aspect: Fraction = Fraction(1)) -> bytes:
    """PNG of a frame at its full size, 8 bits a channel, in square pixels."""
    _, data = cv2.imencode(".png", to_bgr(frame, pixel_aspect=pixel_aspect))
    return data.tobytes()


def to_bgr(frame: Frame, *, longest: int | None = None, pixel_aspect: Fraction = Fraction(1)) -> Pixels:
    """B'G'R' `[H, W, 3]`, full range, by the frame's own matrix, in square pixels.

    pixel_aspect: of the frame's pixels, width by height; the side that they stretch is made longer.
    """
    aspect = float(pixel_aspect)
    size = _fit(frame.width * max(1.0, aspect), frame.height / min(1.0, aspect), longest)
    shift = frame.depth - 8
    planes = [_resize(np.asarray(plane >> shift if shift else plane, np.uint8), size) for plane in frame.planes]
    if len(planes) == 1:
        planes += [np.full_like(planes[0], 128)] * 2
    kr, kb = LUMA_WEIGHTS[frame.tags.matrix]
    kg = 1 - kr - kb
    low, gain, swing = (0.0, 1.0, 1.0) if frame.tags.full_range else (16.0, 255 / 219, 255 / 224)
    to_red, to_blue = 2 * (1 - kr) * swing, 2 * (1 - kb) * swing
    rows = np.array(
        [
            [gain, to_blue, 0],
            [gain, -to_blue * kb / kg, -to_red * kr / kg],
            [gain, 0, to_red],
        ]
    )
    offsets = -(rows @ np.array([low, 128.0, 128.0]))
    packed = cv2.merge([np.ascontiguousarray(plane) for plane in planes])
    return np.asarray(cv2.transform(packed, np.column_stack((rows, offsets))), np.uint8)


def _fit(width: float, height: float, longest: int | None) -> tuple[int, int]:
    scale = 1.0 if longest is None else min(1.0, longest / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resize(plane: Pixels, size: tuple[int, int]) -> Pixels:
    if (plane.shape[1], plane.shape[0]) == size:
        return plane
    shrinks = plane.shape[1] > size[0]
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.uint8)


def halve_chroma(frame: Frame) -> Frame:
    """A frame in 4:4:4 as 4:2:0, each pair of rows and columns averaged; others as they are."""
    if len(frame.planes) != 3 or frame.subsampling != (0, 0):
        return frame
    size = (-(-frame.width // 2), -(-frame.height // 2))
    blue, red = (
        np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8) for plane in frame.planes[1:]
    )
    return frame.with_chroma(blue, red, (1, 1))


def from_jpeg(message: JpegMessage) -> Frame | None:
    """The frame of a JPEG, 4:4:4 in full range and BT.601 as JPEG has it; None where it can't be decoded."""
    pixels = cv2.imdecode(np.frombuffer(message.jpeg, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None or pixels.shape[:2] != (message.height, message.width):
        return None
    luma, red, blue = cv2.split(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2YCrCb), np.uint8))
    planes = tuple(np.asarray(plane, np.uint8) for plane in (luma, blue, red))
    tags = ColorTags(full_range=True, chroma_location=2)
    return Frame(planes=planes, subsampling=(0, 0), tags=tags, pts=message.pts, time_base=message.time_base)
