"""Numbered pictures in and out, in segments: killed, resumed, corrected; never another result than that of one go."""

import errno
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import grey
from test_archive import (
    RATE,
    SETTINGS,
    SHOTS,
    film,
    manifest_of,
    packets,
    scene,
    start,
    stop_after,
    wait_for_segments,
)

from stream import dpx
from stream.batch import Batch
from stream.colorize import Job, colorize
from stream.errors import KinochromeError, OutputError, ResourceError, UsageError
from stream.frame import Frame
from stream.job import folder_of
from stream.picture_list import read_list
from stream.shelf import find_tasks
from stream.shotlist import Shot, ShotList
from stream.sidecar import result_of
from stream.source import stamp
from stream.summary import Row
from stream.verify import verify

__all__ = ["film"]

FRAMES = sum(SHOTS)
MISSING, WRECKED, STRAY = (40, 41), 70, 100
"""Numbers, counted from 0, without a file, and with one that can't be read or is of another size."""
FIRST = 998
JOB = Job(rate=Fraction(RATE), luma="bt601")
AGAIN = replace(JOB, overwrite=True)
SAYS_RATE = ("--rate", str(RATE))


def draw_scans(folder: Path, kind: str) -> Path:
    """The film of test_archive.py as scans: 16-bit DPX or 8-bit PNG, some of which are missing or broken."""
    folder.mkdir()
    for number in range(FRAMES):
        path = folder / f"roll_{FIRST + number:04}.{kind}"
        luma = grey(1, 32, 32) if number == STRAY else scene(number)[0]
        if number in MISSING:
            continue
        if kind == "dpx":
            path.write_bytes(dpx.write(np.dstack([luma.astype(np.uint16) * 257] * 3), 16, None, path.name))
        else:
            cv2.imwrite(str(path), luma)
        if number == WRECKED:
            path.write_bytes(path.read_bytes()[:100])
    return folder


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_scans(tmp_path_factory.mktemp("scans") / "roll", "dpx")


def contents(result: Path) -> dict[str, str]:
    """Every file of a result, byte for byte; of a film its packets, because muxers note random numbers."""
    if result.is_dir():
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in result.iterdir()}
    return {result.suffix: hashlib.sha256(repr(packets(result)).encode()).hexdigest()}


def told(result: Path) -> dict[str, Any]:
    """What the report says of the film, whoever made it when."""
    report = json.loads(result.with_name(result.name + ".json").read_text())["report"]
    return {name: report[name] for name in ("frames_in", "frames_out", "frames_lost", "packets_damaged")} | {
        "remarks": [line for line in report["notices"] if "left out: " in line or "have no file" in line]
    }


def kept_files(target: Path) -> dict[Path, tuple[int, int]]:
    """The files that the finished segments consist of, each with its inode and time."""
    result = result_of(target)
    lists = [folder_of(result) / f"{number:09}.segment" for number in manifest_of(result).entries]
    part, pattern = result.with_name(f"{result.name}.part"), None if target == result else target.name
    files = lists if pattern is None else [part / (pattern % each.number) for path in lists for each in read_list(path)]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


WAYS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "scans to scans": ("scans", "cut/roll_%04d.dpx", SAYS_RATE),
    "scans to a film": ("scans", "cut.mkv", (*SAYS_RATE, "-c", "ffv1")),
    "scans to mov": ("scans", "cut.mov", (*SAYS_RATE, "-c", "prores")),
    "scans to mp4": ("scans", "cut.mp4", (*SAYS_RATE, "-c", "libx264")),
    "a film to pictures": ("film", "cut/%05d.png", ()),
}


