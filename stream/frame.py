"""One picture of a film as planes, the currency outside the engine.

Black-and-white film IS the Y' plane, so nothing here is ever packed RGB (DESIGN 2).
"""

import hashlib
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Plane: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Matrix: TypeAlias = Literal["bt601", "bt709", "bt2020", "smpte240m", "fcc"]

# Kr and Kb of each matrix: ITU-T H.273 (07/2021), table 4.
LUMA_WEIGHTS: dict[Matrix, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
    "smpte240m": (0.212, 0.087),
    "fcc": (0.30, 0.11),
}


@dataclass(frozen=True, kw_only=True)
class ColorTags:
    """How the numbers of the planes mean colour. Resolved: an untagged film has the defaults of DESIGN 10."""

    full_range: bool = False
    """True: Y' covers 0..2^depth-1 ("pc", yuvj). False: 16..235 scaled to the depth ("tv")."""
    matrix: Matrix = "bt601"
    """Coefficients of Y'CbCr."""
    primaries: int = 2
    """H.273 number, carried through; 2 is unspecified."""
    transfer: int = 2
    """H.273 number, carried through; 2 is unspecified."""
    chroma_location: int = 0
    """Number of FFmpeg's AVChromaLocation; 0 unspecified (taken as left), 1 left, 2 centre, 3 top left, ..."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One picture: planes, time, and how to read them. Planes are views where possible; nobody writes into them."""

    planes: tuple[Plane, ...]
    """(Y,) or (Y, Cb, Cr): uint8 [H, W] for depth 8, native uint16 [H, W] with the value in the low bits above."""
    depth: int = 8
    """Bits of a sample, 8 to 16."""
    subsampling: tuple[int, int] = (1, 1)
    """log2 of the horizontal and vertical chroma steps: (1, 1) is 4:2:0, (1, 0) 4:2:2, (0, 0) 4:4:4."""
    tags: ColorTags = ColorTags()
    pts: int | None = None
    """Presentation time in units of `time_base`."""
    time_base: Fraction = Fraction(1, 1)
    """Seconds."""
    interlaced: bool = False
    """The two fields were taken at different times; chroma lines alternate between them."""
    top_field_first: bool = True
    damaged: bool = False
    """The decoder patched this picture up."""

    def __post_init__(self) -> None:
        if len(self.planes) not in (1, 3):
            raise ValueError(f"{len(self.planes) = }; a frame has 1 plane (grey) or 3 (Y, Cb, Cr)")
        if not 8 <= self.depth <= 16:
            raise ValueError(f"{self.depth = }; 8 to 16 bits are allowed")
        kind = np.uint8 if self.depth == 8 else np.uint16
        shapes = [self.luma.shape] + [self.chroma_shape] * (len(self.planes) - 1)
        for plane, shape in zip(self.planes, shapes, strict=True):
            if plane.dtype != kind or plane.shape != shape:
                raise ValueError(f"{plane.dtype = }, {plane.shape = }; {kind.__name__} {shape} is needed")

    @property
    def luma(self) -> Plane:
        """The Y' plane, [H, W]."""
        return self.planes[0]

    @property
    def height(self) -> int:
        """Rows of the Y' plane."""
        return int(self.planes[0].shape[0])

    @property
    def width(self) -> int:
        """Columns of the Y' plane."""
        return int(self.planes[0].shape[1])

    @property
    def chroma_shape(self) -> tuple[int, int]:
        """Rows and columns of a chroma plane: odd sizes round up, as every codec does."""
        step_x, step_y = self.subsampling
        return -(-self.height >> step_y), -(-self.width >> step_x)

    @property
    def levels(self) -> tuple[float, float, float]:
        """Codes of black and white in Y', and how many a full swing of chroma has (ITU-T H.273, 8.3)."""
        if self.tags.full_range:
            return 0.0, float(2**self.depth - 1), float(2**self.depth - 1)
        scale = 2 ** (self.depth - 8)
        return 16.0 * scale, 235.0 * scale, 224.0 * scale

    @property
    def time_s(self) -> float | None:
        """Presentation time in seconds."""
        return None if self.pts is None else float(self.pts * self.time_base)

    def with_chroma(self, cb: Plane, cr: Plane, subsampling: tuple[int, int]) -> "Frame":
        """The same picture in these colours; the Y' plane is the very same array."""
        return replace(self, planes=(self.luma, cb, cr), subsampling=subsampling)

    def painted(self, luma: Plane, cb: Plane, cr: Plane, subsampling: tuple[int, int]) -> "Frame":
        """The same moment, repainted: another Y' plane as well."""
        return replace(self, planes=(luma, cb, cr), subsampling=subsampling)


def checksum(plane: Plane) -> str:
    """MD5 of a plane's samples, row by row without padding; two bytes each, low one first, beyond 8 bits."""
    samples = plane if plane.dtype.itemsize == 1 else plane.astype("<u2", copy=False)
    return hashlib.md5(np.ascontiguousarray(samples).data, usedforsecurity=False).hexdigest()


def has_colour(frame: Frame) -> bool:
    """Whether chroma is further from neutral than coding noise: 2 of 256 levels in the mean."""
    middle, tolerance = 2 ** (frame.depth - 1), 2 * 2 ** (frame.depth - 8)
    samples = (plane[::8, ::8].astype(np.int32) for plane in frame.planes[1:])
    return any(np.abs(sample - middle).mean() > tolerance for sample in samples)
