"""The wire format: what goes in comes out, and nothing else gets through."""

import json
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream import wire
from stream.frame import LUMA_WEIGHTS, ColorTags, Frame
from stream.wire import FrameMessage, Heartbeat, JpegMessage, Stamp, WireError

LONG = st.integers(0, 2**63 - 1)
SUBSAMPLINGS = [(1, 1), (1, 0), (0, 0), (0, 1), (2, 0), (2, 2)]


@st.composite
def frames(draw):
    depth = draw(st.sampled_from([8, 9, 10, 12, 16]))
    subsampling = draw(st.sampled_from(SUBSAMPLINGS))
    height, width = draw(st.integers(1, 33)), draw(st.integers(1, 33))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    chroma = (-(-height >> subsampling[1]), -(-width >> subsampling[0]))
    shapes = [(height, width), chroma, chroma][: draw(st.sampled_from([1, 3]))]
    planes = tuple(random.integers(0, 1 << depth, s).astype(np.uint8 if depth == 8 else np.uint16) for s in shapes)
    numbers = st.integers(0, 255)
    return Frame(
        planes=planes,
        depth=depth,
        subsampling=subsampling,
        tags=ColorTags(
            full_range=draw(st.booleans()),
            matrix=draw(st.sampled_from(list(LUMA_WEIGHTS))),
            primaries=draw(numbers),
            transfer=draw(numbers),
            chroma_location=draw(st.integers(0, 6)),
        ),
        pts=draw(st.none() | st.integers(-(2**63), 2**63 - 1)),
        time_base=draw(st.fractions(Fraction(1, 2**31), 2**31, max_denominator=2**31)),
        interlaced=draw(st.booleans()),
        top_field_first=draw(st.booleans()),
        damaged=draw(st.booleans()),
    )


stamps = st.builds(
    Stamp,
    stream=st.text("0123456789abcdef", min_size=32, max_size=32),
    seq=LONG,
    capture_ns=LONG,
    publish_ns=LONG,
    wall_ns=LONG,
    boot=st.text("0123456789abcdef-", max_size=36),
    look=st.text("abc .-ü", max_size=30),
    rate=st.none() | st.fractions(Fraction(1, 2**31), 1000, max_denominator=2**31),
    pixel_aspect=st.fractions(Fraction(1, 100), 100, max_denominator=2**31),
)


def same(one, other):
    assert all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))
    assert [plane.dtype for plane in one.planes] == [plane.dtype for plane in other.planes]
    fields = ("depth", "subsampling", "tags", "pts", "time_base", "interlaced", "top_field_first", "damaged")
    assert [getattr(one, name) for name in fields] == [getattr(other, name) for name in fields]


@given(stamps, frames())
def test_a_frame_comes_out_as_it_went_in(stamp, frame):
    message = wire.decode([bytes(part) for part in wire.encode_frame(stamp, frame)])
    assert isinstance(message, FrameMessage) and message.stamp == stamp
    same(message.frame, frame)


@given(stamps, st.integers(1, 60), st.integers(1, 60), st.none() | LONG)
@settings(max_examples=30)
def test_a_jpeg_comes_out_as_it_went_in(stamp, width, height, pts):
    jpeg = cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8))[1].tobytes()
    sent = JpegMessage(stamp=stamp, width=width, height=height, pts=pts, time_base=Fraction(1, 25), jpeg=jpeg)
    assert len(jpeg) < 4 * width * height + wire.MAX_HEADER
    assert wire.decode(wire.encode_jpeg(sent)) == sent


@given(LONG, st.booleans(), st.dictionaries(st.sampled_from(["frame", "jpeg"]), st.integers(-1, 2**63 - 1)))
def test_a_heartbeat_comes_out_as_it_went_in(time_ns, ended, last):
    sent = Heartbeat(stream="0" * 32, last_seq=last, publish_ns=time_ns, wall_ns=time_ns, ended=ended)
    assert wire.decode(wire.encode_heartbeat(sent)) == sent


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_random_parts_are_refused(parts):
    with pytest.raises(WireError):
        wire.decode(parts)


def example():
    frame = Frame(planes=(np.zeros((4, 6), np.uint8), *[np.full((2, 3), 128, np.uint8)] * 2), pts=1)
    stamp = Stamp(stream="a" * 32, seq=3, capture_ns=1, publish_ns=2, wall_ns=3)
    return [bytes(part) for part in wire.encode_frame(stamp, frame)]


def changed(**values):
    topic, header, *payload = example()
    return [topic, json.dumps(json.loads(header) | values).encode(), *payload]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(json.loads(example()[1]))), ANYTHING)
