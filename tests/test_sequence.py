"""Numbered pictures in and out: depth, numbers, headers, gaps, and what can't be read in the middle."""

import os
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import grey
from hypothesis import given
from hypothesis import strategies as st

from stream import dpx
from stream.colorize import Job, colorize, default_target
from stream.config import Settings
from stream.errors import InputError, KinochromeError, OutputError, UsageError
from stream.film import ReadTally
from stream.media import decode_picture
from stream.sequence import Pattern, find_sequence, parse_pattern
from stream.sequence_writer import SequenceWriter, plan_sequence
from stream.source import probe, read_frames
from stream.verify import verify

Clip = Callable[..., Path]
SMALL = Settings(short_side=32, runtime="torch", steady=0.0)
NUMBERS = (998, 999, 1000, 1002)


def scan(number: int, depth: int, size: tuple[int, int] = (32, 24)) -> np.ndarray:
    """A grey picture between a quarter and three quarters, [H, W]."""
    return grey(number, *size, depth) // 2 + (1 << depth - 2)


def make_scans(folder: Path, kind: str, depth: int, name: str = "scan_{:04}") -> Path:
    folder.mkdir()
    for number in NUMBERS:
        path = folder / f"{name.format(number)}.{kind}"
        picture = scan(number, depth)
        if kind == "dpx":
            path.write_bytes(dpx.write(np.dstack([picture] * 3), depth, None, path.name))
        else:
            cv2.imwrite(str(path), picture)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("kind", "depth"),
    [("dpx", 8), ("dpx", 10), ("dpx", 12), ("dpx", 16), ("tif", 8), ("tif", 16), ("png", 8), ("png", 16)],
)
def test_depth_numbers_and_luma_are_kept(tmp_path: Path, kind: str, depth: int) -> None:
    scans, target = make_scans(tmp_path / "scans", kind, depth), tmp_path / "colour"
    report = colorize(scans, target, settings=SMALL)
    assert (report.frames_in, report.frames_out, report.frames_lost) == (5, 4, 1) and report.exit_code == 5
    assert "1 numbers of the sequence have no file: 1001" in report.notices
    assert names(target) == names(scans)
    assert (tmp_path / "colour.json").is_file() and not (tmp_path / "colour.part").exists()
    comparison = verify(scans, target)
    assert comparison.ok, comparison.lines()
    first = next(read_frames(target, luma="bt601"))
    assert first.depth == depth and np.abs(first.luma.astype(int) - scan(998, depth)).max() <= 1


def test_into_ffv1_and_out_again(tmp_path: Path) -> None:
    scans = make_scans(tmp_path / "scans", "dpx", 10)
    film, again = tmp_path / "reel.mkv", tmp_path / "again" / "%06d.tif"
    colorize(scans, film, settings=SMALL, job=Job(codec="ffv1", rate=Fraction(18)))
    comparison = verify(scans, film, rate=Fraction(18))
    assert comparison.ok and any("bit for bit" in line for line in comparison.lines())
    assert any("sums of all 4 frames hold" in line for line in comparison.lines())
    report = colorize(film, again, settings=SMALL)
    assert names(again.parent) == [f"{number:06}.tif" for number in range(4)]
    assert any("R'G'B' of 16 bits" in notice for notice in report.notices)
    with pytest.raises(OutputError, match="refused by --strict"):
        colorize(film, tmp_path / "other" / "%d.tif", settings=SMALL, job=Job(strict=True))


def test_a_scanners_header_stays(tmp_path: Path) -> None:
    path = tmp_path / "scans" / "a_0001.dpx"
    path.parent.mkdir()
    data = bytearray(dpx.write(np.dstack([scan(1, 10)] * 3), 10, None, path.name))
    data[1556:1560], data[1724:1728] = b"KODK", np.array([18.0], ">f4").tobytes()  # film stock, frame rate
    data[1920:1924], data[801] = bytes.fromhex("01020304"), 3  # time code; logarithmic
    path.write_bytes(data)
    info = probe(path.parent)
    assert (info.frame_rate, info.timecode) == (18, "01:02:03:04")
    colorize(path.parent, tmp_path / "colour", settings=SMALL)
    made = (tmp_path / "colour" / path.name).read_bytes()
    assert made[1556:2048] == bytes(data[1556:2048]) and made[801] == 3
    assert b"machine-made" in made[:2048] and made[803] == 10
    colorize(path.parent, tmp_path / "reel.mov", settings=SMALL)
    assert probe(tmp_path / "reel.mov").timecode == "01:02:03:04"


