"""Where each place of a picture was in another one: local correlation, coarse to fine, as plain tensor operations.

Guides are float `[B, 1, h, w]` 0..1, both sides multiples of 8; flows are `[B, 2, h, w]`, x and y in samples:
current(p) shows what previous(p + flow) did.
"""

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

REACH = 3
"""Samples of the coarsest level that are searched either way: 12 of the guide, 48 of the working picture a frame."""
_LEVELS = 3


def find(current: Tensor, previous: Tensor) -> Tensor:
    """The flow from `current` to `previous`; zero wherever standing still explains the picture as well."""
    return follow(pyramid(current), pyramid(previous))


def follow(now: list[Tensor], then: list[Tensor]) -> Tensor:
    """The same between two pyramids: each is made once and serves both ways."""
    flow = search(now[-1], then[-1])
    flow = refine(now[1], then[1], double(flow), steps=2)
    return settle(now[0], then[0], double(flow))


def pyramid(guide: Tensor) -> list[Tensor]:
    """The guide at full, half and quarter size, its local mean taken out: flicker and fades change that first."""
    levels = [guide]
    while len(levels) < _LEVELS:
        levels.append(halve(levels[-1]))
    return [level - box(level, 4) for level in levels]


def double(flow: Tensor) -> Tensor:
    """The flow on twice as many samples each way."""
    return 2 * F.interpolate(flow, scale_factor=2.0, mode="bilinear", align_corners=False)


def halve(x: Tensor) -> Tensor:
    """Means of 2x2 samples; a fifth of the time of avg_pool2d on a CPU."""
    rows = x[..., 0::2, :] + x[..., 1::2, :]
    return 0.25 * (rows[..., 0::2] + rows[..., 1::2])


def box(x: Tensor, radius: int) -> Tensor:
    """Means over (2 radius + 1)^2 samples of `[B, C, h, w]`, the border repeated; shifted sums, as fast as it gets."""
    height, width = x.shape[-2:]
    x = F.pad(x, (radius,) * 4, mode="replicate")
    x = reduce(torch.add, [x[..., shift : shift + height, :] for shift in range(2 * radius + 1)])
    x = reduce(torch.add, [x[..., shift : shift + width] for shift in range(2 * radius + 1)])
    return x / (2 * radius + 1) ** 2


def search(now: Tensor, then: Tensor) -> Tensor:
    """The flow in whole samples, REACH either way, as the mean of the best: places that fit alike pull to stillness."""
    height, width = now.shape[-2:]
    shifts = torch.arange(-REACH, REACH + 1, dtype=now.dtype, device=now.device)
    y, x = torch.meshgrid(shifts, shifts, indexing="ij")
    offsets = torch.stack((x.flatten(), y.flatten()))  # [2, D]
    side = 2 * REACH + 1
    patches = F.pad(then, (REACH,) * 4, mode="replicate")
    moved = torch.cat(
        [patches[..., dy : dy + height, dx : dx + width] for dy in range(side) for dx in range(side)], 1
    )  # [B, D, h, w]
    cost = box((now - moved).abs(), 2) + 2e-4 * offsets.square().sum(0).sqrt().view(1, -1, 1, 1)
    sure = torch.softmax(-400 * cost, 1)
    return (offsets @ sure.flatten(2)).view(-1, 2, height, width)


def refine(now: Tensor, then: Tensor, flow: Tensor, *, steps: int) -> Tensor:
    """A flow that is right to about a sample, made right to a fraction (Lucas and Kanade 1981, damped)."""
    padded = F.pad(now, (1, 1, 1, 1), mode="replicate")
    right = 0.5 * (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2])
    down = 0.5 * (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1])
    sums = box(torch.cat((right * right, right * down, down * down, now * now), 1), 3)
    xx, xy, yy, size = torch.split(sums, 1, 1)
    xx, yy = xx + 2e-5, yy + 2e-5
    room = xx * yy - xy * xy
    for _ in range(steps):
        change = warp(then, flow) - now
        # What a stronger lamp explains is no motion: without this, flicker of 10 % moves soft shades by samples.
        change = change - now * (box(change * now, 3) / (size + 1e-6))
        x, y = torch.split(box(torch.cat((right * change, down * change), 1), 3), 1, 1)
        step = torch.cat((xy * y - yy * x, xy * x - xx * y), 1) / room
        flow = flow + step.clamp(-1, 1)
    return flow


def settle(now: Tensor, then: Tensor, flow: Tensor) -> Tensor:
    """The flow, and zero where standing still explains the picture as well: grain moves nothing."""
    error = box(torch.cat(((now - then).abs(), (now - warp(then, flow)).abs()), 1), 3)
    still, moved = torch.split(error, 1, 1)
    return flow * (still > 1.25 * moved + 1e-3)


def turn_back(flow: Tensor) -> Tensor:
    """The flow the other way: what came here from there goes from there to here. Rough where things are covered."""
    small = halve(flow)
    back = warp(small, -0.5 * small)
    return -F.interpolate(back, scale_factor=2.0, mode="bilinear", align_corners=False)


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """`[B, C, h, w]` looked up at p + flow(p), bilinear; the border is repeated outwards."""
    height, width = picture.shape[-2:]
    x, y = torch.split(flow, 1, 1)
    right = torch.linspace(-1, 1, width, dtype=flow.dtype, device=flow.device)
    down = torch.linspace(-1, 1, height, dtype=flow.dtype, device=flow.device)[:, None]
    moved = torch.cat((torch.add(right, x, alpha=2 / (width - 1)), torch.add(down, y, alpha=2 / (height - 1))), 1)
    return F.grid_sample(picture, moved.permute(0, 2, 3, 1), padding_mode="border", align_corners=True)
