"""Where the samples of each of FFmpeg's pixel formats lie, and how they become planes without a change.

FFmpeg's own converter is not used: two of its silent conversions move luma by up to 2 levels (measured with PyAV 18.1:
yuvj420p and gray into ffv1 yuv420p). Taking samples out of a row by offset and step can't change them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from stream.errors import UsageError
from stream.frame import LUMA_WEIGHTS, Plane

Rows: TypeAlias = npt.NDArray[np.uint8]
"""The bytes of one of FFmpeg's planes, [rows, bytes of a line with its padding]."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the components of a pixel format lie: (Y,), (Y, Cb, Cr) or (R, G, B)."""

    depth: int
    """Bits of a sample."""
    components: tuple[tuple[int, int, int], ...]
    """(plane, offset, step) of each component, the last two in samples."""
    subsampling: tuple[int, int] | None = None
    """log2 of the chroma steps; None without chroma."""
    sample: str = "u1"
    """NumPy type of a sample in memory."""
    shift: int = 0
    """Empty bits below the value."""
    rgb: bool = False
    """The components are R, G, B and always full range."""
    full_range: bool = False
    """The name alone says full range: yuvj, and grey unless the film says otherwise."""
    alpha: bool = False
    """There is an alpha channel, which is left out."""
    packing: Literal["samples", "bits", "palette"] = "samples"
    """`bits`: 8 pixels a byte; `palette`: plane 1 names 256 colours as B, G, R, A."""

    @property
    def kind(self) -> tuple[int, tuple[int, int] | None, bool]:
        """What mustn't change in the middle of a film: depth, subsampling, and whether it is RGB."""
        return self.depth, self.subsampling, self.rgb


_SUBSAMPLING = {"420": (1, 1), "422": (1, 0), "444": (0, 0), "440": (0, 1), "411": (2, 0), "410": (2, 2)}
_PLANAR = re.compile(r"yuv(j?)(a?)(4\d\d)p(\d*)(msb)?(le|be)?")
_GREY = re.compile(r"(gray|ya)(\d*)(le|be)?")
_SEMIPLANAR = re.compile(r"nv(12|21|16|61|24|42|20)(le|be)?")
_SEMIPLANAR_HIGH = re.compile(r"p([024])(10|12|16)(le|be)")
_PACKED_422 = re.compile(r"y2(10|12|16)(le|be)")
_GBR = re.compile(r"gbr(a?)p(\d*)(msb)?(le|be)?")
_RGB = re.compile(r"([argb0]{3,4})(24|48|64)?(le|be)?")
_NV = {"12": "420", "21": "420", "16": "422", "61": "422", "20": "422", "24": "444", "42": "444"}
_P = {"0": "420", "2": "422", "4": "444"}

# Formats whose names follow no rule.
_ODD: dict[str, Layout] = {
    "yuyv422": Layout(depth=8, subsampling=(1, 0), components=((0, 0, 2), (0, 1, 4), (0, 3, 4))),
    "yvyu422": Layout(depth=8, subsampling=(1, 0), components=((0, 0, 2), (0, 3, 4), (0, 1, 4))),
    "uyvy422": Layout(depth=8, subsampling=(1, 0), components=((0, 1, 2), (0, 0, 4), (0, 2, 4))),
    "vyu444": Layout(depth=8, subsampling=(0, 0), components=((0, 1, 3), (0, 2, 3), (0, 0, 3))),
    "vuya": Layout(depth=8, subsampling=(0, 0), components=((0, 2, 4), (0, 1, 4), (0, 0, 4)), alpha=True),
    "vuyx": Layout(depth=8, subsampling=(0, 0), components=((0, 2, 4), (0, 1, 4), (0, 0, 4))),
    "ayuv": Layout(depth=8, subsampling=(0, 0), components=((0, 1, 4), (0, 2, 4), (0, 3, 4)), alpha=True),
    "uyva": Layout(depth=8, subsampling=(0, 0), components=((0, 1, 4), (0, 0, 4), (0, 2, 4)), alpha=True),
    "monow": Layout(depth=8, components=((0, 0, 1),), full_range=True, packing="bits"),
    "monob": Layout(depth=8, components=((0, 0, 1),), full_range=True, packing="bits"),
    "pal8": Layout(depth=8, components=((1, 2, 4), (1, 1, 4), (1, 0, 4)), rgb=True, packing="palette"),
}


