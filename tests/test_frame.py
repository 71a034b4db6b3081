"""The currency refuses what it can't be, and hands luma on untouched."""

from fractions import Fraction

import numpy as np
import pytest
from conftest import grey

from stream.frame import LUMA_WEIGHTS, Frame


def test_a_frame_knows_its_sizes() -> None:
    frame = Frame(planes=(grey(1, 17, 15),), pts=3, time_base=Fraction(1, 25))
    assert (frame.width, frame.height) == (17, 15)
    assert frame.time_s == pytest.approx(0.12)
    assert Frame(planes=(grey(1),)).time_s is None


@pytest.mark.parametrize(
    ("subsampling", "shape"),
    [((1, 1), (8, 9)), ((1, 0), (15, 9)), ((0, 0), (15, 17)), ((2, 2), (4, 5)), ((0, 1), (8, 17))],
)
def test_chroma_of_odd_sizes_rounds_up(subsampling: tuple[int, int], shape: tuple[int, int]) -> None:
    chroma = np.full(shape, 128, np.uint8)
    frame = Frame(planes=(grey(1, 17, 15),)).with_chroma(chroma, chroma, subsampling)
    assert frame.chroma_shape == shape


def test_colour_leaves_luma_the_very_same_array() -> None:
    frame = Frame(planes=(grey(1, depth=10),), depth=10, pts=7, damaged=True)
    chroma = np.full((24, 32), 512, np.uint16)
    coloured = frame.with_chroma(chroma, chroma, (1, 1))
    assert coloured.luma is frame.luma
    assert (coloured.pts, coloured.depth, coloured.damaged) == (7, 10, True)


def test_planes_must_fit() -> None:
    luma, chroma = grey(1), np.full((24, 32), 128, np.uint8)
    with pytest.raises(ValueError, match="1 plane"):
        Frame(planes=(luma, chroma))
    with pytest.raises(ValueError, match="8 to 16 bits"):
        Frame(planes=(luma,), depth=7)
    with pytest.raises(ValueError, match="uint16"):
        Frame(planes=(luma,), depth=10)
    with pytest.raises(ValueError, match="is needed"):
        Frame(planes=(luma, chroma, chroma[:-1]))
    with pytest.raises(ValueError, match="is needed"):
        Frame(planes=(luma, chroma, chroma), subsampling=(0, 0))


def test_weights_of_luma_leave_room_for_green() -> None:
    assert all(0.5 < 1 - kr - kb < 0.75 for kr, kb in LUMA_WEIGHTS.values())
