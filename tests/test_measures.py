import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.image import structural_similarity_index_measure

from model import color
from train import measures
from train.backbones import Lpips, SqueezeNet

# Sharma, Wu and Dalal 2005, table 1: L, a, b of both colours and their dE00.
SHARMA = """
50.0000   2.6772 -79.7751  50.0000   0.0000 -82.7485   2.0425
50.0000   3.1571 -77.2803  50.0000   0.0000 -82.7485   2.8615
50.0000   2.8361 -74.0200  50.0000   0.0000 -82.7485   3.4412
50.0000  -1.3802 -84.2814  50.0000   0.0000 -82.7485   1.0000
50.0000  -1.1848 -84.8006  50.0000   0.0000 -82.7485   1.0000
50.0000  -0.9009 -85.5211  50.0000   0.0000 -82.7485   1.0000
50.0000   0.0000   0.0000  50.0000  -1.0000   2.0000   2.3669
50.0000  -1.0000   2.0000  50.0000   0.0000   0.0000   2.3669
50.0000   2.4900  -0.0010  50.0000  -2.4900   0.0009   7.1792
50.0000   2.4900  -0.0010  50.0000  -2.4900   0.0010   7.1792
50.0000   2.4900  -0.0010  50.0000  -2.4900   0.0011   7.2195
50.0000   2.4900  -0.0010  50.0000  -2.4900   0.0012   7.2195
50.0000  -0.0010   2.4900  50.0000   0.0009  -2.4900   4.8045
50.0000  -0.0010   2.4900  50.0000   0.0010  -2.4900   4.8045
50.0000  -0.0010   2.4900  50.0000   0.0011  -2.4900   4.7461
50.0000   2.5000   0.0000  50.0000   0.0000  -2.5000   4.3065
50.0000   2.5000   0.0000  73.0000  25.0000 -18.0000  27.1492
50.0000   2.5000   0.0000  61.0000  -5.0000  29.0000  22.8977
50.0000   2.5000   0.0000  56.0000 -27.0000  -3.0000  31.9030
50.0000   2.5000   0.0000  58.0000  24.0000  15.0000  19.4535
50.0000   2.5000   0.0000  50.0000   3.1736   0.5854   1.0000
50.0000   2.5000   0.0000  50.0000   3.2972   0.0000   1.0000
50.0000   2.5000   0.0000  50.0000   1.8634   0.5757   1.0000
50.0000   2.5000   0.0000  50.0000   3.2592   0.3350   1.0000
60.2574 -34.0099  36.2677  60.4626 -34.1751  39.4387   1.2644
63.0109 -31.0961  -5.8663  62.8187 -29.7946  -4.0864   1.2630
61.2901   3.7196  -5.3901  61.4292   2.2480  -4.9620   1.8731
35.0831 -44.1164   3.7933  35.0232 -40.0716   1.5901   1.8645
22.7233  20.0904 -46.6940  23.0331  14.9730 -42.5619   2.0373
36.4612  47.8580  18.3852  36.2715  50.5065  21.2231   1.4146
90.8027  -2.0831   1.4410  91.1528  -1.6435   0.0447   1.4441
90.9257  -0.5406  -0.9208  88.6381  -0.8985  -0.7239   1.5381
 6.7747  -0.2908  -2.4247   5.8714  -0.0985  -2.2286   0.6377
 2.0776   0.0795  -1.1350   0.9033  -0.0636  -0.5514   0.9082
"""

quick = settings(max_examples=40, deadline=None)  # noisy cores: no test is judged by its time
colours = st.tuples(st.floats(0, 100), st.floats(-100, 100), st.floats(-100, 100))


