"""The committed sample film keeps what samples/README.md promises. It is made by samples/make_film.py."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture(scope="module")
def reel() -> dict[str, Any]:
    return json.loads((SAMPLES / "reel.json").read_text())


@pytest.fixture(scope="module")
def pairs(reel) -> list[tuple[np.ndarray, np.ndarray]]:
    """Luma of film and truth, frame by frame, both at the size of the truth."""
    film, truth = lumas(SAMPLES / reel["film"]), lumas(SAMPLES / reel["truth"])
    size = tuple(reel["truth_size"])
    return [(cv2.resize(old, size, interpolation=cv2.INTER_AREA), true) for old, true in zip(film, truth, strict=True)]


def lumas(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [plane(frame, 0) for frame in container.decode(video=0)]


def plane(frame: av.VideoFrame, index: int) -> np.ndarray:
    here = frame.planes[index]
    return np.frombuffer(here, np.uint8).reshape(here.height, here.line_size)[:, : here.width]


def test_film_has_the_rate_size_and_tags_of_its_description(reel):
    with av.open(str(SAMPLES / reel["film"])) as container:
        video = container.streams.video[0]
        assert video.average_rate == Fraction(*reel["fps"]) == Fraction(24000, 1001)
        assert [video.width, video.height] == reel["size"]
        assert (video.color_range, video.colorspace) == (1, 6)  # limited, BT.601
        assert "danielbuechele" in container.metadata["COMMENT"]  # CC BY 2.0 asks for the name


def test_film_has_sound_as_long_as_its_picture(reel):
    with av.open(str(SAMPLES / reel["film"])) as container:
        audio = container.streams.audio[0]
        samples = sum(frame.samples for frame in container.decode(audio))
        assert abs(samples / audio.rate - reel["frames"] * Fraction(1001, 24000)) < 0.05


def test_film_has_a_chapter_for_every_shot(reel):
    with av.open(str(SAMPLES / reel["film"])) as container:
        chapters = container.chapters()
    assert [chapter["metadata"]["title"] for chapter in chapters] == [shot["title"] for shot in reel["shots"]]
    for chapter, shot in zip(chapters, reel["shots"], strict=True):
        begins_s = chapter["start"] * chapter["time_base"]
        assert abs(begins_s - shot["start"] * Fraction(1001, 24000)) < Fraction(1, 1000)  # Matroska's clock


def test_chroma_of_the_film_is_neutral(reel):
    with av.open(str(SAMPLES / reel["film"])) as container:
        for frame in container.decode(video=0):
            assert (plane(frame, 1) == 128).all()
            assert (plane(frame, 2) == 128).all()


def test_samples_are_small(reel):
    sizes = {name: (SAMPLES / name).stat().st_size for name in (reel["film"], reel["truth"])}
    assert sizes == {name: file["bytes"] for name, file in reel["files"].items()}
    assert sum(path.stat().st_size for path in SAMPLES.iterdir() if path.is_file()) <= 3_000_000


def test_shots_follow_each_other_to_the_end_of_the_film(reel, pairs):
    assert len(pairs) == reel["frames"]
    start = 0
    for shot in reel["shots"]:
        assert shot["start"] == start
        start += shot["frames"]
    assert start == reel["frames"]


def test_film_and_truth_show_the_same_at_the_same_frame(reel, pairs):
    for shot in reel["shots"]:
        for old, true in pairs[shot["start"] : shot["start"] + shot["frames"]]:
            assert np.corrcoef(old.ravel(), true.ravel())[0, 1] > 0.9, shot["title"]


def test_gate_weave_of_film_and_truth_is_the_same(reel, pairs):
    for shot in reel["shots"]:
        old, true = (luma.astype(np.float32) for luma in pairs[shot["start"] + shot["frames"] // 2])
        (x, y), _ = cv2.phaseCorrelate(old, true, cv2.createHanningWindow(true.shape[::-1], cv2.CV_32F))
        assert max(abs(x), abs(y)) < 0.5, (shot["title"], x, y)  # pixels of the truth


def test_intertitle_is_grey_and_the_other_shots_are_colourful(reel):
    with av.open(str(SAMPLES / reel["truth"])) as container:
        frames = list(container.decode(video=0))
    for shot in reel["shots"]:
        middle = frames[shot["start"] + shot["frames"] // 2]
        chroma = max(abs(plane(middle, index).astype(float) - 128).mean() for index in (1, 2))
        assert chroma < 1 if shot["neutral"] else chroma > 4, shot["title"]


def test_every_shot_has_a_source_with_a_licence_and_is_held_out(reel):
    sources = {source["name"]: source for source in reel["sources"]}
    page = (SAMPLES / "README.md").read_text()
    for shot in reel["shots"]:
        assert shot["held_out"]
        if shot["source"] != "card":
            source = sources[shot["source"]]
            assert source["held_out"]
            assert source["licence"] in page
            assert source["sha256"] in page
