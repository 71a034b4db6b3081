import numpy as np
import openvino
import pytest
import torch

from model import temporal


def scene(seed, size=(64, 96)):
    """Soft blobs, as a working luma `[1, 1, H, W]` 0..1."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 1, 6, 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=size, mode="bicubic", align_corners=False).clamp(0, 1)


def grain(seed, like, size=0.03):
    return size * torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))


def test_grain_flicker_and_small_motion_are_no_cut():
    luma = scene(1)
    first = temporal.guide(luma)
    shaken = torch.roll(luma, (1, 2), (2, 3)) * 0.8 + 0.1 + grain(2, luma)
    assert not temporal.is_cut(temporal.guide(shaken), first).item()


@pytest.mark.parametrize("seed", range(2, 12))
def test_another_scene_is_a_cut(seed):
    assert temporal.is_cut(temporal.guide(scene(seed)), temporal.guide(scene(1))).item()


def test_black_frames_are_one_shot():
    black = torch.zeros(1, 1, 64, 96)
    noisy = (black + grain(1, black, 0.002)).clamp(0, 1)
    assert not temporal.is_cut(temporal.guide(noisy), temporal.guide(black)).item()


def run(chromas, lumas, steady=0.8, cuts=None):
    state, out = None, []
    for index, (chroma, luma) in enumerate(zip(chromas, lumas, strict=True)):
        cut = torch.tensor([bool(cuts and cuts[index])])
        chroma, _, state = temporal.smooth(chroma, None, temporal.guide(luma), cut, state, steady=steady)
        out.append(chroma)
    return out


def jitter(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    base = 0.2 * (torch.rand(1, 2, 32, 48, generator=generator) - 0.5)
    return [base + 0.02 * torch.randn(1, 2, 32, 48, generator=generator) for _ in range(count)], base


def test_a_still_picture_gets_steadier_and_keeps_its_colours():
    chromas, base = jitter(40)
    luma = scene(1)
    smoothed = run(chromas, [luma + grain(index, luma, 0.02) for index in range(40)])
    before = (chromas[-1] - chromas[-2]).abs().mean()
    after = (smoothed[-1] - smoothed[-2]).abs().mean()
    assert after < before / 3
    assert (smoothed[-1] - base).abs().mean() < (chromas[-1] - base).abs().mean() / 1.5


def test_off_means_off():
    chromas, _ = jitter(3)
    for given, got in zip(chromas, run(chromas, [scene(1)] * 3, steady=0.0), strict=True):
        assert torch.equal(given, got)


def test_a_cut_starts_afresh():
    chromas, _ = jitter(3)
    smoothed = run(chromas, [scene(1)] * 3, cuts=[False, False, True])
    assert torch.equal(smoothed[2], chromas[2])


def test_what_jumps_away_leaves_nothing_behind():
    # A bright red square jumps further than is searched, over a blue ground: where it was, blue may be found nearby;
    # where it is now, nothing of the ground may stay.
    before, after = torch.zeros(1, 1, 64, 192), torch.zeros(1, 1, 64, 192)
    before[..., 10:30, 10:30] = 1
    after[..., 10:30, 150:170] = 1
    first, second = torch.full((1, 2, 32, 96), -0.3), torch.full((1, 2, 32, 96), -0.3)
    first[..., 5:15, 5:15], second[..., 5:15, 75:85] = 0.3, 0.3
    _, now = run([first, second], [before, after])
    assert (now[..., 6:14, 6:14] - second[..., 6:14, 6:14]).abs().max() < 1e-2
    assert (now[..., 6:14, 76:84] - second[..., 6:14, 76:84]).abs().max() < 1e-2


@pytest.mark.parametrize("shift", [(0, 4), (2, 6), (-4, 2)])
def test_colours_travel_with_what_moves(shift):
    # A textured scene moves as a whole; its first frame is coloured by place, all later ones grey: with a full mean
    # the colours must lie where the scene has gone, to a sample.
    luma = scene(3, (128, 192)) + 0.15 * scene(4, (128, 192)).roll(7, 3)
    colours = 0.3 * torch.nn.functional.avg_pool2d(scene(3, (128, 192)) - 0.5, 2).expand(1, 2, -1, -1).contiguous()
    state, moved = None, luma
    cut = torch.tensor([False])
    for index in range(5):
        moved = luma.roll((index * shift[0], index * shift[1]), (2, 3))
        expected = colours.roll((index * shift[0] // 2, index * shift[1] // 2), (2, 3))
        given = colours if index == 0 else torch.zeros_like(colours)
        _, _, state = temporal.smooth(given, None, temporal.guide(moved), cut, state, steady=1.0)
    chroma = state.past.chroma
    inner = (..., slice(20, -20), slice(24, -24))
    error = (chroma * 5 - expected)[inner].abs().mean()
    assert error < 0.25 * (expected - colours)[inner].abs().mean()


def test_flicker_of_the_lamp_is_no_change():
    chromas, base = jitter(30)
    random = torch.Generator().manual_seed(5)
    lamps = (1 + 0.1 * torch.randn(30, generator=random)).tolist()
    smoothed = run(chromas, [(0.8 * scene(1) * lamp).clamp(0, 1) for lamp in lamps])
    assert (smoothed[-1] - base).abs().mean() < (chromas[-1] - base).abs().mean() / 2.5


def test_a_dissolve_takes_no_colour_along():
    # Red scene into blue scene over 12 frames: four frames later next to nothing of the red may be left.
    red, blue = torch.full((1, 2, 32, 48), 0.3), torch.full((1, 2, 32, 48), -0.3)
    mix = [min(1.0, max(0.0, (index - 20) / 12)) for index in range(36)]
    lumas = [torch.lerp(scene(1), scene(2), share) for share in mix]
    colours = [torch.lerp(red, blue, share) for share in mix]
    smoothed = run(colours, lumas)
    assert (smoothed[-1] - blue).abs().mean() < 0.1 * 0.6


def test_the_strongest_is_the_mean_of_the_whole_shot():
    chromas, _ = jitter(20)
    smoothed = run(chromas, [scene(1)] * 20, steady=1.0)
    mean = torch.cat(chromas).mean(0, keepdim=True)
    assert torch.allclose(smoothed[-1], temporal.freshen(mean, temporal.vividness(mean)), rtol=0.15, atol=1e-4)
    assert (smoothed[-1].abs() >= mean.abs() - 1e-4).all()  # as vivid as what it is the mean of, never paler


def test_hues_that_waver_make_no_pale_mean():
    angles = [(-1) ** index * 0.45 for index in range(40)]
    hues = [0.2 * torch.tensor([np.cos(angle), np.sin(angle)], dtype=torch.float32) for angle in angles]
    chromas = [hue.view(1, 2, 1, 1).expand(1, 2, 32, 48).contiguous() for hue in hues]
    smoothed = run(chromas, [scene(1)] * 40)
    length = smoothed[-1].square().sum(1).sqrt()
    assert length.min() > 0.99 * 0.2  # cos 0.45 = 0.90 without
    assert length.max() < 1.01 * 0.2


def test_black_frames_and_frozen_frames_give_what_they_are_given():
    colour = torch.full((1, 2, 32, 48), 0.1)
    for luma in (torch.zeros(1, 1, 64, 96), torch.ones(1, 1, 64, 96), scene(1)):
        for chroma in run([colour] * 5, [luma] * 5):
            assert torch.allclose(chroma, colour, atol=1e-6)


def test_the_state_is_all_that_is_carried():
    chromas, _ = jitter(6)
    lumas = [scene(1) + grain(index, scene(1)) for index in range(6)]
    whole = run(chromas, lumas)
    state = None
    for index in range(6):  # the same, with the state taken through a copy, as another process would
        guide = temporal.guide(lumas[index])
        chroma, _, state = temporal.smooth(chromas[index], None, guide, torch.tensor([False]), state)
        chroma_mean, _, seen, frames, vivid = state.past
        past = temporal.Past(chroma_mean.clone(), None, seen.clone(), frames.clone(), vivid.clone())
        state = temporal.State(past, state.guide.clone())
        assert torch.equal(chroma, whole[index])


def test_a_batch_of_streams_is_each_stream_alone():
    chromas, _ = jitter(4, seed=1)
    others, _ = jitter(4, seed=2)
    lumas = [scene(1) + grain(index, scene(1)) for index in range(4)]
    state = None
    alone, beside = run(chromas, lumas), run(others, lumas)
    for index in range(4):
        guide = temporal.guide(torch.cat([lumas[index]] * 2))
        both = torch.cat((chromas[index], others[index]))
        both, _, state = temporal.smooth(both, None, guide, torch.zeros(2, dtype=torch.bool), state)
        assert torch.allclose(both, torch.cat((alone[index], beside[index])), atol=1e-5)


def test_strokes_do_not_boil_on_a_still_background():
    luma, state = scene(1), None
    styled = [luma + grain(index, luma, 0.1) for index in range(30)]
    chroma = torch.zeros(1, 2, 32, 48)
    out = []
    for index, picture in enumerate(styled):
        guide = temporal.guide(luma + grain(100 + index, luma, 0.02))
        _, now, state = temporal.smooth(chroma, picture, guide, torch.tensor([False]), state)
        out.append(now)
    pairs = range(20, 30)
    before = sum((styled[index] - styled[index - 1]).square().mean() for index in pairs)
    after = sum((out[index] - out[index - 1]).square().mean() for index in pairs)
    assert after.sqrt() < before.sqrt() / 5
    assert (out[-1] - luma).abs().mean() < (styled[-1] - luma).abs().mean() / 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_openvino_runs_the_same_smoothing():
    class Step(torch.nn.Module):
        def forward(self, chroma, styled, guide, old, seen, frames, vivid, before, old_styled):
            state = temporal.State(temporal.Past(old, old_styled, seen, frames, vivid), before)
            cut = torch.zeros(1, dtype=torch.bool)
            now, strokes, state = temporal.smooth(chroma, styled, guide, cut, state)
            return now, strokes, state.past.frames

    chromas, _ = jitter(2)
    first, second = (temporal.guide(scene(1).roll(shift, 3) + grain(shift, scene(1), 0.01)) for shift in (0, 3))
    frames = torch.full((1, 1, 16, 24), 9.0)
    inputs = (chromas[1], scene(2), second, chromas[0], first, frames, temporal.vividness(chromas[0]), first, scene(1))
    expected = Step()(*inputs)
    model = openvino.convert_model(Step().eval(), example_input=inputs)
    model.reshape({index: list(tensor.shape) for index, tensor in enumerate(inputs)})  # else it compiles for a minute
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    got = compiled([tensor.numpy() for tensor in inputs])
    for index, tensor in enumerate(expected):
        assert torch.allclose(torch.from_numpy(got[index]), tensor, atol=1e-3), index