def textured(height=96, width=128, seed=0):
    """Luma `[1, 1, H, W]` that optical flow can follow."""
    noise = torch.rand(1, 1, height // 8, width // 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, size=(height, width), mode="bicubic", align_corners=False).clamp(0, 1)


def random_lpips():
    torch.manual_seed(0)
    net = Lpips(SqueezeNet()).eval()
    for index, width in enumerate(Lpips.WIDTHS):
        net.get_buffer(f"lin{index}").copy_(torch.rand(1, width, 1, 1))
    return net


@quick
@given(st.floats(0.001, 0.9))
def test_psnr_of_a_known_offset(offset):
    grey = torch.zeros(2, 3, 4, 4)
    assert measures.psnr(grey + offset, grey).tolist() == pytest.approx([-20 * math.log10(offset)] * 2, abs=1e-3)


def test_psnr_of_the_same_picture_is_finite():
    picture = torch.rand(1, 3, 4, 4)
    assert measures.psnr(picture, picture).item() == pytest.approx(120)


def test_ssim_agrees_with_torchmetrics_inside_the_border():
    first = torch.rand(2, 3, 40, 52)
    second = (first + 0.2 * torch.rand_like(first)).clamp(0, 1)
    _, full = structural_similarity_index_measure(
        first, second, data_range=1.0, reduction="none", return_full_image=True
    )
    expected = full[:, :, 5:-5, 5:-5].mean((1, 2, 3))
    assert torch.allclose(measures.ssim(first, second), expected, atol=1e-4)
    assert torch.allclose(measures.ssim(first, first), torch.ones(2), atol=1e-4)


def test_one_look_gives_the_lpips_of_two_passes():
    net = random_lpips()
    first, second = torch.rand(2, 2, 3, 64, 64)
    with torch.no_grad():
        looks = [measures.look(net, rgb) for rgb in (first, second)]
        assert torch.allclose(measures.perceptual_distance(net, *looks), net(first, second), rtol=1e-4)
        assert torch.allclose(looks[0].pooled, measures.POOLED_SCALE * net.net.pooled(first), rtol=1e-4, atol=1e-6)
        assert measures.perceptual_distance(net, looks[0], looks[0]).tolist() == [0, 0]


def test_estimate_is_the_mean_and_its_standard_error():
    assert measures.estimate(torch.tensor([1.0, 2.0, 3.0, 4.0])) == pytest.approx((2.5, math.sqrt(5 / 3) / 2))
    assert measures.estimate(torch.tensor([7.0])) == (7, 0)


def test_kernel_distance_of_a_set_to_itself_is_zero():
    features = torch.randn(20, 8)
    assert measures.kernel_distance(features, features).mean == pytest.approx(0, abs=1e-12)


def test_kernel_distance_is_unbiased():
    random = torch.Generator().manual_seed(1)
    draws = torch.randn(400, 2, 10, 4, generator=random)
    found = torch.tensor([measures.kernel_distance(x, y).mean for x, y in draws])
    mean, error = measures.estimate(found)
    assert abs(mean) < 3 * error
    assert found.min() < 0 < found.max()


def test_kernel_distance_stays_unbiased_when_pictures_are_paired():
    # With the pairs (i, i) in the mixed term the mean would be -1.6.
    random = torch.Generator().manual_seed(2)
    x = torch.randn(400, 10, 4, generator=random)
    y = 0.9 * x + math.sqrt(1 - 0.81) * torch.randn(400, 10, 4, generator=random)
    mean, error = measures.estimate(
        torch.tensor([measures.kernel_distance(*pair).mean for pair in zip(x, y, strict=True)])
    )
    assert abs(mean) < 3 * error


def test_kernel_distance_by_hand():
    # k(x, y) = (xy + 1)^3 in one dimension: 1 and 1 against 0 and 0 gives 8 + 1 - 1 - 1.
    assert measures.kernel_distance(torch.ones(2, 1), torch.zeros(2, 1)).mean == pytest.approx(7)


def test_kernel_distance_refuses_a_single_picture():
    with pytest.raises(ValueError, match="count = 1"):
        measures.kernel_distance(torch.ones(1, 3), torch.ones(1, 3))


def test_psnr_at_a_colourfulness_lies_on_the_curve_or_nowhere():
    curve = [(10.0, 24.0), (20.0, 23.0), (30.0, 20.0)]
    assert measures.value_at(curve, 20) == 23
    assert measures.value_at(curve, 25) == pytest.approx(21.5)
    assert measures.value_at(curve, 31) is None
    assert measures.value_at(curve, 9) is None


def test_tally_keeps_every_picture():
    tally = measures.Tally(random_lpips(), pictures=6)
    truth = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        seen = measures.look(tally.net, truth)
        tally.add(truth, truth, seen, first=0)
        tally.add(truth, truth, seen, first=3)
    assert tally["psnr"].shape == tally["lpips"].shape == (6,)
    assert tally["pooled"].shape == (6, 512)
    assert torch.equal(tally["cf"][:3], color.colorfulness(truth))


def test_tally_without_the_net_has_no_lpips():
    tally = measures.Tally(None, pictures=1)
    tally.add(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16), None, first=0)
    assert "psnr" in tally
    assert "lpips" not in tally


