"""A shelf of films as it is in life: odd names, wrecks among the films, what was done before, what comes in later."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from stream import cli
from stream.errors import UsageError
from stream.media import read_frames
from stream.shelf import find_tasks
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
    page.feed(Path("colour/batch.html").read_text())
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


def test_other_settings_are_noticed_and_made_again_if_asked(shelf: Path, program: Callable[..., Any]) -> None:
    (Path("list.txt")).write_text("\ufeff# what is wanted\nshelf/two words.mkv\n\n")
    assert program("batch", "list.txt", "-o", "colour", *SMALL)[0] == 0
    other = ("--saturation", "0.5", *SMALL)
    code, out, _ = program("batch", "list.txt", "-o", "colour", *other)
    assert code == 5 and "other settings" in out and "-y" in out
    assert program("batch", "list.txt", "-o", "colour", "-y", *other)[0] == 0
    assert json.loads(Path("colour/two words.mkv.json").read_text())["settings"]["saturation"] == 0.5


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
