"""The wire, version 1: how pictures lie in ZeroMQ messages. docs/wire.md is the same for other languages.

    parts = encode_frame(stamp, frame)          # [topic, header JSON, Y', Cb, Cr]
    message = decode(parts)                     # FrameMessage, JpegMessage or Heartbeat; WireError if anything is off

Nothing is trusted: every number of a header is compared with the bytes that came before a pixel is touched.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, TypeAlias, cast, get_args

import numpy as np

from stream.frame import ColorTags, Frame, Matrix, Plane

SCHEMA: Final = "kinochrome/1"
FRAME, JPEG, HEARTBEAT = "frame", "jpeg", "heartbeat"
TOPICS: Final = (FRAME, JPEG, HEARTBEAT)
MAX_HEADER: Final = 4096
"""Bytes of a header; ours have about 700."""
MAX_SIDE: Final = 1 << 14
MAX_PIXELS: Final = 1 << 27
MAX_STRIDE: Final = 1 << 17
MAX_PARTS: Final = 5
MAX_RATE: Final = 1000
"""Pictures a second."""
MAX_ASPECT: Final = 100
"""Of a pixel, either way."""

Part: TypeAlias = bytes | memoryview
Header: TypeAlias = Mapping[str, Any]

_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_NAME = re.compile(r"[0-9a-f]{32}")
_BOOT = re.compile(r"[0-9a-f-]{0,64}")
_FLAGS = frozenset({"interlaced", "bottom_field_first", "damaged"})
_SUBSAMPLINGS = ((1, 1), (1, 0), (0, 0), (0, 1), (2, 0), (2, 2))
_MAX_LOOK = 200
_MAX_PUBLIC_LOOK = 64


class WireError(ValueError):
    """A message that isn't one of ours, or isn't whole."""


def public_look(look: str) -> str:
    """What subscribers are told of a look: its name, of a picture only the file's; printable ASCII, 64 at most."""
    name = Path(look).name[:_MAX_PUBLIC_LOOK]
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in name)


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """Which picture of which stream, and when."""

    stream: str
    """32 hexadecimal digits; another run of a publisher is another stream."""
    seq: int
    """Counts the pictures of a topic from 0; a gap is a loss."""
    capture_ns: int
    """When the picture came in, on the monotonic clock of the host that booted as `boot`."""
    publish_ns: int
    """When it was handed to ZeroMQ, on the same clock."""
    wall_ns: int
    """The same moment in nanoseconds since 1970, UTC."""
    boot: str = ""
    """Boot id of the host: only with the same one may monotonic times be compared."""
    look: str = "natural"
    """How it is coloured."""
    rate: Fraction | None = None
    """Pictures a second that the source means to give; None where it doesn't say."""
    pixel_aspect: Fraction = Fraction(1)
    """Width of a pixel by its height, as it is to be shown."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameMessage:
    """A picture as planes."""

    stamp: Stamp
    frame: Frame
    """Its planes are read-only views of the message where the rows have no gaps."""


@dataclass(frozen=True, kw_only=True)
class JpegMessage:
    """A picture for viewers, and for encrypted links."""

    stamp: Stamp
    width: int
    height: int
    pts: int | None
    time_base: Fraction
    jpeg: bytes


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """Sent every second and at the end, so that lost pictures are noticed when none follows."""

    stream: str
    last_seq: dict[str, int]
    """The last number given on each topic; -1 before the first."""
    publish_ns: int
    wall_ns: int
    boot: str = ""
    ended: bool = False
    """Nothing follows."""


Message: TypeAlias = FrameMessage | JpegMessage | Heartbeat


def encode_frame(stamp: Stamp, frame: Frame) -> list[Part]:
    """The parts of a picture as planes; the payload is views of the frame's planes where their rows have no gaps."""
    planes = [_to_little_endian(plane) for plane in frame.planes]
    header = _describe_picture(stamp, FRAME, (frame.width, frame.height), (frame.pts, frame.time_base))
    header |= {
        "format": "planes",
        "depth": frame.depth,
        "subsampling": list(frame.subsampling),
        "strides": [plane.strides[0] for plane in planes],
        "color": {
            "full_range": frame.tags.full_range,
            "matrix": frame.tags.matrix,
            "primaries": frame.tags.primaries,
            "transfer": frame.tags.transfer,
            "chroma_location": frame.tags.chroma_location,
        },
        "flags": [
            name
            for name, up in (
                ("interlaced", frame.interlaced),
                ("bottom_field_first", not frame.top_field_first),
                ("damaged", frame.damaged),
            )
            if up
        ],
    }
    return [FRAME.encode(), _dump(header), *(plane.data.cast("B") for plane in planes)]