@cache
def find_layout(pix_fmt: str) -> Layout | None:
    """The layout of one of FFmpeg's pixel formats; None for those that can't be read (float, Bayer, XYZ, 5 bits)."""
    if pix_fmt in _ODD:
        return _ODD[pix_fmt]
    for pattern, build in _BUILDERS:
        if found := pattern.fullmatch(pix_fmt):
            return build(found)
    return None


def _wide(depth: int, order: str | None) -> str:
    """NumPy type of samples of this depth; `order` is "le", "be" or None."""
    return "u1" if depth == 8 else ">u2" if order == "be" else "<u2"


def _planar(found: re.Match[str]) -> Layout:
    j, alpha, subsampling, bits, msb, order = found.groups()
    depth = int(bits or 8)
    return Layout(
        depth=depth,
        subsampling=_SUBSAMPLING[subsampling],
        components=((0, 0, 1), (1, 0, 1), (2, 0, 1)),
        sample=_wide(depth, order),
        shift=16 - depth if msb else 0,
        full_range=bool(j),
        alpha=bool(alpha),
    )


def _grey(found: re.Match[str]) -> Layout:
    kind, bits, order = found.groups()
    depth = int(bits or 8)
    step = 2 if kind == "ya" else 1
    return Layout(
        depth=depth, components=((0, 0, step),), sample=_wide(depth, order), full_range=True, alpha=kind == "ya"
    )


def _semiplanar(found: re.Match[str]) -> Layout:
    kind, order = found.groups()
    depth = 10 if kind == "20" else 8
    cb, cr = (1, 0) if kind in ("21", "61", "42") else (0, 1)
    return Layout(
        depth=depth,
        subsampling=_SUBSAMPLING[_NV[kind]],
        components=((0, 0, 1), (1, cb, 2), (1, cr, 2)),
        sample=_wide(depth, order),
    )


def _semiplanar_high(found: re.Match[str]) -> Layout:
    kind, bits, order = found.groups()
    return Layout(
        depth=int(bits),
        subsampling=_SUBSAMPLING[_P[kind]],
        components=((0, 0, 1), (1, 0, 2), (1, 1, 2)),
        sample=_wide(16, order),
        shift=16 - int(bits),
    )


def _packed_422(found: re.Match[str]) -> Layout:
    bits, order = found.groups()
    return Layout(
        depth=int(bits),
        subsampling=(1, 0),
        components=((0, 0, 2), (0, 1, 4), (0, 3, 4)),
        sample=_wide(16, order),
        shift=16 - int(bits),
    )


def _gbr(found: re.Match[str]) -> Layout:
    alpha, bits, msb, order = found.groups()
    depth = int(bits or 8)
    return Layout(
        depth=depth,
        components=((2, 0, 1), (0, 0, 1), (1, 0, 1)),
        sample=_wide(depth, order),
        shift=16 - depth if msb else 0,
        rgb=True,
        full_range=True,
        alpha=bool(alpha),
    )


def _rgb(found: re.Match[str]) -> Layout | None:
    letters, bits, order = found.groups()
    if not set("rgb") <= set(letters):
        return None
    depth = 16 if bits in ("48", "64") else 8
    return Layout(
        depth=depth,
        components=tuple((0, letters.index(letter), len(letters)) for letter in "rgb"),
        sample=_wide(depth, order),
        rgb=True,
        full_range=True,
        alpha="a" in letters,
    )


_BUILDERS = (
    (_PLANAR, _planar),
    (_GREY, _grey),
    (_SEMIPLANAR, _semiplanar),
    (_SEMIPLANAR_HIGH, _semiplanar_high),
    (_PACKED_422, _packed_422),
    (_GBR, _gbr),
    (_RGB, _rgb),
)


def take_planes(layout: Layout, pix_fmt: str, rows: Sequence[Rows], size: tuple[int, int]) -> tuple[Plane, ...]:
    """The components as planes [H, W] in the order of the layout; views of `rows` where the layout is planar.

    `size` is (width, height) of the picture.
    """
    if layout.packing == "bits":
        return (_unpack_bits(rows[0], size[0], white_is_zero=pix_fmt == "monow"),)
    if layout.packing == "palette":
        return _look_up(layout, rows, size)
    return tuple(_take(layout, rows, index, size) for index in range(len(layout.components)))


