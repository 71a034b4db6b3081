"""The proof of the luma: FFmpeg itself makes the same lines, and verify holds both films against it."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.filter
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stream.colorize import Job, colorize
from stream.config import Settings
from stream.errors import InputError, OutputError
from stream.film import Info
from stream.frame import checksum
from stream.media import probe
from stream.proof import Proof, proof_of, read_proof
from stream.verify import verify

Clip = Callable[..., Path]
SMALL = Settings(short_side=32, runtime="torch", steady=0.0)
FFV1 = Job(codec="ffv1", overwrite=True)


def ffmpegs_own(film: Path, target: Path) -> list[str]:
    """What `ffmpeg -i FILM -vf extractplanes=y -f framemd5` writes, through the same libraries."""
    with av.open(str(film)) as source, av.open(str(target), "w", format="framemd5") as sums:
        stream = source.streams.video[0]
        graph = av.filter.Graph()
        begin = graph.add_buffer(template=stream, time_base=stream.time_base)
        graph.link_nodes(begin, graph.add("extractplanes", "planes=y"), graph.add("buffersink")).configure()
        made: Any = None
        for picture in source.decode(stream):
            graph.vpush(picture)
            plane = graph.vpull()
            if made is None:
                made = sums.add_stream("rawvideo", rate=25)
                made.width, made.height, made.pix_fmt = plane.width, plane.height, plane.format.name
                made.time_base = made.codec_context.time_base = stream.time_base
            sums.mux(made.encode(plane))
        sums.mux(made.encode(None))
    return [line for line in target.read_text().splitlines() if not line.startswith("#")]


def columns(lines: list[str]) -> list[tuple[str, str, str]]:
    """pts, size and sum of each line."""
    parts = ([word.strip() for word in line.split(",")] for line in lines)
    return [(words[2], words[4], words[5]) for words in parts]


@pytest.mark.parametrize(
    "what",
    [
        {},
        {"pix_fmt": "yuv422p10le", "depth": 10, "codec": "ffv1"},
        {"pix_fmt": "gray16le", "depth": 16, "codec": "ffv1"},
        {"size": (33, 17), "codec": "ffv1", "pts": [3, 4, 9, 20]},
    ],
    ids=["8 bits", "10 bits", "16 bits", "odd and of variable rate"],
)
def test_ffmpeg_makes_the_same_list(clip: Clip, tmp_path: Path, what: dict[str, Any]) -> None:
    film, result = clip("reel.mkv", **({"pts": range(6)} | what)), tmp_path / "colour.mkv"
    colorize(film, result, settings=SMALL, job=FFV1)
    ours = [line for line in proof_of(result).read_text().splitlines() if not line.startswith("#")]
    for original in (film, result):
        assert columns(ours) == columns(ffmpegs_own(original, tmp_path / "sums.framemd5"))
    assert verify(tmp_path / "sums.framemd5", result).ok  # FFmpeg's list, without the original


def test_verify_finds_a_proof_that_does_not_hold(clip: Clip, tmp_path: Path) -> None:
    film, result = clip("reel.mkv", pts=range(5)), tmp_path / "colour.mkv"
    colorize(film, result, settings=SMALL, job=FFV1)
    proof = proof_of(result)
    good = proof.read_text()
    sums = read_proof(proof)
    assert sums.time_base == Fraction(1, 1000) and [pts for pts, _ in sums.rows] == [0, 40, 80, 120, 160]
    for bad, words in [
        (good.replace(sums.rows[2][1], "0" * 32), "1 of 5 frames have another sum"),
        ("\n".join(good.splitlines()[:-1]), "1 of 5 frames have another sum"),
        (good + f"0, 200, 200, 40, 3072, {'0' * 32}\n", "has 6 sums for 5 frames"),
    ]:
        proof.write_text(bad)
        (check,) = (check for check in verify(film, result).checks if check.name == "proof")
        assert not check.ok and words in check.detail


def test_lossy_films_have_no_proof_and_old_ones_go(clip: Clip, tmp_path: Path) -> None:
    film, result = clip("reel.mkv", pts=range(5)), tmp_path / "colour.mkv"
    colorize(film, result, settings=SMALL, job=FFV1)
    with pytest.raises(OutputError, match=r"colour\.mkv: exists already; -y"):
        colorize(film, result, settings=SMALL, job=Job(codec="ffv1"))
    result.unlink()
    (tmp_path / "colour.mkv.json").unlink()
    with pytest.raises(OutputError, match="framemd5: exists already; -y"):
        colorize(film, result, settings=SMALL, job=Job(codec="ffv1"))
    colorize(film, result, settings=SMALL, job=Job(overwrite=True))
    assert not proof_of(result).exists() and verify(film, result, lossy=True).ok


def test_half_a_film_leaves_no_proof(clip: Clip, tmp_path: Path) -> None:
    film, result = clip("reel.mkv", pts=range(30)), tmp_path / "colour.mkv"

    def stop(done: int, _: int | None) -> None:
        if done >= 5:
            raise OSError("stopped")

    with pytest.raises(OSError, match="stopped"):
        colorize(film, result, settings=SMALL, job=FFV1, progress=stop)
    assert not list(tmp_path.glob("*framemd5"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no checksums"),
        ("#hash: SHA256\n", "SHA256 sums; MD5 is needed"),
        ("#tb 0: 1/0\n", "line 1: is no line"),
        ("#tb 0: 1/25\n0, a, b, 1, 2, 3\n", "line 2: is no line"),
        ("\xff\xfe", "holds no checksums"),
    ],
)
def test_what_is_no_proof_gets_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "reel.framemd5"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_proof(path)


@settings(max_examples=20, deadline=None)
@given(
    luma=arrays.arrays(np.uint16, (5, 7), elements=st.integers(0, 65535)),
    pts=st.lists(st.integers(0, 10**9), min_size=1, max_size=5, unique=True).map(sorted),
)
def test_what_is_noted_is_read(clip_info: Info, tmp_path_factory: pytest.TempPathFactory, luma: Any, pts: Any) -> None:
    film = tmp_path_factory.mktemp("proof") / "reel.mkv"
    proof = Proof(film, clip_info, Fraction(1, 600))
    for time in pts:
        proof.note(checksum(luma), time)
    found = read_proof(proof.finish(film.parent))
    assert found.time_base == Fraction(1, 600)
    assert found.rows == tuple((time, checksum(luma[:, :])) for time in pts)
    assert checksum(np.asfortranarray(luma)) == checksum(luma)


@pytest.fixture(scope="module")
def clip_info(tmp_path_factory: pytest.TempPathFactory) -> Info:
    from conftest import make_clip

    return probe(make_clip(tmp_path_factory.mktemp("clip") / "reel.mkv", pts=[0]))


@pytest.mark.parametrize("segments", [False, True])
def test_no_proof_is_left_of_a_film_that_failed(clip: Clip, tmp_path: Path, segments: bool) -> None:
    """Something takes the film's place in the last moment; once it is gone, the same command makes both."""
    film, result = clip("reel.mkv", pts=range(5)), tmp_path / "colour.mkv"
    job = Job(codec="ffv1", segments=segments)
    options = Settings(short_side=32, runtime="torch")

    def take(done: int, expected: int | None) -> None:
        result.mkdir(exist_ok=True)

    with pytest.raises(OutputError, match="can't be written"):
        colorize(film, result, settings=options, job=job, progress=take)
    assert not list(tmp_path.glob("*framemd5*"))
    result.rmdir()
    colorize(film, result, settings=options, job=Job(codec="ffv1", segments=segments, overwrite=not segments))
    assert proof_of(result).exists() and verify(film, result).ok
