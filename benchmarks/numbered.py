"""Pictures with their number drawn into them, so that whoever receives one can say which one it is."""

from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np

from benchmarks.clips import Luma
from stream.frame import Plane

BITS: Final = 16
_BLOCK: Final = 24


def draw(luma: Luma, number: int) -> Luma:
    """A copy with `number` as 16 black or white squares along the top edge."""
    marked = luma.copy()
    for bit in range(BITS):
        marked[:_BLOCK, bit * _BLOCK : (bit + 1) * _BLOCK] = 235 if number >> bit & 1 else 16
    return marked


def read(luma: Plane) -> int:
    """The number that was drawn."""
    centres = luma[_BLOCK // 2, _BLOCK // 2 : BITS * _BLOCK : _BLOCK]
    return sum(1 << bit for bit, level in enumerate(centres.tolist()) if level > 125)


def make(path: Path, pictures: list[Luma], *, frames: int, rate: int) -> Path:
    """A film of these pictures over and over, numbered, each a whole one by itself."""
    height, width = pictures[0].shape
    neutral = np.full((height // 2, width), 128, np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            codes = draw(pictures[number % len(pictures)], number)
            picture = av.VideoFrame.from_ndarray(np.vstack((codes, neutral)), format="yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path
