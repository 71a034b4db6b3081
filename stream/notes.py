"""What picture files note beside their pixels (EXIF, XMP, ICC profile, resolution), read from one and put into another.

A picture that was turned upright says so: its orientation becomes 1. An EXIF block's thumbnail is left out, because it
shows the picture without colours.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tifffile

_DESCRIPTION, _ORIENTATION = 0x010E, 0x0112
# TIFF's tags that are texts or numbers about the picture and mean the same in EXIF's first directory.
_TEXTS: Final = {_DESCRIPTION, 0x010F, 0x0110, 0x0132, 0x013B, 0x8298}
_ICC, _XMP, _IPTC = 34675, 700, 33723
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_EXIF_MARK, _XMP_MARK, _ICC_MARK = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
_INCH_M: Final = 0.0254
_DAMAGED: Final = (struct.error, zlib.error, ValueError, IndexError, KeyError, tifffile.TiffFileError, OSError)


@dataclass(frozen=True, kw_only=True)
class Notes:
    """What stands beside a picture; empty where the file has nothing of it."""

    exif: bytes = b""
    """A TIFF structure, as it follows "Exif"."""
    xmp: bytes = b""
    icc: bytes = b""
    iptc: bytes = b""
    """TIFF's record alone."""
    dpi: tuple[float, float] | None = None
    """Across and down, per inch."""

    @property
    def rgb_profile(self) -> bytes:
        """The profile, if it is one of R'G'B': a grey scan's says nothing about colours."""
        return self.icc if self.icc[16:20] == b"RGB " else b""


def read_notes(path: Path, page: int = 0) -> Notes:
    """What the file at `path` notes; what is damaged or no JPEG, PNG or TIFF has no notes."""
    with suppress(*_DAMAGED):
        with path.open("rb") as file:
            data = file.read(8)
        if data.startswith(_JPEG):
            return _of_jpeg(path.read_bytes())
        if data == _PNG:
            return _of_png(path.read_bytes())
        if data[:2] in (b"II", b"MM"):
            return _of_tiff(path, page)
    return Notes()


def _of_jpeg(data: bytes) -> Notes:
    exif, xmp, profile, dpi = b"", b"", b"", None
    for marker, content in _segments(data):
        if marker == 0xE0 and content.startswith(b"JFIF\0"):
            unit, across, down = struct.unpack_from(">BHH", content, 7)
            dpi = (float(across), float(down)) if unit == 1 else (2.54 * across, 2.54 * down) if unit == 2 else None
        elif marker == 0xE1 and content.startswith(_EXIF_MARK):
            exif = content[len(_EXIF_MARK) :]
        elif marker == 0xE1 and content.startswith(_XMP_MARK):
            xmp = content[len(_XMP_MARK) :]
        elif marker == 0xE2 and content.startswith(_ICC_MARK):
            profile += content[len(_ICC_MARK) + 2 :]  # after its number and their count, which rise
    return Notes(exif=exif, xmp=xmp, icc=profile, dpi=dpi)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Markers before the first scan, and what is in them."""
    position = 2
    while data[position] == 0xFF and data[position + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, position + 2)
        yield data[position + 1], data[position + 4 : position + 2 + length]
        position += 2 + length


def _of_png(data: bytes) -> Notes:
    exif, xmp, profile, dpi = b"", b"", b"", None
    for kind, content in _chunks(data):
        if kind == b"pHYs":
            across, down, unit = struct.unpack(">IIB", content)
            dpi = (across * _INCH_M, down * _INCH_M) if unit == 1 else None
        elif kind == b"eXIf":
            exif = content.removeprefix(_EXIF_MARK)
        elif kind == b"iCCP":
            profile = zlib.decompress(content[content.index(b"\0") + 2 :])
        elif kind == b"iTXt" and content.startswith(b"XML:com.adobe.xmp\0\0"):
            xmp = content.split(b"\0", 5)[5]
    return Notes(exif=exif, xmp=xmp, icc=profile, dpi=dpi)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = len(_PNG)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, data[position + 8 : position + 8 + length]
        position += 12 + length


def _of_tiff(path: Path, page: int) -> Notes:
    with tifffile.TiffFile(path) as file:
        tags = file.pages[page].aspage().tags
        texts = {code: str(tags[code].value) for code in _TEXTS if code in tags}
        unit = {2: 1.0, 3: 2.54}.get(int(tags[296].value) if 296 in tags else 2)
        dpi = None
        if 282 in tags and 283 in tags and unit:
            across, down = (numerator / denominator for numerator, denominator in (tags[282].value, tags[283].value))
            dpi = (across * unit, down * unit) if across > 1 and down > 1 else None
        blobs = [_blob(tags[code].value) if code in tags else b"" for code in (_XMP, _ICC, _IPTC)]
    return Notes(exif=_exif_of(texts) if texts else b"", xmp=blobs[0], icc=blobs[1], iptc=blobs[2], dpi=dpi)


def _blob(value: Any) -> bytes:  # noqa: ANN401  (bytes, or a tuple of numbers where the file calls them LONG)
    return value if isinstance(value, bytes) else b"".join(int(each).to_bytes(4, "little") for each in value)


def _exif_of(texts: dict[int, str]) -> bytes:
    return stated(b"II*\0\x08\0\0\0\0\0\0\0\0\0", texts)


def described(notes: Notes, description: str) -> bytes:
    """The EXIF block with `description` joined to its own, the picture called upright, and no thumbnail."""
    exif = notes.exif or b"II*\0\x08\0\0\0\0\0\0\0\0\0"
    try:
        own = _text(exif, _DESCRIPTION)
        return stated(exif, {_DESCRIPTION: "; ".join(filter(None, (own, description)))})
    except (struct.error, IndexError):  # a damaged block is not worth keeping
        return stated(b"II*\0\x08\0\0\0\0\0\0\0\0\0", {_DESCRIPTION: description})


def stated(exif: bytes, texts: dict[int, str]) -> bytes:
    """A TIFF structure with these texts in its first directory, which moves to its end: nothing else has to."""
    order = "<" if exif[:2] == b"II" else ">"
    entries = {number: raw for number, raw in _entries(exif, order) if number not in texts}
    if _ORIENTATION in entries:
        entries[_ORIENTATION] = struct.pack(f"{order}HHIHH", _ORIENTATION, 3, 1, 1, 0)
    made = bytearray(exif + bytes(len(exif) % 2))
    for number, text in texts.items():
        content = text.encode("utf-8", "replace") + b"\0"
        place = content.ljust(4, b"\0") if len(content) <= 4 else struct.pack(f"{order}I", len(made))
        entries[number] = struct.pack(f"{order}HHI", number, 2, len(content)) + place
        if len(content) > 4:
            made += content + bytes(len(content) % 2)
    struct.pack_into(f"{order}I", made, 4, len(made))
    directory = b"".join(entries[number] for number in sorted(entries))
    return bytes(made + struct.pack(f"{order}H", len(entries)) + directory + bytes(4))


def _entries(exif: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Numbers and the twelve bytes of each entry of the first directory."""
    (start,) = struct.unpack_from(f"{order}I", exif, 4)
    (count,) = struct.unpack_from(f"{order}H", exif, start)
    for entry in range(count):
        raw = exif[start + 2 + 12 * entry : start + 14 + 12 * entry]
        yield struct.unpack(f"{order}HHII", raw)[0], raw