def encode_jpeg(message: JpegMessage) -> list[Part]:
    """The parts of a picture as JPEG."""
    size, time = (message.width, message.height), (message.pts, message.time_base)
    header = _describe_picture(message.stamp, JPEG, size, time) | {"format": "jpeg"}
    return [JPEG.encode(), _dump(header), message.jpeg]


def encode_heartbeat(beat: Heartbeat) -> list[Part]:
    """The parts of a heartbeat."""
    header = {
        "schema": SCHEMA,
        "topic": HEARTBEAT,
        "stream": beat.stream,
        "last_seq": {topic: str(seq) for topic, seq in beat.last_seq.items()},
        "publish_ns": str(beat.publish_ns),
        "wall_ns": str(beat.wall_ns),
        "boot": beat.boot,
        "ended": beat.ended,
    }
    return [HEARTBEAT.encode(), _dump(header)]


def decode(parts: Sequence[Part]) -> Message:
    """The message; WireError says in a line what is wrong with it."""
    if not 2 <= len(parts) <= MAX_PARTS:
        raise WireError(f"{len(parts)} parts; 2 to {MAX_PARTS} are allowed")
    topic = bytes(parts[0][:16]).decode("ascii", "replace")
    if topic not in TOPICS or len(parts[0]) > 16:
        raise WireError(f"topic {topic!r}; {', '.join(TOPICS)} are allowed")
    header = _load(parts[1])
    if header.get("schema") != SCHEMA:
        raise WireError(f"schema {str(header.get('schema'))[:40]!r}; {SCHEMA} is spoken here")
    if header.get("topic") != topic:
        raise WireError("the header's topic is not the message's")
    return _DECODERS[topic](header, parts[2:])


def _decode_frame(header: Header, payload: Sequence[Part]) -> FrameMessage:
    if header.get("format") != "planes":
        raise WireError("format must be planes on this topic")
    width, height = _size(header)
    depth = _integer(header, "depth", 8, 16)
    step = header.get("subsampling")
    if not isinstance(step, list) or tuple(step) not in _SUBSAMPLINGS or not all(type(s) is int for s in step):
        raise WireError("subsampling is none of " + ", ".join(map(str, _SUBSAMPLINGS)))
    subsampling = (step[0], step[1])
    if len(payload) not in (1, 3):
        raise WireError(f"{len(payload)} planes; 1 or 3 are allowed")
    strides = header.get("strides")
    if not isinstance(strides, list) or len(strides) != len(payload):
        raise WireError("strides must be a list with a number for each plane")
    chroma = (-(-height >> subsampling[1]), -(-width >> subsampling[0]))
    shapes = [(height, width), chroma, chroma]
    planes = tuple(
        _plane(part, stride, shape, 1 if depth == 8 else 2)
        for part, stride, shape in zip(payload, strides, shapes, strict=False)
    )
    flags = header.get("flags")
    if not isinstance(flags, list) or not all(isinstance(flag, str) and flag in _FLAGS for flag in flags):
        raise WireError(f"flags must be a list of {', '.join(sorted(_FLAGS))}")
    pts, time_base = _time(header)
    frame = Frame(
        planes=planes,
        depth=depth,
        subsampling=subsampling,
        tags=_tags(header),
        pts=pts,
        time_base=time_base,
        interlaced="interlaced" in flags,
        top_field_first="bottom_field_first" not in flags,
        damaged="damaged" in flags,
    )
    return FrameMessage(stamp=_stamp(header), frame=frame)


