"""All segments of a film, found before any of them is coloured: what many machines can work on at once.

The film is decoded and its cuts are found, by the same steps as while it is coloured in one go; nothing is kept but
marks, times and checksums, so that memory stays constant.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

import torch

from model import temporal
from model.generator import CHROMA_STRIDE
from stream import shots, steady
from stream.engine import fields_of
from stream.frame import Frame
from stream.geometry import working_luma
from stream.manifest import Place
from stream.numbered import Numbered
from stream.reel import Film, Watch
from stream.seams import rule
from stream.shots import Mark, Marked, Picture, mark_ahead


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A segment that can be worked on by whoever has the film, and the state before it where it is carried."""

    place: Place
    end: int
    """Number of the first frame behind it."""
    marks: tuple[Mark, ...]
    """Of its frames, and of those after it that its last ones are smoothed with."""
    counts: dict[str, int | float | bool]
    remarks: tuple[str, ...]
    next: Place | None
    """Where the next one begins; None at the film's end."""


def plan(film: Film, watch: Watch) -> Iterator[Planned]:
    """The segments in their order; each as soon as it is known. watch: sees the frames pass."""
    source = Numbered(film, Place(number=0))
    settings = film.settings
    lag = settings.lag - shots.AHEAD
    pictures = _pictures(watch(iter(source)), film)
    if settings.steady:
        marked = rule(mark_ahead(pictures), stride=steady.stride(lag))
    else:
        marked = rule((Marked(picture, "same") for picture in pictures), stride=1)
    future = lag + 1 - steady.stride(lag) if settings.steady else 0
    ahead: deque[tuple[int, Marked]] = deque()
    numbered = zip(count(), marked, strict=False)
    place, marks = Place(number=0), list[Mark]()
    for number, (picture, mark) in _refilled(numbered, ahead, future):
        if picture.seam is not None and number:
            carried = mark == "same" and bool(settings.steady)
            beyond = _until_cut([mark, *(later.mark for _, later in ahead)][:future]) if carried else ()
            segment = _planned(source, place, number, (*marks, *beyond))
            following = source.place(number, carried=carried)
            yield replace(segment, next=following)
            place, marks = following, []
        marks.append(mark)
    if marks:
        yield _planned(source, place, place.number + len(marks), tuple(marks), last=True)


def _planned(source: Numbered, place: Place, end: int, marks: tuple[Mark, ...], *, last: bool = False) -> Planned:
    """A segment; where the next one begins isn't known yet."""
    counted = place.number, None if last else end
    counts, remarks = source.counts(*counted), source.remarks(*counted)
    return Planned(place=place, end=end, marks=marks, counts=counts, remarks=remarks, next=None)


def _refilled(
    source: Iterator[tuple[int, Marked]], ahead: deque[tuple[int, Marked]], size: int
) -> Iterator[tuple[int, Marked]]:
    """The same items; `ahead` holds the next `size` of them."""
    for item in source:
        ahead.append(item)
        if len(ahead) > size:
            yield ahead.popleft()
    while ahead:
        yield ahead.popleft()


def _until_cut(marks: list[Mark]) -> tuple[Mark, ...]:
    """The marks before the first cut behind the first frame."""
    end = next((number for number, mark in enumerate(marks) if number and mark == "cut"), len(marks))
    return tuple(marks[:end])


def _pictures(frames: Iterator[Frame], film: Film) -> Iterator[Picture]:
    """What marks are made of; without colours."""
    geometry = film.geometry
    nothing = torch.empty(0, 2, *(side // CHROMA_STRIDE for side in geometry.padded))
    for frame in frames:
        lumas = [working_luma(field.luma, frame, geometry) for field in fields_of(frame)]
        with torch.inference_mode():
            guide = torch.cat([temporal.guide(torch.from_numpy(luma)[None, None]) for luma in lumas])
        yield Picture(frame=frame, guide=guide, chroma=nothing)
