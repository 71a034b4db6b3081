from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.config import Settings
from stream.engine import Engine, Geometry, chroma_planes, working_luma
from stream.errors import EngineError
from stream.frame import LUMA_WEIGHTS, ColorTags, Frame


class Painter:
    """A runtime of ten lines: every picture in the same colour."""

    name = "painter"

    def __init__(self, cb, cr):
        self.colour = np.array([cb, cr], np.float32)[None, :, None, None]
        self.batches = []

    def start(self, luma):
        self.batches.append(len(luma))
        shape = (len(luma), 2, luma.shape[2] // 2, luma.shape[3] // 2)
        return lambda: np.ascontiguousarray(np.broadcast_to(self.colour, shape))


def grey_frame(value=128, size=(48, 64), depth=8, **more):
    kind = np.uint8 if depth == 8 else np.uint16
    return Frame(planes=(np.full(size, value << (depth - 8), kind),), depth=depth, **more)


def engine_for(frame, runtime, subsampling=(1, 1), **settings):
    geometry = Geometry.of(frame.width, frame.height, short_side=64)
    return Engine(runtime, geometry, subsampling=subsampling, settings=Settings(**settings))


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([64, 256, 512]))
@settings(max_examples=200, deadline=None)
def test_working_sizes_are_bounded_multiples_of_32(width, height, short_side):
    geometry = Geometry.of(width, height, short_side=short_side)
    assert min(geometry.content) == short_side
    assert max(geometry.content) <= 4 * short_side
    for padded, content in zip(geometry.padded, geometry.content, strict=True):
        assert padded % 32 == 0
        assert 0 <= padded - content < 32


def test_the_network_sees_the_shape_that_is_shown():
    anamorphic = Geometry.of(720, 576, short_side=256, pixel_aspect=Fraction(64, 45))
    assert anamorphic.content == (256, round(256 * 1024 / 576))


@pytest.mark.parametrize("subsampling", [(1, 1), (1, 0), (0, 0)])
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (15, 17), (48, 64), (3, 200)])
def test_planes_have_the_frames_shape_and_luma_is_the_same_array(size, subsampling):
    frame = grey_frame(size=size)
    (coloured,) = engine_for(frame, Painter(0.1, -0.1), subsampling).run([frame])
    assert coloured.luma is frame.luma
    assert coloured.planes[1].shape == coloured.chroma_shape
    assert coloured.subsampling == subsampling


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("depth", [8, 10, 12, 16])
@pytest.mark.parametrize("matrix", sorted(LUMA_WEIGHTS))
def test_the_same_colour_in_every_kind_of_film(depth, full_range, matrix):
    # B' - Y' and R' - Y' are what the network says; each film writes them with its own factors and codes.
    cb, cr = 0.06, -0.05
    frame = grey_frame(depth=depth, tags=ColorTags(full_range=full_range, matrix=matrix))
    (coloured,) = engine_for(frame, Painter(cb, cr)).run([frame])
    kr, kb = LUMA_WEIGHTS[matrix]
    swing = 2**depth - 1 if full_range else 224 * 2 ** (depth - 8)
    for plane, difference, weight in ((1, 1.772 * cb, kb), (2, 1.402 * cr, kr)):
        expected = difference / (2 * (1 - weight)) * swing + 2 ** (depth - 1)
        assert np.abs(coloured.planes[plane].astype(float) - expected).max() <= 0.5 + 1e-3 * swing / 224