def _plane(part: Part, stride: object, shape: tuple[int, int], sample: int) -> Plane:
    rows, columns = shape
    row_bytes = columns * sample
    if type(stride) is not int or not row_bytes <= stride <= MAX_STRIDE or stride % sample:
        raise WireError(f"stride {str(stride)[:20]}; {row_bytes} to {MAX_STRIDE} bytes are allowed")
    if len(part) != stride * rows:
        raise WireError(f"a plane of {len(part)} bytes; {rows} rows of {stride} are {stride * rows}")
    lines = np.frombuffer(part, np.uint8).reshape(rows, stride)[:, :row_bytes]
    packed = np.ascontiguousarray(lines)
    return packed if sample == 1 else packed.view("<u2").astype(np.uint16, copy=False)


def _decode_jpeg(header: Header, payload: Sequence[Part]) -> JpegMessage:
    if header.get("format") != "jpeg" or len(payload) != 1:
        raise WireError("format must be jpeg on this topic, in one part")
    width, height = _size(header)
    if len(payload[0]) > 4 * width * height + MAX_HEADER:
        raise WireError(f"{len(payload[0])} bytes of JPEG; at most 4 for each of {width}x{height} pixels are allowed")
    if jpeg_size(payload[0]) != (width, height):
        raise WireError("the payload is no JPEG of the header's size")
    pts, time_base = _time(header)
    jpeg = bytes(payload[0])
    return JpegMessage(stamp=_stamp(header), width=width, height=height, pts=pts, time_base=time_base, jpeg=jpeg)


def jpeg_size(jpeg: Part) -> tuple[int, int] | None:
    """Width and height by the frame header (T.81, B.2.2); None where there is none. Nothing is decompressed."""
    data, at = memoryview(jpeg), 2
    if bytes(data[:2]) != b"\xff\xd8":
        return None
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return data[at + 7] << 8 | data[at + 8], data[at + 5] << 8 | data[at + 6]
        if length < 2:
            return None
        at += 2 + length
    return None


def _decode_heartbeat(header: Header, payload: Sequence[Part]) -> Heartbeat:
    last = header.get("last_seq")
    if payload or not isinstance(last, dict) or not set(last) <= {FRAME, JPEG} or type(header.get("ended")) is not bool:
        raise WireError("a heartbeat has last_seq for frame and jpeg, and ended, and no payload")
    return Heartbeat(
        stream=_word(header, "stream", _NAME),
        last_seq={topic: _long(last, topic, -1) for topic in last},
        publish_ns=_long(header, "publish_ns"),
        wall_ns=_long(header, "wall_ns"),
        boot=_word(header, "boot", _BOOT),
        ended=header["ended"],
    )


_DECODERS: dict[str, Callable[[Header, Sequence[Part]], Message]] = {
    FRAME: _decode_frame,
    JPEG: _decode_jpeg,
    HEARTBEAT: _decode_heartbeat,
}


def _describe_picture(
    stamp: Stamp, topic: str, size: tuple[int, int], time: tuple[int | None, Fraction]
) -> dict[str, Any]:
    """What the headers of planes and of JPEG share. 64-bit values are decimal strings: other languages lose bits."""
    pts, time_base = time
    return {
        "schema": SCHEMA,
        "topic": topic,
        "stream": stamp.stream,
        "seq": str(stamp.seq),
        "pts": None if pts is None else str(pts),
        "time_base": _pair(time_base),
        "capture_ns": str(stamp.capture_ns),
        "publish_ns": str(stamp.publish_ns),
        "wall_ns": str(stamp.wall_ns),
        "boot": stamp.boot,
        "width": size[0],
        "height": size[1],
        "look": stamp.look,
        "rate": None if stamp.rate is None else _pair(stamp.rate),
        "pixel_aspect": _pair(stamp.pixel_aspect),
    }


def _pair(number: Fraction) -> list[str]:
    return [str(number.numerator), str(number.denominator)]


