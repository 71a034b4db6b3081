"""The frames of a film by their numbers, and how one that was read before is found again."""

import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from math import lcm
from typing import Final, NamedTuple

import numpy as np

from stream.errors import InputError
from stream.film import ReadTally
from stream.frame import Frame
from stream.manifest import Place
from stream.reel import Film
from stream.runtime_gpu import LARGEST_BATCH
from stream.shots import LEAD

_BEFORE_S: Final = (0.0, 10.0)
"""How long before a place the film is looked at: a key picture there is enough, unless the pictures after it need one
before; whatever is read is compared, and the film is read from its beginning if all else fails."""
COUNTED: Final = ("frames_damaged", "frames_lost", "packets_damaged", "truncated", "missing_s")
"""Of the reader's tally, what is kept of each segment."""


class _Known(NamedTuple):
    """A frame that was read."""

    key: tuple[int, int]
    """pts, and CRC-32 of the luma."""
    tally: ReadTally
    """What was counted up to it."""
    remarks: int
    """How much had been told."""


class Numbered:
    """The frames of a film from a place on, with what is needed to find each again, and what was counted up to it."""

    def __init__(self, film: Film, place: Place) -> None:
        self._film = film
        self._place = place
        self._known: dict[int, _Known] = {}
        self.tally = ReadTally()
        self.number = place.first
        self.coloured = False

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._found():
            key, remarks = (frame.pts or 0, crc_of(frame)), len(self.tally.remarks)
            self._known[self.number] = _Known(key, replace(self.tally), remarks)
            self.number += 1
            yield frame

    def _found(self) -> Iterator[Frame]:
        wanted = self._place.lead
        if not wanted:
            return self._film.frames(self.tally)
        time_s = float(wanted[0][0] * self._film.info.time_base)
        for since_s in (*(time_s - before for before in _BEFORE_S), None):
            self.tally = ReadTally()
            frames = self._film.frames(self.tally, since_s)
            if found := _find(frames, wanted):
                return chain(found, frames)
        raise InputError(
            f"{self._film.info.path}: frame {self._place.number} can't be found again at {time_s:.2f} s; "
            "start over with --fresh"
        )

    def place(self, number: int, *, carried: bool) -> Place:
        """How the frame `number`, which has been read, is found again; forgets those long before it."""
        first = first_needed(number, self._film.settings.batch, since=self._film.begin_of(number))
        lead = tuple(self._known[index].key for index in range(first, number + 1))
        for index in list(self._known):  # a copy: the decoder's thread goes on adding to it
            if index < first:
                del self._known[index]
        return Place(number=number, carried=carried, lead=lead)

    def counts(self, start: int, end: int | None) -> dict[str, int | float | bool]:
        """What was counted from frame `start` up to frame `end`, or the film's end."""
        before = self._known[start].tally if start else ReadTally()
        after = self._known[end].tally if end is not None else self.tally
        return {name: getattr(after, name) - getattr(before, name) for name in COUNTED}

    def remarks(self, start: int, end: int | None) -> tuple[str, ...]:
        """What was told meanwhile."""
        before = self._known[start].remarks if start else 0
        return tuple(self.tally.remarks[before : None if end is None else self._known[end].remarks])


def first_needed(number: int, batch: int, *, since: int = 0) -> int:
    """The first frame to be read so that `number` comes out as if all had been: with the cut detector's memory full,
    and where a batch begins, on a CPU as on any GPU: whoever goes on makes the batches of the whole film.

    since: the frame from which on batches are counted, and before which nothing matters.
    """
    whole = lcm(batch, LARGEST_BATCH)
    return since + max(0, number - since - LEAD) // whole * whole


def crc_of(frame: Frame) -> int:
    """CRC-32 of the luma."""
    return zlib.crc32(np.ascontiguousarray(frame.luma).data)


def _find(frames: Iterator[Frame], wanted: tuple[tuple[int, int], ...]) -> list[Frame]:
    """The frames with these times and checksums, one after the other; none if they aren't there."""
    found: list[Frame] = []
    for frame in frames:
        if not found and (frame.pts or 0) < wanted[0][0]:
            continue
        if (frame.pts or 0, crc_of(frame)) != wanted[len(found)]:
            return []
        found.append(frame)
        if len(found) == len(wanted):
            return found
    return []