@given(
    depth=st.sampled_from(dpx.DEPTHS),
    width=st.integers(1, 9),
    height=st.integers(1, 5),
    order=st.sampled_from("<>"),
    seed=st.integers(0, 99),
)
def test_ffmpeg_reads_every_dpx_as_it_was_written(depth: int, width: int, height: int, order: str, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 1 << depth, (height, width), np.uint16)
    pixels = np.dstack([picture] * 3).astype(np.uint8 if depth == 8 else np.uint16)
    plain = dpx.write(pixels, depth, None, "a.dpx")
    header = dpx.read_header(plain, "a.dpx")
    swapped = plain[:2048] if order == ">" else _swap(plain[:2048])
    data = dpx.write(pixels, depth, replace(header, content=swapped, order=order), "a.dpx")
    frame = decode_picture(data, "dpx", "a.dpx")
    assert frame.depth == depth and np.array_equal(frame.luma, picture)


def _swap(head: bytes) -> bytes:
    """A header in the other order of bytes: those fields that a reader must understand are written anew anyway."""
    swapped = bytearray(head)
    swapped[:4] = b"XPDS"
    for start in range(20, 36, 4):
        swapped[start : start + 4] = head[start : start + 4][::-1]
    return bytes(swapped)


def test_what_can_not_be_read_in_the_middle_is_left_out_and_named(tmp_path: Path) -> None:
    scans = make_scans(tmp_path / "scans", "dpx", 10)
    cut = scans / "scan_0999.dpx"
    cut.write_bytes(cut.read_bytes()[:500])
    other = scans / "scan_1000.dpx"
    other.write_bytes(dpx.write(np.dstack([scan(1, 10, (40, 24))] * 3), 10, None, "x"))
    (scans / "scan_1003.dpx").symlink_to(tmp_path / "nowhere")
    tally = ReadTally()
    frames = list(read_frames(scans, tally=tally))
    assert [frame.pts for frame in frames] == [0, 4]
    assert (tally.frames, tally.frames_lost) == (2, 4)
    text = "\n".join(tally.remarks)
    assert all(name in text for name in ("scan_0999", "40x24", "scan_1003", "1001"))
    report = colorize(scans, tmp_path / "colour", settings=SMALL)
    assert report.exit_code == 5 and names(tmp_path / "colour") == ["scan_0998.dpx", "scan_1002.dpx"]


ODD = ["-y_{}", "100% %s_{}", "a b\u00e4\n_{}", "[x]*?_{}"]


@pytest.mark.parametrize("name", ODD)
def test_odd_names(tmp_path: Path, name: str) -> None:
    scans = make_scans(tmp_path / "odd %20 folder", "png", 8, name)
    colorize(scans, tmp_path / "colour", settings=SMALL)
    assert names(tmp_path / "colour") == names(scans)


@given(digits=st.integers(0, 9), number=st.integers(0, 10**9), prefix=st.text("ab_% ", max_size=3))
def test_a_pattern_is_what_printf_makes_of_it(digits: int, number: int, prefix: str) -> None:
    pattern = Pattern(folder=Path("x"), prefix=prefix, digits=digits, suffix=".dpx")
    if "%d" not in prefix and "%0" not in prefix:
        assert parse_pattern(str(pattern)) == pattern
    assert pattern.path(number).name == prefix + f"%0{digits}d" % number + ".dpx" if digits else str(number)


def test_padded_numbers_may_outgrow_their_zeros(tmp_path: Path) -> None:
    scans = make_scans(tmp_path / "scans", "png", 8, "s{:03}")
    for source in (scans, scans / "s%03d.png"):
        found = find_sequence(source)
        assert found is not None and found.numbers == NUMBERS and found.pattern.digits in (0, 3)


