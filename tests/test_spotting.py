"""Shots spotted before a film is coloured, and their time codes."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from stream.media import probe, read_frames
from stream.spotting import clock, spot

Clip = Callable[..., Path]
NEUTRAL = np.full((24, 32), 128, np.uint8)


def scenes(number: int) -> list[np.ndarray]:
    """Ten frames of a bright scene, then a dark one with bars."""
    rows, columns = np.mgrid[:48, :64]
    luma = 150 + 60 * np.sin(columns / 5) if number < 10 else 40 + 30 * (rows // 6 % 2)
    return [(luma + number % 3).astype(np.uint8), NEUTRAL, NEUTRAL]


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_cut_is_found_and_each_shot_has_its_sample(clip: Clip, interlaced: bool) -> None:
    path = clip(
        "reel.mkv",
        codec="ffv1",
        pts=range(24),
        planes=scenes,
        context={"field_order": 2} if interlaced else None,
    )
    first, second = spot(read_frames(path), probe(path))
    assert [(each.first, each.frames, each.time_s) for each in (first, second)] == [(0, 10, 0.0), (10, 14, 0.4)]
    assert first.sample.luma.mean() > 140 and second.sample.luma.mean() < 70


def test_where_somebody_says_so_there_is_a_cut(clip: Clip) -> None:
    path = clip("reel.mkv", codec="ffv1", pts=range(24), planes=scenes)
    found = spot(read_frames(path), probe(path), firsts=(0, 3, 20, 500))
    assert [(each.first, each.frames) for each in found] == [(0, 3), (3, 17), (20, 4)]


CODES = [
    ("25", None, 0, 10.04, "00:00:10:01"),
    ("24", "01:00:00:00", 24 * 61 + 3, 0.0, "01:01:01:03"),
    ("24", "23:59:59:23", 1, 0.0, "00:00:00:00"),
    ("30000/1001", "00:00:59;29", 1, 0.0, "00:01:00;02"),
    ("30000/1001", "00:09:59;29", 1, 0.0, "00:10:00;00"),
    ("30000/1001", "00:00:00;00", 107892, 0.0, "01:00:00;00"),
    ("60000/1001", "00:00:59;59", 1, 0.0, "00:01:00;04"),
    ("30000/1001", "00:00:59:29", 1, 0.0, "00:01:00:00"),
]


@pytest.mark.parametrize(("rate", "start", "number", "time_s", "code"), CODES)
def test_time_codes(clip: Clip, rate: str, start: str | None, number: int, time_s: float, code: str) -> None:
    info = replace(probe(clip("reel.mkv", pts=[0])), frame_rate=Fraction(rate))
    assert clock(info, start)(number, time_s) == code
