"""What comes into a watched folder: slowly, with stalls, cut off, never closed, changed while it is worked on."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import pytest
from conftest import grey, make_clip

from stream.batch import Batch
from stream.colorize import Job
from stream.config import Settings
from stream.drop import PATIENCE_S, SCANS_SETTLE_S, SETTLE_S, DropFolder
from stream.job import folder_of
from stream.media import read_frames

Clip = Callable[..., Path]
SETTINGS = Settings(short_side=64, runtime="torch")
KINDS = {
    "reel.mkv": {},
    "reel.mp4": {},
    "reel.mov": {"container_options": {"movflags": "faststart"}},
    "reel.avi": {"codec": "mpeg4"},
    "reel.mxf": {"codec": "mpeg2video"},
}
FASTSTART = "reel.mov"
"""Its index comes first: it opens as soon as that is there."""


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    (tmp_path / "drop").mkdir()
    return tmp_path / "drop"


def picture(path: Path) -> Path:
    cv2.imwrite(str(path), grey(0, 200, 160))
    return path


def make(name: str, folder: Path) -> bytes:
    """A film, or a picture."""
    if name in KINDS:
        return make_clip(folder / name, pts=range(100), size=(192, 160), **KINDS[name]).read_bytes()
    return picture(folder / name).read_bytes()


@pytest.mark.parametrize("name", [*KINDS, "scan.png", "scan.tif", "scan.jpg"])
def test_a_copy_that_stalls_is_not_taken_for_whole(drop: Path, tmp_path: Path, name: str) -> None:
    data, told = make(name, tmp_path), list[str]()
    folder = DropFolder(drop, tmp_path / "colour", patterns=(), tell=told.append)
    for share in (0.0, 0.1, 0.5, 0.9):
        (drop / name).write_bytes(data[: int(len(data) * share)])
        assert [folder.ripe(now_s) for now_s in (0.0, SETTLE_S, PATIENCE_S - 1)] == [[], [], []]
    assert f"{drop / name}: is empty (0 bytes); waits, and is taken as it is after 10 minutes" in told
    assert all(line.startswith(f"{drop / name}: ") and "; waits, " in line for line in told)
    (drop / name).write_bytes(data)
    assert folder.ripe(1000.0) == folder.ripe(1000.0 + SETTLE_S - 1) == []
    (task,) = folder.ripe(1000.0 + SETTLE_S)
    assert (task.source, task.again) == (drop / name, False)
    assert folder.ripe(9999.0) == []
    (drop / name).write_bytes(data[: len(data) // 2])  # nobody writes any more: its failure is to be told
    assert folder.ripe(10000.0) == folder.ripe(10000.0 + SETTLE_S) == []
    (task,) = folder.ripe(10000.0 + PATIENCE_S)
    assert task.again


def test_numbered_pictures_that_still_come_are_waited_for(drop: Path, tmp_path: Path) -> None:
    folder = DropFolder(drop, tmp_path / "colour", patterns=())
    for number in range(20):
        picture(drop / f"scan_{number:04}.png")
        assert folder.ripe(number * 5.0) == []
    assert folder.ripe(19 * 5.0 + SCANS_SETTLE_S - 1) == []
    (task,) = folder.ripe(19 * 5.0 + SCANS_SETTLE_S)
    assert task.source == drop / "scan_%04d.png"


# Many enough for the queues: pictures are certain to be written before the last one is read.
@pytest.mark.parametrize("seconds", [29, 40], ids=["in one go", "in segments"])
def test_what_changes_while_it_is_worked_on_is_made_again(drop: Path, tmp_path: Path, seconds: int) -> None:
    how: dict[str, Any] = {"rate": Fraction(1), "time_base": Fraction(1), "options": {"g": "1"}}
    make_clip(drop / "reel.mkv", pts=range(seconds), **how)
    out, told = tmp_path / "colour", list[str]()
    out.mkdir()
    longer = make_clip(tmp_path / "longer.mkv", pts=range(seconds + 1), **how).read_bytes()

    shares: list[float] = []

    def change(share: float, name: str) -> None:
        if share and not shares:  # at its first picture
            (drop / "reel.mkv").write_bytes(longer)
        shares.extend([share] if share else [])

    folder = DropFolder(drop, out, patterns=())
    work = Batch(SETTINGS, Job(), out, tell=told.append, progress=change)
    assert folder.ripe(0.0) == []
    work.work(folder.ripe(SETTLE_S))
    assert work.summary.counts()["failed"] == 1 and "was changed while it was read" in told[-1], told
    assert not (out / "reel.mkv").exists()
    assert folder.ripe(100.0) == []
    work.work(folder.ripe(100.0 + SETTLE_S))
    assert (work.summary.exit_code, work.summary.counts()["films"]) == (0, 1), told
    assert len(list(read_frames(out / "reel.mkv"))) == seconds + 1 and not folder_of(out / "reel.mkv").exists()
    # Changed once more, after it was made.
    make_clip(drop / "reel.mkv", pts=range(seconds + 2), **how)
    assert folder.ripe(200.0) == []
    work.work(folder.ripe(200.0 + SETTLE_S))
    assert work.summary.exit_code == 0 and len(list(read_frames(out / "reel.mkv"))) == seconds + 2


def test_another_film_under_the_name_of_one_that_was_taken_away_is_no_change_of_it(drop: Path, tmp_path: Path) -> None:
    folder = DropFolder(drop, tmp_path / "colour", patterns=())
    make_clip(drop / "clip0001.mkv", pts=range(3))
    folder.ripe(0.0)
    assert len(folder.ripe(SETTLE_S)) == 1
    (drop / "clip0001.mkv").unlink()
    assert folder.ripe(100.0) == []
    make_clip(drop / "clip0001.mkv", pts=range(4))
    folder.ripe(200.0)
    (task,) = folder.ripe(200.0 + SETTLE_S)
    assert not task.again  # or its result would take the place of the other one's
