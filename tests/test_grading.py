"""A film coloured shot by shot as its list wants, and the sheet that shows it beforehand."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_spotting import scenes

from stream.breakdown import Wanted, break_down
from stream.colorize import Job, colorize
from stream.config import Settings
from stream.contact import PAGE, Cell, draw_sheet
from stream.errors import OutputError, UsageError
from stream.frame import ColorTags, Frame
from stream.media import read_frames
from stream.proof import proof_of
from stream.shotlist import Shot, ShotList, read_shots
from stream.verify import verify

Clip = Callable[..., Path]
SMALL = Settings(short_side=32, runtime="torch")


@pytest.fixture
def film(clip: Clip) -> Path:
    return clip("reel.mkv", codec="ffv1", pts=range(24), planes=scenes)


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    path = tmp_path / "still.png"
    red = np.random.default_rng(1).integers(0, 90, (160, 160, 3)).astype(np.uint8)
    red[..., 2] += 150
    cv2.imwrite(str(path), red)
    return path


def coloured(film: Path, target: Path, *shots: Shot, settings: Settings = SMALL) -> list[Frame]:
    job = Job(codec="ffv1", overwrite=True)
    colorize(film, target, settings=settings, job=job, shots=ShotList(shots=shots))
    return list(read_frames(target))


def test_each_shot_comes_out_as_it_is_wanted(film: Path, reference: Path, tmp_path: Path) -> None:
    target = tmp_path / "colour.mkv"
    red = Shot(first=10, reference=str(reference))
    frames = coloured(film, target, Shot(first=0, grey=True), red, Shot(first=18, look="starry"))
    sources = list(read_frames(film))
    assert len(frames) == len(sources) == 24
    same = [np.array_equal(made.luma, frame.luma) for made, frame in zip(frames, sources, strict=True)]
    assert same == [True] * 18 + [False] * 6
    assert all((plane == 128).all() for frame in frames[:10] for plane in frame.planes[1:])
    natural = coloured(film, tmp_path / "plain.mkv", Shot(first=0))
    assert frames[14].planes[2].mean() > natural[14].planes[2].mean() + 5
    sidecar = json.loads((tmp_path / "colour.mkv.json").read_text())
    assert [shot["first"] for shot in sidecar["shots"]] == [0, 10, 18]
    assert sidecar["shots"][1]["digest"] == red.digest
    assert not proof_of(target).exists()


def test_a_shot_that_is_not_changed_comes_out_the_same(film: Path, tmp_path: Path) -> None:
    before = coloured(film, tmp_path / "a.mkv", Shot(first=0), Shot(first=10))
    after = coloured(film, tmp_path / "b.mkv", Shot(first=0, saturation=0.3), Shot(first=10))
    for number in range(24):
        alike = all(np.array_equal(*both) for both in zip(before[number].planes, after[number].planes, strict=True))
        assert alike == (number >= 10), number


def test_a_list_of_the_cuts_that_are_found_changes_nothing(film: Path, tmp_path: Path) -> None:
    colorize(film, tmp_path / "plain.mkv", settings=SMALL, job=Job(codec="ffv1"))
    listed = coloured(film, tmp_path / "listed.mkv", Shot(first=0), Shot(first=10))
    for plain, frame in zip(read_frames(tmp_path / "plain.mkv"), listed, strict=True):
        for one, other in zip(plain.planes, frame.planes, strict=True):
            # Batches are cut otherwise, and sums of floats in another order round otherwise.
            assert np.abs(one.astype(int) - other).max() <= 1


def test_saying_that_there_is_no_cut_carries_colours_over_it(film: Path, tmp_path: Path) -> None:
    cut = coloured(film, tmp_path / "cut.mkv", Shot(first=0), Shot(first=10))
    one = coloured(film, tmp_path / "one.mkv", Shot(first=0))
    assert not np.array_equal(cut[10].planes[1], one[10].planes[1])


def test_untouched_luma_is_proved_for_references_too(film: Path, reference: Path, tmp_path: Path) -> None:
    target = tmp_path / "colour.mkv"
    coloured(film, target, Shot(first=0, reference=str(reference)), Shot(first=10, grey=True))
    comparison = verify(film, target)
    assert comparison.ok and any("sums of all 24 frames hold" in line for line in comparison.lines())


def test_a_list_that_does_not_fit_is_refused_at_once(film: Path, tmp_path: Path) -> None:
    shots = ShotList(shots=(Shot(first=0),), duration_s=99.0, film="other.mkv")
    with pytest.raises(UsageError, match=r"film of 99 s"):
        colorize(film, tmp_path / "colour.mkv", settings=SMALL, shots=shots)
    with pytest.raises(UsageError, match="no look named 'nonsense'"):
        coloured(film, tmp_path / "colour.mkv", Shot(first=0), Shot(first=3, look="nonsense"))
    assert not list(tmp_path.glob("colour*"))


def test_shots_beyond_the_end_are_told(film: Path, tmp_path: Path) -> None:
    shots = ShotList(shots=(Shot(first=0), Shot(first=90)))
    report = colorize(film, tmp_path / "colour.mkv", settings=SMALL, shots=shots)
    assert report.frames_out == 24 and any("before shot 2" in notice for notice in report.notices)


def test_a_breakdown_writes_a_list_and_a_sheet(film: Path, tmp_path: Path) -> None:
    settings = replace(SMALL, steady=0.0, batch=1)
    toml, sheet = tmp_path / "shots.toml", tmp_path / "sheet.png"
    told: list[tuple[int, int | None]] = []
    found = break_down(str(film), Wanted(toml=toml, sheet=sheet), settings, progress=lambda *each: told.append(each))
    assert [(row.number, row.first, row.frames, row.look) for row in found.shots] == [
        (1, 0, 10, "natural"),
        (2, 10, 14, "natural"),
    ]
    assert told[-1] == (24, 24) and found.written == [str(toml), str(sheet)]
    assert [shot.first for shot in read_shots(toml).shots] == [0, 10]
    with pytest.raises(OutputError, match="-y overwrites it"):
        break_down(str(film), Wanted(toml=toml), settings, progress=lambda *each: None)
    toml.write_text(toml.read_text().replace("first = 10", "grey = true\nfirst = 12"))
    again = tmp_path / "again.png"
    listed = break_down(str(film), Wanted(use=toml, sheet=again), settings, progress=lambda *each: None)
    assert [row.look for row in listed.shots] == ["natural", "left grey"] and listed.shots[1].first == 12
    picture = cv2.imread(str(again))
    left, right = picture[6:200, 6:326], picture[6:200, 338:658]
    assert np.ptp(right.astype(int), axis=2).max() == 0 < np.ptp(left.astype(int), axis=2).max()


def test_a_sheet_of_many_shots_has_pages(tmp_path: Path) -> None:
    frame = Frame(planes=(np.full((12, 16), 90, np.uint8),), tags=ColorTags(full_range=True))
    cell = Cell(frame=frame, turns=1, aspect=2.0, lines=("1  00:00:00:00  (0)", "natural \u00e4"))
    pages = draw_sheet(tmp_path / "sheet.png", [cell] * (PAGE + 1), source=Path("reel.mkv"), overwrite=False)
    assert [page.name for page in pages] == ["sheet.png", "sheet-2.png"]
    assert cv2.imread(str(pages[1])).shape[1] < cv2.imread(str(pages[0])).shape[1]
