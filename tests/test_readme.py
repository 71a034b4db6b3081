"""The README's examples run as they stand there."""

import re
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
def test_the_example_runs(number, folder, capsys):
    exec(EXAMPLES[number], {})  # noqa: S102  (the README's own words)
    if "Writer" not in EXAMPLES[number] and "colorize(" not in EXAMPLES[number]:
        assert "received," in capsys.readouterr().out  # it shows what came over the wire
        return
    (made,) = (path for path in folder.glob("*.mkv") if path.name != "reel.mkv")
    assert media.probe(made).width == media.probe("reel.mkv").width


def test_every_file_the_readme_shows_is_there():
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), target
