"""Still pictures in and out: exact luma, pages, orientation, sizes, refusals."""

import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import tifffile
from conftest import grey

from stream.errors import InputError, OutputError, UsageError
from stream.frame import ColorTags, Frame
from stream.stills import count_pictures, is_still, read_pictures, rgb_of, write_pictures

JFIF = ColorTags(full_range=True, matrix="bt601", chroma_location=2)


def tinted(frame: Frame) -> Frame:
    """The frame in 4:4:4 with a faint tint, so that R'G'B' stays in range for mid greys."""
    middle, step = 1 << frame.depth - 1, 1 << frame.depth - 8
    cb = np.full(frame.luma.shape, middle - 6 * step, frame.luma.dtype)
    cr = np.full(frame.luma.shape, middle + 4 * step, frame.luma.dtype)
    return frame.with_chroma(cb, cr, (0, 0))


def luma_of(rgb: np.ndarray) -> np.ndarray:
    return rgb @ np.array([0.299, 0.587, 0.114])


def middling(number: int = 0, depth: int = 8, width: int = 64, height: int = 48) -> np.ndarray:
    """A picture between a quarter and three quarters of the range."""
    picture = grey(number, width, height, depth)
    return picture // 2 + (1 << depth - 2)


@pytest.mark.parametrize(("suffix", "depth"), [(".png", 8), (".png", 16), (".tif", 8), (".tif", 16), (".tiff", 16)])
def test_grey_pictures_are_read_bit_for_bit(tmp_path: Path, suffix: str, depth: int) -> None:
    path = tmp_path / f"photo{suffix}"
    cv2.imwrite(str(path), grey(3, depth=depth))
    (frame,) = read_pictures(path)
    assert frame.depth == depth and frame.pts == 0 and frame.tags.full_range and frame.tags.matrix == "bt601"
    assert np.array_equal(frame.luma, grey(3, depth=depth))


def test_jpegs_own_luma_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    colour = np.dstack([middling(1), middling(2), middling(3)])
    cv2.imwrite(str(path), colour)
    (frame,) = read_pictures(path)
    with av.open(str(path)) as container:
        decoded = next(container.decode(video=0))
        assert np.array_equal(frame.luma, _first_plane(decoded))
    assert len(frame.planes) == 3 and frame.tags.full_range and frame.tags.matrix == "bt601"


def _first_plane(picture: av.VideoFrame) -> np.ndarray:
    plane = picture.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:, : picture.width]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_colour_rgb_needs_a_matrix(tmp_path: Path, suffix: str, kind: type) -> None:
    path = tmp_path / f"photo{suffix}"
    colour = np.dstack([middling(number, depth=8 * kind().itemsize) for number in range(3)])
    cv2.imwrite(str(path), colour[..., ::-1])
    with pytest.raises(UsageError, match="--luma bt601"):
        list(read_pictures(path))
    (frame,) = read_pictures(path, luma="bt601")
    assert np.abs(frame.luma - luma_of(colour)).max() <= 0.51


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_rgb_is_luma(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo{suffix}"
    cv2.imwrite(str(path), np.dstack([grey(1)] * 3))
    (frame,) = read_pictures(path)
    assert len(frame.planes) == 1 and np.array_equal(frame.luma, grey(1))


TIFFS = {
    "big-endian": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True},
    "Deflate": {"compression": "zlib", "predictor": True},
    "tiles": {"tile": (16, 16)},
    "white is zero": {"photometric": "miniswhite"},
}


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("what", TIFFS)
def test_tiffs_of_every_make(tmp_path: Path, what: str, depth: int) -> None:
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, grey(2, depth=depth), **TIFFS[what])
    (frame,) = read_pictures(path)
    wanted = grey(2, depth=depth)
    assert np.array_equal(frame.luma, np.invert(wanted) if what == "white is zero" else wanted)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("compression", [5, 32773])
def test_tiffs_that_opencv_must_decode(tmp_path: Path, compression: int, depth: int) -> None:
    path = tmp_path / "scan.tif"
    cv2.imwrite(str(path), grey(2, depth=depth), [cv2.IMWRITE_TIFF_COMPRESSION, compression])
    (frame,) = read_pictures(path)
    assert np.array_equal(frame.luma, grey(2, depth=depth))