@pytest.mark.parametrize("way", WAYS)
def test_killed_at_any_moment_it_is_the_result_of_one_go(film: Path, scans: Path, tmp_path: Path, way: str) -> None:
    source, name, more = WAYS[way]
    asked, target, chance = {"film": film, "scans": scans}[source], tmp_path / name, random.Random(way)
    result, whole = result_of(target), tmp_path / name.replace("cut", "whole")
    codec = more[-1] if "-c" in more else None
    rate = Fraction(RATE) if source == "scans" else None
    colorize(asked, whole, settings=SETTINGS, job=Job(codec=codec, rate=rate, segments=codec in ("libx264", "prores")))
    kept: dict[Path, tuple[int, int]] = {}
    for count in (1, 2, 4) if way == "scans to scans" else (2,):
        process = start(asked, target, *more)
        wait_for_segments(process, result, count)
        try:
            process.wait(chance.uniform(0, 0.5))
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
        if result.exists():
            break
        assert kept.items() <= kept_files(target).items()
        kept = kept_files(target)
    process = start(asked, target, *more, "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode in ((5,) if source == "scans" else (0,)), err
    assert json.loads(out)["frames_before"] > 0 and "goes on after" in err
    assert contents(result) == contents(result_of(whole))
    assert told(result) == told(result_of(whole))
    proven = verify(asked, target, rate=rate, lossy=codec in ("libx264", "prores"))
    assert all(check.ok for check in proven.checks if check.name in ("frames", "luma", "times")), proven.lines()
    assert not folder_of(result).exists() and not list(tmp_path.glob("*.part*"))
    if result.is_dir() and kept:
        assert {result / path.name: known for path, known in kept.items()}.items() <= {
            path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in result.iterdir()
        }.items()


@pytest.fixture
def begun(scans: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Scans and their result, of which some segments are done."""
    source, target = tmp_path / "roll", tmp_path / "colour"
    shutil.copytree(scans, source)
    with pytest.raises(KinochromeError, match="stopped"):
        colorize(source, target, settings=SETTINGS, job=JOB, progress=stop_after(70))
    assert len(manifest_of(target).entries) >= 2 and not target.exists()
    return source, target


def in_one_go(source: Path, target: Path) -> dict[str, str]:
    whole = target.with_name("whole")
    colorize(source, whole, settings=SETTINGS, job=Job(rate=JOB.rate, luma="bt601", segments=False))
    return contents(whole)


def touch(source: Path) -> None:
    os.utime(source / f"roll_{FIRST + 5}.dpx", ns=(1, 1))


def swap(source: Path) -> None:
    """Two pictures change places: names, sizes and the newest time stay."""
    first, second = (source / f"roll_{FIRST + number}.dpx" for number in (3, 4))
    first.rename(source / "held")
    second.rename(first)
    (source / "held").rename(second)


@pytest.mark.parametrize("change", [touch, swap], ids=["touched", "swapped"])
def test_pictures_that_changed_are_another_film(begun: tuple[Path, Path], change: Callable[[Path], None]) -> None:
    source, target = begun
    before = stamp(source)
    change(source)
    assert (before["size"], before["mtime_ns"], before["files"]) == tuple(
        stamp(source)[name] for name in ("size", "mtime_ns", "files")
    )
    with pytest.raises(UsageError, match=r"is not the film.*--fresh"):
        colorize(source, target, settings=SETTINGS, job=JOB)
    report = colorize(source, target, settings=SETTINGS, job=Job(rate=JOB.rate, luma="bt601", fresh=True))
    assert report.frames_before == 0 and contents(target) == in_one_go(source, target)


def test_what_decides_the_pictures_is_the_same_or_refused(begun: tuple[Path, Path]) -> None:
    source, target = begun
    for other, words in (
        (Job(rate=Fraction(25), luma="bt601"), "rate 3, not 25"),
        (Job(rate=JOB.rate), "luma bt601, not unset"),
    ):
        with pytest.raises(UsageError, match=f"{words}.*--fresh"):
            colorize(source, target, settings=SETTINGS, job=other)
    with pytest.raises(UsageError, match=r"names roll_%04d.dpx, not roll_%06d.dpx"):
        colorize(source, target / "roll_%06d.dpx", settings=SETTINGS, job=JOB)
    with pytest.raises(OutputError, match="holds other files, such as roll_"):
        colorize(source, target / "x_%04d.dpx", settings=SETTINGS, job=JOB)
    colorize(source, target / "roll_%04d.dpx", settings=SETTINGS, job=JOB)
    assert contents(target) == in_one_go(source, target)


def lose(folder: Path, part: Path) -> None:
    next(iter(sorted(part.iterdir()))).unlink()


def damage(folder: Path, part: Path) -> None:
    path = sorted(part.iterdir())[1]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def forget(folder: Path, part: Path) -> None:
    sorted(folder.glob("*.segment"))[0].unlink()


def lose_all(folder: Path, part: Path) -> None:
    shutil.rmtree(part)


def garble(folder: Path, part: Path) -> None:
    path = sorted(folder.glob("*.segment"))[0]
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("harm", [lose, damage, forget, lose_all, garble])
def test_a_segment_whose_pictures_are_not_as_they_were_is_made_again(
    begun: tuple[Path, Path], harm: Callable[[Path, Path], None]
) -> None:
    source, target = begun
    before = sum(entry.end - entry.start for entry in manifest_of(target).entries.values())
    harm(folder_of(target), target.with_name("colour.part"))
    assert colorize(source, target, settings=SETTINGS, job=JOB).frames_before < before
    assert contents(target) == in_one_go(source, target)


def test_pictures_that_were_copied_without_their_times_are_read_and_kept(begun: tuple[Path, Path]) -> None:
    source, target = begun
    kept = sorted(target.with_name("colour.part").iterdir())
    for path in kept:
        os.utime(path, ns=(1, 1))
    colorize(source, target, settings=SETTINGS, job=JOB)
    count = sum(path.stat().st_mtime_ns == 1 for path in target.iterdir())
    assert 0 < len(kept) - count <= 10 * RATE + 1 + 12  # the segment that was not finished, and what was queued
    assert contents(target) == in_one_go(source, target)


def test_a_list_that_is_damaged_on_the_disk_is_said(begun: tuple[Path, Path]) -> None:
    source, target = begun
    path = sorted(folder_of(target).glob("*.segment"))[0]
    text = path.read_text()
    path.write_text(text[:-2] + ("0" if text[-2] != "0" else "1") + "\n")
    with pytest.raises(ResourceError, match="was damaged on the disk"):
        colorize(source, target, settings=SETTINGS, job=JOB)
    colorize(source, target, settings=SETTINGS, job=JOB)
    assert contents(target) == in_one_go(source, target)


def test_two_runs_on_the_same_pictures_the_second_refuses(begun: tuple[Path, Path]) -> None:
    source, target = begun
    process = start(source, target, *SAYS_RATE, "--luma", "bt601")
    try:
        wait_for_segments(process, target, len(manifest_of(target).entries) + 1)
        with pytest.raises(OutputError, match="another run is at work on it"):
            colorize(source, target, settings=SETTINGS, job=JOB)
        other = Job(rate=JOB.rate, luma="bt601", segments=False, overwrite=True)
        with pytest.raises(OutputError, match="another run is writing it"):
            colorize(source, target, settings=SETTINGS, job=other)
        process.communicate(timeout=120)
    finally:
        process.kill()
    assert contents(target) == in_one_go(source, target)


def test_a_full_disk_is_said_and_the_same_command_goes_on(tmp_path: Path) -> None:
    source, target = tmp_path / "roll", tmp_path / "colour"
    source.mkdir()
    for number in range(100):  # what is noise alone takes twice the room
        luma = cv2.resize(scene(number)[0], (256, 192), interpolation=cv2.INTER_CUBIC)
        noise = np.random.default_rng(number).integers(0, 256, luma.shape, np.uint8)
        cv2.imwrite(str(source / f"{number:04}.png"), noise if number == 90 else luma)
    room = 100_000
    process = start(
        source, target, *SAYS_RATE, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    )
    _, err = process.communicate(timeout=120)
    assert process.returncode == 6 and "0090.png: the file-size limit is reached" in err, err
    assert "the same command goes on where it was" in err and not target.exists()
    assert not list(tmp_path.rglob("*.unfinished"))
    report = colorize(source, target, settings=SETTINGS, job=Job(rate=JOB.rate))
    assert report.frames_before > 30 and contents(target) == in_one_go(source, target)


def test_what_was_there_before_stays_until_the_new_pictures_are_all_there(begun: tuple[Path, Path]) -> None:
    source, target = begun
    colorize(source, target, settings=SETTINGS, job=JOB)
    old = contents(target)
    paler = replace(SETTINGS, saturation=0.5)
    with pytest.raises(OutputError, match="-y overwrites it"):
        colorize(source, target, settings=paler, job=JOB)
    with pytest.raises(KinochromeError, match="stopped"):
        colorize(source, target, settings=paler, job=AGAIN, progress=stop_after(70))
    assert contents(target) == old
    assert colorize(source, target, settings=paler, job=AGAIN).frames_before > 0
    assert contents(target).keys() == old.keys() and contents(target) != old
    assert {path.name for path in target.parent.iterdir()} == {"roll", "colour", "colour.json"}


@pytest.mark.parametrize("killed", ["before the new ones have the name", "after it"])
def test_a_kill_while_pictures_take_the_place_of_others_costs_nothing(begun: tuple[Path, Path], killed: str) -> None:
    source, target = begun
    part, before = (target.with_name(f"colour.part{end}") for end in ("", ".before"))
    paler = replace(SETTINGS, saturation=0.5)
    with pytest.raises(KinochromeError, match="stopped"):  # nothing but the renaming is left to do
        colorize(source, target, settings=SETTINGS, job=JOB, progress=stop_after(FRAMES - 4))
    shutil.copytree(part, before)
    if killed == "after it":
        shutil.copytree(part, target)
    colorize(source, target, settings=SETTINGS, job=AGAIN)
    assert contents(target) == in_one_go(source, target) and not before.exists() and not part.exists()
    assert colorize(source, target, settings=paler, job=AGAIN).frames_out == FRAMES - 4


def test_a_folder_that_is_not_ours_is_never_taken_away(begun: tuple[Path, Path]) -> None:
    source, target = begun
    for name in ("colour.before", "colour.part.before"):
        (target.parent / name).mkdir()
        (target.parent / name / "notes.txt").write_text("precious")
    with pytest.raises(OutputError, match=r"colour.part.before: holds other files, such as notes.txt"):
        colorize(source, target, settings=SETTINGS, job=JOB)
    shutil.rmtree(target.with_name("colour.part.before"))
    colorize(source, target, settings=SETTINGS, job=JOB)
    assert (target.parent / "colour.before" / "notes.txt").read_text() == "precious"


def test_a_corrected_shot_alone_is_made_again(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, seen = tmp_path / "colour", list[Frame]()
    shots = ShotList(shots=(Shot(first=0), Shot(first=14), Shot(first=80, grey=True), Shot(first=85)))
    changed = replace(shots, shots=(*shots.shots[:2], replace(shots.shots[2], grey=False), shots.shots[3]))
    first = colorize(scans, target, settings=SETTINGS, job=JOB, shots=shots)
    assert any(f"stays in {folder_of(target)}" in line for line in first.notices)
    before, old = {path.name: path.stat().st_ino for path in target.iterdir()}, contents(target)
    with pytest.raises(OutputError, match="-y overwrites it"):
        colorize(scans, target, settings=SETTINGS, job=JOB, shots=changed)
    with pytest.raises(KinochromeError, match="stopped"):
        colorize(scans, target, settings=SETTINGS, job=AGAIN, shots=changed, progress=stop_after(FRAMES - 4 - 2))
    assert contents(target) == old  # until the corrected one is there
    report = colorize(scans, target, settings=SETTINGS, job=AGAIN, shots=changed, see=seen.append)
    assert report.frames_before == FRAMES - 4 - 5 and len(seen) == 5
    after = {path.name: path.stat().st_ino for path in target.iterdir()}
    made_again = {name for name in before if before[name] != after[name]}
    assert made_again == {f"roll_{FIRST + number:04}.dpx" for number in range(83, 88)}
    colorize(scans, tmp_path / "whole", settings=SETTINGS, job=replace(JOB, segments=False), shots=changed)
    assert contents(target) == contents(tmp_path / "whole")
    assert not target.with_name("colour.part").exists() and folder_of(target).exists()

    def without_links(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", without_links)
    colorize(scans, target, settings=SETTINGS, job=AGAIN, shots=shots)
    assert contents(target) == old


def test_a_batch_goes_on_with_scans_and_knows_them_again(scans: Path, tmp_path: Path) -> None:
    shelf, out = tmp_path / "shelf", tmp_path / "out"
    shutil.copytree(scans, shelf / "deep" / "roll")
    (task,) = find_tasks(shelf, out, patterns=())
    task.result.parent.mkdir(parents=True)
    with pytest.raises(KinochromeError, match="stopped"):
        colorize(task.source, task.target, settings=SETTINGS, job=JOB, progress=stop_after(70))
    assert find_tasks(task.result.parent, tmp_path / "none", patterns=()) == []  # nothing unfinished is a film

    def work() -> Row:
        batch = Batch(SETTINGS, JOB, out)
        batch.work([task])
        return batch.summary.rows[0]

    row = work()
    assert row.status == "damaged" and row.report["frames_before"] > 0  # numbers are missing
    assert not folder_of(task.result).exists() and len(list(task.result.iterdir())) == FRAMES - 4
    assert work().message == "done before"
    swap(shelf / "deep" / "roll")
    assert "before it was changed" in work().message
