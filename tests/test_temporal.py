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


def test_what_moves_is_not_smoothed():
    # A bright square jumps away; where it was and where it is now, no colour of the frame before may stay.
    before, after = torch.zeros(1, 1, 64, 96), torch.zeros(1, 1, 64, 96)
    before[..., 10:30, 10:30] = 1
    after[..., 10:30, 60:80] = 1
    red, blue = torch.full((1, 2, 32, 48), 0.3), torch.full((1, 2, 32, 48), -0.3)
    _, now = run([red, blue], [before, after])
    assert (now[..., 6:14, 6:14] - blue[..., 6:14, 6:14]).abs().max() < 1e-3
    assert (now[..., 6:14, 31:39] - blue[..., 6:14, 31:39]).abs().max() < 1e-3


def test_the_state_is_all_that_is_carried():
    chromas, _ = jitter(6)
    lumas = [scene(1) + grain(index, scene(1)) for index in range(6)]
    whole = run(chromas, lumas)
    state = None
    for index in range(6):  # the same, with the state taken through a copy, as another process would
        guide = temporal.guide(lumas[index])
        chroma, _, state = temporal.smooth(chromas[index], None, guide, torch.tensor([False]), state)
        state = temporal.State(state.chroma.clone(), None, state.guide.clone())
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
        assert torch.allclose(both, torch.cat((alone[index], beside[index])), atol=1e-7)


def test_styled_luma_is_smoothed_where_the_picture_is_still():
    luma, state = scene(1), None
    styled = [luma + grain(index, luma, 0.1) for index in range(10)]
    chroma = torch.zeros(1, 2, 32, 48)
    out = []
    for picture in styled:
        _, now, state = temporal.smooth(chroma, picture, temporal.guide(luma), torch.tensor([False]), state)
        out.append(now)
    assert (out[-1] - out[-2]).abs().mean() < (styled[-1] - styled[-2]).abs().mean() / 3
