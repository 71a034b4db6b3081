import json

import cv2
import numpy as np
import pytest
import torch
from rich.progress import Progress
from typer.testing import CliRunner

from model import color
from model import weights as released
from model.generator import Generator
from train import blind, cli
from train.config import BlindConfig, EvaluateConfig
from train.gallery import CAPTION
from train.painters import tensor
from train.pictures import read_truth

QUIET = Progress(disable=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two models, one far more colourful than the other, and five photographs."""
    folder = tmp_path_factory.mktemp("blind")
    for seed, (name, spread) in enumerate({"pale": 0.7, "bold": 2.0}.items()):
        torch.manual_seed(seed)
        generator = Generator()
        torch.nn.init.normal_(generator.chroma_head.weight, std=spread)
        released.export(generator, folder / f"{name}.safetensors")
    random = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for number in range(3):
        picture = cv2.resize(random.integers(0, 256, (8, 8, 3)).astype(np.uint8), (256, 256))
        cv2.imwrite(str(folder / "photos" / f"{number}.png"), picture)
    return folder


@pytest.fixture(scope="module")
def config(folder):
    models = (f"before={folder / 'pale.safetensors'}", f"after={folder / 'bold.safetensors'}")
    return BlindConfig(weights=models, photos=(folder / "photos",), out=folder / "out", seed=3)


@pytest.fixture(scope="module")
def drawn(config):
    return blind.draw(config)


def test_the_key_tells_what_the_sheet_does_not(folder, drawn):
    assert json.loads((folder / "out" / blind.KEY).read_text()) == drawn
    assert [model["name"] for model in drawn["models"]] == ["before", "after"]
    assert [place["number"] for place in drawn["places"]] == [1, 2, 3]
    for place in drawn["places"]:
        assert {place["left"], place["right"]} == {"before", "after"}
    assert len({place["left"] for place in drawn["places"]}) == 2  # shuffled


def test_the_second_is_made_as_colourful_as_the_first(drawn):
    before, after = drawn["models"]
    assert before["gain"] == 1
    assert 0 < after["gain"] < 1
    assert len(after["sha256"]) == 64


def test_left_and_right_are_what_the_key_says(folder, config, drawn):
    truth = read_truth(EvaluateConfig(photos=config.photos), QUIET)
    sides = blind.match(config, truth, QUIET)
    place = drawn["places"][0]
    photo = cv2.cvtColor(cv2.imread(str(folder / "photos" / place["picture"])), cv2.COLOR_BGR2RGB)
    luma, _ = color.split(tensor(photo))
    left = next(side for side in sides if side.row.name == place["left"]).colour(luma)
    sheet = cv2.imread(str(folder / "out" / blind.SHEET))
    shown = cv2.cvtColor(sheet[CAPTION : CAPTION + 256, :256], cv2.COLOR_BGR2RGB)
    assert np.abs(shown.astype(int) - left).max() <= 1


def test_one_seed_gives_one_sheet(folder, config, drawn):
    sheet = (folder / "out" / blind.SHEET).read_bytes()
    command = [
        "blind",
        *config.weights,
        "--photos",
        str(folder / "photos"),
        "--seed",
        "3",
        "--out",
        str(folder / "again"),
    ]
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 0, done.output
    assert (folder / "again" / blind.SHEET).read_bytes() == sheet


def test_a_model_that_stays_grey_is_refused(folder, tmp_path):
    generator = Generator()
    torch.nn.init.zeros_(generator.chroma_head.weight)
    released.export(generator, tmp_path / "grey.safetensors")
    config = BlindConfig(
        weights=(str(folder / "bold.safetensors"), str(tmp_path / "grey.safetensors")),
        photos=(folder / "photos",),
        out=tmp_path,
    )
    with pytest.raises(ValueError, match="swap them"):
        blind.draw(config)
