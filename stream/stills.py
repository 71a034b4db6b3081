"""Still pictures: JPEG, PNG and TIFF in and out, as full-range frames in BT.601 (JFIF), one for each page.

    write_pictures(Path("photo-colour.png"), coloured(read_pictures(Path("photo.jpg"))))

JPEG's own Y' plane is taken as it is; RGB where R = G = B is Y'; other RGB needs `luma`. Transparency is left out.
A picture turned by its EXIF or TIFF orientation is turned upright, and written so. Sizes are checked before decoding.
"""

import io
import logging
import operator
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias, cast

import cv2
import numpy as np
import numpy.typing as npt
import tifffile

from stream import container, notes
from stream.container import MAX_PIXELS
from stream.errors import InputError, OutputError, ResourceError, UsageError
from stream.film import Luma
from stream.frame import LUMA_WEIGHTS, ColorTags, Frame, Matrix, Plane
from stream.media import read_frames
from stream.part import check_target, claim, finish_part, naming_failures, part_of
from stream.planes import rgb_planes

JPEG, PNG, TIFF = (".jpg", ".jpeg"), (".png",), (".tif", ".tiff")
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_CENTRE = 2  # AVCHROMA_LOC_CENTER, where JFIF puts chroma
_JPEG_QUALITY = 95
_ROWS_AT_ONCE = 256  # colour is computed in bands, so that float copies of a large scan don't fill the memory
_ORIENTATION = 0x0112
# Compressions that tifffile decodes by itself: none and Deflate. Others go to OpenCV's libtiff.
_PLAIN = (1, 8, 32946)
_TIFF_ERRORS = (tifffile.TiffFileError, ValueError, KeyError, IndexError, TypeError, OSError, zlib.error, struct.error)

Unit: TypeAlias = npt.NDArray[np.float32]
"""Samples on a scale of 1."""

# A damaged TIFF must give our one line, not theirs as well.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def is_still(path: Path) -> bool:
    """A picture rather than a film: by its extension, else by how it begins."""
    suffix = path.suffix.lower()
    if suffix in JPEG + PNG + TIFF:
        return True
    if suffix in (".mjpeg", ".mjpg") or not path.is_file():  # a film of JPEGs begins like one
        return False
    with suppress(OSError), path.open("rb") as file:
        return file.read(4).startswith(_MAGIC)
    return False


def count_pictures(path: Path) -> int:
    """How many pictures `read_pictures` will give, not counting those that can't be decoded."""
    if not _is_tiff(path):
        return 1
    with _open_tiff(path) as file:
        return sum(not page.aspage().is_reduced for page in file.pages)


def read_pictures(path: Path, *, luma: Luma | None = None, keep_colour: bool = False) -> Iterator[Frame]:
    """The picture, or every page of a TIFF, upright; pts is the number of the page.

    keep_colour: an RGB picture brings its chroma along, in 4:4:4, and not its luma alone.
    """
    read = _read_tiff if _is_tiff(path) else _read_coded
    frames = read(path, luma, keep_colour=keep_colour)
    for number, frame in enumerate(frames):
        yield replace(frame, pts=number, time_base=Fraction(1))


