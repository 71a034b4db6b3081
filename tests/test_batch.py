"""A shelf of films as it is in life: odd names, wrecks among the films, what was done before, what comes in later."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import grey, make_clip

import stream.batch
import stream.colorize
import stream.photo
from stream import cli, dpx
from stream.batch import Batch
from stream.colorize import Job, colorize
from stream.config import Settings
from stream.errors import KinochromeError, OutputError, UsageError
from stream.job import folder_of
from stream.media import probe, read_frames
from stream.part import part_of, sidecar_of
from stream.proof import proof_of
from stream.runtime import version
from stream.shelf import Task, claim_out, find_tasks
from stream.shotlist import Shot, ShotList
from stream.stop import Stop

Clip = Callable[..., Path]
SMALL = ("--short-side", "64", "--runtime", "torch", "--no-progress")
ODD = ("two words.mkv", "wörter 映画.mkv", "-leading.mkv", "line\nbreak.mkv", "[red]'\"&<b>.mp4")


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def program(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = cli.run([str(argument) for argument in arguments], Stop())
        return code, *capfd.readouterr()

    return run


@pytest.fixture
def shelf(clip: Clip, tmp_path: Path) -> Path:
    """Films, also in folders, and a wreck, a link, a link to nowhere, and what is no film."""
    folder = tmp_path / "shelf"
    (folder / "deep" / "er").mkdir(parents=True)
    film = clip("reel.mkv", pts=range(3)).read_bytes()
    for name in ODD:
        (folder / name).write_bytes(clip("reel.mp4", pts=range(3)).read_bytes() if name.endswith("mp4") else film)
    (folder / "deep" / "er" / "reel.mkv").write_bytes(film)
    (folder / "deep" / "link.mkv").symlink_to(folder / "two words.mkv")
    (folder / "deep" / "nowhere.mkv").symlink_to(folder / "missing.mkv")
    (folder / "wreck.mkv").write_text("no film at all")
    (folder / "._two words.mkv").write_text("a shadow that macOS leaves")
    (folder / "notes.md").write_text("no film")
    return folder


def raising(error: type[BaseException]) -> Callable[..., None]:
    """What does nothing but fail."""

    def fail(*_: object) -> None:
        raise error

    return fail


class Page(HTMLParser):
    """What a browser would fetch, and how many pictures and films it shows."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.count: dict[str, int] = {}

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.fetched += [value or "" for name, value in attributes if name in ("src", "href")]


def test_a_shelf_is_done_whatever_lies_on_it(shelf: Path, program: Callable[..., Any]) -> None:
    code, out, _ = program("batch", shelf, "-o", "colour", "--json", *SMALL)
    summary = json.loads(out)
    assert code == 5
    assert summary["counts"] == {
        "films": 9, "done": 7, "damaged": 0, "skipped": 0, "failed": 2, "frames": 21,
    }  # fmt: skip
    for name in (*ODD, "deep/er/reel.mkv", "deep/link.mkv"):
        assert len(list(read_frames(Path("colour") / name))) == 3
    failed = {row["source"]: row["message"] for row in summary["rows"] if row["status"] == "failed"}
    assert {Path(name).name for name in failed} == {"wreck.mkv", "nowhere.mkv"}
    assert "can't read it" in failed[str(shelf / "wreck.mkv")]
    assert json.loads(Path("colour/batch.json").read_text()) == summary
    page = Page()
    text = Path("colour/batch.html").read_text()
    page.feed(text)
    assert text.count(str(shelf / "wreck.mkv")) == 1
    assert page.count["article"] == 9 and page.count["img"] == 14
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.fetched)
    assert not list(Path("colour").rglob("*.part*"))
    # Once more: nothing is done twice, and what failed is tried again.
    before = (Path("colour") / ODD[0]).stat().st_mtime_ns
    (shelf / "wreck.mkv").unlink()
    (shelf / "deep" / "nowhere.mkv").unlink()
    code, out, _ = program("batch", shelf, "-o", "colour", "--json", *SMALL)
    assert code == 0 and json.loads(out)["counts"]["skipped"] == 7
    assert (Path("colour") / ODD[0]).stat().st_mtime_ns == before


