"""The engine's work on planes as tensor operations, for devices where the planes lie anyway.

The same as `working_luma`, `working_chroma`, `chroma_planes` and `_repaint` of stream/engine.py do with OpenCV, on
batches. Every change of size is two matrix products with the weights of each row and column: exact (OpenCV's warp
rounds positions to 1/32 of a sample), and of a form that every device is quick at.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from model import color
from stream.frame import LUMA_WEIGHTS, Frame
from stream.geometry import Geometry, placement


@dataclass(frozen=True)
class Kind:
    """What all frames of a film share: how their planes are read and written."""

    geometry: Geometry
    subsampling: tuple[int, int]
    """Of the chroma to be written."""
    saturation: float
    depth: int
    levels: tuple[float, float, float]
    weights: tuple[float, float]
    """Kr and Kb."""
    chroma_location: int

    @classmethod
    def of(cls, frame: Frame, geometry: Geometry, subsampling: tuple[int, int], saturation: float) -> "Kind":
        """The kind of a frame."""
        weights = LUMA_WEIGHTS[frame.tags.matrix]
        return cls(geometry, subsampling, saturation, frame.depth, frame.levels, weights, frame.tags.chroma_location)


def unit(plane: Tensor, kind: Kind) -> Tensor:
    """Codes `[B, H, W]` (uint8, or int16 with the bits of uint16) as float32, 0 at black and 1 at white."""
    low, high, _ = kind.levels
    return (_codes(plane) - low) * (1 / (high - low))


def _codes(plane: Tensor) -> Tensor:
    """float32 of uint8, or of int16 whose bits are uint16's: torch computes with no such thing on any device."""
    return plane.float() if plane.dtype == torch.uint8 else plane.int().bitwise_and(0xFFFF).float()


def working_luma(plane: Tensor, kind: Kind) -> Tensor:
    """Luma float32 `[B, 1, H, W]` 0..1 at the padded working size of Y' codes `[B, h, w]`."""
    low, high, _ = kind.levels
    small = _shrink(_codes(plane), _upright(kind.geometry))
    return _pad(((small - low) * (1 / (high - low))).clamp(0, 1), kind.geometry)[:, None]


def working_chroma(planes: tuple[Tensor, Tensor], kind: Kind) -> Tensor:
    """Chroma float32 `[B, 2, H, W]` -0.5..0.5 in BT.601 scaling, at the padded working size, of Cb and Cr codes."""
    middle, (_, _, swing), (kr, kb) = float(2 ** (kind.depth - 1)), kind.levels, kind.weights
    made = []
    for plane, weight, to_ours in ((planes[0], kb, color.CB_TO_B), (planes[1], kr, color.CR_TO_R)):
        small = _shrink(_codes(plane), _upright(kind.geometry))
        made.append(_pad((small - middle) * (2 * (1 - weight) / to_ours / swing), kind.geometry))
    return torch.stack(made, 1)


def chroma_planes(chroma: Tensor, plane: Tensor, kind: Kind) -> tuple[Tensor, Tensor]:
    """Codes of Cb and Cr for Y' codes `[B, H, W]`, of their type; chroma float32 `[B, 2, h, w]` in BT.601 scaling."""
    step_x, step_y = kind.subsampling
    size = (-(-plane.shape[1] >> step_y), -(-plane.shape[2] >> step_x))
    place = placement(plane.shape[1:], kind.geometry, kind.subsampling, kind.chroma_location)
    placed = _warp(chroma, place, size, kind.geometry)
    luma = _shrink_plane(_codes(plane), size)
    low, high, swing = kind.levels
    luma = (luma - low) * (1 / (high - low))
    red, blue = color.CR_TO_R * kind.saturation * placed[:, 1], color.CB_TO_B * kind.saturation * placed[:, 0]
    kr, kb = kind.weights
    scale = _room(luma, red, blue, kr, kb)
    middle, top = float(2 ** (kind.depth - 1)), float(2**kind.depth - 1)
    cb, cr = (
        (difference * scale * (swing / (2 * (1 - weight))) + middle).round().clamp(0, top)
        for difference, weight in ((blue, kb), (red, kr))
    )
    return _as_codes(cb, plane), _as_codes(cr, plane)


def repaint(plane: Tensor, styled: Tensor, seen: Tensor, detail: float, kind: Kind) -> Tensor:
    """Painted Y' codes `[B, H, W]`, with a share of the film's own detail; styled and seen float32 `[B, 1, h, w]`."""
    place = placement(plane.shape[1:], kind.geometry, (0, 0), 2, stride=1)
    placed = _warp(styled - detail * seen, place, (plane.shape[1], plane.shape[2]), kind.geometry)[:, 0]
    low, high, _ = kind.levels
    codes = ((_codes(plane) - low) * detail + placed * (high - low) + low).round().clamp(low, high)
    return _as_codes(codes, plane)


