"""What evaluation measures (DESIGN 6): pictures against the truth, sets against sets, colours over time, attacks.

R'G'B' is float `[B, 3, H, W]` 0..1, Lab is CIE 1976 `[B, 3, H, W]` with D65 white (L* 0..100), ab its last two planes.
Everything is computed in fp32 or better.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model import color, temporal
from train.backbones import Lpips

AB_UNIT = 100.0
"""E_warp is quoted in squares of this many Lab units."""
POOLED_SCALE = 0.25
"""KID's kernel wants features of about 1: these have a root mean square of 3.5 on photos_val, where its +1 is lost and
few pictures decide (standard error of grey's distance 4.7 % as they are, 3.7 % scaled)."""


def psnr(rgb: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio `[B]` in dB over all three channels; 120 dB stands for no difference at all."""
    error = (rgb - truth).square().mean((1, 2, 3))
    return -10 * error.clamp_min(1e-12).log10()


def ssim(rgb: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity `[B]`, mean of the channels (Wang et al. 2004: Gaussian of 1.5 px, 11 taps, no padding).

    Its own, because the filter as a matrix is three times as fast on a CPU as torchmetrics (which the test compares).
    """
    rows, columns = (_gaussian(length) for length in rgb.shape[-2:])

    def blur(x: Tensor) -> Tensor:
        return rows @ x @ columns.T

    mean_x, mean_y = blur(rgb), blur(truth)
    var_x, var_y = blur(rgb.square()) - mean_x.square(), blur(truth.square()) - mean_y.square()
    covariance = blur(rgb * truth) - mean_x * mean_y
    level = (2 * mean_x * mean_y + 0.01**2) / (mean_x.square() + mean_y.square() + 0.01**2)
    return (level * (2 * covariance + 0.03**2) / (var_x + var_y + 0.03**2)).mean((1, 2, 3))


def _gaussian(length: int) -> Tensor:
    """`[length - 10, length]`: each row weighs 11 neighbours."""
    away = torch.arange(length) - torch.arange(5, length - 5)[:, None]
    weights = torch.exp(-0.5 * (away / 1.5) ** 2) * (away.abs() <= 5)
    return weights / weights.sum(1, keepdim=True)


class Look(NamedTuple):
    """What SqueezeNet sees: one pass serves LPIPS and the kernel distance, which scale their input alike."""

    directions: list[Tensor]
    """Its seven taps, of unit length over the channels."""
    pooled: Tensor
    """`[B, 512]`: the last tap, averaged over the picture, in about unit scale."""


def look(net: Lpips, rgb: Tensor) -> Look:
    """SqueezeNet's view of R'G'B'."""
    taps = net.net.taps(net.scale(2 * rgb - 1))
    return Look([F.normalize(tap, dim=1) for tap in taps], POOLED_SCALE * taps[-1].mean((2, 3)))


def perceptual_distance(net: Lpips, first: Look, second: Look) -> Tensor:
    """LPIPS `[B]`; `Lpips` itself would pass the truth through the network for every row again."""
    total = torch.zeros(len(first.pooled))
    for index, (x, y) in enumerate(zip(first.directions, second.directions, strict=True)):
        total = total + ((x - y).square() * net.get_buffer(f"lin{index}")).sum(1).mean((1, 2))
    return total


class Estimate(NamedTuple):
    """A mean and how far it can be trusted."""

    mean: float
    error: float
    """One standard error."""


def estimate(values: Tensor) -> Estimate:
    """Mean of values `[N]` and its standard error (0 for a single value)."""
    values = values.double()
    spread = values.std().item() if len(values) > 1 else 0.0
    return Estimate(values.mean().item(), spread / math.sqrt(len(values)))


def kernel_distance(features: Tensor, truth: Tensor) -> Estimate:
    """Unbiased squared MMD of features `[N, D]` under KID's kernel (x . y / D + 1)^3 (Binkowski et al. 2018).

    All N pictures at once, no subsets. Row i of both sets belongs to the same picture, so pairs (i, i) are left out of
    the mixed term as well (Gretton et al. 2012, lemma 6, equation 4): with them a set would be closer to itself than 0.
    """
    x, y = features.double(), truth.double()
    count, width = x.shape
    if count < 2:
        raise ValueError(f"{count = }; the kernel distance needs 2 pictures or more")

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / width + 1) ** 3

    mixed = kernel(x, y)
    each = kernel(x, x) + kernel(y, y) - mixed - mixed.T
    rows = each.fill_diagonal_(0).sum(1) / (count - 1)
    # A picture stands in both places of a pair, so the first term of Hoeffding's decomposition has a factor of 2.
    mean, error = estimate(rows)
    return Estimate(mean, 2 * error)


class Tally:
    """The measures of one row, gathered batch by batch; every one is kept for each picture."""

    def __init__(self, net: Lpips | None, pictures: int) -> None:
        self.net = net
        self.pictures = pictures
        self._values: dict[str, Tensor] = {}

    def add(self, rgb: Tensor, truth: Tensor, seen: Look | None, *, first: int) -> None:
        """Measures pictures from number `first` on; `seen` is the `look` of the truth, None without the feature net."""
        self.note("psnr", psnr(rgb, truth), first=first)
        self.note("ssim", ssim(rgb, truth), first=first)
        self.note("cf", color.colorfulness(rgb), first=first)
        if self.net is not None and seen is not None:
            own = look(self.net, rgb)
            self.note("lpips", perceptual_distance(self.net, own, seen), first=first)
            self.note("pooled", own.pooled, first=first)
            self.note("true pooled", seen.pooled, first=first)

    def note(self, name: str, values: Tensor, *, first: int) -> None:
        """Keeps the values `[B, ...]` of one measure for pictures from number `first` on."""
        if name not in self._values:
            self._values[name] = values.new_full((self.pictures, *values.shape[1:]), torch.nan)
        # Copied into one piece: thousands of small tensors kept between large ones cost gigabytes of holes in the heap.
        self._values[name][first : first + len(values)] = values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __getitem__(self, name: str) -> Tensor:
        """All values `[N, ...]` of one measure."""
        return self._values[name]


def value_at(curve: Sequence[tuple[float, float]], level: float) -> float | None:
    """What a curve of (level, value) points in rising level is at a level, straight lines between; None outside."""
    levels, values = zip(*curve, strict=True)
    if not levels[0] <= level <= levels[-1]:
        return None
    return float(np.interp(level, levels, values))


def lab(rgb: Tensor) -> Tensor:
    """Lab of sRGB (IEC 61966-2-1, CIE 15); the matrix' own white, so that grey is neutral exactly."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055).clamp_min(0) ** 2.4)
    matrix = rgb.new_tensor(
        ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
    )
    xyz = torch.einsum("ij,bjhw->bihw", matrix / matrix.sum(1, keepdim=True), linear)
    knee = 6 / 29
    root = torch.where(xyz > knee**3, xyz.clamp_min(knee**3) ** (1 / 3), xyz / (3 * knee**2) + 4 / 29)
    x, y, z = root.unbind(1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), 1)


def ciede2000(first: Tensor, second: Tensor) -> Tensor:
    """dE00 `[B, H, W]` of two pictures in Lab: Sharma, Wu and Dalal 2005, equations 2 to 22, all weights 1."""
    l1, a1, b1 = first.unbind(1)
    l2, a2, b2 = second.unbind(1)
    stretch = 1.5 - 0.5 * _seventh((torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2)
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = torch.hypot(a1, b1), torch.hypot(a2, b2)
    h1, h2 = (torch.rad2deg(torch.atan2(b, a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    grey = c1 * c2 == 0  # hue means nothing then
    turn = h2 - h1
    far = turn.abs() > 180
    mean_h = torch.where(
        grey, h1 + h2, (h1 + h2) / 2 + torch.where(far, torch.where(h1 + h2 < 360, 180.0, -180.0), 0.0)
    )
    turn = torch.where(grey, 0.0, turn - torch.where(far, 360 * turn.sign(), 0.0))
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    hue_weight = (
        1
        - 0.17 * _cos(mean_h - 30)
        + 0.24 * _cos(2 * mean_h)
        + 0.32 * _cos(3 * mean_h + 6)
        - 0.20 * _cos(4 * mean_h - 63)
    )
    bow = (mean_l - 50) ** 2
    d_l = (l2 - l1) / (1 + 0.015 * bow / (20 + bow).sqrt())
    d_c = (c2 - c1) / (1 + 0.045 * mean_c)
    d_h = 2 * (c1 * c2).sqrt() * torch.sin(torch.deg2rad(turn) / 2) / (1 + 0.015 * mean_c * hue_weight)
    rotation = torch.sin(torch.deg2rad(60 * torch.exp(-(((mean_h - 275) / 25) ** 2))))
    return (d_l**2 + d_c**2 + d_h**2 - 2 * _seventh(mean_c) * rotation * d_c * d_h).clamp_min(0).sqrt()


def _seventh(chroma: Tensor) -> Tensor:
    return (chroma**7 / (chroma**7 + 25.0**7)).sqrt()


def _cos(degrees: Tensor) -> Tensor:
    return torch.cos(torch.deg2rad(degrees))


class Motion(NamedTuple):
    """Where each place of the current frame was in an earlier one."""

    flow: Tensor
    """float `[1, 2, H, W]`, x and y in pixels: current(p) shows what earlier(p + flow) did."""
    seen: Tensor
    """bool `[1, 1, H, W]`: True where that place was in view and the flow can be trusted."""


def find_motion(current: Tensor, earlier: Tensor) -> Motion:
    """Motion between two lumas `[1, 1, H, W]` 0..1 by OpenCV's DIS flow, both ways.

    Forward and backward flow have to agree: |f + b|^2 < 0.01 (|f|^2 + |b|^2) + 0.5 (Sundaram et al. 2010, equation 5).
    """
    now, then = ((255 * x[0, 0]).round().byte().cpu().numpy() for x in (current, earlier))
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    forward, backward = (
        torch.from_numpy(dis.calc(a, b, np.zeros((*a.shape, 2), np.float32))).permute(2, 0, 1)[None]
        for a, b in ((now, then), (then, now))
    )
    back = warp(backward, forward)
    slack = 0.01 * (forward.square().sum(1) + back.square().sum(1)) + 0.5
    agree = (forward + back).square().sum(1) < slack
    return Motion(forward, (agree & _inside(forward)).unsqueeze(1))


def known_motion(x: float, y: float, size: tuple[int, int]) -> Motion:
    """The motion of a whole picture of `size` (H, W) that moved by (x, y) pixels, exactly."""
    flow = torch.tensor((float(x), float(y))).view(1, 2, 1, 1).expand(1, 2, *size)
    return Motion(flow, _inside(flow).unsqueeze(1))


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """`[1, C, H, W]` looked up at p + flow(p), bilinear; the border is repeated outwards."""
    height, width = picture.shape[-2:]
    places = _places(flow) * flow.new_tensor((2 / max(1, width - 1), 2 / max(1, height - 1))).view(1, 2, 1, 1) - 1
    return F.grid_sample(picture, places.permute(0, 2, 3, 1), padding_mode="border", align_corners=True)


def _places(flow: Tensor) -> Tensor:
    height, width = flow.shape[-2:]
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.stack((x, y)) + flow


def _inside(flow: Tensor) -> Tensor:
    height, width = flow.shape[-2:]
    x, y = _places(flow).unbind(1)
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def warp_error(current: Tensor, earlier: Tensor, motion: Motion) -> float | None:
    """E_warp of ab `[1, 2, H, W]` along the motion: mean square over both channels in (100 Lab units)^2.

    Only where the place was seen before (Lai et al. 2018, there on RGB); None where nothing was.
    """
    if not motion.seen.any():
        return None
    difference = (current - warp(earlier, motion.flow)).square().mean(1, keepdim=True)
    return difference[motion.seen].mean().item() / AB_UNIT**2


def pairs(shots: Sequence[int], lag: int, most: int) -> list[tuple[int, int]]:
    """Frames (current, earlier) `lag` apart in the same of the `shots`, evenly spread, at most `most` of them."""
    found = [(t, t - lag) for t in range(lag, len(shots)) if shots[t] == shots[t - lag]]
    chosen = np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int)
    return [found[index] for index in chosen]


def histograms(ab: Tensor) -> Tensor:
    """Shares `[T, 2, 256]` of a and b, in bins of one Lab unit around the whole numbers, of ab `[T, 2, H, W]`."""
    # Bins around the whole numbers: with an edge at 0 rounding alone would scatter grey over two bins.
    bins = (ab.round() + 128).clamp(0, 255).long().flatten(2)
    shares = torch.zeros(*bins.shape[:2], 256).scatter_add_(2, bins, torch.ones(bins.shape))
    return shares / bins.shape[2]


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """Jensen-Shannon divergence of shares `[..., K]` in nats, 0 to ln 2.

    Its mean over the pairs of frames at a lag and over a and b is the colour distribution consistency CDC (Liu et al.
    2021, there over R, G, B).
    """
    middle = (first + second) / 2
    sides = (torch.xlogy(p, p) - torch.xlogy(p, middle) for p in (first, second))
    return 0.5 * sum(sides, torch.zeros_like(middle)).sum(-1).clamp_min(0)


def steadiness(
    ab: Tensor, pairs: Sequence[tuple[int, int]], motions: Sequence[Motion]
) -> tuple[float | None, float | None]:
    """E_warp and CDC of ab `[T, 2, H, W]`: means over pairs of frames (current, earlier); None without any."""
    found = [
        warp_error(ab[now : now + 1], ab[then : then + 1], motion)
        for (now, then), motion in zip(pairs, motions, strict=True)
    ]
    errors = [error for error in found if error is not None]
    if not errors:
        return None, None
    shares = histograms(ab)
    now, then = (list(frames) for frames in zip(*pairs, strict=True))
    return sum(errors) / len(errors), divergence(shares[now], shares[then]).mean().item()


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Frames that colours have to hold still on."""

    name: str
    luma: Tensor
    """float `[T, 1, H, W]` 0..1, what the network sees."""
    shown: Tensor
    """`[T, 1, H, W]`, what the colours are judged on: the same, or without the grain that was added."""
    truth: Tensor | None
    """True chroma `[T, 2, H, W]`; None where no colour is known."""
    shots: Sequence[int]
    """Number of the shot that each frame belongs to."""
    path: Tensor | None = None
    """`[T, 2]`, x and y of the view in pixels where the motion is known; None leaves it to optical flow."""

    def motion(self, now: int, then: int) -> Motion:
        """Where the places of frame `now` were in frame `then`."""
        if self.path is None:
            return find_motion(self.luma[now : now + 1], self.luma[then : then + 1])
        height, width = self.luma.shape[-2:]
        x, y = (self.path[now] - self.path[then]).tolist()
        return known_motion(x, y, (height, width))


def pan(photos: Tensor, *, frames: int = 54, room: int = 32, grain: float = 0.03, seed: int = 0) -> Clip:
    """A shot of each photograph R'G'B' `[N, 3, S, S]`: a view of side S - `room` glides to and fro by whole pixels.

    The network sees `grain` (deviation of luma, 0..1) that is new in every frame; colours are judged without it.
    """
    steps = torch.arange(frames)
    path = torch.stack([room - (steps * pace % (2 * room) - room).abs() for pace in (2, 1)], 1)
    side = photos.shape[-1] - room
    views = torch.stack([photo[:, y : y + side, x : x + side] for photo in photos for x, y in path.tolist()])
    luma, chroma = color.split(views)
    noisy = luma + grain * torch.randn(luma.shape, generator=torch.Generator().manual_seed(seed))
    shots = [number for number in range(len(photos)) for _ in range(frames)]
    path = path.repeat(len(photos), 1)
    return Clip(name="known motion", luma=noisy.clamp(0, 1), shown=luma, truth=chroma, shots=shots, path=path)


def smoothed(chroma: Tensor, clip: Clip) -> Tensor:
    """Chroma `[T, 2, H/2, W/2]` after model/temporal.py, frame by frame, afresh in every shot."""
    guides = temporal.guide(clip.luma)
    cuts = [True, *(a != b for a, b in pairwise(clip.shots))]
    state, frames = None, []
    for index, cut in enumerate(cuts):
        part = slice(index, index + 1)
        still, _, state = temporal.smooth(chroma[part], None, guides[part], torch.tensor([cut]), state)
        frames.append(still)
    return torch.cat(frames)


def attack(network: Callable[[Tensor], Tensor], luma: Tensor, size: float, *, steps: int = 10, seed: int = 0) -> Tensor:
    """Luma `[B, 1, H, W]` within `size` (L-inf) of the given one whose chroma is far from the given one's.

    Projected gradient descent (Madry et al. 2018): random start, `steps` steps of 2.5 size / steps along the sign of
    the gradient, maximising the squared change of the prediction; the truth is not used.
    """
    with torch.no_grad():
        clean = network(luma)
    moved = torch.lerp(luma, noise(luma, size, seed=seed), 0.5)
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        change = (network(moved) - clean).square().sum()
        (gradient,) = torch.autograd.grad(change, moved)
        step = moved.detach() + 2.5 * size / steps * gradient.sign()
        moved = (luma + (step - luma).clamp(-size, size)).clamp(0, 1)
    return moved


def noise(luma: Tensor, size: float, *, seed: int = 0) -> Tensor:
    """Luma with `size` added under a random sign for every pixel: what an attack of this size is compared with."""
    signs = torch.rand(luma.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    return (luma + torch.where(signs, -size, size)).clamp(0, 1)
