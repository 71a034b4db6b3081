"""The check of pictures before training: what it refuses, and that it needs no second look."""

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from model.generator import Generator
from stream.errors import InputError
from train import data, stages
from train.config import PLAIN_L1, TrainConfig
from train.verdicts import Check


def picture(seed: int, size: tuple[int, int] = (140, 180)) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    large = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".png", large)[1].tobytes()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two good pictures, a broken, a tiny and a grey one, and a shard with a good and a broken one."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        (folder / f"good{number}.png").write_bytes(picture(number))
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "tiny.png").write_bytes(picture(3, (40, 200)))
    (folder / "grey.png").write_bytes(cv2.imencode(".png", np.full((140, 140, 3), 90, np.uint8))[1].tobytes())
    with tarfile.open(folder / "shard.tar", "w") as shard:
        for name, content in (("set/good.png", picture(4)), ("set/broken.png", b"no picture")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            shard.addfile(entry, io.BytesIO(content))
    return folder


def names(entries: list[data.Entry]) -> set[str]:
    return {entry.name for entry in entries}


def test_only_what_the_check_keeps_is_learnt_from_and_the_rest_is_told(photos: Path) -> None:
    said: list[str] = []
    check = Check(tell=said.append)
    assert names(check.usable([photos])) == {"good0.png", "good1.png", "set/good.png"}
    check.usable([photos])
    assert said == [f"{photos}: 3 of 7 pictures can be learnt from; refused: 2 broken, 1 tiny, 1 near-grey"]


def test_a_painting_may_be_grey(photos: Path) -> None:
    assert "grey.png" in names(Check().usable([photos], grey=True))


def test_no_picture_is_opened_twice_unless_it_changed(photos: Path, tmp_path: Path) -> None:
    opened: list[list[str]] = []

    def track(entries):  # type: ignore[no-untyped-def]
        opened.append([entry.name for entry in entries])
        return entries

    kept = tmp_path / "runs" / "pictures.json"
    first = Check(kept, track=track).usable([photos])
    assert Check(kept, track=track).usable([photos]) == first
    assert [len(each) for each in opened] == [7]
    (photos / "good1.png").write_bytes(b"no picture any more")
    assert names(Check(kept, track=track).usable([photos])) == {"good0.png", "set/good.png"}
    assert opened[1:] == [["good1.png"]]


def test_a_damaged_file_of_verdicts_is_made_anew(photos: Path, tmp_path: Path) -> None:
    said: list[str] = []
    kept = tmp_path / "pictures.json"
    kept.write_text("{")
    Check(kept, tell=said.append).usable([photos])
    assert "checked anew" in said[0] and kept.read_text() != "{"


def test_a_source_of_which_nothing_is_left_is_refused(photos: Path) -> None:
    with pytest.raises(ValueError, match="no picture there can be learnt from"):
        for path in photos.glob("*good*"):
            path.unlink()
        (photos / "shard.tar").unlink()
        Check().usable([photos])


def test_stages_train_on_what_was_kept_alone(photos: Path) -> None:
    config = TrainConfig(stage="baseline", weights=PLAIN_L1)
    trainer = stages.build(config, stages.Sources(photos=(photos,)), Generator(), torch.device("cpu"))
    assert names(trainer.tasks[0].entries) <= {"good0.png", "good1.png", "set/good.png"}  # type: ignore[attr-defined]


def test_a_folder_called_like_a_picture_is_none(photos: Path) -> None:
    (photos / "folder.png").mkdir()
    assert "folder.png" not in names(data.find_pictures([photos]))


def test_a_file_that_is_no_shard_is_told_in_a_line(photos: Path) -> None:
    with pytest.raises(InputError, match="no tar shard"):
        data.find_pictures([photos / "good0.png"])


def test_the_same_pictures_are_held_out_from_whichever_root_they_are_given(tmp_path: Path) -> None:
    folder = tmp_path / "P" / "sub"
    folder.mkdir(parents=True)
    for number in range(300):
        (folder / f"{number}.png").write_bytes(b"x")

    def apart(root: Path) -> set[Path]:
        return {entry.path for entry in data.find_pictures([root]) if data.held_out(entry)}

    assert apart(folder.parent) == apart(folder) == apart(tmp_path) != set()
