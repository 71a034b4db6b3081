"""Ways to hold colours still, ours among them: each takes a clip and gives chroma for every frame."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from model import temporal
from model.motion import box, halve
from model.temporal import State
from stream import steady
from stream.config import Settings
from stream.frame import Frame
from stream.metrics import Meter
from stream.shots import Mark, Marked, Picture
from train.measures import Clip, find_motion

Smoother: TypeAlias = Callable[[Clip, Tensor], Tensor]
"""A clip and the network's chroma `[T, 2, h, w]` to chroma `[T, 2, h, w]`."""

NO_FRAME = Frame(planes=(np.zeros((1, 1), np.uint8),))
"""Where only colours are judged."""
_WEIGHT = 0.76
"""Of the past in the plain recursive filters: 0.95 x 0.8, as in version 0.1.0's first week."""


def unsmoothed(_: Clip, chroma: Tensor) -> Tensor:
    """As the network says."""
    return chroma


def plain(clip: Clip, chroma: Tensor) -> Tensor:
    """Recursive, wherever a thing moves."""
    return _recursive(clip, chroma, lambda now, then: torch.ones_like(now))


def gated(clip: Clip, chroma: Tensor) -> Tensor:
    """Recursive where the guide has not changed since the frame before: the smoothing before this one."""

    def agreement(now: Tensor, then: Tensor) -> Tensor:
        difference = now - then
        difference = (difference - difference.mean((2, 3), keepdim=True)).abs()
        return torch.exp(-((torch.nn.functional.max_pool2d(difference, 3, 1, 1) / 0.04) ** 2))

    return _recursive(clip, chroma, agreement)


def _recursive(clip: Clip, chroma: Tensor, agreement: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    guides = temporal.guide(clip.luma)
    smoothed = [chroma[:1]]
    for now in range(1, len(chroma)):
        weight = _WEIGHT * temporal.enlarge(agreement(guides[now : now + 1], guides[now - 1 : now]))
        kept = weight * float(clip.shots[now] == clip.shots[now - 1])
        smoothed.append(torch.lerp(chroma[now : now + 1], smoothed[-1], kept))
    return torch.cat(smoothed)


def along(clip: Clip, chroma: Tensor, *, flow: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Our averaging, causal, along any flow between two frames, given without grain at half the working size."""
    guides, pictures = temporal.guide(clip.luma), box(halve(clip.luma), 2)
    state: State | None = None
    smoothed = []
    for now, shots in enumerate(pairwise((None, *clip.shots))):
        part = slice(now, now + 1)
        guide = guides[part]
        cut = torch.tensor([shots[0] != shots[1]])
        past = None
        if state is not None:
            found = 0.5 * halve(flow(pictures[part], pictures[now - 1 : now]))
            past = temporal.carry(state, guide, cut, steady=Settings.steady, flow=found)
        mean = temporal.include(past, chroma[part], None, guide)
        smoothed.append(mean.chroma)
        state = State(mean, guide)
    return torch.cat(smoothed)


def still(now: Tensor, _: Tensor) -> Tensor:
    """Nothing moves."""
    return now.new_zeros(1, 2, *now.shape[-2:])


def dis(now: Tensor, then: Tensor) -> Tensor:
    """OpenCV's DIS flow; nothing where both ways disagree."""
    motion = find_motion(now, then)
    return motion.flow * motion.seen


def ours(clip: Clip, chroma: Tensor, *, lag: int, strength: float = Settings.steady) -> Tensor:
    """What the engine does, with the clip's shots given."""
    marked = marks(clip, chroma)
    if lag:
        held = steady.hold_ahead(marked, steady=strength, lag=lag, meter=Meter())
    else:
        held = steady.hold_online(marked, steady=strength, meter=Meter())
    return torch.cat([picture.chroma for picture in held])


def marks(clip: Clip, chroma: Tensor) -> Iterator[Marked]:
    """The clip as the engine's smoothing sees it."""
    guides = temporal.guide(clip.luma)
    for now, (before, shot) in enumerate(pairwise((None, *clip.shots))):
        part = slice(now, now + 1)
        mark: Mark = "same" if before == shot else "cut"
        yield Marked(Picture(frame=NO_FRAME, guide=guides[part], chroma=chroma[part]), mark)


LAG = Settings.lag - 4
"""Of the lag, what is left to the smoothing when cuts have been looked for."""

SMOOTHERS: dict[str, Smoother] = {
    "unsmoothed": unsmoothed,
    "plain recursive": plain,
    "luma-gated recursive (before)": gated,
    "counted, no motion": partial(along, flow=still),
    "counted, DIS flow (reference)": partial(along, flow=dis),
    "ours, causal": partial(ours, lag=0),
    "ours, fixed lag": partial(ours, lag=LAG),
}
