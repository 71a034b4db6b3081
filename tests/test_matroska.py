"""The shape of the pixels, written into a finished Matroska file without moving a byte of the rest."""

import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from stream.matroska import ROOM, Statement, display_size, write_track


def make_film(path: Path, title: str) -> bytes:
    with av.open(str(path), "w") as container:
        sound = container.add_stream("flac", rate=48000)
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gray"
        stream.metadata["title"] = title + ROOM
        container.set_chapters([{"id": 1, "start": 0, "end": 40, "time_base": Fraction(1, 1000), "metadata": {}}])
        picture = av.VideoFrame.from_ndarray(np.full((48, 64), 99, np.uint8), "gray")
        container.mux([*stream.encode(picture), *stream.encode(None)])
        container.mux(sound.encode(None))
    return path.read_bytes()


@pytest.mark.parametrize("title", ["", "Reel 1"])
def test_a_finished_film_gets_its_pixel_aspect(tmp_path: Path, title: str) -> None:
    path = tmp_path / "reel.mkv"
    before = make_film(path, title)
    write_track(path, 2, Statement(size=(64, 48), aspect=Fraction(16, 15)))
    after = path.read_bytes()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.sample_aspect_ratio == Fraction(16, 15)
        assert stream.metadata.get("title", "") == title
        assert len(container.chapters()) == 1
        assert sum(1 for _ in container.decode(video=0)) == 1
    assert len(after) == len(before)
    changed = [at for at, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    start = before.rindex(b"\x16\x54\xae\x6b") + 4  # the tracks; the first mention is in the list of contents
    size_bytes = 9 - after[start].bit_length()
    length = int.from_bytes(after[start : start + size_bytes]) & ((1 << 7 * size_bytes) - 1)
    content = after[start + size_bytes : start + size_bytes + length]
    assert start < changed[0] and changed[-1] < start + size_bytes + length
    assert content[:2] == b"\xbf\x84" and content[2:6] == zlib.crc32(content[6:]).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("size", "aspect", "shown"),
    [
        ((720, 576), Fraction(16, 15), (768, 576)),
        ((720, 576), Fraction(64, 45), (1024, 576)),
        ((720, 480), Fraction(10, 11), (720, 528)),
        ((720, 480), Fraction(32, 27), (720, 405)),
        ((721, 481), Fraction(16, 15), (11536, 7215)),
    ],
)
def test_display_size_has_exactly_the_aspect(size: tuple[int, int], aspect: Fraction, shown: tuple[int, int]) -> None:
    assert display_size(*size, aspect) == shown
    assert Fraction(shown[0], shown[1]) == Fraction(size[0], size[1]) * aspect


def test_a_file_without_tracks_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "reel.mkv"
    path.write_bytes(make_film(path, "")[:40])
    with pytest.raises((ValueError, IndexError)):
        write_track(path, 1, Statement(size=(64, 48), aspect=Fraction(2)))