def test_lab_of_known_colours():
    rgb = torch.tensor([[1.0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]]).T[None, :, None]
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86]]
    assert torch.allclose(measures.lab(rgb)[0, :, 0].T, torch.tensor(expected), atol=0.02)


def test_lab_agrees_with_opencv():
    rgb = torch.rand(1, 3, 16, 16)
    expected = cv2.cvtColor(rgb[0].permute(1, 2, 0).numpy(), cv2.COLOR_RGB2LAB)
    assert np.abs(measures.lab(rgb)[0].permute(1, 2, 0).numpy() - expected).max() < 0.5  # OpenCV interpolates a table


@quick
@given(st.floats(0, 1))
def test_grey_has_no_colour_in_lab(level):
    assert measures.lab(torch.full((1, 3, 1, 1), level))[:, 1:].abs().max() < 1e-3


@pytest.mark.parametrize("line", SHARMA.strip().splitlines())
def test_ciede2000_gives_the_published_values(line):
    values = torch.tensor([float(word) for word in line.split()], dtype=torch.float64)
    first, second = values[:3].view(1, 3, 1, 1), values[3:6].view(1, 3, 1, 1)
    assert measures.ciede2000(first, second).item() == pytest.approx(values[6].item(), abs=5e-5)


@quick
@given(colours, colours)
def test_ciede2000_is_symmetric_and_zero_for_the_same_colour(first, second):
    a, b = (torch.tensor(lab, dtype=torch.float64).view(1, 3, 1, 1) for lab in (first, second))
    assert measures.ciede2000(a, a).item() == 0
    assert measures.ciede2000(a, b).item() == pytest.approx(measures.ciede2000(b, a).item(), abs=1e-6)


def test_a_static_picture_does_not_move():
    luma = textured()
    motion = measures.find_motion(luma, luma)
    assert motion.flow.abs().max() < 0.05
    assert motion.seen.float().mean() > 0.95  # the outermost pixels may point outside by a hair


def test_flow_finds_a_known_shift():
    picture = textured(96, 160)
    current, earlier = picture[..., 5:133], picture[..., 2:130]
    motion = measures.find_motion(current, earlier)
    inner = motion.flow[:, :, 16:-16, 16:-16]
    assert (inner[:, 0] - 3).abs().mean() < 0.2
    assert inner[:, 1].abs().mean() < 0.2
    assert not motion.seen[..., -2:].any()  # the right edge came into view


def test_warp_by_whole_pixels_is_exact():
    picture = torch.rand(1, 2, 12, 16)
    motion = measures.known_motion(3, -2, (12, 16))
    warped = measures.warp(picture, motion.flow)
    assert torch.allclose(warped[:, :, 2:, :-3], picture[:, :, :-2, 3:], atol=1e-5)
    assert motion.seen[0, 0, 2:, :-3].all()
    assert not motion.seen[0, 0, :2].any()
    assert not motion.seen[0, 0, :, -3:].any()


@quick
@given(st.floats(-8, 8), st.floats(-8, 8))
def test_warp_error_of_a_known_jitter(a, b):
    ab = torch.rand(1, 2, 8, 8) * 40
    still = measures.known_motion(0, 0, (8, 8))
    jitter = torch.tensor((a, b)).view(1, 2, 1, 1)
    expected = (a * a + b * b) / 2 / measures.AB_UNIT**2
    assert measures.warp_error(ab + jitter, ab, still) == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_warp_error_of_an_unseen_place_is_none():
    ab = torch.rand(1, 2, 8, 8)
    assert measures.warp_error(ab, ab, measures.known_motion(9, 0, (8, 8))) is None


def test_pairs_stay_within_a_shot_and_are_spread_evenly():
    shots = [0] * 5 + [1] * 4
    assert measures.pairs(shots, 3, 99) == [(3, 0), (4, 1), (8, 5)]
    assert measures.pairs(shots, 6, 99) == []
    assert measures.pairs([0] * 11, 1, 3) == [(1, 0), (5, 4), (10, 9)]


def test_histograms_put_grey_into_one_bin():
    shares = measures.histograms(1e-4 * torch.randn(2, 2, 8, 8))
    assert torch.equal(shares[..., 128], torch.ones(2, 2))
    assert torch.equal(shares.sum(2), torch.ones(2, 2))