def _is_tiff(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as file:
        return file.read(4).startswith(_MAGIC[2:])
    return False


def _tags(luma: Luma | None, tags: ColorTags | None = None) -> ColorTags:
    return replace(tags or ColorTags(), full_range=True, matrix=luma or "bt601", chroma_location=_CENTRE)


def _read_coded(path: Path, luma: Luma | None, *, keep_colour: bool) -> Iterator[Frame]:
    """JPEG and PNG, whose very samples FFmpeg's decoders give."""
    for frame in islice(read_frames(path, luma=luma, keep_colour=keep_colour), 1):
        orientation = notes.orientation(notes.read_notes(path).exif)
        planes = tuple(_upright(plane, orientation) for plane in frame.planes)
        subsampling = frame.subsampling if orientation < _TURNED else (frame.subsampling[1], frame.subsampling[0])
        damaged = frame.damaged or _is_cut_jpeg(path)
        yield replace(frame, planes=planes, subsampling=subsampling, tags=_tags(luma, frame.tags), damaged=damaged)


def _is_cut_jpeg(path: Path) -> bool:
    """A JPEG without an end after its last scan; FFmpeg fills what is missing without a word."""
    data = path.read_bytes()
    return data.startswith(_MAGIC[0]) and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")


# EXIF's and TIFF's orientation -> (transposed first, flipped upside down, flipped left to right) makes it upright.
_ORIENTATIONS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
_TURNED = 5  # from here on width and height change places


def _upright(plane: Plane, orientation: int) -> Plane:
    transposed, upside_down, mirrored = _ORIENTATIONS.get(orientation, _ORIENTATIONS[1])
    turned = plane.T if transposed else plane
    return cast(Plane, np.ascontiguousarray(turned[:: -1 if upside_down else 1, :: -1 if mirrored else 1]))


def _open_tiff(path: Path) -> tifffile.TiffFile:
    try:
        return tifffile.TiffFile(path)
    except _TIFF_ERRORS as error:
        raise InputError(f"{path}: can't be read as a TIFF ({_first_line(error)})") from error


def _read_tiff(path: Path, luma: Luma | None, *, keep_colour: bool) -> Iterator[Frame]:
    with _open_tiff(path) as file:
        if not file.pages:
            raise InputError(f"{path}: no page of this TIFF can be found; it was cut off or never finished")
        for number, page in enumerate(map(operator.methodcaller("aspage"), file.pages)):
            if page.is_reduced:  # a thumbnail of the page before
                continue
            name = f"{path}: page {number + 1}"
            _check_page(page, name)
            try:
                planes = _decode_page(path, number, page)
            except (*_TIFF_ERRORS, cv2.error) as error:
                raise InputError(f"{name} can't be decoded ({_first_line(error)})") from error
            depth = planes[0].dtype.itemsize * 8
            if len(planes) == 3:
                planes = rgb_planes(planes, depth, luma, name, keep_colour=keep_colour)
            tag = page.tags.get(_ORIENTATION)
            upright = tuple(_upright(plane, tag.value if tag else 1) for plane in planes)
            yield Frame(planes=upright, depth=depth, subsampling=(0, 0), tags=_tags(luma))


def _check_page(page: tifffile.TiffPage, name: str) -> None:
    if page.imagewidth * page.imagelength > MAX_PIXELS:
        raise ResourceError(
            f"{name} claims {page.imagewidth}x{page.imagelength}; at most {MAX_PIXELS:,} pixels are decoded"
        )
    kinds = tifffile.PHOTOMETRIC
    known = (kinds.MINISWHITE, kinds.MINISBLACK, kinds.RGB, kinds.PALETTE, kinds.YCBCR)
    if page.photometric not in known or page.bitspersample not in (1, 8, 16) or page.sampleformat != 1:
        raise InputError(
            f"{name} holds {kinds(page.photometric).name} of {page.bitspersample} bits; "
            "grey and RGB of 1, 8 and 16 bits are read"
        )
    if page.extrasamples and page.compression not in _PLAIN:
        raise InputError(f"{name} is compressed and has transparency; save it without either")


def _decode_page(path: Path, number: int, page: tifffile.TiffPage) -> tuple[Plane, ...]:
    """(Y,) or (R, G, B), uint8 or uint16."""
    kinds = tifffile.PHOTOMETRIC
    if page.compression in _PLAIN and page.photometric != kinds.YCBCR:
        samples = page.asarray()
        if samples.dtype == np.bool_:
            samples = samples.astype(np.uint8) * np.uint8(255)
        samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
        if page.photometric == kinds.PALETTE and page.colormap is not None:
            return tuple((table >> 8).astype(np.uint8)[samples] for table in page.colormap)
        inverted = page.photometric == kinds.MINISWHITE
        channels = (
            samples if page.planarconfig == 2 and samples.ndim == 3 else np.moveaxis(np.atleast_3d(samples), 2, 0)
        )
    else:
        read, pages = cv2.imreadmulti(str(path), number, 1, flags=cv2.IMREAD_UNCHANGED)
        if not read or not pages:
            raise ValueError(f"compression {tifffile.COMPRESSION(page.compression).name}")
        channels = np.moveaxis(np.atleast_3d(pages[0]), 2, 0)[::-1]  # OpenCV gives B, G, R
        # libtiff turns 8 bits round itself and leaves 16 alone.
        inverted = page.photometric == kinds.MINISWHITE and channels.dtype == np.uint16
    if inverted:
        channels = np.invert(channels)
    return tuple(channels[: 3 if len(channels) >= 3 else 1])


def write_pictures(
    path: Path,
    frames: Iterable[Frame],
    *,
    source: str | Path = "",
    overwrite: bool = False,
    description: str = "",
    ready: Callable[[], None] = lambda: None,
) -> int:
    """Writes frames as RGB: one as PNG or JPEG, any number as pages of a TIFF; returns how many.

    8-bit frames stay 8 bits, others become 16 (JPEG always 8). `description` is stated in the file.
    ready: called once the part file is complete, before it gets its name.
    Written under NAME.part.EXT and renamed when complete, as films are.
    """
    suffix = path.suffix.lower()
    if suffix not in JPEG + PNG + TIFF:
        given = path.suffix or "no extension"
        raise OutputError(f"{path}: {given} names no picture format; .jpg, .png and .tif do")
    check_target(path, source=source, overwrite=overwrite)
    part = part_of(path)
    with naming_failures(part), claim(part):
        origin = None if container.is_url(source) or not str(source) else Path(source)
        write = _write_tiff if suffix in TIFF else _write_coded
        count = write(part, frames, description, origin)
        ready()
        finish_part(part, path)
    return count


def _write_tiff(part: Path, frames: Iterable[Frame], description: str, origin: Path | None) -> int:
    """Page by page, so that memory holds one of them."""
    count = 0
    with tifffile.TiffWriter(part) as writer:
        for frame in frames:
            noted = notes.Notes() if origin is None else notes.read_notes(origin, frame.pts or 0)
            _add_page(writer, frame, 8 if frame.depth == 8 else 16, notes.tiff_options(noted, description))
            count += 1
    _needs_a_picture(part, count)
    return count


def _add_page(writer: tifffile.TiffWriter, frame: Frame, depth: int, options: dict[str, Any]) -> None:
    pixels = rgb_of(frame, depth)
    writer.write(
        pixels,
        photometric="rgb",
        compression="zlib",
        metadata=None,
        contiguous=False,
        software="Kinochrome",
        **options,
    )


def _write_coded(part: Path, frames: Iterable[Frame], description: str, origin: Path | None) -> int:
    source = iter(frames)
    frame = next(source, None)
    _needs_a_picture(part, frame is not None)
    assert frame is not None
    part.write_bytes(encode(part.suffix, frame, 8 if frame.depth == 8 else 16, description, origin))
    if next(source, None) is not None:
        part.unlink()
        raise UsageError(f"{part}: {part.suffix} holds one picture and there are more; write a .tif")
    return 1


def encode(suffix: str, frame: Frame, depth: int, description: str, origin: Path | None) -> bytes:
    """A whole JPEG, PNG or TIFF of one frame, R'G'B' of `depth` 8 or 16 bits (JPEG always 8).

    origin: the file that it was made from, whose notes (EXIF, profile, resolution) are kept.
    """
    noted = notes.Notes() if origin is None else notes.read_notes(origin)
    if suffix.lower() in TIFF:
        held = io.BytesIO()
        with tifffile.TiffWriter(held) as writer:
            _add_page(writer, frame, depth, notes.tiff_options(noted, description))
        return held.getvalue()
    jpeg = suffix.lower() in JPEG
    pixels = rgb_of(frame, 8 if jpeg else depth)
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111] if jpeg else []
    beside = {
        cv2.IMAGE_METADATA_EXIF: notes.described(noted, description) if description or noted.exif else b"",
        cv2.IMAGE_METADATA_ICCP: noted.rgb_profile,
    }
    kinds = [kind for kind, content in beside.items() if content]
    chunks = [np.frombuffer(beside[kind], np.uint8) for kind in kinds]
    done, data = cv2.imencodeWithMetadata(suffix.lower(), pixels[..., ::-1], kinds, chunks, quality)
    if not done:
        size = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise OutputError(f"OpenCV can't encode {size} pixels as {suffix}")
    return notes.with_xmp(notes.with_dpi(data.tobytes(), noted.dpi), notes.upright_xmp(noted.xmp))