def test_bilevel_and_palette_and_planar_tiffs(tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, grey(1) > 127)
    assert np.array_equal(next(read_pictures(path)).luma, np.where(grey(1) > 127, 0, 255))  # 1 is black
    greys = np.repeat(np.arange(256, dtype=np.uint16)[None, ::-1] * 257, 3, axis=0)
    tifffile.imwrite(path, grey(1), photometric="palette", colormap=greys)
    assert np.array_equal(next(read_pictures(path)).luma, 255 - grey(1))
    tifffile.imwrite(path, np.stack([grey(1)] * 3), photometric="rgb", planarconfig="separate")
    assert np.array_equal(next(read_pictures(path)).luma, grey(1))
    tifffile.imwrite(path, np.dstack([grey(1), grey(2)]), photometric="minisblack", extrasamples=["unassalpha"])
    assert np.array_equal(next(read_pictures(path)).luma, grey(1))


def test_a_tiff_of_100_pages_goes_through_page_by_page(tmp_path: Path) -> None:
    path = tmp_path / "album.tif"
    with tifffile.TiffWriter(path) as writer:
        for number in range(100):
            writer.write(middling(number, 16, 32, 24), contiguous=False)
    assert count_pictures(path) == 100
    read = []

    def pages():
        for frame in read_pictures(path):
            read.append(frame.pts)
            yield tinted(frame)

    assert write_pictures(tmp_path / "colour.tif", pages(), source=path) == 100
    assert read == list(range(100))
    for number, frame in enumerate(read_pictures(tmp_path / "colour.tif", luma="bt601")):
        assert frame.depth == 16
        assert np.abs(frame.luma.astype(int) - middling(number, 16, 32, 24)).max() <= 1


def test_thumbnails_in_a_tiff_are_no_pages(tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(grey(1), contiguous=False)
        writer.write(grey(1)[::4, ::4], contiguous=False, subfiletype=1)
    assert count_pictures(path) == 1 and len(list(read_pictures(path))) == 1


def _exif(orientation: int) -> np.ndarray:
    block = struct.pack("<2sHIHHHII", b"II", 42, 8, 1, 0x0112, 3, 1, orientation) + bytes(4)
    return np.frombuffer(block, np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_turned_pictures_come_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"photo{suffix}"
    corner = np.zeros((16, 24), np.uint8)
    corner[:8, :8], corner[:8, 8:] = 200, 100
    if suffix == ".tif":
        tifffile.imwrite(path, corner, extratags=[(274, 3, 1, orientation, True)])
        _, data = cv2.imencodeWithMetadata(".png", corner, [cv2.IMAGE_METADATA_EXIF], [_exif(orientation)])
    else:
        _, data = cv2.imencodeWithMetadata(suffix, corner, [cv2.IMAGE_METADATA_EXIF], [_exif(orientation)])
        path.write_bytes(data.tobytes())
    (frame,) = read_pictures(path)
    upright = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)  # OpenCV turns it too
    assert frame.luma.shape == upright.shape
    assert np.abs(frame.luma.astype(int) - upright).max() <= 1


@pytest.mark.parametrize(("suffix", "depth"), [(".png", 8), (".png", 16), (".tif", 8), (".tif", 16), (".png", 10)])
def test_written_colour_keeps_luma_within_rounding(tmp_path: Path, suffix: str, depth: int) -> None:
    frame = tinted(Frame(planes=(middling(4, depth),), depth=depth, tags=JFIF))
    path = tmp_path / f"colour{suffix}"
    assert write_pictures(path, [frame]) == 1
    written = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert written.dtype == (np.uint8 if depth == 8 else np.uint16)
    top = 255 if depth == 8 else 65535
    assert np.abs(luma_of(written) - frame.luma * (top / ((1 << depth) - 1))).max() <= 0.51
    assert written[..., 0].mean() > written[..., 2].mean()


def test_grey_is_written_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "same.png"
    write_pictures(path, [Frame(planes=(grey(5),), tags=JFIF)])
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), np.dstack([grey(5)] * 3))


def test_jpeg_is_written_and_read_back_alike(tmp_path: Path) -> None:
    path = tmp_path / "colour.jpg"
    smooth = np.tile(np.linspace(60, 180, 64).astype(np.uint8), (48, 1))
    write_pictures(path, [tinted(Frame(planes=(smooth,), tags=JFIF))])
    (frame,) = read_pictures(path)
    assert frame.subsampling == (0, 0)
    assert np.abs(frame.luma.astype(int) - smooth).max() <= 3