def _to_little_endian(plane: Plane) -> Plane:
    return cast(Plane, np.ascontiguousarray(plane, "<u2" if plane.itemsize == 2 else np.uint8))


def _dump(header: Header) -> bytes:
    return json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()


def _load(part: Part) -> Header:
    if len(part) > MAX_HEADER:
        raise WireError(f"a header of {len(part)} bytes; at most {MAX_HEADER} are allowed")
    try:
        header = json.loads(bytes(part).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise WireError(f"the header is no JSON ({type(error).__name__})") from error
    if not isinstance(header, dict):
        raise WireError("the header is no JSON object")
    return header


def _stamp(header: Header) -> Stamp:
    look = header.get("look")
    if not isinstance(look, str) or len(look) > _MAX_LOOK or not look.isprintable():
        raise WireError(f"look must be printable text of at most {_MAX_LOOK} characters")
    # Publishers before 0.1 was released knew neither.
    rate = None if header.get("rate") is None else _fraction(header, "rate")
    aspect = Fraction(1) if header.get("pixel_aspect") is None else _fraction(header, "pixel_aspect")
    if (rate is not None and rate > MAX_RATE) or not Fraction(1, MAX_ASPECT) <= aspect <= MAX_ASPECT:
        raise WireError(f"at most {MAX_RATE} pictures a second, and pixels of 1:{MAX_ASPECT} to {MAX_ASPECT}:1")
    return Stamp(
        stream=_word(header, "stream", _NAME),
        seq=_long(header, "seq"),
        capture_ns=_long(header, "capture_ns"),
        publish_ns=_long(header, "publish_ns"),
        wall_ns=_long(header, "wall_ns"),
        boot=_word(header, "boot", _BOOT),
        look=look,
        rate=rate,
        pixel_aspect=aspect,
    )


def _tags(header: Header) -> ColorTags:
    color = header.get("color")
    if not isinstance(color, dict) or type(color.get("full_range")) is not bool:
        raise WireError("color must name full_range, matrix, primaries, transfer and chroma_location")
    if color.get("matrix") not in get_args(Matrix):
        raise WireError(f"color.matrix must be one of {', '.join(get_args(Matrix))}")
    return ColorTags(
        full_range=color["full_range"],
        matrix=color["matrix"],
        primaries=_integer(color, "primaries", 0, 255),
        transfer=_integer(color, "transfer", 0, 255),
        chroma_location=_integer(color, "chroma_location", 0, 6),
    )


def _size(header: Header) -> tuple[int, int]:
    width, height = (_integer(header, name, 1, MAX_SIDE) for name in ("width", "height"))
    if width * height > MAX_PIXELS:
        raise WireError(f"{width}x{height}; at most {MAX_PIXELS:,} pixels are allowed")
    return width, height


def _time(header: Header) -> tuple[int | None, Fraction]:
    pts = None if header.get("pts") is None else _long(header, "pts", -(1 << 63))
    return pts, _fraction(header, "time_base")


def _fraction(header: Header, name: str) -> Fraction:
    pair = header.get(name)
    if not isinstance(pair, list) or len(pair) != 2:
        raise WireError(f"{name} must be two numbers in text")
    over, under = (_long({name: number}, name, 1) for number in pair)
    return Fraction(over, under)


def _integer(header: Header, name: str, low: int, high: int) -> int:
    value = header.get(name)
    if type(value) is not int or not low <= value <= high:
        raise WireError(f"{name} {str(value)[:20]!r}; {low} to {high} is allowed")
    return value


def _long(header: Header, name: str, low: int = 0) -> int:
    value = header.get(name)
    if not isinstance(value, str) or not _NUMBER.fullmatch(value) or not low <= int(value) < 1 << 63:
        raise WireError(f"{name} must be a decimal number in text, {low} to 2^63 - 1")
    return int(value)


def _word(header: Header, name: str, pattern: re.Pattern[str]) -> str:
    value = header.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise WireError(f"{name} must match {pattern.pattern}")
    return value