def _needs_a_picture(part: Path, count: int) -> None:
    if not count:
        part.unlink(missing_ok=True)
        raise OutputError(f"{part}: not written, because no picture came")


def rgb_of(frame: Frame, depth: int) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """The frame as R'G'B', [H, W, 3], full range at `depth` 8 to 16 bits. Without chroma R = G = B = Y'."""
    top = (1 << depth) - 1
    pixels = np.empty((frame.height, frame.width, 3), np.uint8 if depth == 8 else np.uint16)
    chroma = [_full_size(frame, plane) for plane in frame.planes[1:]]
    for start in range(0, frame.height, _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        luma = _unit(frame, frame.luma[rows], chroma=False)
        band = [luma, luma, luma]
        if chroma:
            cb, cr = (_unit(frame, plane[rows], chroma=True) for plane in chroma)
            band = _rgb_of_unit(luma, cb, cr, frame.tags.matrix)
        for channel, values in enumerate(band):
            pixels[rows, :, channel] = np.rint(values * top).clip(0, top)
    return pixels


def _rgb_of_unit(luma: Unit, cb: Unit, cr: Unit, matrix: Matrix) -> list[Unit]:
    kr, kb = LUMA_WEIGHTS[matrix]
    red, blue = luma + np.float32(2 * (1 - kr)) * cr, luma + np.float32(2 * (1 - kb)) * cb
    green = (luma - np.float32(kr) * red - np.float32(kb) * blue) / np.float32(1 - kr - kb)
    return [red, green, blue]


def _full_size(frame: Frame, plane: Plane) -> Plane:
    if plane.shape == frame.luma.shape:
        return plane
    return cast(Plane, cv2.resize(plane, (frame.width, frame.height), interpolation=cv2.INTER_LINEAR))


def _unit(frame: Frame, plane: Plane, *, chroma: bool) -> Unit:
    """Luma as 0..1, chroma as -0.5..0.5."""
    step = 1 << frame.depth - 8
    middle = 128 * step if chroma else 0 if frame.tags.full_range else 16 * step
    scale = (1 << frame.depth) - 1 if frame.tags.full_range else (224 if chroma else 219) * step
    return (plane.astype(np.float32) - np.float32(middle)) / np.float32(scale)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