@given(st.integers(0, 255), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
@settings(max_examples=60, deadline=None)
def test_colours_stay_in_range(value, cb, cr):
    frame = grey_frame(value, tags=ColorTags(full_range=True))
    (coloured,) = engine_for(frame, Painter(cb, cr)).run([frame])
    u, v = (plane.astype(float)[0, 0] - 128 for plane in coloured.planes[1:])
    rgb = np.array([value + 1.402 * v, value - 0.344136 * u - 0.714136 * v, value + 1.772 * u])
    assert rgb.min() >= -1.5  # half a code of rounding in each of two planes
    assert rgb.max() <= 256.5


def test_saturation_scales_the_colour():
    frame = grey_frame()
    (full,) = engine_for(frame, Painter(0.1, 0.1)).run([frame])
    (none,) = engine_for(frame, Painter(0.1, 0.1), saturation=0.0).run([frame])
    assert (none.planes[1] == 128).all()
    assert (full.planes[1] > 140).all()


def test_frames_come_out_in_order_whatever_the_batch():
    frames = [grey_frame(40 + index, pts=index) for index in range(11)]
    for batch in (1, 3, 4, 11, 16):
        painter = Painter(0.05, 0.05)
        out = list(engine_for(frames[0], painter, batch=batch).run(frames))
        assert [frame.pts for frame in out] == list(range(11))
        assert sum(painter.batches) == 11
        assert max(painter.batches) == min(batch, 11)


def test_no_frames_make_no_frames():
    assert list(engine_for(grey_frame(), Painter(0, 0)).run([])) == []


def test_colours_that_are_no_numbers_are_refused():
    with pytest.raises(EngineError, match="no numbers"):
        list(engine_for(grey_frame(), Painter(np.nan, 0)).run([grey_frame()]))


def test_fields_are_coloured_by_themselves():
    # The top field is white, the bottom field black: each line's chroma must be that of its own field.
    luma = np.zeros((48, 64), np.uint8)
    luma[0::2] = 200

    class ByBrightness(Painter):
        def start(self, luma):
            chroma = super().start(luma)() * luma.mean((1, 2, 3), keepdims=True)
            return lambda: chroma

    frame = Frame(planes=(luma,), interlaced=True, tags=ColorTags(full_range=True))
    (coloured,) = engine_for(frame, ByBrightness(0.1, 0.1), steady=0.0).run([frame])
    cb = coloured.planes[1]
    assert (cb[0::2] > 140).all()
    assert (cb[1::2] == 128).all()


@pytest.mark.parametrize("height", [4, 5, 6, 7, 50, 51])
@pytest.mark.parametrize("subsampling", [(1, 1), (1, 0)])
def test_interlaced_frames_of_any_height(height, subsampling):
    frame = grey_frame(size=(height, 32), interlaced=True)
    (coloured,) = engine_for(frame, Painter(0.1, 0.1), subsampling).run([frame])
    assert coloured.planes[1].shape == coloured.chroma_shape


def test_chroma_lies_where_the_film_has_it():
    # A ramp of colour from left to right over the picture: a sample at luma position x must have the ramp's value at x.
    width, height = 128, 64
    geometry = Geometry.of(width, height, short_side=64)
    columns = (np.arange(64) + 0.5) * 2  # centres of the working chroma's samples, in luma samples
    ramp = np.broadcast_to(columns / width * 0.2, (2, 32, 64)).astype(np.float32)
    for location, offset in ((0, 0.5), (1, 0.5), (2, 1.0)):
        frame = grey_frame(size=(height, width), depth=16, tags=ColorTags(full_range=True, chroma_location=location))
        cb, _ = chroma_planes(ramp, frame.luma, frame, geometry, (1, 1), 1.0)
        x = np.arange(64) * 2 + offset
        expected = x / width * 0.2 * 65535 + 32768
        assert np.abs(cb[16, 4:-4].astype(float) - expected[4:-4]).max() < 0.2 * 65535 / width / 10


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_film_that_is_shown_turned_is_seen_upright_and_coloured_in_place(rotation):
    # The colour is the brightness of the picture the network sees: it must lie on the film where that brightness is.
    luma = np.full((96, 128), 60, np.uint8)
    luma[:32, 80:] = 200

    class ByBrightness(Painter):
        def start(self, luma):
            self.seen = luma[0, 0]
            half = luma[:, :, ::2, ::2] * 0.1
            return lambda: np.concatenate((half, half), 1)

    frame, painter = Frame(planes=(luma,), tags=ColorTags(full_range=True)), ByBrightness(0, 0)
    geometry = Geometry.of(128, 96, short_side=96, rotation=rotation)
    assert geometry.content == ((96, 128) if rotation % 180 == 0 else (128, 96))
    (coloured,) = Engine(painter, geometry, settings=Settings(steady=0.0)).run([frame])
    turned = np.rot90(luma, rotation // 90)
    assert np.abs(painter.seen[: turned.shape[0], : turned.shape[1]] * 255 - turned).max() < 1
    expected = luma[::2, ::2] / 255 * 0.1 * 255 + 128
    inner = np.ones(expected.shape, bool)
    inner[14:18], inner[:, 38:42] = False, False
    assert np.abs(coloured.planes[1] - expected)[inner].max() <= 1


def test_working_luma_spans_the_range():
    for tags, black, white in ((ColorTags(), 16, 235), (ColorTags(full_range=True), 0, 255)):
        for value, expected in ((black, 0.0), (white, 1.0)):
            frame = grey_frame(value, tags=tags)
            luma = working_luma(frame.luma, frame, Geometry.of(64, 48, short_side=64))
            assert luma.shape == (64, 96)
            assert np.allclose(luma, expected)