def test_names_that_look_like_patterns_or_are_too_long(clip: Clip, tmp_path: Path, program: Callable[..., Any]) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    film = clip("reel.mkv", pts=range(3)).read_bytes()
    long, longest = "ö" * 118 + "x.mkv", "ö" * 125 + ".mkv"  # 241 and 254 bytes
    names = ["r%03d.mkv", "100%.mkv", "%s%n%d.avi.mkv", long, longest]
    for name in names:
        (shelf / name).write_bytes(film)
    scans(shelf, "p%03d{}.png", (1,))
    scans(shelf, "p%03d{}.png", ("",))
    code, out, _ = program("batch", shelf, "-o", "colour", "-c", "ffv1", "--json", *SMALL)
    summary = json.loads(out)
    assert code == 5 and summary["counts"]["done"] == 6, [
        (row["source"][-20:], row["message"]) for row in summary["rows"]
    ]
    (failed,) = (row for row in summary["rows"] if row["status"] == "failed")
    assert failed["source"] == str(shelf / longest)
    assert "its name has 254 bytes, and 241 at most" in failed["message"]
    left = {path.name for path in Path("colour").iterdir() if path.stem != "batch"}
    films = {name + end for name in names[:-1] for end in ("", ".json", ".framemd5")}
    assert left == films | {name + end for name in ("p%03d.png", "p%03d1.png") for end in ("", ".json")}
    again = program("batch", shelf, "-o", "colour", "-c", "ffv1", "--json", *SMALL)
    assert json.loads(again[1])["counts"]["skipped"] == 6
    assert program("colorize", shelf / "r%03d.mkv", "-o", "one%02d.mkv", *SMALL)[0] == 0
    code, _, err = program("colorize", shelf / longest, "-o", longest, *SMALL)
    assert code == 4 and err.count("\n") == 1 and "254 bytes" in err


@pytest.fixture
def one(clip: Clip, program: Callable[..., Any]) -> Path:
    """A list of one film, which is done."""
    clip("reel.mkv", pts=range(3))
    Path("list.txt").write_text("\ufeff# what is wanted\nreel.mkv\n\n")
    assert program("batch", "list.txt", "-o", "colour", *SMALL)[0] == 0
    return Path("colour/reel.mkv")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (("--saturation", "0.5"), "saturation 1.0, not 0.5"),
        (("-c", "ffv1"), "codec libx264, not ffv1"),
        (("--deinterlace",), "deinterlace False, not True"),
        (("--style", "starry"), "style unset, not starry"),
    ],
)
def test_what_is_asked_otherwise_is_said_and_made_again_if_asked(
    one: Path, program: Callable[..., Any], other: tuple[str, ...], words: str
) -> None:
    before = one.stat().st_mtime_ns
    code, out, _ = program("batch", "list.txt", "-o", "colour", *SMALL, *other)
    assert code == 5 and words in out and "-y makes it again" in out and one.stat().st_mtime_ns == before
    assert program("batch", "list.txt", "-o", "colour", "-y", *SMALL, *other)[0] == 0
    assert one.stat().st_mtime_ns != before
    code, out, _ = program("batch", "list.txt", "-o", "colour", "--json", *SMALL, *other)
    assert code == 0 and json.loads(out)["counts"]["skipped"] == 1


def test_what_changes_nothing_makes_nothing_again(one: Path, program: Callable[..., Any]) -> None:
    source = Path("reel.mkv")
    os.utime(source)  # as a copy without its times is
    made_by = sidecar_of(one).read_text().replace(version(), "0.0.1")
    sidecar_of(one).write_text(made_by)
    other = ("--short-side", "64", "--runtime", "openvino", "--threads", "1", "--no-progress", "--fresh")
    code, out, _ = program("batch", "list.txt", "-o", "colour", "--json", *other)
    assert code == 0 and json.loads(out)["counts"]["skipped"] == 1


