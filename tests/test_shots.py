import json

import numpy as np
import pytest
import torch
from test_motion import texture

from benchmarks.clips import SAMPLE
from model import temporal
from stream.frame import Frame
from stream.geometry import Geometry, working_luma
from stream.media import read_frames
from stream.shots import Picture, mark_ahead, mark_online

FRAME = Frame(planes=(np.zeros((1, 1), np.uint8),))


def pictures(lumas):
    for luma in lumas:
        guide = temporal.guide(luma)
        height, width = luma.shape[2:]
        yield Picture(frame=FRAME, guide=guide, chroma=torch.zeros(len(luma), 2, height // 2, width // 2))


def film(*lengths, size=(128, 192)):
    """Scenes of so many frames each, with grain."""
    noise = torch.Generator().manual_seed(1)
    for seed, length in enumerate(lengths):
        scene = texture(seed, size)
        for _ in range(length):
            yield (scene + 0.02 * torch.randn(scene.shape, generator=noise)).clamp(0, 1)


def marks(lumas, way=mark_ahead):
    return "".join(mark[0] for _, mark in way(pictures(lumas)))


@pytest.mark.parametrize("way", [mark_ahead, mark_online])
def test_cuts_are_where_scenes_change(way):
    assert marks(film(7, 5, 12, 6), way) == "cssssss" + "cssss" + "c" + 11 * "s" + "csssss"


@pytest.mark.parametrize("way", [mark_ahead, mark_online])
def test_shots_of_a_single_frame(way):
    assert marks(film(5, 1, 1, 1, 5), way) == "csssscccc" + "ssss"


@pytest.mark.parametrize("count", [1, 2])
def test_a_flash_stands_alone_and_the_shot_goes_on(count):
    scene = list(film(12))
    flash = [torch.ones_like(scene[0])] * count
    assert marks([*scene[:6], *flash, *scene[6:]]) == "csssss" + "a" * count + "ssssss"


def test_black_leaders_and_frozen_frames_are_one_shot_each():
    black, scene = torch.zeros(1, 1, 128, 192), texture(1, (128, 192))
    assert marks([black] * 4 + [scene] * 5) == "cssscssss"
    assert marks([black]) == "c"
    assert marks([]) == ""


def test_another_size_begins_a_shot():
    assert marks([*film(5), *film(5, size=(64, 96))]) == "csssscssss"


@pytest.mark.parametrize("way", [mark_ahead, mark_online])
def test_frames_and_fields_by_turns_are_one_shot(way):
    mixed = [luma.repeat(1 + index % 3 % 2, 1, 1, 1) for index, luma in enumerate(film(6, 9))]
    assert marks(mixed, way) == "csssss" + "cssssssss"


def test_every_picture_comes_out_once_and_in_order():
    given = list(pictures(film(3, 9, 1, 4)))
    assert [picture for picture, _ in mark_ahead(iter(given))] == given


def test_the_cuts_of_the_sample_film_are_found():
    shots = json.loads(SAMPLE.with_name("reel.json").read_text())["shots"]
    hard = [shot["start"] for shot in shots if not shot["dissolve"]]
    geometry = Geometry.of(640, 480, short_side=128)

    def lumas():
        for frame in read_frames(SAMPLE.with_name("reel.mkv")):
            yield torch.from_numpy(working_luma(frame.luma, frame, geometry))[None, None]

    found = marks(lumas())
    assert [index for index, mark in enumerate(found) if mark == "c"] == hard