def test_what_is_no_sequence_gets_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    several = make_scans(tmp_path / "several", "png", 8)
    cv2.imwrite(str(several / "other_001.png"), scan(1, 8))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a_1.dpx").write_bytes(b"SDPX" + bytes(3000))
    refused: list[tuple[Path, type[KinochromeError], str]] = [
        (tmp_path / "empty", InputError, "without numbered pictures"),
        (several, UsageError, "holds 2 sequences"),
        (tmp_path / "none_%04d.dpx", InputError, "no picture of this pattern"),
        (tmp_path / "none_%04d.exr", UsageError, "are .dpx"),
        (broken, InputError, "a_1.dpx"),
    ]
    for source, kind, words in refused:
        with pytest.raises(kind, match=words) as caught:
            probe(source)
        assert "\n" not in str(caught.value)


def test_folders_that_must_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scans = make_scans(tmp_path / "scans", "png", 8)
    full = make_scans(tmp_path / "full", "png", 8)
    mixed = make_scans(tmp_path / "mixed", "png", 8)
    (mixed / "notes.txt").write_text("precious")
    for name in ("2020", "12.png", "scan_12"):  # numbers, but not of these pictures
        make_scans(tmp_path / f"with {name}", "png", 8).joinpath(name).write_text("precious")
    (make_scans(tmp_path / "deep", "png", 8) / "scan_0002.png").mkdir()
    for link, place in (("linked", "full"), ("broken", "nowhere")):
        (tmp_path / link).symlink_to(place)
    monkeypatch.chdir(tmp_path)
    refused: list[tuple[Path, Job, str]] = [
        (scans, Job(overwrite=True), "folder of the scans themselves"),
        (full, Job(), "-y overwrites it"),
        (mixed, Job(overwrite=True), "holds other files, such as notes.txt"),
        *((tmp_path / f"with {name}", Job(overwrite=True), name) for name in ("2020", "12.png", "scan_12")),
        (tmp_path / "deep", Job(overwrite=True), "holds other files, such as scan_0002.png"),
        (tmp_path / "linked", Job(overwrite=True), "is a link; name the folder"),
        (tmp_path / "broken", Job(), "is a link; name the folder"),
        (Path("%04d.png"), Job(), "a folder of their own"),
        (tmp_path / "new" / "%04d.jpg", Job(), "are written as .dpx"),
        (tmp_path / "new" / "%04d.png", Job(codec="ffv1"), "have no codec"),
        (tmp_path / "a" / "b" / "%04d.png", Job(), "doesn't exist"),
    ]
    for target, job, words in refused:
        with pytest.raises(KinochromeError, match=words):
            colorize(scans, target, settings=SMALL, job=job)
    colorize(scans, full, settings=SMALL, job=Job(overwrite=True))
    assert names(full) == names(scans) and cv2.imread(str(full / "scan_0998.png")).shape == (24, 32, 3)
    assert not {"nowhere", "new", "full.part"} & set(names(tmp_path)) and (tmp_path / "full.json").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    scans = make_scans(tmp_path / "scans", "png", 8)
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="no permission"):
        colorize(scans, tmp_path / "locked" / "colour", settings=SMALL)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("reel.mp4", "reel-colour.mp4"),
        ("reel.avi", "reel-colour.mkv"),
        ("reel.mpg", "reel-colour.mkv"),
        ("reel.webm", "reel-colour.mkv"),
        ("photo.JPG", "photo-colour.JPG"),
        ("scans/a_%04d.dpx", "scans-colour/a_%04d.dpx"),
    ],
)
def test_where_a_result_lies_if_nobody_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, target: str
) -> None:
    monkeypatch.chdir(tmp_path)
    made, notice = default_target(source)
    assert made in (Path(target), tmp_path / target)
    assert notice.startswith("no -o was given") and ("keeps everything" in notice) == ("mkv" in target)


def test_two_runs_on_the_same_numbered_pictures_the_second_refuses(clip: Clip, tmp_path: Path) -> None:
    film, target = clip("reel.mkv", pts=range(3)), tmp_path / "colour" / "roll_%04d.png"
    info = probe(film)
    output = plan_sequence(info, target)
    (first, *_) = frames = list(read_frames(film))
    with SequenceWriter(output, info) as writer:
        writer.write(first)
        with pytest.raises(OutputError, match="another run is writing it"):
            SequenceWriter(output, info)
        for frame in frames[1:]:
            writer.write(frame)
    assert len(list(target.parent.iterdir())) == 3
    with SequenceWriter(plan_sequence(info, target, overwrite=True), info) as writer:  # the first one has let go
        writer.write(first)
