"""Colours that hold still: recursive smoothing of chroma with explicit state (DESIGN 7).

Tensor operations on `[B, C, h, w]` at the chroma's working size; nothing here keeps anything between calls.
"""

from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Measured on Nosferatu, a newsreel, a Chaplin short and the sample film (18 cuts): at most 0.57 across a cut, at least
# 0.90 within a shot, grain and flicker included; only an iris that closes to black falls below, and there it does no
# harm.
CUT_CORRELATION = 0.7
THUMBNAIL = (12, 16)


class State(NamedTuple):
    """What is carried from frame to frame; constant in the film's length."""

    chroma: Tensor
    """float `[B, 2, h, w]`: the last smoothed chroma."""
    styled_luma: Tensor | None
    """float `[B, 1, H, W]`: the last smoothed stylised luma, or None in the natural look."""
    guide: Tensor
    """float `[B, 1, h, w]`: the last guide."""


def guide(luma: Tensor) -> Tensor:
    """A grain-suppressed copy `[B, 1, H/2, W/2]` of luma `[B, 1, H, W]`: what decides whether a place is the same."""
    half = F.avg_pool2d(luma, 2)
    padded = F.pad(half, (2, 2, 2, 2), mode="replicate")
    return F.avg_pool2d(padded, 5, stride=1)


def is_cut(current: Tensor, previous: Tensor) -> Tensor:
    """A bool mask `[B]`: True where the guides `[B, 1, h, w]` show different shots.

    Compares thumbnails by correlation, which flicker and fades (a gain and an offset) leave alone.
    """
    thumbnails = [F.adaptive_avg_pool2d(g, THUMBNAIL).flatten(1) for g in (current, previous)]
    a, b = (t - t.mean(1, keepdim=True) for t in thumbnails)
    # A deviation of one eight-bit level is added: between black frames there is nothing to correlate, and no cut.
    floor = a.shape[1] / 255.0**2
    correlation = ((a * b).sum(1) + floor) / ((a.square().sum(1) + floor) * (b.square().sum(1) + floor)).sqrt()
    return correlation < CUT_CORRELATION


def smooth(
    chroma: Tensor,
    styled_luma: Tensor | None,
    guide: Tensor,
    cut: Tensor,
    state: State | None,
    *,
    steady: float = 0.8,
) -> tuple[Tensor, Tensor | None, State]:
    """Carries the previous colours along wherever the picture has not changed.

    chroma: float `[B, 2, h, w]` -0.5..0.5 of this frame. styled_luma: `[B, 1, H, W]` 0..1, or None.
    guide: float `[B, 1, h, w]` 0..1 from `guide()`. cut: bool `[B]`; True starts afresh.
    state: the state of the frame before, or None at the start. steady: 0 (off) to 1 (strongest).
    Returns smoothed chroma, smoothed styled luma, and the state for the next frame.
    """
    if state is None:
        return chroma, styled_luma, State(chroma, styled_luma, guide)
    weight = _agreement(guide, state.guide) * (0.95 * steady)
    weight = torch.where(cut[:, None, None, None], torch.zeros_like(weight), weight)
    chroma = torch.lerp(chroma, state.chroma, weight)
    if styled_luma is not None and state.styled_luma is not None:
        full = F.interpolate(weight, size=styled_luma.shape[-2:], mode="bilinear", align_corners=False)
        styled_luma = torch.lerp(styled_luma, state.styled_luma, full)
    return chroma, styled_luma, State(chroma, styled_luma, guide)


def _agreement(current: Tensor, previous: Tensor) -> Tensor:
    """`[B, 1, h, w]` 0..1: how surely a place shows the same thing in both guides."""
    difference = current - previous
    # The film's flicker moves every place alike; the mean takes it out, what is left is motion.
    difference = (difference - difference.mean((2, 3), keepdim=True)).abs()
    # The neighbourhood's largest change decides, so that no colour stays behind a moving edge.
    return torch.exp(-((_largest_nearby(difference) / 0.04) ** 2))


def _largest_nearby(x: Tensor) -> Tensor:
    """The largest value within two samples of each place, for `[B, 1, h, w]` of values from 0 up.

    Rows, then columns, by shifted copies: a tenth of the time of a 5x5 max-pooling on a CPU.
    """
    for axis, padding in ((2, (0, 0, 2, 2)), (3, (2, 2))):
        size, padded = x.shape[axis], F.pad(x, padding)
        x = reduce(torch.maximum, [padded.narrow(axis, shift, size) for shift in range(5)])
    return x
