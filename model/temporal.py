"""Colours that hold still: motion-compensated averaging of chroma with explicit state (DESIGN 7).

Every place keeps the mean of what the network said about it, and of how bright it was, and both travel with the
picture's motion. A place counts as the same while its brightness stays near that mean; so what is uncovered, what
passes by and what dissolves starts afresh by itself. Tensor operations on `[B, C, h, w]` at the chroma's working size,
in operators that torch, OpenVINO and TensorRT share; nothing here keeps anything between calls.
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model import motion
from model.motion import box, halve, warp

# Measured on Nosferatu, a newsreel, a Chaplin short and the sample film (18 cuts): at most 0.57 across a cut, at least
# 0.90 within a shot, grain and flicker included; only an iris that closes to black falls below, and there it does no
# harm.
CUT_CORRELATION = 0.7
THUMBNAIL = (12, 16)

SAME = 0.09
"""A place whose guide is this far from its mean, of 0..1, keeps 1/e of its past. From 0.04 to 0.15 E_warp falls by
half; above, colourfulness falls with it (benchmarks/results/steady.json)."""
LONGEST_LUMA = 16
"""Frames that stylised luma is averaged over at most: strokes that travel lose sharpness with every frame."""
_FOREVER = 1e4
MOST_VIVID = 1.15
"""A mean is made at most so many times as vivid as it is. From 1.05 to 1.15 black-and-white films keep 97.0 instead of
96.1 % of their colourfulness, and PSNR on grainy clips falls by 0.02 dB."""


class Past(NamedTuple):
    """What earlier frames say about each place of the current one; constant in the film's length."""

    chroma: Tensor
    """float `[B, 2, h, w]`: the mean of the network's chroma."""
    styled_luma: Tensor | None
    """float `[B, 1, H, W]`: the mean of the stylised luma, or None in the natural look."""
    seen: Tensor
    """float `[B, 1, h/2, w/2]`: the mean of the guide, in the exposure of the last frame."""
    frames: Tensor
    """float `[B, 1, h/2, w/2]`: over how many frames; 0 where nothing is known."""
    vivid: Tensor
    """float `[B, 1, h/2, w/2]`: the mean of how far the network's chroma was from grey."""


class State(NamedTuple):
    """What is carried from frame to frame."""

    past: Past
    """The last frame included."""
    guide: Tensor
    """float `[B, 1, h/2, w/2]`: the guide of the last frame."""


def guide(luma: Tensor) -> Tensor:
    """A grain-suppressed copy `[B, 1, H/4, W/4]` of luma `[B, 1, H, W]`: what decides whether a place is the same."""
    return box(halve(halve(luma)), 1)


def is_cut(current: Tensor, previous: Tensor) -> Tensor:
    """A bool mask `[B]`: True where the guides `[B, 1, h, w]` show different shots.

    Compares thumbnails by correlation, which flicker and fades (a gain and an offset) leave alone.
    """
    return correlation(current, previous) < CUT_CORRELATION


def correlation(current: Tensor, previous: Tensor) -> Tensor:
    """How alike two guides are at thumbnail size, `[B]`, -1 to 1."""
    thumbnails = [F.adaptive_avg_pool2d(g, THUMBNAIL).flatten(1) for g in (current, previous)]
    a, b = (t - t.mean(1, keepdim=True) for t in thumbnails)
    # A deviation of one eight-bit level is added: between black frames there is nothing to correlate, and no cut.
    floor = a.shape[1] / 255.0**2
    return ((a * b).sum(1) + floor) / ((a.square().sum(1) + floor) * (b.square().sum(1) + floor)).sqrt()


def smooth(
    chroma: Tensor,
    styled_luma: Tensor | None,
    guide: Tensor,
    cut: Tensor,
    state: State | None,
    *,
    steady: float = 0.8,
) -> tuple[Tensor, Tensor | None, State]:
    """Averages a frame's colours with the past of every place, as far as it is the same place.

    chroma: float `[B, 2, h, w]` -0.5..0.5 of this frame. styled_luma: `[B, 1, H, W]` 0..1, or None.
    guide: float `[B, 1, h/2, w/2]` 0..1 from `guide()`. cut: bool `[B]`; True starts afresh.
    state: the state of the frame before, or None at the start. steady: 0 (off) to 1 (the whole shot's mean).
    Returns smoothed chroma, smoothed styled luma, and the state for the next frame.
    """
    past = None if state is None else carry(state, guide, cut, steady=steady)
    mean = include(past, chroma, styled_luma, guide)
    return freshen(mean.chroma, mean.vivid), mean.styled_luma, State(mean, guide)


def carry(state: State, guide: Tensor, cut: Tensor, *, steady: float, flow: Tensor | None = None) -> Past:
    """The state's past, moved to where the frame with this guide shows it; its frames say how far it is to be trusted.

    flow: from this frame to the state's, `[B, 2, h/2, w/2]`; None finds it.
    """
    past = state.past
    flow = motion.find(guide, state.guide) if flow is None else flow
    seen, frames, vivid = torch.split(warp(torch.cat((past.seen, past.frames, past.vivid), 1), flow), 1, 1)
    seen = expose(seen, guide)
    # The neighbourhood's largest change decides, so that no colour stays behind a moving edge.
    change = _largest_nearby((guide - seen).abs())
    frames = (frames * torch.exp(-((change / SAME) ** 2))).clamp(max=longest(steady))
    frames = frames * (~cut[:, None, None, None]).to(frames.dtype)
    flow = motion.double(flow)
    chroma, styled_luma = warp(past.chroma, flow), past.styled_luma
    if styled_luma is not None:
        styled_luma = warp(styled_luma, motion.double(flow))
    return Past(chroma, styled_luma, seen, frames, vivid)