def test_another_source_or_weight_or_an_unknown_one_is_said(one: Path, program: Callable[..., Any]) -> None:
    source, sidecar = Path("reel.mkv"), sidecar_of(one)
    when, data, told = source.stat().st_mtime_ns, bytearray(source.read_bytes()), sidecar.read_text()

    def said() -> str:
        code, out, _ = program("batch", "list.txt", "-o", "colour", *SMALL)
        assert code == 5 and "-y makes it again" in out
        return str(out)

    sidecar.write_text(told.replace(json.loads(told)["made_with"]["weights"], "0" * 64))
    assert "weights 0000" in said()
    sidecar.unlink()
    assert "nothing beside it says how it was made" in said()
    sidecar.write_text(told)
    data[-1] ^= 1
    source.write_bytes(data)
    os.utime(source, ns=(when + 1, when + 1))
    assert "of another film, or of this one before it was changed" in said()


def test_fresh_starts_over_what_was_interrupted_and_not_what_is_done(
    one: Path, program: Callable[..., Any], tmp_path: Path
) -> None:
    how: dict[str, Any] = {"rate": Fraction(1), "time_base": Fraction(1), "options": {"g": "1"}}
    make_clip(tmp_path / "reel.mkv", pts=range(40), **how)  # another film now, long enough for segments

    def stop(done: int, expected: int | None) -> None:
        if done == 30:
            raise KinochromeError("stopped")

    one.unlink()
    sidecar_of(one).unlink()
    settings = Settings(short_side=64, runtime="torch", saturation=0.5)
    with pytest.raises(KinochromeError, match="stopped"):
        colorize(tmp_path / "reel.mkv", one, settings=settings, progress=stop)
    assert folder_of(one).is_dir()
    code, out, _ = program("batch", "list.txt", "-o", "colour", *SMALL)
    assert code == 5 and "saturation 0.5, not 1.0" in out and "--fresh starts over" in out
    assert program("batch", "list.txt", "-o", "colour", "--fresh", *SMALL)[0] == 0
    assert len(list(read_frames(one))) == 40 and not folder_of(one).exists()


def test_a_short_film_that_was_killed_is_made_the_next_time(one: Path, program: Callable[..., Any]) -> None:
    one.rename(part_of(one))
    sidecar_of(one).unlink()
    assert program("batch", "list.txt", "-o", "colour", *SMALL)[0] == 0
    assert len(list(read_frames(one))) == 3 and not part_of(one).exists()


def test_no_result_takes_a_films_place_and_none_is_made_twice(clip: Clip, program: Callable[..., Any]) -> None:
    Path("shelf").mkdir()
    data = clip("shelf/reel.mkv", pts=range(3)).read_bytes()
    Path("list.txt").write_text("shelf/reel.mkv\nshelf/reel.mkv\n")
    code, out, _ = program("batch", "list.txt", "-o", "shelf", "-y", *SMALL)
    assert code == 5 and out.count("its result would take its place") == 1
    # From a folder, the next run would take the results for films.
    code, _, err = program("batch", "shelf", "-o", "shelf/../shelf", *SMALL)
    assert code == 2 and "results among the films" in err
    assert Path("shelf/reel.mkv").read_bytes() == data
    assert program("batch", "list.txt", "-o", "colour", *SMALL)[0] == 0


