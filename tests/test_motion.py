import pytest
import torch
from test_temporal import grain, scene

from model import motion


def texture(seed, size=(64, 96)):
    """A guide with shades of many sizes."""
    fine = torch.nn.functional.interpolate(scene(seed + 50, (size[0] // 4, size[1] // 4)), size=size, mode="bilinear")
    return 0.5 * scene(seed, size) + 0.5 * fine


@pytest.mark.parametrize("shift", [(0, 0), (0, 3), (2, -5), (-8, 8), (0, 12)])
def test_whole_shifts_are_found(shift):
    before = texture(1)
    now = before.roll(shift, (2, 3))
    flow = motion.find(now, before)
    inner = flow[..., 16:-16, 20:-20]
    assert (inner[:, 0] + shift[1]).abs().median() < 0.75
    assert (inner[:, 1] + shift[0]).abs().median() < 0.5


def test_part_of_a_sample_is_found():
    large = texture(2, (256, 384))
    before, now = motion.halve(motion.halve(large)), motion.halve(motion.halve(large.roll((2, 6), (2, 3))))
    flow = motion.find(now, before)[..., 10:-10, 10:-10]
    assert (flow[:, 0] + 1.5).abs().mean() < 0.25
    assert (flow[:, 1] + 0.5).abs().mean() < 0.25


def test_grain_and_flicker_move_nothing():
    before = texture(1)
    now = 0.9 * before + 0.03 + grain(3, before, 0.003)
    assert (motion.find(now, before).abs().amax(1) < 0.1).float().mean() > 0.9


def test_many_pairs_at_once_are_each_pair_alone():
    before = [texture(seed) for seed in (1, 2, 3)]
    now = [picture.roll(shift, 3) for picture, shift in zip(before, (0, 3, -6), strict=True)]
    together = motion.find(torch.cat(now), torch.cat(before))
    for index in range(3):
        alone = motion.find(now[index], before[index])
        assert torch.allclose(together[index : index + 1], alone, atol=1e-4)


def test_the_way_back_is_the_way_there():
    before = texture(1)
    flow = motion.find(before.roll(4, 3), before)
    back = motion.turn_back(flow)
    assert (flow + back)[..., 16:-16, 20:-20].abs().median() < 0.3


def test_a_warp_by_whole_samples_is_a_shift():
    picture = texture(1)
    flow = torch.zeros(1, 2, 64, 96)
    flow[:, 0], flow[:, 1] = 3, -2
    moved = motion.warp(picture, flow)
    assert torch.allclose(moved[..., 4:-4, 4:-4], picture.roll((2, -3), (2, 3))[..., 4:-4, 4:-4], atol=1e-4)


def test_the_smallest_working_picture_works():
    tiny = torch.rand(1, 1, 16, 16)
    assert torch.isfinite(motion.find(tiny, tiny.roll(1, 3))).all()
