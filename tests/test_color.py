import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import color


def random_rgb(seed, batch=2, size=(7, 9)):
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_join_undoes_split(seed):
    rgb = random_rgb(seed)
    assert torch.allclose(color.join(*color.split(rgb)), rgb, atol=1e-6)


def test_primaries_have_the_published_codes():
    # BT.601-7: full red has Cr = +0.5, full blue Cb = +0.5, white has none.
    rgb = torch.tensor([[1.0, 0, 0], [0, 0, 1.0], [1.0, 1.0, 1.0]]).view(3, 3, 1, 1)
    luma, chroma = color.split(rgb)
    assert torch.allclose(luma.flatten(), torch.tensor([0.299, 0.114, 1.0]), atol=1e-6)
    assert torch.allclose(chroma[0, 1], torch.tensor(0.5), atol=1e-6)
    assert torch.allclose(chroma[1, 0], torch.tensor(0.5), atol=1e-6)
    assert chroma[2].abs().max() < 1e-6


@given(st.integers(0, 10_000), st.floats(0.1, 3))
@settings(max_examples=25, deadline=None)
def test_limited_chroma_stays_in_range_and_keeps_its_hue(seed, gain):
    generator = torch.Generator().manual_seed(seed)
    luma = torch.rand(1, 1, 5, 6, generator=generator)
    chroma = gain * (torch.rand(1, 2, 5, 6, generator=generator) - 0.5)
    limited = color.limit(luma, chroma)
    rgb = luma + color.offsets(limited)
    assert rgb.min() > -1e-5
    assert rgb.max() < 1 + 1e-5
    cross = chroma[:, 0] * limited[:, 1] - chroma[:, 1] * limited[:, 0]
    assert cross.abs().max() < 1e-5
    assert (limited.norm(dim=1) <= chroma.norm(dim=1) + 1e-6).all()


def test_chroma_already_in_range_is_left_alone():
    luma, chroma = color.split(random_rgb(3))
    assert torch.allclose(color.limit(luma, chroma), chroma, atol=1e-5)


def test_grey_has_no_colourfulness_and_more_saturation_has_more():
    luma, chroma = color.split(random_rgb(5, size=(32, 32)))
    grey = color.colorfulness(luma.expand(-1, 3, -1, -1))
    assert grey.max() < 0.01
    half, full = (color.colorfulness(color.join(luma, gain * chroma)) for gain in (0.5, 1.0))
    assert (full > half).all()


def test_colourfulness_of_a_known_picture():
    # Half red, half grey: rg is 255 and 0, yb is 127.5 and 0; deviations 127.5 and 63.75, means the same.
    rgb = torch.zeros(1, 3, 2, 2)
    rgb[:, 0, 0] = 1
    spread = (127.5**2 + 63.75**2) ** 0.5
    assert torch.allclose(color.colorfulness(rgb), torch.tensor([1.3 * spread]), rtol=1e-4)
