"""The README's examples run as they stand there."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import clips
from stream import media

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    clips.cut_film(clips.SAMPLE, tmp_path / "reel.mkv", frames=30)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def test_there_are_examples():
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_example_runs(number, folder):
    if "Subscriber" in EXAMPLES[number]:
        said = watched(EXAMPLES[number]).splitlines()
        assert re.fullmatch(r"[1-9]\d* received, \d+ lost", said[-1])
        assert said[0].split(maxsplit=2)[1:] == ["natural", "(384, 512) (192, 256)"]
        return
    exec(EXAMPLES[number], {})  # noqa: S102  (the README's own words)
    (made,) = (path for path in folder.glob("*.mkv") if path.name != "reel.mkv")
    assert media.probe(made).width == media.probe("reel.mkv").width


def watched(example):
    """What it prints, run as a program of its own beside a session that publishes."""
    assert len(example.splitlines()) <= 20
    Path("subscriber.py").write_text(example)
    surroundings = os.environ | {"PYTHONPATH": str(ROOT)}
    small = ("--short-side", "32", "--runtime", "torch")
    command = [
        sys.executable,
        "-m",
        "stream",
        "live",
        "reel.mkv",
        "--realtime",
        "--no-web",
        "--publish",
        "reel",
        *small,
    ]
    with subprocess.Popen(
        [sys.executable, "subscriber.py"], env=surroundings, stdout=subprocess.PIPE, text=True
    ) as child:
        time.sleep(2)  # it waits for the session, as a person's may
        assert subprocess.run(command, env=surroundings, capture_output=True, check=False).returncode == 0
        said, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    return said


def test_every_file_the_readme_shows_is_there():
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), target