def test_limited_range_and_subsampled_frames_become_rgb() -> None:
    luma = np.array([[16, 235], [16, 235]], np.uint8)
    chroma = np.full((1, 1), 128, np.uint8)
    pixels = rgb_of(Frame(planes=(luma, chroma, chroma)), 8)
    assert np.array_equal(pixels[0], [[0, 0, 0], [255, 255, 255]])


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_the_file_says_what_it_was_told_to(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"colour{suffix}"
    write_pictures(path, [tinted(Frame(planes=(middling(),), tags=JFIF))], description="colours are machine-made")
    assert b"colours are machine-made" in path.read_bytes()
    assert len(list(read_pictures(path, luma="bt601"))) == 1


@pytest.mark.parametrize("size", [(1, 1), (17, 15), (4097, 3)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    for suffix in (".png", ".tif", ".jpg"):
        path, target = tmp_path / f"photo{suffix}", tmp_path / f"colour{suffix}"
        cv2.imwrite(str(path), middling(1, 8, *size))
        write_pictures(target, (tinted(frame) for frame in read_pictures(path)))
        (frame,) = read_pictures(target, luma="bt601")
        assert (frame.width, frame.height) == size


def test_stills_are_told_from_films(tmp_path: Path) -> None:
    assert is_still(Path("a.JPG")) and is_still(Path("b.tiff")) and not is_still(Path("c.mkv"))
    unnamed = tmp_path / "scan"
    cv2.imwrite(str(tmp_path / "scan.png"), grey(1))
    (tmp_path / "scan.png").rename(unnamed)
    assert is_still(unnamed) and not is_still(tmp_path / "missing")


def test_what_is_no_picture_gets_one_line(tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("this is no picture" * 10)
    broken = tmp_path / "broken.tif"
    broken.write_bytes(b"II*\0" + bytes(range(40)))
    unfinished = tmp_path / "unfinished.tif"
    cv2.imwrite(str(unfinished), grey(1))
    unfinished.write_bytes(unfinished.read_bytes()[:1000])
    cut = tmp_path / "cut.tif"
    tifffile.imwrite(cut, grey(1, 200, 200), compression="zlib")
    cut.write_bytes(cut.read_bytes()[:5000])
    floats = tmp_path / "floats.tif"
    tifffile.imwrite(floats, grey(1).astype(np.float32))
    for path in (text, broken, unfinished, cut, floats, tmp_path / "missing.tif", tmp_path / "missing.png"):
        with pytest.raises(InputError) as caught:
            list(read_pictures(path))
        assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_jpeg_that_was_cut_off_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    cv2.imwrite(str(path), grey(1))
    assert not next(read_pictures(path)).damaged
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert next(read_pictures(path)).damaged


def test_pictures_that_must_not_be_written_are_refused(tmp_path: Path) -> None:
    frame = Frame(planes=(middling(),), tags=JFIF)
    existing = tmp_path / "colour.png"
    existing.write_bytes(b"precious")
    with pytest.raises(OutputError, match="-y overwrites it"):
        write_pictures(existing, [frame])
    with pytest.raises(UsageError, match="is the input itself"):
        write_pictures(existing, [frame], source=existing, overwrite=True)
    with pytest.raises(OutputError, match="names no picture format"):
        write_pictures(tmp_path / "colour.bmp", [frame])
    with pytest.raises(UsageError, match=r"write a \.tif"):
        write_pictures(tmp_path / "pages.png", [frame, frame])
    with pytest.raises(OutputError, match="no picture came"):
        write_pictures(tmp_path / "none.png", [])
    assert existing.read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["colour.png"]


def _png_of(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


def _tiff_of(width: int, height: int) -> bytes:
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    tags += [(278, 4, height), (279, 4, width * height)]
    entries = b"".join(struct.pack("<HHII", number, kind, 1, value) for number, kind, value in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(("name", "make"), [("bomb.png", _png_of), ("bomb.tif", _tiff_of)])
def test_a_picture_that_claims_30000x30000_costs_nothing(
    tmp_path: Path, name: str, make: Callable[[int, int], bytes]
) -> None:
    path = tmp_path / name
    path.write_bytes(make(30000, 30000))
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from stream.errors import ResourceError\n"
        "from stream.stills import read_pictures\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    next(read_pictures(Path(sys.argv[1])))\n"
        "except ResourceError as error:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error.exit_code, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    growth_kib, exit_code, message = done.stdout.split(maxsplit=2)
    assert exit_code == "6" and "30000x30000" in message and not done.stderr
    assert int(growth_kib) < 30_000
