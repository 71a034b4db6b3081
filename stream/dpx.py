"""DPX, the format of film scanners (SMPTE ST 268): what a header says, and pictures written under a scan's own header.

Samples are decoded by FFmpeg; written here, because its encoder forgets everything that the scanner noted: time code,
keycode, film stock, transfer, frame rate.
"""

import math
import re
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.errors import InputError

DEPTHS: Final = (8, 10, 12, 16)
_HEAD: Final = 2048
_MAGIC: Final = {b"SDPX": ">", b"XPDS": "<"}
_UNDEFINED: Final = 0xFFFFFFFF
_RGB, _LUMA = 50, 6
_RATES: Final = (1724, 1940)  # of the film's part of the header, of the television's
_TIME_CODE: Final = 1920
_ASPECT: Final = 1628
_OFFSET, _SIZE, _NAME, _CREATOR = 4, 16, 36, 160
_SHAPE, _ELEMENT = 770, 780
_DESCRIPTION: Final = 820


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a scan says about itself."""

    content: bytes
    """All of it, up to the first picture's samples."""
    order: str
    """ ">" or "<", as in `struct`."""
    rate: Fraction | None
    """Frames a second."""
    aspect: Fraction
    """Width of a pixel over its height."""
    timecode: str | None
    """HH:MM:SS:FF of this very picture."""


def read_header(data: bytes, name: str) -> Header:
    """The header at the beginning of a file's bytes; InputError where it is none."""
    order = _MAGIC.get(data[:4])
    if order is None or len(data) < _HEAD:
        raise InputError(f"{name}: is no DPX, or was cut off in its header")
    (start,) = struct.unpack_from(f"{order}I", data, _OFFSET)
    if not 768 + 640 <= start <= len(data):
        raise InputError(f"{name}: says that its samples begin at byte {start}, and it has {len(data)} bytes")
    content = data[:start].ljust(_HEAD, b"\xff")  # the parts for film and television may be missing
    rates = (struct.unpack_from(f"{order}f", content, at)[0] for at in _RATES)
    horizontal, vertical = struct.unpack_from(f"{order}II", content, _ASPECT)
    sane = 0 < horizontal < 1 << 16 and 0 < vertical < 1 << 16
    (code,) = struct.unpack_from(f"{order}I", content, _TIME_CODE)
    return Header(
        content=content,
        order=order,
        rate=next((_fraction(rate) for rate in rates if math.isfinite(rate) and 1 <= rate <= 1000), None),
        aspect=Fraction(horizontal, vertical) if sane else Fraction(1),
        timecode=_time_code(code),
    )


def _fraction(rate: float) -> Fraction:
    """24000/1001 and its like, which a float can't hold, by their usual fractions."""
    whole = Fraction(round(rate))
    slowed = Fraction(round(rate * 1.001) * 1000, 1001)
    return min((whole, slowed, Fraction(rate).limit_denominator(1000)), key=lambda each: abs(float(each) - rate))


def _time_code(code: int) -> str | None:
    """Eight decimal digits, four bits each; anything else is no time code."""
    digits = f"{code:08x}"
    return ":".join(re.findall("..", digits)) if code != _UNDEFINED and digits.isdecimal() else None


def write(
    pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], depth: int, header: Header | None, name: str
) -> bytes:
    """A file of R'G'B' `[H, W, 3]` with samples of `depth` bits (8, 10, 12, 16), under the header of its original.

    name: of the file, which the header repeats.
    """
    height, width = pixels.shape[:2]
    order = header.order if header else ">"
    head = bytearray(header.content if header else b"\xff" * _HEAD)
    samples = _pack(pixels, depth, order)
    if header is None:
        struct.pack_into(f"{order}4sI8s", head, 0, b"SDPX", _HEAD, b"V1.0\0\0\0\0")
        struct.pack_into(f"{order}IIII", head, 20, 1, 1664, 384, 0)  # a new picture; sizes of the header's parts
        for start, length in ((36, 624), (_DESCRIPTION, 588), (1432, 124), (1556, 72), (1664, 48), (1728, 132)):
            head[start : start + length] = bytes(length)  # texts are empty rather than undefined
    struct.pack_into(f"{order}I", head, _OFFSET, len(head))
    struct.pack_into(f"{order}I", head, _SIZE, len(head) + len(samples))
    struct.pack_into("100s", head, _NAME, name.encode(errors="replace")[:99])
    struct.pack_into("100s", head, _CREATOR, b"Kinochrome; colours are machine-made")
    if header is None:
        struct.pack_into(f"{order}H", head, 768, 0)
    struct.pack_into(f"{order}HII", head, _SHAPE, 1, width, height)
    transfer, colorimetric = (head[_ELEMENT + 21], head[_ELEMENT + 22]) if header else (0, 0)
    struct.pack_into(
        f"{order}IIfIfBBBBHHIII",
        head,
        _ELEMENT,
        *(0, 0, 0.0, (1 << depth) - 1, 2.048 if transfer == 1 else 0.0),
        *(_RGB, transfer, colorimetric, depth, 1 if depth in (10, 12) else 0, 0, len(head), 0, 0),
    )
    struct.pack_into("32s", head, _DESCRIPTION, b"colours are machine-made")
    return bytes(head) + samples


def _pack(pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], depth: int, order: str) -> bytes:
    """Samples as ST 268 packs them; 10 bits three to a word and 12 bits one to two bytes, filled by method A."""
    if depth == 8:
        return pixels.astype(np.uint8, copy=False).tobytes()
    if depth == 10:
        red, green, blue = (pixels[..., channel].astype(np.uint32) for channel in range(3))
        return (red << 22 | green << 12 | blue << 2).astype(f"{order}u4").tobytes()
    shift = 4 if depth == 12 else 0
    return (pixels << shift).astype(f"{order}u2").tobytes()
