"""Films that lie sideways: turned once where they come in, with the shape of their pixels."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from stream import show
from stream.capture import FileSource
from stream.config import Settings
from stream.media import probe, read_frames
from stream.upright import is_upright, upright, upright_info

SMALL = Settings(runtime="torch", short_side=32)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_picture_is_turned_as_players_turn_it(clip, degrees):
    film = clip("film.mp4", pts=range(3), rotation=degrees, context={"sample_aspect_ratio": Fraction(4, 3)})
    info = probe(film)
    frame = next(read_frames(film))
    assert is_upright(info) == (degrees == 0) and info.rotation % 360 == degrees
    turned, about = upright(frame, info), upright_info(info)
    assert all(
        np.array_equal(np.rot90(plane, degrees // 90), made) and made.flags.c_contiguous
        for plane, made in zip(frame.planes, turned.planes, strict=True)
    )
    assert (turned.width, turned.height) == (about.width, about.height) and is_upright(about)
    assert about.pixel_aspect == (Fraction(3, 4) if degrees % 180 else Fraction(4, 3))


def test_mirrors_and_odd_angles(clip):
    film = clip("film.mkv", pts=range(1))
    info, frame = probe(film), next(read_frames(film))
    one = 1 << 16
    for matrix, wanted in (
        ((-one, 0, 0, 0, one, 0, 0, 0, 1 << 30), frame.luma[:, ::-1]),
        ((one, 0, 0, 0, -one, 0, 0, 0, 1 << 30), frame.luma[::-1]),
        ((0, one, 0, one, 0, 0, 0, 0, 1 << 30), frame.luma.T),
        ((46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30), frame.luma),
        ((0, 0, 0, 0, 0, 0, 0, 0, 0), frame.luma),
    ):
        assert np.array_equal(upright(frame, replace(info, display_matrix=matrix)).luma, wanted)


def test_columns_halved_alone_become_rows_halved_alone(clip):
    film = clip("film.mkv", codec="ffv1", pix_fmt="yuv422p", pts=range(1))
    sideways = replace(probe(film), display_matrix=(0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30))
    turned = upright(next(read_frames(film)), sideways)
    assert turned.subsampling == (0, 1) == upright_info(sideways).subsampling


@pytest.mark.parametrize("name", ["rec.mkv", "rec.mp4", "rec.ts"])
def test_a_telephone_s_film_is_recorded_upright(clip, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    film = clip("film.mp4", pts=range(5), rotation=90, context={"sample_aspect_ratio": Fraction(4, 3)})
    plan = show.Plan(source=FileSource(name=str(film)), settings=SMALL, outs=(name,))
    assert show.run(plan, check=lambda: None, started=lambda address: None, tell=print).exit_code == 0
    info, frames = probe(name), list(read_frames(name))
    assert (info.width, info.height, info.rotation, info.pixel_aspect) == (48, 64, 0, Fraction(3, 4))
    lying = [frame.luma for frame in read_frames(film)]
    assert len(frames) == 5
    for frame, was in zip(frames, lying, strict=True):
        assert np.abs(frame.luma.astype(int) - np.rot90(was)).mean() < 12
