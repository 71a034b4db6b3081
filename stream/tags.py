"""What a film's colour numbers mean, and what is taken where it states none."""

from dataclasses import dataclass

from stream.film import Luma
from stream.frame import ColorTags, Matrix
from stream.planes import Layout

UNSPECIFIED = 2
# H.273 number of the matrix coefficients -> ours; 5 and 6 are both BT.601.
_MATRICES: dict[int, Matrix] = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
_RGB = 0
_LIMITED, _FULL = 1, 2


@dataclass(frozen=True, kw_only=True)
class ColorNumbers:
    """What a film states: H.273 numbers; range and chroma location in FFmpeg's numbers, 0 where unspecified."""

    matrix: int = UNSPECIFIED
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    color_range: int = 0
    chroma_location: int = 0

    @property
    def tagged(self) -> bool:
        """The film names its matrix itself."""
        return self.matrix in _MATRICES

    @property
    def supported(self) -> bool:
        """Its matrix is one that luma and chroma can be separated by (YCgCo, ICtCp and constant luminance aren't)."""
        return self.tagged or self.matrix in (_RGB, UNSPECIFIED)


def resolve_tags(numbers: ColorNumbers, size: tuple[int, int], layout: Layout, luma: Luma | None) -> ColorTags:
    """The film's own tags; without a matrix BT.709 from 1280 columns or above 576 lines, BT.601 below.

    `size` is (width, height); `luma` is the matrix of an RGB film.
    """
    by_size: Matrix = "bt709" if size[0] >= 1280 or size[1] > 576 else "bt601"
    grey = layout.subsampling is None and not layout.rgb
    return ColorTags(
        # The names yuvj and RGB are certain; grey is full range unless the film denies it.
        full_range=numbers.color_range == _FULL
        or (layout.full_range and not (grey and numbers.color_range == _LIMITED)),
        matrix=luma if layout.rgb and luma else _MATRICES.get(numbers.matrix, by_size),
        primaries=numbers.primaries,
        transfer=numbers.transfer,
        chroma_location=numbers.chroma_location,
    )


def matrix_number(numbers: ColorNumbers, tags: ColorTags, height: int) -> int:
    """The H.273 number that the output states: the film's own if it means the tags' matrix, else the usual one."""
    if _MATRICES.get(numbers.matrix) == tags.matrix:
        return numbers.matrix
    if tags.matrix == "bt601":
        return 5 if height == 576 else 6  # BT.470 System B, G with 625 lines, SMPTE 170M with 525
    return next(number for number, matrix in _MATRICES.items() if matrix == tags.matrix)
