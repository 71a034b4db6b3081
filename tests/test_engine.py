from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.config import Settings
from stream.engine import Engine
from stream.errors import EngineError
from stream.frame import LUMA_WEIGHTS, ColorTags, Frame
from stream.geometry import Geometry, chroma_planes, working_chroma, working_luma
from stream.looks import Look
from stream.runtime import Painted


class Painter:
    """A runtime of ten lines: every picture in the same colour."""

    name = "painter"

    def __init__(self, cb, cr):
        self.colour = np.array([cb, cr], np.float32)[None, :, None, None]
        self.batches = []

    def start(self, luma, style=None):
        self.batches.append(len(luma))
        shape = (len(luma), 2, luma.shape[2] // 2, luma.shape[3] // 2)
        return lambda: Painted(np.ascontiguousarray(np.broadcast_to(self.colour, shape)), None)


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
        def start(self, luma, style=None):
            chroma = super().start(luma)().chroma * luma.mean((1, 2, 3), keepdims=True)
            return lambda: Painted(chroma, None)

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
        def start(self, luma, style=None):
            self.seen = luma[0, 0]
            half = luma[:, :, ::2, ::2] * 0.1
            return lambda: Painted(np.concatenate((half, half), 1), None)

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


LOOK = Look(name="inverse", title="inverse", codes=np.ones((1, 8), np.float32))


class Inverter(Painter):
    """Paints every picture as its negative, in one colour, and remembers what it was told."""

    def start(self, luma, style=None):
        natural = super().start(luma)()
        self.style = style
        if style is None:
            return lambda: natural
        strength = float(style.code[0])
        return lambda: Painted(natural.chroma, luma + np.float32(strength) * (1 - 2 * luma))


def ramp(size=(48, 64), **more):
    return Frame(planes=(np.tile(np.linspace(20, 230, size[1]).astype(np.uint8), (size[0], 1)),), **more)


def paint(frame, runtime, strength=1.0, **options):
    geometry = Geometry.of(frame.width, frame.height, short_side=64)
    settings = Settings(steady=0.0, strength=strength, **options)
    (painted,) = Engine(runtime, geometry, settings=settings, look=LOOK).run([frame])
    return painted


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("depth", [8, 10, 16])
@pytest.mark.parametrize("interlaced", [False, True])
def test_a_look_repaints_the_luma_within_its_range(full_range, depth, interlaced):
    tags = ColorTags(full_range=full_range)
    kind = np.uint8 if depth == 8 else np.uint16
    luma = np.tile(np.linspace(40, 200, 64).astype(kind), (48, 1)) << (depth - 8)
    frame = Frame(planes=(luma,), depth=depth, tags=tags, interlaced=interlaced)
    painted = paint(frame, Inverter(0.1, 0.1), detail=0.0)
    low, high, _ = frame.levels
    assert painted.luma.dtype == kind
    assert painted.luma.shape == luma.shape
    expected = low + high - luma.astype(float)
    assert np.abs(painted.luma - expected)[:, 4:-4].mean() < 3 * 2 ** (depth - 8)
    assert painted.planes[1].mean() > 2 ** (depth - 1)


def test_no_strength_leaves_the_luma_bit_for_bit():
    for options in ({}, {"source_colours": True}):
        frame = ramp()
        painted = paint(frame, Inverter(0.1, 0.1), strength=0.0, **options)
        assert np.array_equal(painted.luma, frame.luma)


@pytest.mark.parametrize("subsampling", [(1, 1), (1, 0), (0, 0)])
def test_no_strength_over_the_sources_colours_is_the_source(subsampling):
    planes = (np.full((48, 64), 250, np.uint8), np.full((24, 32), 150, np.uint8), np.full((24, 32), 90, np.uint8))
    geometry = Geometry.of(64, 48, short_side=64)
    engine_settings = Settings(strength=0.0, source_colours=True)
    for frame in (Frame(planes=planes), Frame(planes=planes[:1])):
        engine = Engine(Inverter(0, 0), geometry, subsampling=subsampling, settings=engine_settings, look=LOOK)
        (same,) = engine.run([frame])
        assert np.array_equal(same.luma, frame.luma)
        expected = [150, 90] if len(frame.planes) == 3 else [128, 128]
        assert [int(plane[0, 0]) for plane in same.planes[1:]] == expected
        assert same.planes[1].shape == same.chroma_shape


def test_detail_beyond_the_working_size_is_kept_by_its_share():
    # Stripes of two samples: at the working size, a quarter of the frame's, they are gone.
    stripes = np.where(np.arange(256) // 1 % 2, 140, 100).astype(np.uint8)
    frame = Frame(planes=(np.tile(stripes, (256, 1)),))
    spread = [paint(frame, Inverter(0, 0), detail=detail).luma[64:-64, 64:-64].std() for detail in (0.0, 0.5, 1.0)]
    assert spread[0] < 1
    assert abs(spread[1] - 10) < 1
    assert abs(spread[2] - 20) < 1


def test_the_sources_colours_reach_the_network():
    # A 4:2:0 film of one colour: the network must be told that colour in its own scaling.
    tags = ColorTags(matrix="bt709")
    planes = (np.full((48, 64), 120, np.uint8), np.full((24, 32), 150, np.uint8), np.full((24, 32), 90, np.uint8))
    frame, runtime = Frame(planes=planes, tags=tags), Inverter(0, 0)
    paint(frame, runtime, source_colours=True)
    cb, cr = runtime.style.chroma[0].mean((1, 2))
    assert abs(cb - (150 - 128) / 224 * 1.8556 / 1.772) < 1e-4
    assert abs(cr - (90 - 128) / 224 * 1.5748 / 1.402) < 1e-4
    paint(frame, runtime)
    assert runtime.style.chroma is None


@pytest.mark.parametrize("subsampling", [(1, 1), (1, 0), (0, 0)])
@pytest.mark.parametrize("height", [4, 6, 48, 50, 51])
def test_interlaced_colours_of_any_height_are_read(subsampling, height):
    shape = (-(-height >> subsampling[1]), -(-64 >> subsampling[0]))
    planes = (np.full((height, 64), 120, np.uint8), np.full(shape, 150, np.uint8), np.full(shape, 90, np.uint8))
    frame, runtime = Frame(planes=planes, subsampling=subsampling, interlaced=True), Inverter(0, 0)
    painted = paint(frame, runtime, source_colours=True)
    assert len(runtime.style.chroma) == 2
    # Both fields have the film's colour, also where a field's chroma is a line short.
    assert np.allclose(runtime.style.chroma[0], runtime.style.chroma[1], atol=1e-6)
    assert abs(runtime.style.chroma[1, 0].mean() - (150 - 128) / 224) < 1e-3
    assert painted.luma.shape == frame.luma.shape


def test_working_chroma_is_none_without_colours():
    frame = grey_frame()
    assert not working_chroma(frame, Geometry.of(64, 48, short_side=64)).any()


def test_the_look_can_be_changed_between_frames():
    frames = [ramp(pts=index) for index in range(4)]
    geometry = Geometry.of(64, 48, short_side=64)
    engine = Engine(Inverter(0, 0), geometry, settings=Settings(steady=0.0, batch=1, detail=0.0))

    def switching():
        yield from frames[:2]
        engine.restyle(LOOK)
        yield from frames[2:]

    plain, still, *painted = engine.run(switching())
    assert np.array_equal(plain.luma, frames[0].luma)
    assert np.array_equal(still.luma, frames[1].luma)
    assert all(not np.array_equal(frame.luma, frames[0].luma) for frame in painted)


class Jitter(Painter):
    """A colour that differs from picture to picture, however they come in batches."""

    def start(self, luma, style=None):
        first = sum(self.batches)
        painted = super().start(luma)()
        shake = np.sin(np.arange(first, first + len(luma)) * 2.4, dtype=np.float32) * np.float32(0.1)
        return lambda: Painted(painted.chroma + shake[:, None, None, None], None)


@pytest.mark.parametrize("lag", [0, 24])
def test_times_change_nothing_and_flags_of_fields_start_nothing_afresh(lag):
    even = [ramp(pts=index) for index in range(24)]
    uneven = [ramp(pts=index**2) for index in range(24)]
    mixed = [ramp(pts=index, interlaced=index % 3 == 1) for index in range(24)]
    still = [list(engine_for(even[0], Jitter(0.1, 0.1), lag=lag).run(film)) for film in (even, uneven, mixed)]
    assert all(np.array_equal(a.planes[1], b.planes[1]) for a, b in zip(still[0], still[1], strict=True))
    for film in still:
        levels = [float(frame.planes[1].mean()) for frame in film[12:]]
        assert max(levels) - min(levels) < 0.15 * (2 * 0.1 * 224)
