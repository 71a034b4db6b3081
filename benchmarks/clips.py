"""The films that the benchmarks run on: made from the sample film's true pictures, without and with film grain."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path
from typing import Any, TypeAlias

import av
import cv2
import numpy as np
import numpy.typing as npt

from stream.container import film_stream, open_film
from stream.media import read_frames

Luma: TypeAlias = npt.NDArray[np.uint8]
"""`[H, W]`, codes of limited range."""

SAMPLE = Path(__file__).resolve().parent.parent / "samples" / "reel-truth.mkv"
RATE = 24
SIZE = (854, 480)
"""Width and height."""
GRAIN_LEVELS, GRAIN_PIXELS = 5.0, 0.9
FLICKER = 0.02
MADE = {
    "clean": f"{SAMPLE.name} (512x384, no grain) enlarged and cropped to 854x480, {RATE} fps, grey, x264 crf 18",
    "grainy": f"the same with grain (clumps of {GRAIN_PIXELS} px, {GRAIN_LEVELS:g} levels in the middle tones, none in "
    f"black and white) and flicker ({FLICKER:.0%})",
}
"""How each film is made, for the result."""


def make_film(path: Path, *, grain: bool, frames: int, size: tuple[int, int] = SIZE) -> Path:
    """Writes a film of the sample's pictures, again from the start where it has no more of them."""
    with av.open(str(path), "w") as container:
        options = {"preset": "veryfast", "crf": "18"}
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        neutral = np.full((size[1] // 2, size[0]), 128, np.uint8)  # both chroma planes, one behind the other
        for number, luma in enumerate(islice(cycle(pictures(size)), frames)):
            codes = _aged(luma, number) if grain else luma
            picture = av.VideoFrame.from_ndarray(np.vstack((codes, neutral)), format="yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def cut_film(source: Path, target: Path, *, frames: int) -> Path:
    """Copies the first `frames` coded pictures of a film, packet by packet."""
    with open_film(source) as film, av.open(str(target), "w") as container:
        stream = film_stream(film, source)
        copy: Any = container.add_stream_from_template(stream)
        for packet in islice((packet for packet in film.demux(stream) if packet.size), frames):
            packet.stream = copy
            container.mux(packet)
    return target


def pictures(size: tuple[int, int]) -> Iterator[Luma]:
    """The sample's luma, filling pictures of `size` from edge to edge."""
    width, height = size
    for frame in read_frames(SAMPLE):
        scale = max(width / frame.width, height / frame.height)
        whole = (max(width, round(frame.width * scale)), max(height, round(frame.height * scale)))
        # Sharper than the film was: at its own softness x264 would have next to nothing to do.
        large = cv2.resize(frame.luma, whole, interpolation=cv2.INTER_LANCZOS4).astype(np.float32)
        large += 0.5 * (large - cv2.GaussianBlur(large, (0, 0), 1.5))
        top, left = (whole[1] - height) // 2, (whole[0] - width) // 2
        yield _codes(large[top : top + height, left : left + width])


def _aged(luma: Luma, number: int) -> Luma:
    """One picture with grain and flicker of its own; the same for the same number."""
    random = np.random.default_rng([1895, number])
    noise = cv2.GaussianBlur(random.standard_normal(luma.shape, np.float32), (0, 0), GRAIN_PIXELS)
    tone = (luma.astype(np.float32) - 16) / 219
    strength = GRAIN_LEVELS * 4 * tone * (1 - tone) / noise.std()
    return _codes(16 + 219 * tone * (1 + FLICKER * random.standard_normal()) + noise * strength)


def _codes(luma: npt.NDArray[np.float32]) -> Luma:
    return np.rint(luma).clip(16, 235).astype(np.uint8)
