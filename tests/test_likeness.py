"""Measures of style on features drawn by hypothesis, and on VGG16 with random weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train import likeness
from train.backbones import Vgg
from train.likeness import CONTENT_TAP, STYLE_TAPS, Exemplar
from train.losses import statistics

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def vgg():
    torch.manual_seed(0)
    return Vgg(STYLE_TAPS, padding="zeros", normalised=False).eval().requires_grad_(False)


def features(seed, scale=1.0):
    """Positive, as behind a ReLU, `[1, 6, 8, 8]` at every tap."""
    random = torch.Generator().manual_seed(seed)
    return {tap: scale * torch.rand(1, 6, 8, 8, generator=random) for tap in STYLE_TAPS}


def exemplar(taps):
    return Exemplar(statistics={tap: statistics(values) for tap, values in taps.items()})


@given(seeds, seeds)
@settings(max_examples=25, deadline=None)
def test_an_unchanged_copy_has_lost_no_content(seed, other):
    found = likeness.compare(features(seed), features(seed), exemplar(features(other)))
    assert found.content == 0
    assert found.style > 0 or seed == other


@given(seeds, seeds)
@settings(max_examples=25, deadline=None)
def test_the_exemplar_itself_has_its_style(seed, other):
    found = likeness.compare(features(seed), features(other), exemplar(features(seed)))
    assert found.style == found.style_moments == 0
    assert set(found.gram) == set(found.moments) == set(STYLE_TAPS)


@given(seeds, seeds, st.sampled_from([(2,), (3,), (2, 3)]))
@settings(max_examples=25, deadline=None)
def test_style_does_not_care_where_things_are_and_content_does(seed, other, axes):
    """Features turned over: VGG itself knows left from right, its statistics do not."""
    taps, photo, wanted = features(seed), features(seed), exemplar(features(other))
    turned = {tap: values.flip(axes) for tap, values in taps.items()}
    straight, flipped = (likeness.compare(made, photo, wanted) for made in (taps, turned))
    assert flipped.style == pytest.approx(straight.style, rel=1e-4, abs=1e-6)
    assert flipped.style_moments == pytest.approx(straight.style_moments, rel=1e-4, abs=1e-6)
    assert flipped.content > straight.content
    both = {tap: values.flip(axes) for tap, values in photo.items()}
    assert likeness.compare(turned, both, wanted).content == 0


@given(seeds, seeds, st.floats(0.1, 1000))
@settings(max_examples=25, deadline=None)
def test_losses_are_relative(seed, other, scale):
    one = likeness.compare(features(seed), features(other), exemplar(features(other)))
    ten = likeness.compare(features(seed, scale), features(other, scale), exemplar(features(other, scale)))
    assert ten.content == pytest.approx(one.content, rel=1e-4)
    assert ten.style == pytest.approx(one.style, rel=1e-3)


@given(seeds, seeds)
@settings(max_examples=25, deadline=None)
def test_half_way_to_the_photograph_is_a_quarter_of_the_loss(seed, other):
    photo, away = features(seed)[CONTENT_TAP], features(other)[CONTENT_TAP]
    full, half = (
        likeness.content_loss({CONTENT_TAP: torch.lerp(photo, away, share)}, {CONTENT_TAP: photo}) for share in (1, 0.5)
    )
    assert half.item() == pytest.approx(full.item() / 4, rel=1e-4, abs=1e-12)


def test_nothing_at_all_has_a_loss_of_one(vgg):
    """The definition: squared difference over the energy of what is wanted."""
    with torch.no_grad():
        taps = vgg(torch.rand(1, 3, 32, 32))
    black = {tap: torch.zeros_like(values) for tap, values in taps.items()}
    found = likeness.compare(black, taps, exemplar(taps))
    assert found.content == pytest.approx(1)
    assert found.style == pytest.approx(1)


def test_gram_matrices_are_compared_as_written(vgg):
    with torch.no_grad():
        painted, wanted = (vgg(torch.rand(1, 3, 32, 48)) for _ in range(2))
    found = likeness.compare(painted, wanted, exemplar(wanted))
    for tap in STYLE_TAPS:
        first, second = (taps[tap][0].flatten(1).double() for taps in (painted, wanted))
        g, gs = first @ first.T / first.shape[1], second @ second.T / second.shape[1]
        assert found.gram[tap] == pytest.approx(((g - gs).square().sum() / gs.square().sum()).item(), rel=1e-3)
    assert found.style == pytest.approx(sum(found.gram.values()) / 3)


def test_pictures_of_any_size_can_be_the_exemplar(vgg):
    with torch.no_grad():
        taps = vgg(torch.rand(1, 3, 32, 32))
        assert likeness.compare(taps, taps, Exemplar.of(vgg, torch.rand(1, 3, 64, 40))).style > 0
