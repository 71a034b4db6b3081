"""Spots the shots of a film before it is coloured: where each begins, and a small picture out of each.

    for spotted in spot("reel.mkv"):
        print(spotted.first, spotted.frames)

The cuts are those that `colorize` finds: the same detectors on the same small pictures.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import cast

import cv2
import torch

from model import temporal
from stream import shots
from stream.config import Settings
from stream.film import Info
from stream.frame import Frame, Plane
from stream.geometry import Geometry, working_luma
from stream.shots import Picture


@dataclass(frozen=True, kw_only=True, eq=False)
class Spotted:
    """A shot that was found."""

    first: int
    """Number of its first frame, counted from 0."""
    frames: int
    time_s: float
    """When it begins."""
    sample: Frame
    """A picture from about its middle, luma alone, upright is as the film has it; short side 256 at most."""


def spot(frames: Iterable[Frame], info: Info, *, firsts: tuple[int, ...] | None = None) -> Iterator[Spotted]:
    """The shots of a film in their order, in one pass with little memory.

    firsts: where they begin, if somebody has said so; else they are looked for.
    """
    geometry = Geometry.of(
        info.width,
        info.height,
        short_side=Settings.short_side,
        pixel_aspect=info.pixel_aspect,
        rotation=info.rotation,
    )
    begins = _found(frames, geometry) if firsts is None else _said(frames, frozenset(firsts))
    samples: list[Frame] = []
    first, count, time_s = 0, 0, 0.0
    for number, (frame, begin) in enumerate(begins):
        if begin and count:
            yield Spotted(first=first, frames=count, time_s=time_s, sample=_middle(samples, count))
        if begin:
            samples, first, count, time_s = [], number, 0, frame.time_s or 0.0
        if count & (count - 1) == 0:  # pictures 0, 1, 2, 4, 8, ... of the shot: one of them lies near its middle
            samples.append(_small(frame))
        count += 1
    if count:
        yield Spotted(first=first, frames=count, time_s=time_s, sample=_middle(samples, count))


def _found(frames: Iterable[Frame], geometry: Geometry) -> Iterator[tuple[Frame, bool]]:
    def pictures() -> Iterator[Picture]:
        for frame in frames:
            field = frame.luma[::2] if frame.interlaced and frame.height >= 4 else frame.luma
            guide = temporal.guide(torch.from_numpy(working_luma(field, frame, geometry))[None, None])
            yield Picture(frame=frame, guide=guide, chroma=torch.empty(1, 2, 0, 0))

    for picture, mark in shots.mark_ahead(pictures()):
        yield picture.frame, mark == "cut"


def _said(frames: Iterable[Frame], firsts: frozenset[int]) -> Iterator[tuple[Frame, bool]]:
    return ((frame, number in firsts) for number, frame in enumerate(frames))


def _middle(samples: list[Frame], count: int) -> Frame:
    """Of pictures 0, 1, 2, 4, ... of a shot the last that lies in its first two thirds."""
    wanted = 2 * count // 3
    return samples[min(wanted.bit_length(), len(samples) - 1)]


def _small(frame: Frame) -> Frame:
    """The frame's luma with a short side of 256 at most: what the network sees of it, and a sheet shows."""
    luma = frame.luma[::2] if frame.interlaced and frame.height >= 4 else frame.luma
    scale = min(1.0, Settings.short_side / min(frame.width, frame.height))
    size = (max(1, round(frame.width * scale)), max(1, round(frame.height * scale)))
    small = cast(Plane, cv2.resize(luma, size, interpolation=cv2.INTER_AREA))
    return replace(frame, planes=(small,), subsampling=(0, 0), interlaced=False)


def clock(info: Info, start: str | None) -> Callable[[int, float], str]:
    """Makes time codes HH:MM:SS:FF of a frame's number and time in seconds.

    start: the film's own time code, with ";" before the frames where numbers are dropped (29.97 and 59.94).
    Without one, and in a film of no steady rate, codes begin at zero.
    """
    rate = info.frame_rate or Fraction(25)
    nominal = max(1, round(rate))
    dropping = start is not None and ";" in start and nominal % 30 == 0
    begin = _count_of(start, nominal, dropping=dropping) if start else 0

    def code(number: int, time_s: float) -> str:
        count = begin + (number if start else round(time_s * rate))
        return _code_of(count, nominal, dropping=dropping)

    return code


def _count_of(code: str, nominal: int, *, dropping: bool) -> int:
    parts = [int(part) for part in code.replace(";", ":").replace(".", ":").split(":") if part.isdigit()]
    hours, minutes, seconds, frames = ([0] * 4 + parts)[-4:]
    count = ((hours * 60 + minutes) * 60 + seconds) * nominal + frames
    whole = hours * 60 + minutes
    return count - (whole - whole // 10) * (nominal // 15) if dropping else count


def _code_of(count: int, nominal: int, *, dropping: bool) -> str:
    if dropping:  # SMPTE 12M: two numbers (of 30) are left out each minute but every tenth
        dropped = nominal // 15
        ten = 600 * nominal - 9 * dropped
        tens, rest = divmod(count, ten)
        count += 9 * dropped * tens + (
            dropped * ((rest - dropped) // (60 * nominal - dropped)) if rest >= dropped else 0
        )
    seconds, frames = divmod(count, nominal)
    separator = ";" if dropping else ":"
    return f"{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{separator}{frames:02}"