@settings(max_examples=300)
def test_a_header_with_any_other_value_is_refused_or_still_fits(name, value):
    try:
        message = wire.decode(changed(**{name: value}))
    except WireError:
        return
    assert message.frame.luma.shape == (4, 6)


def test_publishers_that_name_neither_rate_nor_shape_are_understood():
    stamp = wire.decode(changed(rate=None, pixel_aspect=None)).stamp
    assert (stamp.rate, stamp.pixel_aspect) == (None, 1)
    for wrong in ({"rate": ["1001", "1"]}, {"pixel_aspect": ["1", "101"]}, {"rate": ["0", "1"]}, {"rate": "25"}):
        with pytest.raises(WireError):
            wire.decode(changed(**wrong))


@given(st.integers(0, 4), st.integers(0, 40))
def test_a_part_of_another_length_is_refused(number, length):
    parts = example()
    if len(parts[number]) == length:
        return
    parts[number] = (parts[number] * 10)[:length]
    with pytest.raises(WireError):
        wire.decode(parts)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], "0 parts"),
        (example()[:-1], "2 planes"),
        ([*example(), b""], "6 parts"),
        ([b"frame", b"[" * 4000], "no JSON"),
        ([b"frame", b"{" + b" " * 5000 + b"}"], "at most 4096"),
        ([b"frame", b"9" * 4096], "no JSON"),
        ([b"frame", b"\xff\xfe"], "no JSON"),
        ([b"frame", b"[]"], "no JSON object"),
        ([b"other", b"{}"], "topic"),
        (changed(schema="kinochrome/2"), "schema"),
        (changed(topic="jpeg"), "topic"),
        (changed(width=7), "stride"),
        (changed(height=5), "bytes"),
        (changed(width=10**9, height=10**9), "width"),
        (changed(width=16384, height=16384), "pixels"),
        (changed(width=True), "width"),
        (changed(strides=[6, 3, 0]), "stride"),
        (changed(strides=[6, 3]), "strides"),
        (changed(depth=7), "depth"),
        (changed(depth=16), "stride"),
        (changed(subsampling=[1.0, 1]), "subsampling"),
        (changed(subsampling=[9, 9]), "subsampling"),
        (changed(seq=3), "seq"),
        (changed(seq="-1"), "seq"),
        (changed(seq="9" * 30), "seq"),
        (changed(seq="٣"), "seq"),
        (changed(time_base=["1", "0"]), "time_base"),
        (changed(stream="../../etc/passwd"), "stream"),
        (changed(look="\x1b[2J"), "look"),
        (changed(look="a" * 300), "look"),
        (changed(flags=["lost"]), "flags"),
        (changed(color={"full_range": False, "matrix": "ycgco"}), "matrix"),
    ],
)
def test_what_is_wrong_is_said(parts, words):
    with pytest.raises(WireError, match=words):
        wire.decode(parts)


def test_rows_with_gaps_are_read():
    topic, header, luma, *chroma = example()
    gaps = b"".join(luma[row * 6 : row * 6 + 6] + b"xx" for row in range(4))
    strides = [8, 3, 3]
    message = wire.decode([topic, json.dumps(json.loads(header) | {"strides": strides}).encode(), gaps, *chroma])
    assert not message.frame.luma.any()


@given(st.binary(max_size=300))
def test_the_size_of_a_jpeg_is_found_without_harm(data):
    wire.jpeg_size(b"\xff\xd8" + data)
    jpeg = cv2.imencode(".jpg", np.zeros((7, 9), np.uint8))[1].tobytes()
    assert wire.jpeg_size(jpeg) == (9, 7)


@given(st.integers(0, 200), st.integers(0, 255))
def test_a_spoilt_jpeg_header_never_claims_another_size(at, value):
    jpeg = bytearray(cv2.imencode(".jpg", np.zeros((7, 9), np.uint8))[1].tobytes())
    jpeg[at] = value
    parts = [b"jpeg", *wire.encode_jpeg(JpegMessage(
        stamp=Stamp(stream="a" * 32, seq=3, capture_ns=1, publish_ns=2, wall_ns=3),
        width=9, height=7, pts=None, time_base=Fraction(1), jpeg=bytes(jpeg),
    ))[1:]]  # fmt: skip
    if wire.jpeg_size(bytes(jpeg)) != (9, 7):
        with pytest.raises(WireError):
            wire.decode(parts)


def test_the_page_about_the_wire_names_every_key():
    text = (Path(wire.__file__).parents[1] / "docs" / "wire.md").read_text()
    for key in json.loads(example()[1]):
        assert f"`{key}`" in text, key
