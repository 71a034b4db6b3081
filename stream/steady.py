"""Colours of a film held still, picture by picture: causal for live, with a look ahead and a memory for files."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from model import anchor, motion, temporal
from model.temporal import Past, State
from stream import shots
from stream.captured import Captured
from stream.metrics import Meter
from stream.shots import Carry, Marked, Picture, Seam

P = ParamSpec("P")
T = TypeVar("T")
RECALL = 4
"""Memory is asked at every so many pictures: it costs more than all the rest, and what it says is carried along."""
TOGETHER = 4
"""Pictures of a file whose motion is looked for at once: small tensors cost by the operation."""


def hold(
    pictures: Iterable[Picture], *, steady: float, lag: int, meter: Meter, one_shot: bool = False
) -> Iterator[Picture]:
    """The same pictures in their order, with colours that hold still.

    steady: 0 (off) to 1. lag: how many pictures may be read ahead of the one that is given out; 0 is causal.
    one_shot: they are known to be one shot, so no cut is looked for.
    """
    if not steady:
        return iter(pictures)
    marked = shots.mark_ahead(pictures) if lag else shots.mark_online(pictures)
    marked = shots.in_one(marked) if one_shot else marked
    if not lag:
        return hold_online(marked, steady=steady, meter=meter)
    return hold_ahead(marked, steady=steady, lag=lag - shots.AHEAD, meter=meter)


class Online:
    """Smooths each picture with those before it, as soon as it is there."""

    def __init__(self) -> None:
        self._before: Picture | None = None
        self._state: State | None = None

    def hold(self, picture: Picture, *, steady: float, meter: Meter) -> Picture:
        """The picture, with colours and strokes that hold still; where a shot begins it sees for itself."""
        if not steady:
            self._before = self._state = None
            return picture
        same = self._before is not None and shots.goes_on(self._before, picture)
        return self.smooth(picture, cut=not same, steady=steady, meter=meter)

    def smooth(self, picture: Picture, *, cut: bool, steady: float, meter: Meter) -> Picture:
        """The picture smoothed, afresh where it is said to begin a shot or another kind of look."""
        before, self._before = self._before, picture
        with meter.stage("steady"), torch.inference_mode():
            if cut or before is None or before.look != picture.look:
                self._state = None
            chroma, styled, self._state = _on(picture.guide.device, temporal.smooth)(
                picture.chroma,
                picture.styled_luma,
                picture.guide,
                _no_cut(picture),
                self._state and _state_for(self._state, len(picture.guide)),
                steady=steady,
            )
        return replace(picture, chroma=chroma, styled_luma=styled)


def hold_online(marked: Iterable[Marked], *, steady: float, meter: Meter) -> Iterator[Picture]:
    """Each picture as soon as it is there, smoothed with those before it."""
    online = Online()
    for picture, mark in marked:
        alone = mark == "alone"
        yield picture if alone else online.smooth(picture, cut=mark == "cut", steady=steady, meter=meter)


@dataclass(kw_only=True, eq=False)
class _Held:
    """A picture that waits for those after it."""

    picture: Picture
    alone: bool
    past: Past | None = None
    """What came before it in its shot."""
    onward: Tensor | None = None
    """Flow to the next picture of its shot, once there is one."""
    future: Past | None = None
    """What those after it said about it when they were last asked."""
    trust: float = 1.0
    """How much of what they say the next time counts, where they were asked before."""


def stride(lag: int) -> int:
    """How many pictures of a shot are finished at once when `hold_ahead` holds `lag`: a shot can be cut into segments
    at multiples of it, and nothing changes.
    """
    most, last = _round(lag)
    return most - last


def _round(lag: int) -> tuple[int, int]:
    """How many pictures are held until some are finished, and how many of them then go on waiting.

    Groups that are looked at together are whole where there is room for that, so that they are the same ones for
    whoever begins at a seam.
    """
    most = lag + 1
    if most < 2 * TOGETHER:
        return most, 0
    most -= most % TOGETHER
    return most, most // 4 // TOGETHER * TOGETHER


def hold_ahead(
    marked: Iterable[Marked], *, steady: float, lag: int, meter: Meter, carry: Carry | None = None
) -> Iterator[Picture]:
    """Each picture smoothed with those before and after it, with `lag` pictures held at most; shot by shot.

    The future is gone through backwards, for many pictures at once: the last of those held serve only as the future of
    the others, and are gone through again when theirs is known. A picture with a seam comes out with what was known of
    its shot before it. carry: the same, of the shot that the first picture goes on with.
    """
    shot = _Shot(steady, carry)
    most, last = _round(lag)
    for picture, mark in marked:
        if mark == "cut":
            yield from shot.finish(len(shot.held), meter)
            shot = _Shot(steady)
        if picture.seam is not None:
            picture = replace(picture, seam=Seam(shot.carry))
        with meter.stage("steady"), torch.inference_mode():
            shot.add(picture, alone=mark == "alone")
        if len(shot.held) == most:
            yield from shot.finish(most - last, meter)
    yield from shot.finish(len(shot.held), meter)


class _Shot:
    """The pictures of one shot that wait, and all that is known of it."""

    def __init__(self, steady: float, carry: Carry | None = None) -> None:
        self.held: list[_Held] = []
        self._new: list[_Held] = []
        self._steady = steady
        self.carry = carry
        """What is known of the pictures that were looked at so far: of all of them where a seam can be."""
        self._noted = carry.notes if carry is not None else ()
        self._last: _Held | None = None

    def add(self, picture: Picture, *, alone: bool) -> None:
        """Puts the picture to the others to wait for its future."""
        item = _Held(picture=picture, alone=alone)
        if len(self.held) < len(self._noted):
            item.future = self._noted[len(self.held)]
            item.trust = _trust(len(self.held), len(self._noted))
        self.held.append(item)
        if not alone:
            self._new.append(item)
        if len(self.held) % TOGETHER == 0:
            self._look_back()

    def _look_back(self) -> None:
        """Smooths the pictures that are new with their past."""
        new, self._new = self._new, []
        guides = [item.picture.guide for item in new]
        flows = _flows(guides if self.carry is None else [self.carry.state.guide, *guides])
        for item in new:
            self._include(item, None if self.carry is None else next(flows))

    def _include(self, item: _Held, back: Tensor | None) -> None:
        """Takes a picture into the past of those to come; back: its flow to the last one."""
        picture, fields, known = item.picture, len(item.picture.guide), None
        device = picture.guide.device
        if back is None or self.carry is None:
            memory, count = anchor.empty(picture.guide), 0
            known = picture.guide.new_zeros(fields)
        else:
            state, memory, count, _ = self.carry
            if self._last is not None:
                self._last.onward = _for_fields(motion.turn_back(back), len(self._last.picture.guide))
            state = _state_for(state, fields)
            item.past = _on(device, temporal.carry)(
                state, picture.guide, _no_cut(picture), steady=self._steady, flow=back
            )
            if count % RECALL == 0:
                memory = anchor.Memory(*(_for_fields(part, fields) for part in memory))
                item.past, known = _on(device, anchor.recall)(
                    memory, item.past, picture.chroma, picture.styled_luma, picture.guide
                )
        mean = _on(device, temporal.include)(item.past, picture.chroma, picture.styled_luma, picture.guide)
        if known is not None:
            memory = anchor.keep(memory, mean, picture.guide, known)
        self.carry, self._last = Carry(State(mean, picture.guide), memory, count + 1), item
        item.picture = replace(picture, styled_luma=mean.styled_luma)

    def finish(self, count: int, meter: Meter) -> Iterator[Picture]:
        """The first `count` pictures, done; the others go on waiting."""
        with meter.stage("steady"), torch.inference_mode():
            self._look_back()
            done = self._look_ahead(count)
        del self.held[:count]
        yield from done

    def _look_ahead(self, count: int) -> list[Picture]:
        """The first `count` pictures smoothed with their past and future; the others note what they know of theirs."""
        done: list[Picture] = []
        state: State | None = None
        notes: list[Past | None] = []
        for index, item in reversed(list(enumerate(self.held))):
            picture, future, device = item.picture, None, item.picture.guide.device
            if not item.alone:
                if state is not None and item.onward is not None:
                    state = _state_for(state, len(picture.guide))
                    future = _on(device, temporal.carry)(
                        state, picture.guide, _no_cut(picture), steady=self._steady, flow=item.onward
                    )
                mean = _on(device, temporal.include)(future, picture.chroma, None, picture.guide)
                state = State(mean, picture.guide)
            if index < count:
                done.append(picture if item.alone else _mean(item, future))
            else:
                notes.append(future)
        self._note(tuple(notes[::-1]), count)
        return done[::-1]

    def _note(self, notes: tuple[Past | None, ...], first: int) -> None:
        """Keeps what was said about the pictures from `first` on, for the round, or the segment, that finishes them."""
        for place, (item, note) in enumerate(zip(self.held[first:], notes, strict=True)):
            item.future, item.trust = note, _trust(place, len(notes))
        if notes and (seam := self.held[first].picture.seam) is not None and seam.carry is not None:
            picture = self.held[first].picture
            self.held[first].picture = replace(picture, seam=Seam(seam.carry._replace(notes=notes)))


def _trust(place: int, waiting: int) -> float:
    """So that no step is seen where one round ends and the next begins."""
    return (place + 1) / (waiting + 1)


def _flows(guides: list[Tensor]) -> Iterator[Tensor]:
    """The flow from each guide to the one before it, all found at once."""
    if len(guides) < 2:
        return iter(())
    before = [_for_fields(then, len(now)) for then, now in pairwise(guides)]
    flow = _on(guides[0].device, motion.find)(torch.cat(guides[1:]), torch.cat(before))
    return iter(torch.split(flow, [len(guide) for guide in guides[1:]]))


@cache
def _on(device: torch.device, function: Callable[P, T]) -> Callable[P, T]:
    """The function as it is quickest on the device: a GPU would spend its time on waiting for hundreds of launches."""
    return Captured(function, device) if device.type == "cuda" else function


def _mean(item: _Held, future: Past | None) -> Picture:
    picture = item.picture
    chroma = _between(item, future)
    if item.trust < 1:
        chroma = torch.lerp(_between(item, item.future), chroma, item.trust)
    return replace(picture, chroma=chroma)


def _between(item: _Held, future: Past | None) -> Tensor:
    picture = item.picture
    if item.past is None and future is None:
        return picture.chroma  # a shot of one picture: there is nothing to compute, so nothing to record
    chroma: Tensor = _on(picture.guide.device, temporal.between)(item.past, picture.chroma, future)
    return chroma


def _state_for(state: State, fields: int) -> State:
    """The state of a stream that goes on in so many fields."""
    chroma, styled_luma, seen, frames, vivid = state.past
    past = Past(
        _for_fields(chroma, fields),
        None if styled_luma is None else _for_fields(styled_luma, fields),
        _for_fields(seen, fields),
        _for_fields(frames, fields),
        _for_fields(vivid, fields),
    )
    return State(past, _for_fields(state.guide, fields))


def _for_fields(x: Tensor, fields: int) -> Tensor:
    """`[F, ...]` of a frame or of its two fields as `fields` of them: films mix both, from frame to frame."""
    return x if len(x) == fields else x[:1].expand(fields, *x.shape[1:])


def _no_cut(picture: Picture) -> Tensor:
    return picture.guide.new_zeros(len(picture.guide), dtype=torch.bool)
