from dataclasses import replace

import numpy as np
import pytest
import torch
from test_motion import texture
from test_shots import FRAME, film

from model import temporal
from stream import steady
from stream.metrics import Meter
from stream.shots import AHEAD, Marked, Picture
from stream.steady import hold, hold_ahead, hold_online


def noisy(lumas, seed=0, styled=False):
    """Pictures in the same colours plus noise."""
    random = torch.Generator().manual_seed(seed)
    given = []
    for luma in lumas:
        guide = temporal.guide(luma)
        chroma = 0.1 + 0.05 * torch.randn(len(luma), 2, luma.shape[2] // 2, luma.shape[3] // 2, generator=random)
        strokes = luma + 0.1 * torch.randn(luma.shape, generator=random) if styled else None
        given.append(Picture(frame=FRAME, guide=guide, chroma=chroma, styled_luma=strokes))
    return given


def chromas(pictures):
    return [picture.chroma for picture in pictures]


def held(pictures, **how):
    return list(hold(iter(pictures), meter=Meter(), **({"steady": 0.8, "lag": 24} | how)))


@pytest.mark.parametrize("lag", [0, 6, 24])
@pytest.mark.parametrize("length", [1, 2, 30])
def test_every_picture_comes_out_in_order(lag, length):
    given = noisy(film(length))
    assert [picture.guide for picture in held(given, lag=lag)] == [picture.guide for picture in given]


def test_off_is_off():
    given = noisy(film(5))
    assert held(given, steady=0.0) == given


def test_causal_frame_by_frame_is_the_whole_clip():
    given = noisy(film(9, 4))
    whole = chromas(held(given, lag=0))
    for length in (1, 5, 10, 13):  # what comes later changes nothing
        part = chromas(held(given[:length], lag=0))
        assert all(torch.equal(a, b) for a, b in zip(part, whole, strict=False))


def test_causal_gives_each_picture_before_it_takes_the_next():
    taken = []

    def source():
        for number, picture in enumerate(noisy(film(6))):
            taken.append(number)
            yield picture

    for number, _ in enumerate(hold(source(), steady=0.8, lag=0, meter=Meter())):
        assert taken[-1] == number


@pytest.mark.parametrize("lag", [6, 24])
def test_no_more_pictures_are_read_ahead_than_the_lag_says(lag):
    taken = []

    def source():
        for number, picture in enumerate(noisy(film(60))):
            taken.append(number)
            yield picture

    for number, _ in enumerate(hold(source(), steady=0.8, lag=lag, meter=Meter())):
        assert len(taken) - 1 - number <= lag


def test_at_a_cut_the_first_causal_frame_is_the_unsmoothed_one():
    given = noisy(film(6, 6))
    assert torch.equal(held(given, lag=0)[6].chroma, given[6].chroma)


@pytest.mark.parametrize("lengths", [(12, 30, 7), (1, 1, 26), (25, 3, 3)])
def test_looking_ahead_each_shot_is_as_if_it_were_alone(lengths):
    given = noisy(film(*lengths))
    together = chromas(held(given))
    start = 0
    for length in lengths:
        alone = chromas(held(given[start : start + length]))
        assert all(torch.equal(a, b) for a, b in zip(alone, together[start : start + length], strict=True))
        start += length


@pytest.mark.parametrize("lag", [0, 6, 24])
def test_a_shot_of_one_picture_asks_the_device_for_no_recording_of_nothing(monkeypatch, lag):
    asked = []

    def on(device, function):
        return lambda *given, **how: asked.append((function.__name__, given)) or function(*given, **how)

    monkeypatch.setattr(steady, "_on", on)
    given = noisy(film(1, 1, 1))
    assert all(map(torch.equal, chromas(held(given, lag=lag)), chromas(given)))
    assert not [given for name, given in asked if name == "between" and given[0] is None and given[2] is None]


def test_looking_ahead_is_steadier_and_truer_from_the_first_frame_on():
    given = noisy(film(30))
    causal, ahead = chromas(held(given, lag=0)), chromas(held(given))
    for index in (0, 1, 15):
        assert (ahead[index] - 0.1).abs().mean() < (causal[index] - 0.1).abs().mean()
    assert (ahead[0] - 0.1).abs().mean() < (given[0].chroma - 0.1).abs().mean() / 2


def test_a_flash_is_left_as_it_is_and_changes_nothing_else():
    scene, white = noisy(film(14)), noisy([torch.ones(1, 1, 128, 192)], seed=9)
    with_flash = held([*scene[:7], *white, *scene[7:]])
    assert torch.equal(with_flash.pop(7).chroma, white[0].chroma)
    assert all(torch.equal(a, b) for a, b in zip(chromas(with_flash), chromas(held(scene)), strict=True))


def test_another_size_in_the_middle_of_a_film():
    given = noisy([*film(5), *film(5, size=(64, 96)), *film(5)])
    for lag in (0, 24):
        assert [picture.chroma.shape for picture in held(given, lag=lag)] == [p.chroma.shape for p in given]


def test_two_fields_are_two_streams():
    one, other = (texture(seed, (64, 96)) for seed in (1, 2))
    both = noisy([torch.cat((one, other))] * 8)
    for way in (hold_online, lambda marked, **how: hold_ahead(marked, lag=6, **how)):
        together = chromas(way([Marked(picture, "same") for picture in both], steady=0.8, meter=Meter()))
        for field in (0, 1):
            part = slice(field, field + 1)
            alone = [Picture(frame=FRAME, guide=p.guide[part], chroma=p.chroma[part]) for p in both]
            single = chromas(way([Marked(picture, "same") for picture in alone], steady=0.8, meter=Meter()))
            for a, b in zip(together, single, strict=True):
                assert torch.allclose(a[part], b, atol=1e-5)


@pytest.mark.parametrize("lag", [0, 24])
def test_frames_and_fields_by_turns_hold_as_still_as_frames_alone(lag):
    lumas = list(film(30))
    mixed = noisy([luma.repeat(1 + index % 3 % 2, 1, 1, 1) for index, luma in enumerate(lumas)], styled=True)
    after = held(mixed, lag=lag)
    assert [len(picture.chroma) for picture in after] == [len(picture.chroma) for picture in mixed]
    assert [len(picture.styled_luma) for picture in after] == [len(picture.styled_luma) for picture in mixed]
    alone = held(noisy(lumas), lag=lag)
    wrong = [[(picture.chroma - 0.1).abs().mean() for picture in pictures[15:]] for pictures in (after, alone)]
    assert max(wrong[0]) < 1.3 * max(wrong[1])


def test_looking_ahead_there_is_no_step_where_one_round_ends_and_the_next_begins():
    # Each frame in a cast of its own: what comes later weighs much, and how much of it is known must not jump.
    scene, random = texture(1, (128, 192)), torch.Generator().manual_seed(3)
    given = [
        replace(picture, chroma=torch.full_like(picture.chroma, 0.1) + 0.05 * torch.randn(1, 2, 1, 1, generator=random))
        for picture in noisy([scene] * 70)
    ]
    after = torch.cat(chromas(held(given))).mean((2, 3))
    change = (after[1:] - after[:-1]).norm(dim=1)
    assert change.max() < 0.03 * 0.07  # with no hand-over between two rounds it is 0.12 of it


@pytest.mark.parametrize("lag", [0, 24])
def test_strokes_hold_still_in_both_ways(lag):
    scene = texture(1, (128, 192))
    given = noisy([scene] * 30, styled=True)
    after = [picture.styled_luma for picture in held(given, lag=lag)]
    before = [picture.styled_luma for picture in given]
    boil = [np.sqrt(np.mean([(x[i] - x[i - 1]).square().mean() for i in range(20, 30)])) for x in (before, after)]
    assert boil[1] < boil[0] / 5
    assert AHEAD < 6
