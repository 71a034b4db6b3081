"""Writes the shape of the pixels and HDR's metadata into a finished Matroska file, because PyAV can't.

FFmpeg's muxer takes them from fields of its stream that PyAV 18.1 gives no access to. H.264 and H.265 carry them
in their own headers; FFV1 doesn't, and players look at the container first anyway. The track is rewritten in place:
`ROOM` is spaces at the end of the track's name, and what is left of them becomes a Void element, so nothing moves.
Numbers of elements: RFC 9559.
"""

import math
import struct
import zlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

from stream.film import Light

ROOM = " " * 200

_SEGMENT, _TRACKS, _TRACK, _VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0xE0
_NAME, _TRACK_NUMBER, _VOID, _CRC32 = 0x536E, 0xD7, 0xEC, 0xBF
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
_COLOUR, _MAX_CLL, _MAX_FALL, _MASTERING = 0x55B0, 0x55BC, 0x55BD, 0x55D0
_PRIMARIES = range(0x55D1, 0x55D9)  # x and y of red, green, blue, white
_GREATEST, _LEAST = 0x55D9, 0x55DA  # luminance
_LARGEST_HEAD = 1 << 24

Elements: TypeAlias = list[tuple[int, bytes, int]]
"""(number, content, bytes that state the content's size)"""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What is said about a track's pictures."""

    size: tuple[int, int]
    """Width and height in samples."""
    aspect: Fraction = Fraction(1)
    """Width of a pixel over its height."""
    light: Light | None = None


def write_track(path: Path, track: int, info: Statement) -> None:
    """States in the file at `path` what `info` says about track number `track`, whose name must end in `ROOM`."""
    with path.open("r+b") as file:
        head = file.read(_LARGEST_HEAD)
        start, end = _find(head, _TRACKS, *_find(head, _SEGMENT, 0, len(head)))
        tracks = _children(head[start:end])
        body = b"".join(
            _element(number, _shaped(content, info) if _is_track(number, content, track) else content, length)
            for number, content, length in tracks
            if number != _CRC32
        )
        if tracks[0][0] == _CRC32:
            body = _element(_CRC32, zlib.crc32(body).to_bytes(4, "little")) + body
        if len(body) != end - start:
            raise ValueError(f"{path}: {len(body) = }; {end - start} bytes were to be replaced")
        file.seek(start)
        file.write(body)


def _is_track(number: int, content: bytes, track: int) -> bool:
    return number == _TRACK and any(child[:2] == (_TRACK_NUMBER, bytes([track])) for child in _children(content))


def _shaped(track: bytes, info: Statement) -> bytes:
    """A track of the same length with the display size and light in it and its name back to what it was."""
    shaped = b""
    for number, content, _ in _children(track):
        if number == _NAME:
            content = content.removesuffix(ROOM.encode())
        elif number == _VIDEO:
            content = _stated(content, info)
        if content or number != _NAME:
            shaped += _element(number, content)
    # One byte is the Void's number, and its size takes one or two.
    left = len(track) - len(shaped) - 1
    return shaped + (_element(_VOID, bytes(left - 1)) if left <= 127 else _element(_VOID, bytes(left - 2), 2))


def _stated(video: bytes, info: Statement) -> bytes:
    """The element that describes the pictures, with what was missing."""
    children = [(number, content) for number, content, _ in _children(video)]
    if info.aspect != 1:
        width, height = display_size(*info.size, info.aspect)
        children = [child for child in children if child[0] not in (_DISPLAY_UNIT, _DISPLAY_WIDTH, _DISPLAY_HEIGHT)]
        children += [(_DISPLAY_WIDTH, _unsigned(width)), (_DISPLAY_HEIGHT, _unsigned(height))]
    if info.light is not None:
        own = b"".join(content for number, content in children if number == _COLOUR)
        told = [child for child in _children(own) if child[0] not in (_MASTERING, _MAX_CLL, _MAX_FALL)]
        colour = b"".join(_element(number, content) for number, content, _ in told) + _lit(info.light)
        children = [*(child for child in children if child[0] != _COLOUR), (_COLOUR, colour)]
    return b"".join(_element(*child) for child in children)


def _lit(light: Light) -> bytes:
    """HDR's metadata as elements of a colour description; numbers as floats of four bytes."""
    elements = b""
    if light.content is not None:
        elements += _element(_MAX_CLL, _unsigned(light.content[0])) + _element(_MAX_FALL, _unsigned(light.content[1]))
    screen = [*zip(_PRIMARIES, (part for point in light.primaries for part in point), strict=False)]
    if light.luminance is not None:
        screen += [(_GREATEST, light.luminance[1]), (_LEAST, light.luminance[0])]
    body = b"".join(_element(number, struct.pack(">f", part)) for number, part in screen)
    return elements + (_element(_MASTERING, body) if body else b"")


def display_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Width and height in square pixels with exactly this aspect, near the coded size where that is possible."""
    if (width * aspect).denominator == 1:
        return int(width * aspect), height
    if (height / aspect).denominator == 1:
        return width, int(height / aspect)
    wide, high = width * aspect.numerator, height * aspect.denominator
    common = math.gcd(wide, high)
    return wide // common, high // common


def _find(data: bytes, wanted: int, start: int, end: int) -> tuple[int, int]:
    """Begin and end of the content of the first element `wanted` between `start` and `end`."""
    while start < end:
        number, content, after = _header(data, start)
        if number == wanted:
            return content, min(after, end)
        start = after
    raise ValueError(f"no Matroska element {wanted:X} in the first {end} bytes")


def _children(data: bytes) -> Elements:
    found, position = [], 0
    while position < len(data):
        number, content, after = _header(data, position)
        found.append((number, data[content:after], content - position - _bytes_of(number)))
        position = after
    return found


def _header(data: bytes, position: int) -> tuple[int, int, int]:
    """Number of the element at `position`, begin and end of its content."""
    length = 9 - data[position].bit_length()
    number = int.from_bytes(data[position : position + length])
    position += length
    length = 9 - data[position].bit_length()
    size = int.from_bytes(data[position : position + length]) & ((1 << 7 * length) - 1)
    return number, position + length, position + length + size


def _element(number: int, content: bytes, length: int = 1) -> bytes:
    """An element; its size takes at least `length` bytes."""
    while len(content) >= (1 << 7 * length) - 1:
        length += 1
    return number.to_bytes(_bytes_of(number)) + (len(content) | 1 << 7 * length).to_bytes(length) + content


def _bytes_of(value: int) -> int:
    return max(1, (value.bit_length() + 7) // 8)


def _unsigned(value: int) -> bytes:
    return value.to_bytes(_bytes_of(value))