def _text(exif: bytes, wanted: int) -> str:
    order = "<" if exif[:2] == b"II" else ">"
    for number, raw in _entries(exif, order):
        if number == wanted:
            (length, place) = struct.unpack_from(f"{order}II", raw, 4)
            content = raw[8 : 8 + length] if length <= 4 else exif[place : place + length]
            return content.rstrip(b"\0 ").decode("utf-8", "replace")
    return ""


def orientation(exif: bytes) -> int:
    """How the block says that the picture is to be turned; 1 (not at all) where it doesn't."""
    order = "<" if exif[:2] == b"II" else ">"
    with suppress(struct.error):
        for number, raw in _entries(exif, order):
            if number == _ORIENTATION:
                return int(struct.unpack_from(f"{order}H", raw, 8)[0])
    return 1


def upright_xmp(xmp: bytes) -> bytes:
    """The same packet; where it repeats the orientation, that is 1."""
    return re.sub(rb"(tiff:Orientation(?:=[\"']|>))\d", rb"\g<1>1", xmp)


def with_xmp(coded: bytes, xmp: bytes) -> bytes:
    """A JPEG or PNG with this packet, which OpenCV 5.0 leaves out; too large a one for a JPEG's segment is left out."""
    if not xmp:
        return coded
    if coded.startswith(_PNG):
        return _with_chunk(coded, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    content = _XMP_MARK + xmp
    if len(content) + 2 >= 1 << 16:
        return coded
    behind = 4 + struct.unpack_from(">H", coded, 4)[0] if coded[2:4] == b"\xff\xe0" else 2  # JFIF's segment comes first
    return coded[:behind] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + coded[behind:]


def _with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    """Another chunk behind the header, before the samples."""
    sum32 = zlib.crc32(kind + content)
    return png[:33] + struct.pack(">I4s", len(content), kind) + content + struct.pack(">I", sum32) + png[33:]


def with_dpi(coded: bytes, dpi: tuple[float, float] | None) -> bytes:
    """A JPEG or PNG that states a resolution."""
    if dpi is None:
        return coded
    if coded.startswith(_PNG):
        content = struct.pack(">IIB", round(dpi[0] / _INCH_M), round(dpi[1] / _INCH_M), 1)
        return _with_chunk(coded, b"pHYs", content)
    if coded[2:4] == b"\xff\xe0" and coded[6:11] == b"JFIF\0" and max(dpi) < 1 << 16:
        return coded[:13] + struct.pack(">BHH", 1, round(dpi[0]), round(dpi[1])) + coded[18:]
    return coded


def tiff_options(notes: Notes, description: str) -> dict[str, Any]:
    """What `tifffile.TiffWriter.write` takes to note the same."""
    texts = {code: _text(notes.exif, code) for code in _TEXTS} if notes.exif else {}
    extra: list[tuple[int, int, int, str | bytes, bool]] = [
        (code, 2, 0, text.encode("ascii", "replace").decode(), True)
        for code, text in sorted(texts.items())
        if text and code not in (_DESCRIPTION, 0x0132)
    ]
    extra += [(_XMP, 1, len(notes.xmp), upright_xmp(notes.xmp), True)] if notes.xmp else []
    extra += [(_IPTC, 7, len(notes.iptc), notes.iptc, True)] if notes.iptc else []
    options: dict[str, Any] = {"extratags": extra}
    joined = "; ".join(filter(None, (texts.get(_DESCRIPTION, ""), description)))
    options["description"] = joined.encode("ascii", "replace").decode() if joined else None
    if texts.get(0x0132):
        options["datetime"] = texts[0x0132]
    if notes.rgb_profile:
        options["iccprofile"] = notes.rgb_profile
    if notes.dpi is not None:
        options |= {"resolution": notes.dpi, "resolutionunit": "INCH"}
    return options