def _take(layout: Layout, rows: Sequence[Rows], index: int, size: tuple[int, int]) -> Plane:
    plane, offset, step = layout.components[index]
    width, height = size
    if index and layout.subsampling:
        width, height = -(-width >> layout.subsampling[0]), -(-height >> layout.subsampling[1])
    samples: Plane = rows[plane].view(layout.sample)[:height, offset::step][:, :width]
    if layout.shift:
        samples = np.right_shift(samples, layout.shift, dtype=np.uint16)
    elif step > 1 or not samples.dtype.isnative:
        # OpenCV and torch want rows without gaps.
        samples = samples.astype(np.uint8) if samples.dtype.itemsize == 1 else samples.astype(np.uint16)
    return samples


def _unpack_bits(rows: Rows, width: int, *, white_is_zero: bool) -> Plane:
    black_and_white = np.array([255, 0] if white_is_zero else [0, 255], np.uint8)
    return black_and_white[np.unpackbits(rows, axis=1, count=width)]


def _look_up(layout: Layout, rows: Sequence[Rows], size: tuple[int, int]) -> tuple[Plane, ...]:
    width, height = size
    indices = rows[0][:height, :width]
    palette = rows[1].reshape(-1)[: 256 * 4].reshape(256, 4)
    return tuple(palette[:, offset][indices] for _, offset, _ in layout.components)


def rgb_planes(
    rgb: Sequence[Plane], depth: int, luma: Literal["bt601", "bt709"] | None, name: str, *, keep_colour: bool
) -> tuple[Plane, ...]:
    """Full-range (Y',) of R, G, B planes [H, W], or (Y', Cb, Cr) in 4:4:4 where colour is kept and there is some."""
    y = luma_of_rgb(rgb, depth, luma, name)
    if y is rgb[0] or luma is None or not keep_colour:
        return (y,)
    kr, kb = LUMA_WEIGHTS[luma]
    middle, top = float(1 << (depth - 1)), float((1 << depth) - 1)
    red, green, blue = (plane.astype(np.float32) for plane in rgb)
    exact = kr * red + (1.0 - kr - kb) * green + kb * blue
    cb, cr = (blue - exact) / (2 * (1 - kb)), (red - exact) / (2 * (1 - kr))  # H.273, 8.3
    return y, *(np.rint(difference + middle).clip(0, top).astype(y.dtype) for difference in (cb, cr))


def luma_of_rgb(rgb: Sequence[Plane], depth: int, luma: Literal["bt601", "bt709"] | None, name: str) -> Plane:
    """Full-range Y' of R, G, B planes [H, W]: the very samples where R = G = B, else weighted by the matrix `luma`."""
    red, green, blue = rgb
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return red
    if luma is None:
        raise UsageError(
            f"{name}: RGB in colour; name the matrix of its luma, --luma bt601 (pictures, SD) or --luma bt709 (HD)"
        )
    kr, kb = LUMA_WEIGHTS[luma]
    weighted = kr * red.astype(np.float32) + (1.0 - kr - kb) * green + kb * blue.astype(np.float32)
    rounded: Plane = np.rint(weighted).clip(0, (1 << depth) - 1).astype(red.dtype)
    return rounded


@cache
def reduction(depth: int, wanted: int, *, full_range: bool, chroma: bool) -> Plane:
    """The value of `wanted` bits for every value of `depth` bits, [2^depth], rounded; neutral chroma stays neutral."""
    values = np.arange(1 << depth, dtype=np.float64)
    if full_range and chroma:
        middle, wanted_middle = 1 << depth - 1, 1 << wanted - 1
        values = (values - middle) * ((1 << wanted) - 1) / ((1 << depth) - 1) + wanted_middle
    elif full_range:
        values *= ((1 << wanted) - 1) / ((1 << depth) - 1)
    else:
        values *= 2.0 ** (wanted - depth)
    rounded = np.floor(values + 0.5).clip(0, (1 << wanted) - 1)
    return rounded.astype(np.uint8) if wanted == 8 else rounded.astype(np.uint16)
