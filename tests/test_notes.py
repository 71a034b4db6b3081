"""What pictures note beside their pixels stays with them: EXIF, XMP, profile, resolution."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from conftest import grey
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.specimens import icc_profile
from stream.notes import Notes, described, orientation, read_notes, stated, with_dpi, with_xmp
from stream.stills import read_pictures, write_pictures

DPI = (600.0, 300.0)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6" dc:creator="Ada"/></x:xmpmeta>'


def exif(order: str, turn: int) -> bytes:
    """Orientation and maker in the first directory, and a thumbnail's behind it."""
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8)
    entries = [struct.pack(f"{order}HHII", 0x010F, 2, 8, 50), struct.pack(f"{order}HHIHH", 0x0112, 3, 1, turn, 0)]
    first = struct.pack(f"{order}H", 2) + b"".join(entries) + struct.pack(f"{order}I", 58)
    return (head + first).ljust(50, b"\0") + b"Scanner\0" + struct.pack(f"{order}HI", 0, 0)


def photo(path: Path, order: str = "<", turn: int = 6, space: bytes = b"RGB ") -> Path:
    """A picture with everything."""
    notes = Notes(exif=exif(order, turn), xmp=XMP, icc=icc_profile(space), dpi=DPI)
    picture = grey(1) // 2 + 64
    if path.suffix == ".tif":
        options = {
            "iccprofile": notes.icc,
            "resolution": DPI,
            "resolutionunit": "INCH",
            "datetime": "1934:05:06 07:08:09",
        }
        extra = [(700, 1, len(XMP), XMP, True), (0x010F, 2, 0, "Scanner", True), (0x0112, 3, 1, turn, True)]
        tifffile.imwrite(path, picture, photometric="minisblack", metadata=None, extratags=extra, **options)
        return path
    kinds, chunks = [cv2.IMAGE_METADATA_EXIF], [np.frombuffer(notes.exif, np.uint8)]
    if space == b"RGB ":
        kinds, chunks = [*kinds, cv2.IMAGE_METADATA_ICCP], [*chunks, np.frombuffer(notes.icc, np.uint8)]
    coded = cv2.imencodeWithMetadata(path.suffix, np.dstack([picture] * 3), kinds, chunks)[1].tobytes()
    path.write_bytes(with_xmp(with_dpi(coded, DPI), XMP))
    return path


@pytest.mark.parametrize("target", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("source", [".png", ".jpg", ".tif"])
def test_notes_go_along(tmp_path: Path, source: str, target: str) -> None:
    path, made = photo(tmp_path / f"photo{source}"), tmp_path / f"colour{target}"
    write_pictures(made, read_pictures(path), source=path, description="colours are machine-made")
    noted = read_notes(made)
    assert noted.icc == icc_profile() and noted.dpi == pytest.approx(DPI, abs=1)
    assert b"Scanner\0" in noted.exif and b"colours are machine-made" in noted.exif
    assert orientation(noted.exif) == 1 and b'tiff:Orientation="1"' in noted.xmp and b"Ada" in noted.xmp
    (frame,) = read_pictures(made, luma="bt601")
    assert (frame.width, frame.height) == (48, 64)  # upright, and not turned again


def test_a_grey_profile_is_left_out(tmp_path: Path) -> None:
    path, made = photo(tmp_path / "scan.tif", space=b"GRAY"), tmp_path / "colour.png"
    assert read_notes(path).icc[16:20] == b"GRAY"
    write_pictures(made, read_pictures(path), source=path)
    assert read_notes(made).icc == b""


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("turn", range(1, 9))
def test_orientation_is_read_in_both_orders(tmp_path: Path, order: str, turn: int) -> None:
    assert orientation(read_notes(photo(tmp_path / "photo.jpg", order, turn)).exif) == turn


@given(own=st.text(max_size=9).filter(lambda text: "\0" not in text), order=st.sampled_from("<>"))
def test_a_description_is_joined_and_nothing_else_moves(own: str, order: str) -> None:
    before = stated(exif(order, 3), {0x010E: own})
    after = described(Notes(exif=before), "machine-made")
    assert after[8 : len(before)] == before[8:] and orientation(after) == 1
    (directory,) = struct.unpack_from(f"{order}I", after, 4)
    (count,) = struct.unpack_from(f"{order}H", after, directory)
    assert count == 3 and after[-4:] == bytes(4)  # no thumbnail
    assert b"machine-made\0" in after and own.rstrip(" ").encode("utf-8", "replace") in after


@pytest.mark.parametrize("length", [0, 3, 20, 60, 150])
def test_damaged_notes_are_no_notes(tmp_path: Path, length: int) -> None:
    for suffix in (".png", ".jpg"):
        path = photo(tmp_path / f"photo{suffix}")
        path.write_bytes(path.read_bytes()[:length])
        assert read_notes(path).icc == b""
    path = photo(tmp_path / "photo.tif")
    path.write_bytes(path.read_bytes()[:length])
    assert read_notes(path).rgb_profile == b""
    assert b"machine-made" in described(Notes(exif=exif("<", 1)[:length]), "machine-made")