def _as_codes(values: Tensor, like: Tensor) -> Tensor:
    return values.to(torch.uint8) if like.dtype == torch.uint8 else values.int().to(torch.int16)


def _upright(geometry: Geometry) -> tuple[int, int]:
    """Rows and columns of the working picture as the film lies."""
    return geometry.content if geometry.turns % 2 == 0 else (geometry.content[1], geometry.content[0])


def _pad(small: Tensor, geometry: Geometry) -> Tensor:
    """`[B, h, w]` turned upright and padded by reflection."""
    small = torch.rot90(small, geometry.turns, (1, 2))
    down, right = (padded - side for padded, side in zip(geometry.padded, geometry.content, strict=True))
    return functional.pad(small[:, None], (0, right, 0, down), mode="reflect")[:, 0]


def _shrink(plane: Tensor, size: tuple[int, int]) -> Tensor:
    """Whole codes `[B, H, W]` at another size: means of areas where both sides shrink, bilinear otherwise.

    Rounded as OpenCV does, halves up or to even: what the network was measured on is what it gets here.
    """
    shrinks = plane.shape[1] >= size[0] and plane.shape[2] >= size[1]
    kind = "area" if shrinks else "linear"
    rows = _matrix(kind, plane.shape[1], size[0], plane.device)
    columns = _matrix(kind, plane.shape[2], size[1], plane.device)
    made = rows @ plane @ columns.T
    return made.round() if shrinks else (made + 0.5).floor()


def _shrink_plane(plane: Tensor, size: tuple[int, int]) -> Tensor:
    """The luma `[B, H, W]` at the chroma's size, as OpenCV's INTER_AREA rounds it."""
    if plane.shape[1:] == size:
        return plane
    rows, columns = plane.shape[1] // size[0], plane.shape[2] // size[1]
    if (rows * size[0], columns * size[1]) == tuple(plane.shape[1:]):
        made = functional.avg_pool2d(plane[:, None], (rows, columns))[:, 0]
        return (made + 0.5).floor() if (rows, columns) == (2, 2) else made.round()
    return _shrink(plane, size)


def _warp(
    picture: Tensor,
    place: "np.ndarray[tuple[int, int], np.dtype[np.float64]]",
    size: tuple[int, int],
    geometry: Geometry,
) -> Tensor:
    """`[B, C, h, w]` looked up where the affine map sends the samples of `[B, C, *size]`; the border is repeated.

    The map is a scaling and a quarter turn, so rows and columns are looked up for themselves.
    """
    height, width = size
    turned = geometry.turns % 2 == 1
    x_scale, y_scale = (place[0, 1], place[1, 0]) if turned else (place[0, 0], place[1, 1])
    x_count, y_count = (height, width) if turned else (width, height)
    columns = _lookup(picture.shape[3], x_count, float(x_scale), float(place[0, 2]), picture.device)
    rows = _lookup(picture.shape[2], y_count, float(y_scale), float(place[1, 2]), picture.device)
    placed = rows @ picture @ columns.T
    return placed.transpose(2, 3) if turned else placed


@lru_cache(maxsize=64)
def _matrix(kind: str, source: int, target: int, device: torch.device) -> Tensor:
    """Weights float32 `[target, source]` of a change of size along one axis."""
    if kind == "linear":
        scale = source / target
        return _lookup(source, target, scale, 0.5 * scale - 0.5, device)
    edges = np.arange(target + 1) * (source / target)
    low, high = edges[:-1, None], edges[1:, None]
    cell = np.arange(source)[None]
    weights = (np.minimum(high, cell + 1) - np.maximum(low, cell)).clip(0)
    return torch.from_numpy((weights / weights.sum(1, keepdims=True)).astype(np.float32)).to(device)


@lru_cache(maxsize=64)
def _lookup(source: int, target: int, scale: float, offset: float, device: torch.device) -> Tensor:
    """Weights float32 `[target, source]` of looking up sample `scale * i + offset`, bilinear, the border repeated."""
    at = (np.arange(target) * scale + offset).clip(0, source - 1)
    low = np.minimum(at.astype(int), max(source - 2, 0))
    share = at - low
    weights = np.zeros((target, source), np.float32)
    every = np.arange(target)
    weights[every, low] += (1 - share).astype(np.float32)
    weights[every, np.minimum(low + 1, source - 1)] += share.astype(np.float32)
    return torch.from_numpy(weights).to(device)


def _room(luma: Tensor, red: Tensor, blue: Tensor, kr: float, kb: float) -> Tensor:
    """The factor 0..1 that keeps R'G'B' in range, hue kept; as `engine._room`."""
    green = -(kr * red + kb * blue) / (1 - kr - kb)
    up, down = torch.maximum(torch.maximum(red, blue), green), torch.minimum(torch.minimum(red, blue), green)
    return torch.minimum((1 - luma) / up.clamp(min=1e-6), luma / (-down).clamp(min=1e-6)).clamp(0, 1)
