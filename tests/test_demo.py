"""The demo: what it measures is what it says, and what it draws is where it says."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import grey

from model import color
from stream import cli, demo
from stream.colorize import colorize
from stream.config import Settings
from stream.errors import InputError, OutputError
from stream.media import probe, read_frames
from stream.stop import Stop

Clip = Callable[..., Path]
COUNT = 6


@pytest.fixture
def samples(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sample film of two shots, one of them truly grey, and its truth at another size."""

    def truth(number: int) -> list[Any]:
        luma = cv2.resize(grey(number), (32, 24), interpolation=cv2.INTER_AREA)
        red = [luma, np.full((12, 16), 110, np.uint8), np.full((12, 16), 160, np.uint8)]
        return red if number < COUNT // 2 else [luma, *[np.full((12, 16), 128, np.uint8)] * 2]

    clip("film.mkv", codec="ffv1", pts=range(COUNT), audio=["aac"])
    clip("truth.mkv", codec="ffv1", pts=range(COUNT), size=(32, 24), planes=truth)
    half = COUNT // 2
    shots = [
        {"title": "In red", "start": 0, "frames": half, "neutral": False},
        {"title": "In grey", "start": half, "frames": half, "neutral": True},
    ]
    reel = {"film": "film.mkv", "truth": "truth.mkv", "frames": COUNT, "shots": shots}
    (tmp_path / "reel.json").write_text(json.dumps(reel))
    monkeypatch.setattr(demo, "find_samples", lambda: tmp_path)
    small = Settings(short_side=64, runtime="torch")
    monkeypatch.setattr(demo, "colorize", functools.partial(colorize, settings=small))
    return tmp_path


def test_the_demo_colours_measures_and_draws(samples: Path) -> None:
    told: list[tuple[int, int | None]] = []
    result = demo.run_demo(samples / "out", progress=lambda *at: told.append(at))
    assert result.exit_code == 0
    assert len(list(read_frames(result.film))) == COUNT
    sheet = cv2.imread(str(result.sheet))
    assert sheet.shape[1] > 3 * demo.CELL[0] and sheet.shape[0] > 2 * demo.CELL[1]
    video = probe(result.video)
    assert (video.width, video.height) == (128, 48) and len(list(read_frames(result.video))) == COUNT
    assert [other.codec for other in video.others] == ["aac"]
    assert told[-1] == (2 * COUNT, 2 * COUNT) and told == sorted(told)
    assert all(str(path) in "\n".join(result.lines()) for path in (result.film, result.sheet, result.video))


def test_an_earlier_demo_is_replaced(samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert cli.run(["demo", "--out", str(samples / "out"), "--json"], Stop()) == 0
        told = json.loads(capsys.readouterr().out)
    assert [shot["title"] for shot in told["shots"]] == ["In red", "In grey"]
    assert told["overall"]["psnr_grey"] == told["shots"][0]["psnr_grey"]
    assert told["report"]["frames_out"] == COUNT


def test_true_colours_are_without_error_and_grey_has_that_of_the_film_left_grey() -> None:
    luma = torch.full((1, 1, 8, 8), 0.5)
    true = torch.tensor((-0.1, 0.2)).view(1, 2, 1, 1).expand(1, 2, 8, 8)
    perfect, nothing = (demo.Shot(title="", neutral=False) for _ in range(2))
    demo.measure(perfect, luma, true, true)
    demo.measure(nothing, luma, 0 * true, true)
    assert perfect.psnr == [100.0] and perfect.cf == perfect.cf_true
    offsets = color.offsets(true)[0, :, 0, 0]
    assert nothing.psnr == nothing.psnr_grey == [pytest.approx(float(-10 * offsets.square().mean().log10()), abs=1e-3)]
    assert nothing.cf == [pytest.approx(0, abs=0.01)]


def test_a_grey_shot_is_measured_by_its_chroma_and_left_out_of_the_mean() -> None:
    shot = demo.Shot(title="", neutral=True)
    demo.measure(shot, torch.full((1, 1, 8, 8), 0.5), torch.full((1, 2, 8, 8), 2 / 224), torch.zeros(1, 2, 8, 8))
    assert shot.means() == {"chroma": pytest.approx(2)} and not shot.psnr


def test_frames_stand_beside_each_other_grey_on_the_left(clip: Clip) -> None:
    left, right = list(read_frames(clip("reel.mkv", codec="ffv1", pts=range(2))))
    both = demo.beside(left, right)
    assert (both.width, both.height, both.pts) == (128, 48, right.pts)
    assert np.array_equal(both.luma, np.hstack((left.luma, right.luma)))
    assert (both.planes[1][:, :32] == 128).all()


def test_the_samples_of_this_checkout_are_found() -> None:
    folder = demo.find_samples()
    reel = json.loads((folder / "reel.json").read_text())
    assert (folder / reel["film"]).is_file() and (folder / reel["truth"]).is_file()


def test_a_missing_sample_and_a_folder_that_cannot_be_made_are_told(
    samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OutputError, match="can't be made"):
        demo.run_demo(samples / "film.mkv" / "out")
    monkeypatch.undo()
    monkeypatch.setattr(demo, "__file__", str(samples / "stream" / "demo.py"))
    monkeypatch.setattr(demo.metadata, "files", lambda name: None)
    with pytest.raises(InputError, match="sample film is missing"):
        demo.find_samples()
