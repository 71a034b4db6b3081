"""A shot's memory: what colour a thing had when it was last seen well, found again by how it looks.

Of constant size however long the shot is. A view is a whole frame at a sixteenth of the working size: for each place
how its surroundings look, and its colour. A thing that was hidden is looked up in all views at once, wherever it was
in them.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.motion import box, halve
from model.temporal import Past, enlarge, vividness

VIEWS = 4
_PATCH = 5
LIKENESS = 0.02
"""Root mean square difference of two looks, luma 0..1, at which they are taken for the same thing by 1/e."""
_NEW = 0.15
"""A frame is kept as a view when more than this share of it is not found in memory."""
_SETTLED = 9.0
"""Frames that the colours of a view are averaged over, in the mean, before it is kept."""
STRENGTH = 6.0
"""For how many frames of the past the memory's word counts,"""
FRESH = 12.0
"""while a place was in view for not many more frames than this;"""
HELD = 4.0
"""afterwards for so many: a slow drift is held, and no step is seen where memory is asked."""


class Memory(NamedTuple):
    """What is kept of a shot."""

    looks: Tensor
    """float `[B, V, D, n]`: how the surroundings of each place look."""
    colours: Tensor
    """float `[B, V, 3, n]`: its chroma, and what frames said of its vividness."""
    used: Tensor
    """float `[B, V]`: 1 for a view that holds something; they are filled in order, and the last one is renewed."""


def empty(guide: Tensor) -> Memory:
    """A memory of nothing for guides `[B, 1, h, w]`."""
    batch, places = guide.shape[0], guide.shape[2] // 4 * (guide.shape[3] // 4)
    return Memory(
        guide.new_zeros(batch, VIEWS, _PATCH**2, places),
        guide.new_zeros(batch, VIEWS, 3, places),
        guide.new_zeros(batch, VIEWS),
    )


def recall(
    memory: Memory, past: Past, chroma: Tensor, styled_luma: Tensor | None, guide: Tensor
) -> tuple[Past, Tensor]:
    """The past of every place with what memory says about its colour, and the share `[B]` of places it knew.

    Memory speaks for whole neighbourhoods, so it shifts the network's own `chroma` `[B, 2, h, w]` there rather than
    painting over it, and only where the place is as bright as its neighbourhood is. As far as its word counts the
    place is taken to have looked as it looks now, in `styled_luma` `[B, 1, H, W]` too: what is there now was
    uncovered, and the past is that of what covered it.
    """
    level = halve(halve(guide))
    found, likeness = _find(memory, _look(guide))
    here = _colours(chroma, vividness(chroma))
    cells = torch.cat((found.view_as(here) - here, level, likeness.view_as(level)), 1)
    fine = F.interpolate(cells, scale_factor=4.0, mode="bilinear", align_corners=False)
    move, more, level, sure = torch.split(fine, [2, 1, 1, 1], 1)
    word = HELD + (STRENGTH - HELD) * torch.exp(-((past.frames / FRESH) ** 2))
    weight = word * sure * torch.exp(-((guide - level) / 0.08).square())
    total = past.frames + weight
    share = weight / (total + 1e-6)
    fine, move = torch.split(enlarge(torch.cat((share, share * move), 1)), [1, 2], 1)
    styled = past.styled_luma
    if styled is not None and styled_luma is not None:
        styled = torch.lerp(styled, styled_luma, enlarge(fine))
    mixed = torch.lerp(past.chroma, chroma, fine) + move
    vivid = torch.lerp(past.vivid, (vividness(chroma) + more).clamp(min=0), share)
    seen = torch.lerp(past.seen, guide, share)
    return Past(mixed, styled, seen, total, vivid), likeness.mean((1, 2))


def keep(memory: Memory, mean: Past, guide: Tensor, known: Tensor) -> Memory:
    """Memory with this frame's means as a view, where they are settled and show enough that is new.

    known: the share `[B]` that `recall` found.
    """
    wanted = (mean.frames.mean((1, 2, 3)) > _SETTLED) & (known < 1 - _NEW)
    first_free = torch.cumprod(memory.used, 1).sum(1).clamp(max=VIEWS - 1)
    slots = torch.arange(VIEWS, dtype=first_free.dtype, device=first_free.device)
    chosen = ((slots == first_free[:, None]) & wanted[:, None]).to(memory.used.dtype)
    colours = _colours(mean.chroma, mean.vivid).flatten(2)[:, None]
    looks = _look(guide)[:, None]
    share = chosen[:, :, None, None]
    return Memory(
        torch.lerp(memory.looks, looks.expand_as(memory.looks), share),
        torch.lerp(memory.colours, colours.expand_as(memory.colours), share),
        torch.maximum(memory.used, chosen),
    )


def _colours(chroma: Tensor, vivid: Tensor) -> Tensor:
    """Chroma and its vividness `[B, 3, h/8, w/8]`, each cell the mean of 8x8 samples of chroma `[B, 2, h, w]`."""
    return halve(halve(torch.cat((halve(chroma), vivid), 1)))


def _look(guide: Tensor) -> Tensor:
    """How the surroundings of each cell look: `[B, D, n]` of a guide `[B, 1, h, w]`.

    The level counts for half of what the shades around it do: the film's flicker changes it.
    """
    # Softened, so that a thing is known again when it stands between two cells.
    patches = F.unfold(box(halve(guide), 2), _PATCH, padding=_PATCH // 2, stride=2)
    return patches - 0.5 * patches.mean(1, keepdim=True)


def _find(memory: Memory, asked: Tensor) -> tuple[Tensor, Tensor]:
    """Colours `[B, 3, n]` of the looks `[B, D, n]` that are asked for, and how sure they are, `[B, 1, n]` 0..1."""
    looks, colours = memory.looks.transpose(1, 2).flatten(2), memory.colours.transpose(1, 2).flatten(2)
    unused = 1e4 * (1 - memory.used).repeat_interleave(memory.looks.shape[-1], 1)
    norm = (looks.square().sum(1) + unused)[:, None]
    distance, nearest = torch.baddbmm(norm, asked.transpose(1, 2), looks, alpha=-2).min(2)
    distance = (distance + asked.square().sum(1)).clamp(min=0) / (asked.shape[1] * LIKENESS**2)
    found = colours.gather(2, nearest[:, None].expand(-1, 3, -1))
    return found, torch.exp(-distance)[:, None]