def test_divergence_of_the_same_and_of_disjoint_shares():
    first, second = torch.tensor([[0.5, 0.5, 0, 0]]), torch.tensor([[0, 0, 0.25, 0.75]])
    assert measures.divergence(first, first).item() == 0
    assert measures.divergence(first, second).item() == pytest.approx(math.log(2))


@quick
@given(st.lists(st.floats(0.01, 1), min_size=4, max_size=4), st.lists(st.floats(0.01, 1), min_size=4, max_size=4))
def test_divergence_is_symmetric_and_bounded(first, second):
    p, q = (torch.tensor(values, dtype=torch.float64) for values in (first, second))
    p, q = p / p.sum(), q / q.sum()
    found = measures.divergence(p, q).item()
    assert found == pytest.approx(measures.divergence(q, p).item(), abs=1e-12)
    assert 0 <= found <= math.log(2)


def test_still_colours_have_no_error_and_flicker_has_its_own():
    ab = torch.rand(1, 2, 8, 8).mul(20).repeat(4, 1, 1, 1)
    pairs = [(1, 0), (2, 1), (3, 2)]
    motions = [measures.known_motion(0, 0, (8, 8))] * 3
    assert measures.steadiness(ab, pairs, motions) == pytest.approx((0, 0), abs=1e-12)
    flicker = ab + torch.tensor((0.0, 4, 0, 4)).view(4, 1, 1, 1)
    e_warp, cdc = measures.steadiness(flicker, pairs, motions)
    assert e_warp == pytest.approx(16 / measures.AB_UNIT**2, rel=1e-4)
    assert cdc > 0.1
    assert measures.steadiness(ab, [], []) == (None, None)


def test_true_colours_of_the_panned_clip_do_not_move_at_any_lag():
    clip = measures.pan(torch.rand(2, 3, 64, 64), frames=54)
    ab = measures.lab(color.join(clip.shown, clip.truth))[:, 1:]
    for lag in (1, 10, 50):
        pairs = measures.pairs(clip.shots, lag, 5)
        motions = [clip.motion(*pair) for pair in pairs]
        assert pairs
        assert all(motion.seen.any() for motion in motions)
        e_warp, _ = measures.steadiness(ab, pairs, motions)
        assert e_warp == pytest.approx(0, abs=1e-8)


def test_panned_clip_shows_the_network_fresh_grain():
    clip = measures.pan(torch.full((1, 3, 64, 64), 0.5), frames=4, grain=0.03)
    grain = clip.luma - clip.shown
    assert grain.std().item() == pytest.approx(0.03, rel=0.1)
    assert (grain[0] - grain[1]).std() > 0.03
    assert clip.luma.shape == (4, 1, 32, 32)
    assert list(clip.shots) == [0] * 4


def test_smoothing_calms_noise_within_a_shot_and_starts_afresh_at_a_cut():
    luma = textured(32, 32).expand(8, 1, 32, 32)
    clip = measures.Clip(name="", luma=luma, shown=luma, truth=None, shots=[0] * 6 + [1] * 2)
    chroma = 0.1 + 0.02 * torch.randn(8, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    calm = measures.smoothed(chroma, clip)
    assert torch.equal(calm[0], chroma[0])
    assert torch.equal(calm[6], chroma[6])
    assert calm[1:6].diff(dim=0).std() < 0.6 * chroma[1:6].diff(dim=0).std()


def test_noise_and_attack_keep_to_their_size():
    luma = torch.rand(2, 1, 16, 16)
    for changed in (measures.noise(luma, 0.02), measures.attack(lambda x: x.repeat(1, 2, 1, 1), luma, 0.02)):
        assert (changed - luma).abs().max() <= 0.02 + 1e-6
        assert changed.min() >= 0
        assert changed.max() <= 1


def test_attack_moves_the_colours_further_than_noise_does():
    luma = 0.25 + 0.5 * torch.rand(2, 1, 24, 24)

    def network(luma):  # random signs cancel in the mean of a neighbourhood, an attack's do not
        return torch.nn.functional.avg_pool2d(luma, 3, 1).expand(-1, 2, -1, -1)

    hit, noise = (
        (network(changed) - network(luma)).square().mean().item()
        for changed in (measures.attack(network, luma, 0.02), measures.noise(luma, 0.02))
    )
    assert hit > 3 * noise
