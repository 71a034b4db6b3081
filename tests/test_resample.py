"""The engine's work on planes as tensors, against what OpenCV makes of the same planes."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from stream import engine, resample
from stream.frame import ColorTags, Frame
from stream.geometry import Geometry, chroma_planes, working_chroma, working_luma
from stream.resample import Kind

SIZES = [(480, 854), (64, 96), (48, 64), (97, 131), (40, 30)]
random = np.random.default_rng(4)


def soft(size, depth, count=1):
    """Codes of pictures with shades and edges, from black to white."""
    y, x = np.mgrid[0 : 1 : size[0] * 1j, 0 : 1 : size[1] * 1j]
    picture = 0.5 + 0.4 * np.sin(7 * x + 4 * y) * np.cos(5 * y) + 0.1 * ((x * 9).astype(int) % 2)
    kind = np.uint8 if depth == 8 else np.uint16
    return (picture.clip(0, 1) * (2**depth - 1)).astype(kind)


def on_device(plane):
    return torch.from_numpy(plane.view(np.int16) if plane.dtype == np.uint16 else plane)[None]


def levels(plane):
    """Codes of a plane of either type as floats."""
    values = np.ascontiguousarray(plane[0].numpy())
    return (values.view(np.uint16) if values.dtype == np.int16 else values).astype(float)


def case(size, depth=8, rotation=0, subsampling=(1, 1), **tags):
    geometry = Geometry.of(
        size[1], size[0], short_side=64, rotation=rotation, pixel_aspect=Fraction(1) if rotation else Fraction(16, 15)
    )
    frame = Frame(planes=(soft(size, depth),), depth=depth, tags=ColorTags(**tags))
    return frame, geometry, Kind.of(frame, geometry, subsampling, 1.2)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("depth", [8, 10, 16])
def test_the_network_sees_the_same(size, rotation, depth):
    frame, geometry, kind = case(size, depth, rotation, full_range=True)
    wanted = working_luma(frame.luma, frame, geometry)
    found = resample.working_luma(on_device(frame.luma), kind)
    assert found.shape == (1, 1, *geometry.padded)
    # OpenCV's sums of eight-bit weights round some samples to the neighbouring code.
    difference = np.abs(found[0, 0].numpy() - wanted) * (2**depth - 1)
    assert difference.max() <= 1.01
    assert difference.mean() <= 0.15


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_the_sources_colours_are_the_same(matrix):
    frame, geometry, kind = case((96, 128), matrix=matrix)
    chroma = tuple(soft((48, 64), 8) + np.uint8(shift) for shift in (0, 40))
    frame = Frame(planes=(frame.luma, *chroma), tags=frame.tags)
    wanted = working_chroma(frame, geometry)
    found = resample.working_chroma((on_device(chroma[0]), on_device(chroma[1])), kind)
    assert np.abs(found[0].numpy() - wanted).max() * 224 <= 1.01 * 1.06 * 1.08


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("subsampling", [(1, 1), (1, 0), (0, 0)])
@pytest.mark.parametrize("location", [0, 2, 3])
def test_chroma_lies_where_the_cpu_puts_it(size, rotation, subsampling, location):
    frame, geometry, kind = case(size, 8, rotation, subsampling, chroma_location=location)
    side = [length // 2 for length in geometry.padded]
    y, x = np.mgrid[0 : 1 : side[0] * 1j, 0 : 1 : side[1] * 1j].astype(np.float32)
    chroma = 0.2 * np.stack((np.sin(3 * x + y), np.cos(2 * y - x)))
    wanted = chroma_planes(chroma, frame.luma, frame, geometry, subsampling, 1.2)
    found = resample.chroma_planes(torch.from_numpy(chroma)[None], on_device(frame.luma), kind)
    for made, right in zip(found, wanted, strict=True):
        difference = np.abs(levels(made) - right.astype(float))
        assert difference.max() <= 4  # OpenCV looks up at 1/32 of a sample, and rounds the luma that limits colours
        assert difference.mean() <= 0.15


@pytest.mark.parametrize("depth", [10, 16])
@pytest.mark.parametrize("full_range", [False, True])
def test_deep_films_keep_their_codes(depth, full_range):
    frame, geometry, kind = case((90, 160), depth, full_range=full_range, matrix="bt2020")
    side = [length // 2 for length in geometry.padded]
    chroma = np.broadcast_to(np.array([0.1, -0.08], np.float32)[:, None, None], (2, *side)).copy()
    wanted = chroma_planes(chroma, frame.luma, frame, geometry, (1, 1), 1.2)
    found = resample.chroma_planes(torch.from_numpy(chroma)[None], on_device(frame.luma), kind)
    for made, right in zip(found, wanted, strict=True):
        assert np.abs(levels(made) - right.astype(float)).max() <= 2 ** (depth - 9)


@pytest.mark.parametrize("rotation", [0, 90])
@pytest.mark.parametrize("detail", [0.0, 0.5])
def test_painted_luma_is_the_same(rotation, detail):
    frame, geometry, kind = case((96, 128), 8, rotation)
    seen = working_luma(frame.luma, frame, geometry)
    styled = (1 - seen) * np.float32(0.8)
    colourer = engine.Engine(None, geometry)
    wanted = colourer._repaint(frame, styled, seen, detail)
    given = (torch.from_numpy(each)[None, None] for each in (styled, seen))
    found = resample.repaint(on_device(frame.luma), *given, detail, kind)
    difference = np.abs(levels(found) - wanted.astype(float))
    assert difference.max() <= 3
    assert difference.mean() <= 0.5