def longest(steady: float) -> float:
    """How many frames the past may count for: 12 at a steadiness of 0.5, 48 at 0.8, 108 at 0.9."""
    return min(_FOREVER, 12 * steady / max(1 - steady, 1e-9))


def include(past: Past | None, chroma: Tensor, styled_luma: Tensor | None, guide: Tensor) -> Past:
    """The past with one more frame in its means."""
    if past is None:
        return Past(chroma, styled_luma, guide, torch.ones_like(guide), vividness(chroma))
    share = 1 / (past.frames + 1)
    fine = enlarge(share)
    if styled_luma is not None and past.styled_luma is not None:
        styled_luma = torch.lerp(past.styled_luma, styled_luma, enlarge(fine).clamp(min=1 / (LONGEST_LUMA + 1)))
    return Past(
        torch.lerp(past.chroma, chroma, fine),
        styled_luma,
        torch.lerp(past.seen, guide, share),
        past.frames + 1,
        torch.lerp(past.vivid, vividness(chroma), share),
    )


def vividness(chroma: Tensor) -> Tensor:
    """The square of how far every other sample of chroma `[B, 2, h, w]` is from grey, `[B, 1, h/2, w/2]`."""
    return chroma[..., ::2, ::2].square().sum(1, keepdim=True)


def freshen(chroma: Tensor, vivid: Tensor) -> Tensor:
    """Mean chroma as vivid as what it is the mean of: hues that waver make a pale mean."""
    return chroma * enlarge(_pallor(vividness(chroma), vivid))


def _pallor(vivid: Tensor, wanted: Tensor) -> Tensor:
    """By what a mean is paler than what it is the mean of; where there is hardly a colour, by nothing."""
    return ((wanted + 1e-4) / (vivid + 1e-4)).sqrt().clamp(1, MOST_VIVID)


def between(past: Past | None, chroma: Tensor, future: Past | None) -> Tensor:
    """The mean chroma `[B, 2, h, w]` of what came before, of the frame itself and of what comes after it."""
    sides = [side for side in (past, future) if side is not None]
    if not sides:
        return chroma
    counts = [torch.ones_like(sides[0].frames), *(side.frames for side in sides)]
    colours = [chroma, *(side.chroma for side in sides)]
    shares = torch.cat(counts, 1)
    shares = shares / shares.sum(1, keepdim=True)
    mean = _blend(torch.split(shares, 1, 1), [colour[..., ::2, ::2] for colour in colours])
    vivid = (shares * torch.cat([vividness(chroma), *(side.vivid for side in sides)], 1)).sum(1, keepdim=True)
    shares = shares * _pallor(mean.square().sum(1, keepdim=True), vivid)
    return _blend(torch.split(enlarge(shares), 1, 1), colours)


def _blend(shares: Sequence[Tensor], pictures: Sequence[Tensor]) -> Tensor:
    total = shares[0] * pictures[0]
    for share, picture in zip(shares[1:], pictures[1:], strict=True):
        total = torch.addcmul(total, share, picture)
    return total


def enlarge(x: Tensor) -> Tensor:
    """`[B, C, h, w]` on twice as many samples each way."""
    # As single channels: PyTorch takes three for an RGB picture, in a way four times as slow.
    fine = F.interpolate(x.reshape(-1, 1, *x.shape[2:]), scale_factor=2.0, mode="bilinear", align_corners=False)
    return fine.view(*x.shape[:2], *fine.shape[2:])


def expose(seen: Tensor, guide: Tensor) -> Tensor:
    """`seen` under the lamp of `guide`, both `[B, 1, h, w]`: flicker and fades give all places one gain and offset.

    Least squares, twice: the second time without the places that moved.
    """
    before, now = halve(halve(seen)), halve(halve(guide))
    terms = torch.cat((torch.ones_like(now), before, now, before.square(), before * now), 1)
    weighted = terms
    for again in (True, False):
        count, *sums = torch.split(weighted.sum((2, 3), keepdim=True), 1, 1)
        x, y, squared, product = (total / (count + 1e-6) for total in sums)
        gain = ((product - x * y + 1e-4) / (squared - x * x + 1e-4)).clamp(0.5, 2)
        offset = y - gain * x
        if again:
            weighted = terms * torch.exp(-400 * (now - gain * before - offset).square())
    return gain * seen + offset


def _largest_nearby(x: Tensor) -> Tensor:
    """The largest value beside each place, for `[B, 1, h, w]` of values from 0 up.

    Rows, then columns, by shifted copies: a tenth of the time of max-pooling on a CPU.
    """
    for axis, padding in ((2, (0, 0, 1, 1)), (3, (1, 1))):
        size, padded = x.shape[axis], F.pad(x, padding)
        x = reduce(torch.maximum, [padded.narrow(axis, shift, size) for shift in range(3)])
    return x
