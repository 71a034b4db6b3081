"""Pixel formats: taken apart by us, put together by FFmpeg, equal bit for bit."""

import av
import numpy as np
import pytest

from stream.container import plane_rows
from stream.errors import UsageError
from stream.planes import find_layout, luma_of_rgb, take_planes

REPACKED = [
    ("yuv420p", "nv12"),
    ("yuv420p", "nv21"),
    ("yuv422p", "nv16"),
    ("yuv444p", "nv24"),
    ("yuv444p", "nv42"),
    ("yuv422p10le", "nv20le"),
    ("yuv422p", "yuyv422"),
    ("yuv422p", "yvyu422"),
    ("yuv422p", "uyvy422"),
    ("yuv444p", "vyu444"),
    ("yuv444p", "vuyx"),
    ("yuva444p", "vuya"),
    ("yuva444p", "ayuv"),
    ("yuva444p", "uyva"),
    ("yuv420p10le", "yuv420p10be"),
    ("yuv420p10le", "p010le"),
    ("yuv420p10le", "p010be"),
    ("yuv420p12le", "p012le"),
    ("yuv420p16le", "p016le"),
    ("yuv422p10le", "p210le"),
    ("yuv444p10le", "p410le"),
    ("yuv422p10le", "y210le"),
    ("yuv422p12le", "y212le"),
    ("gray", "ya8"),
    ("gray16le", "ya16le"),
    ("gray16le", "gray16be"),
    ("gray10le", "gray10be"),
    ("gbrp", "rgb24"),
    ("gbrp", "bgr24"),
    ("gbrp", "rgba"),
    ("gbrp", "0rgb"),
    ("gbrp", "bgr0"),
    ("gbrap", "argb"),
    ("gbrp10le", "gbrp10be"),
    ("gbrp16le", "rgb48le"),
    ("gbrp16le", "bgr48be"),
    ("gbrp16le", "rgba64le"),
]


@pytest.mark.parametrize(("planar", "repacked"), REPACKED)
def test_repacking_keeps_every_sample(planar: str, repacked: str) -> None:
    size = (34, 18)
    samples = np.random.default_rng(1)
    picture = av.VideoFrame(*size, planar)
    layout = find_layout(planar)
    assert layout is not None
    for rows in plane_rows(picture):
        kind = np.uint8 if layout.depth == 8 else np.uint16
        rows.view(kind)[...] = samples.integers(0, 1 << layout.depth, rows.view(kind).shape)
    other = picture.reformat(format=repacked)
    other_layout = find_layout(repacked)
    assert other_layout is not None
    taken = take_planes(other_layout, repacked, plane_rows(other), size)
    for plane, wanted in zip(taken, take_planes(layout, planar, plane_rows(picture), size), strict=True):
        assert plane.dtype == wanted.dtype
        assert np.array_equal(plane, wanted)


@pytest.mark.parametrize(("pix_fmt", "white"), [("monow", 0), ("monob", 1)])
def test_one_bit_pictures_become_black_and_white(pix_fmt: str, white: int) -> None:
    layout = find_layout(pix_fmt)
    assert layout is not None
    bits = np.array([[1, 0, 0, 1, 1, 1, 0, 1, 0, 1]], np.uint8)
    (plane,) = take_planes(layout, pix_fmt, [np.packbits(bits, axis=1)], (10, 1))
    assert np.array_equal(plane, np.where(bits == white, 255, 0))


def test_palette_is_looked_up() -> None:
    layout = find_layout("pal8")
    assert layout is not None
    palette = np.zeros((256, 4), np.uint8)
    palette[3] = (10, 20, 30, 255)
    red, green, blue = take_planes(layout, "pal8", [np.full((2, 4), 3, np.uint8), palette.reshape(1, -1)], (3, 2))
    assert (red == 30).all() and (green == 20).all() and (blue == 10).all() and red.shape == (2, 3)


@pytest.mark.parametrize("pix_fmt", ["grayf32le", "gbrpf32le", "bayer_rggb8", "xyz12le", "rgb555le", "cuda"])
def test_other_formats_have_no_layout(pix_fmt: str) -> None:
    assert find_layout(pix_fmt) is None


def test_grey_rgb_is_luma_as_it_is() -> None:
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    assert luma_of_rgb((grey, grey.copy(), grey.copy()), 16, None, "x") is grey


def test_colour_rgb_needs_a_matrix_and_is_weighted_by_it() -> None:
    red, green, blue = (np.full((2, 2), value, np.uint8) for value in (200, 100, 50))
    with pytest.raises(UsageError, match="--luma"):
        luma_of_rgb((red, green, blue), 8, None, "x")
    assert (luma_of_rgb((red, green, blue), 8, "bt601", "x") == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)).all()
    assert (luma_of_rgb((red, green, blue), 8, "bt709", "x") == round(0.2126 * 200 + 0.7152 * 100 + 0.0722 * 50)).all()