def test_names_that_no_line_holds_come_in_a_list_with_zero_bytes(shelf: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\0".join(os.fsencode(f"shelf/{name}") for name in ODD))
    tasks = find_tasks(tmp_path / "list.txt", Path("colour"), patterns=())
    assert [task.source.name for task in tasks] == list(ODD) and all(task.source.exists() for task in tasks)


def test_patterns_choose_and_two_of_a_name_get_two_results(tmp_path: Path) -> None:
    for name in ("a.avi", "a.mpg", "b.mov", "sub/c.MOV", "sub/d.mkv"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    everything = find_tasks(tmp_path / "in", tmp_path / "out", patterns=())
    places = [str(task.target.relative_to(tmp_path / "out")) for task in everything]
    assert places == ["a.avi.mkv", "a.mpg.mkv", "b.mov", "sub/c.MOV", "sub/d.mkv"]
    chosen = find_tasks(tmp_path / "in", tmp_path / "out", patterns=("*.mov", "sub/*.mkv"))
    assert [task.source.name for task in chosen] == ["b.mov", "d.mkv"]
    # Results within the folder are not films to be coloured.
    (tmp_path / "in" / "out").mkdir()
    (tmp_path / "in" / "out" / "b.mov").touch()
    assert len(find_tasks(tmp_path / "in", tmp_path / "in" / "out", patterns=())) == 5
    with pytest.raises(UsageError, match="folder, or a list"):
        find_tasks(tmp_path / "in" / "b.mov", tmp_path / "out", patterns=())


def scans(folder: Path, name: str, numbers: Iterable[int | str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        picture = grey(int(number or 0), 48, 32)
        path = folder / name.format(number)
        if path.suffix == ".dpx":
            path.write_bytes(dpx.write(np.dstack([picture.astype(np.uint16) << 2] * 3), 10, None, path.name))
        else:
            cv2.imwrite(str(path), picture)


def test_numbered_scans_are_a_film_and_single_pictures_are_not(tmp_path: Path, program: Callable[..., Any]) -> None:
    shelf = tmp_path / "shelf"
    scans(shelf / "a", "50%done_{:04}.dpx", (998, 999, 1000))
    scans(shelf / "a", "roll_{:03}.tif", (*range(7, 10), *range(12, 22)))
    scans(shelf / "b", "{:05}.png", range(12))
    scans(shelf / "b", "photo{}.png", range(11))
    scans(shelf / "b", "IMG_{:04}.jpg", range(12))
    told: list[str] = []
    tasks = find_tasks(shelf, Path("colour"), patterns=(), tell=told.append)
    places = {str(task.source.relative_to(shelf)): str(task.target.relative_to("colour")) for task in tasks}
    assert places == {
        "a/50%done_%04d.dpx": "a/50%done/50%done_%04d.dpx",
        "a/roll_%03d.tif": "a/roll/roll_%03d.tif",
        "b/%05d.png": "b/b/%05d.png",
    } | {f"b/photo{number}.png": f"b/photo{number}.png" for number in range(11)} | {
        f"b/IMG_{number:04}.jpg": f"b/IMG_{number:04}.jpg" for number in range(12)
    }  # fmt: skip
    assert len(told) == 2 and "13 numbered pictures are taken for one film" in told[0]
    code, out, _ = program("batch", shelf, "-o", "colour", "--pattern", "*.dpx", "--pattern", "*.tif", "--json", *SMALL)
    rows = json.loads(out)["rows"]
    assert [row["status"] for row in rows] == ["done", "damaged"] and code == 5  # two numbers are missing
    assert sorted(path.name for path in Path("colour/a/50%done").iterdir()) == [
        "50%done_0998.dpx", "50%done_0999.dpx", "50%done_1000.dpx",
    ]  # fmt: skip
    page = Page()
    page.feed(Path("colour/batch.html").read_text())
    assert page.count["img"] == 4
    again = program("batch", shelf, "-o", "colour", "--pattern", "*.dpx", "--json", *SMALL)
    assert again[0] == 0 and json.loads(again[1])["counts"]["skipped"] == 1
    scans(shelf / "a", "50%done_{:04}.dpx", (1001,))
    code, out, _ = program("batch", shelf, "-o", "colour", "--pattern", "*.dpx", *SMALL)
    assert code == 5 and "before it was changed" in out


def test_a_list_names_scans_and_a_codec_makes_films_of_them(tmp_path: Path, program: Callable[..., Any]) -> None:
    scans(tmp_path / "one", "scan_{:04}.tif", range(3))
    scans(tmp_path / "two", "scan_{:04}.jpg", range(3))
    scans(tmp_path / "three", "a{}.png", range(2))
    scans(tmp_path / "three", "b{}.png", range(2))
    Path("list.txt").write_text("one\ntwo/scan_%04d.jpg\nthree\nthree/a0.png\n")
    code, out, _ = program("batch", "list.txt", "-o", "colour", "-c", "ffv1", "--rate", "16", "--json", *SMALL)
    rows = json.loads(out)["rows"]
    assert code == 5 and [row["status"] for row in rows] == ["done", "done", "failed", "done"], rows
    assert "holds 2 sequences" in rows[2]["message"]
    for name in ("one", "two"):
        info = probe(Path("colour") / name / "scan.mkv")
        assert (info.frame_rate, info.codec, info.duration_s) == (16, "ffv1", pytest.approx(3 / 16, abs=0.01))
    assert program("batch", "list.txt", "-o", "colour", "--rate", "16", *SMALL)[0] == 5
    assert len(list(Path("colour/two/scan").glob("scan_000?.png"))) == 3


def test_linked_folders_are_followed_once_and_never_in_a_circle(
    shelf: Path, clip: Clip, tmp_path: Path, program: Callable[..., Any]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    clip("elsewhere/far.mkv", pts=range(2))
    (elsewhere / "round").symlink_to(elsewhere)
    (shelf / "deep" / "far away").symlink_to(elsewhere)
    (shelf / "zzz").symlink_to(elsewhere)
    (shelf / "deep" / "er" / "up").symlink_to(shelf)
    (shelf / "deep" / "out").symlink_to(tmp_path)
    (shelf / "aaa").symlink_to(shelf / "deep")
    (shelf / "self").symlink_to(shelf / "self")
    told: list[str] = []
    found = find_tasks(shelf, tmp_path / "colour", patterns=("*.mkv",), tell=told.append)
    assert [task.target.relative_to(tmp_path / "colour") for task in found if task.source.name == "far.mkv"] == [
        Path("zzz/far.mkv")
    ]
    assert len(found) == 9
    left_out = {Path(line.split(": leads to ")[0]).relative_to(shelf) for line in told}
    assert left_out == {Path(name) for name in ("deep/er/up", "deep/out", "aaa", "deep/far away", "zzz/round")}
    code, _, err = program("batch", shelf, "-o", "colour", "--pattern", "far.mkv", *SMALL)
    assert code == 0 and err.count("the link is left out") == 5 and Path("colour/zzz/far.mkv").exists()


def test_a_full_disk_fails_the_films_and_still_sums_up(clip: Clip, tmp_path: Path) -> None:
    (tmp_path / "shelf").mkdir()
    for name in ("one.mkv", "two.mkv"):
        clip(f"shelf/{name}", pts=range(30))
    command = (sys.executable, "-m", "stream", "batch", str(tmp_path / "shelf"), "-o", str(tmp_path / "colour"), *SMALL)

    def leave_no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    done = subprocess.run(
        command,
        cwd=Path(cli.__file__).parents[1],
        capture_output=True,
        text=True,
        preexec_fn=leave_no_room,
        check=False,
    )
    assert done.returncode == 6 and "2 films: 2 failed" in done.stdout
    assert done.stderr.splitlines()[-1].endswith("the report is not written"), done.stderr
    assert not list((tmp_path / "colour").glob("batch*"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("batch", "shelf", "-o", "/proc/colour"), 4, "/proc/colour"),
        (("batch", "missing", "-o", "colour"), 2, "a folder, or a list"),
        (("batch", "missing.txt", "-o", "colour"), 3, "missing.txt"),
        (("batch", "list.txt", "-o", "colour", "--watch"), 2, "--watch needs a folder"),
    ],
)
def test_a_wrong_batch_is_one_line(
    program: Callable[..., Any], arguments: tuple[str, ...], code: int, words: str
) -> None:
    Path("list.txt").touch()
    found, _, err = program(*arguments)
    assert found == code and err.count("\n") == 1 and words in err


def test_a_second_batch_into_the_same_folder_is_refused(program: Callable[..., Any]) -> None:
    Path("list.txt").touch()
    ask = ("batch", "list.txt", "-o", "colour", *SMALL)
    with claim_out(Path("colour")):
        code, _, err = program(*ask)
    assert code == 4 and "colour: another run is writing it; wait for it" in err
    assert not list(Path("colour").iterdir())
    (Path("colour") / "batch.lock").touch()  # as a kill leaves it
    assert program(*ask)[0] == 0 and not (Path("colour") / "batch.lock").exists()


def test_what_is_dropped_into_a_watched_folder_is_done_once_it_is_whole(clip: Clip, tmp_path: Path) -> None:
    film = clip("reel.mkv", pts=range(3)).read_bytes()
    drop = tmp_path / "drop"
    drop.mkdir()
    command = (sys.executable, "-m", "stream", "batch", str(drop), "-o", str(tmp_path / "colour"), "--watch", *SMALL)
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=Path(cli.__file__).parents[1], **pipes)
    try:
        with (drop / "late.mkv").open("wb") as file:
            file.write(film[: len(film) // 2])
            file.flush()
            deadline, done = time.monotonic() + 120, tmp_path / "colour" / "late.mkv.json"
            while not (tmp_path / "colour" / "batch.json").exists() and time.monotonic() < deadline:
                pass
            assert not done.exists()
            file.write(film[len(film) // 2 :])
        while not done.exists() and process.poll() is None and time.monotonic() < deadline:
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "late.mkv" in err and "batch.html" in out, err
    assert len(list(read_frames(tmp_path / "colour" / "late.mkv"))) == 3


@pytest.mark.parametrize("kind", ["film", "segments", "scans", "picture"])
def test_a_kill_just_after_the_film_got_its_name_costs_nothing(
    kind: str, clip: Clip, tmp_path: Path, program: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, colour = tmp_path / "shelf", tmp_path / "colour"
    shelf.mkdir()
    colour.mkdir()
    film = kind in ("film", "segments")
    if film:
        clip("reel.mkv", pts=range(4)).rename(shelf / "reel.mkv")
    else:
        scans(shelf, "roll_{:04d}.dpx" if kind == "scans" else "p{}.png", range(1, 4 if kind == "scans" else 2))
    (task,) = find_tasks(shelf, colour, patterns=(), joined=film)
    job = Job(codec="ffv1" if film else None, segments=kind == "segments" or None)
    calls = []

    def killed(result: Path) -> None:
        calls.append(result)
        if len(calls) == 2:  # the first one finds nothing to do
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        for module in (stream.colorize, stream.photo):
            patch.setattr(module, "name_sidecar", killed)
        colorize(task.source, task.target, settings=Settings(short_side=64, runtime="torch"), job=job)
    assert task.result.exists() and not sidecar_of(task.result).exists() and list(colour.glob("*.part*"))
    before = task.result.stat().st_mtime_ns
    code, out, _ = program("batch", shelf, "-o", colour, "--json", *SMALL, *(("-c", "ffv1") if film else ()))
    assert code == 0 and [row["message"] for row in json.loads(out)["rows"]] == ["done before"]
    assert task.result.stat().st_mtime_ns == before and sidecar_of(task.result).exists()
    assert proof_of(task.result).exists() == film and not list(colour.glob("*.part*"))


def test_what_was_prepared_for_a_film_that_never_came_is_not_the_old_ones(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, target = clip("reel.mkv", pts=range(4)), tmp_path / "colour.mkv"
    settings = Settings(short_side=64, runtime="torch")
    colorize(film, target, settings=settings, job=Job(codec="ffv1"))
    old = sidecar_of(target).read_text()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("stream.mux.finish_part", raising(KeyboardInterrupt))
        colorize(film, target, settings=settings, job=Job(overwrite=True))
    assert part_of(sidecar_of(target)).exists()
    with pytest.raises(OutputError, match="exists already"):
        colorize(film, target, settings=settings, job=Job())
    assert sidecar_of(target).read_text() == old and proof_of(target).exists()


def test_only_what_an_unfinished_run_left_is_left_out(clip: Clip, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    ours = ("reel.part.mkv.d", "roll.part")
    theirs = ("Season.part.2", "the.part.played.d'or")
    for folder in (*ours, *theirs):
        (shelf / folder).mkdir(parents=True)
        (shelf / folder / "in.mkv").touch()
    for name in ("reel.part.mkv", "Napoleon.part.1.mkv"):
        (shelf / name).touch()
    found = {str(task.source.relative_to(shelf)) for task in find_tasks(shelf, tmp_path / "colour", patterns=())}
    assert found == {"Napoleon.part.1.mkv", *(f"{folder}/in.mkv" for folder in theirs)}


def test_a_film_with_a_list_of_shots_is_replaced_by_no_batch(one: Path, program: Callable[..., Any]) -> None:
    film = Path("reel.mkv").absolute()
    shots = ShotList(shots=(Shot(first=0), Shot(first=1, grey=True)))
    colorize(film, one, settings=Settings(short_side=64, runtime="torch"), job=Job(overwrite=True), shots=shots)
    kept, before = sorted(folder_of(one).iterdir()), one.stat().st_mtime_ns
    ask = ("batch", "list.txt", "-o", "colour", *SMALL)
    assert program(*ask)[0] == 0
    for more in ((), ("-y",), ("-y", "--fresh")):
        code, out, _ = program(*ask, "--saturation", "0.5", *more)
        assert code == 5 and f"from a list of shots; remove {folder_of(one)}" in out
        assert sorted(folder_of(one).iterdir()) == kept and one.stat().st_mtime_ns == before


def drawn() -> Page:
    page = Page()
    page.feed(Path("colour/batch.html").read_text())
    return page


def test_a_kill_loses_no_film_of_the_report(clip: Clip, tmp_path: Path, program: Callable[..., Any]) -> None:
    names = [f"{number}.mkv" for number in range(4)]
    (tmp_path / "shelf").mkdir()
    for name in names:
        clip(f"shelf/{name}", pts=range(3))
    command = (sys.executable, "-m", "stream", "batch", str(tmp_path / "shelf"), "-o", str(tmp_path / "colour"), *SMALL)
    process = subprocess.Popen(command, cwd=Path(cli.__file__).parents[1], stderr=subprocess.PIPE)
    noted, deadline = tmp_path / "colour" / "batch.jsonl", time.monotonic() + 120
    while not (noted.exists() and len(noted.read_bytes().splitlines()) >= 2) and time.monotonic() < deadline:
        os.sched_yield()
    process.kill()
    process.communicate()
    with noted.open("ab") as file:
        file.write(b'{"row": {"sour')  # as a power cut may leave it
    done = [path.name for path in sorted(Path("colour").glob("*.mkv"))]
    assert [Path(line["row"]["source"]).name for line in journal_of(noted)] == done[: len(journal_of(noted))] != []
    code, out, _ = program("batch", "shelf", "-o", "colour", "--json", *SMALL)
    summary = json.loads(out)
    assert code == 0 and json.loads(Path("colour/batch.json").read_text()) == summary
    assert summary["counts"]["films"] == 4 and summary["counts"]["skipped"] >= 2
    assert drawn().count["img"] == 8


def journal_of(path: Path) -> list[dict[str, Any]]:
    """The whole lines."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_what_is_done_is_not_decoded_for_the_report_again(
    one: Path, program: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (line,), before = journal_of(Path("colour/batch.jsonl")), drawn().fetched
    assert line["row"]["status"] == "done" and len(before) == 2
    decoded: list[Path] = []

    def decode(source: Path, target: Path) -> None:
        decoded.append(target)

    monkeypatch.setattr(stream.batch, "before_and_after", decode)
    for _ in range(2):
        assert program("batch", "list.txt", "-o", "colour", *SMALL)[0] == 0
        assert drawn().fetched == before and not decoded
    os.utime(one)  # another result, for all that is known
    os.utime(sidecar_of(one))
    program("batch", "list.txt", "-o", "colour", *SMALL)
    assert decoded == [Path("colour/reel.mkv")]


def test_a_thousand_films_cost_a_thousand_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(stream.batch, "save_summary", lambda summary, out: drawn.append(len(summary.rows)))
    tasks = [Task(source=Path(f"{number}.mkv"), target=tmp_path / "none.mkv", trouble="none") for number in range(1000)]
    batch = Batch(Settings(), Job(), tmp_path)
    batch.work(tasks)
    assert drawn == [1, 1000] and len(journal_of(tmp_path / "batch.jsonl")) == 1000
    noted = tmp_path / "batch.jsonl"
    for _ in range(2):  # later runs keep the last line on each film, and add theirs
        noted.write_bytes(noted.read_bytes()[:-1])  # all of a line but its end: a kill may leave that as well
        Batch(Settings(), Job(), tmp_path).work(tasks[:1])
        assert len(journal_of(noted)) == 1001
