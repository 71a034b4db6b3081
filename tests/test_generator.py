import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from model.blocks import Modulation, SameConv
from model.generator import Generator


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    return Generator().eval()


def known_nothing(luma, generator):
    batch, _, height, width = luma.shape
    return (
        torch.zeros(batch, 2, height, width),
        torch.zeros(batch, 1, height, width),
        torch.zeros(batch, generator.config.code_size),
    )


@torch.no_grad()
def test_shapes_and_ranges(generator):
    luma = torch.rand(2, 1, 64, 96)
    chroma, styled = generator(luma, *known_nothing(luma, generator))
    assert chroma.shape == (2, 2, 32, 48)
    assert styled.shape == luma.shape
    assert chroma.abs().max() <= 0.5
    assert styled.min() >= 0
    assert styled.max() <= 1


@torch.no_grad()
def test_the_zero_code_is_the_natural_look_and_leaves_luma_alone(generator):
    luma = torch.rand(1, 1, 64, 64)
    chroma, styled = generator(luma, *known_nothing(luma, generator))
    assert torch.equal(chroma, generator.natural(luma))
    assert torch.equal(styled, luma)


@torch.no_grad()
def test_a_code_changes_chroma_and_luma(generator):
    luma = torch.rand(1, 1, 64, 64)
    chroma, known, code = known_nothing(luma, generator)
    plain, _ = generator(luma, chroma, known, code)
    other, styled = generator(luma, chroma, known, code + 1)
    assert not torch.equal(plain, other)
    assert not torch.equal(styled, luma)


@torch.no_grad()
def test_colours_are_read_only_where_they_are_known(generator):
    hinting = Generator().eval()
    for name, weight in hinting.named_parameters():
        if "hint" in name:
            weight.normal_(std=0.1)
    luma, chroma = torch.rand(1, 1, 64, 64), torch.rand(1, 2, 64, 64) - 0.5
    nowhere, everywhere = torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 64, 64)
    assert torch.equal(hinting.natural(luma, chroma, nowhere), hinting.natural(luma))
    assert not torch.equal(hinting.natural(luma, chroma, everywhere), hinting.natural(luma))


@torch.no_grad()
def test_the_budget_of_the_design_is_kept(generator):
    assert sum(parameter.numel() for parameter in generator.parameters()) < 8e6
    luma = torch.rand(1, 1, 256, 448)
    with FlopCounterMode(display=False) as natural:
        generator.natural(luma)
    with FlopCounterMode(display=False) as fused:
        generator(luma, *known_nothing(luma, generator))
    assert natural.get_total_flops() / 2 <= 3e9
    assert fused.get_total_flops() / 2 <= 12e9


@torch.no_grad()
def test_strided_convolutions_pad_like_tensorflow():
    # 4 samples, kernel 3, stride 2: SAME pads 0 before and 1 after.
    conv = SameConv(1, 1, 3, 2, bias=False)
    conv.weight.fill_(1)
    picture = torch.arange(16.0).view(1, 1, 4, 4)
    expected = torch.tensor([[0 + 1 + 2 + 4 + 5 + 6 + 8 + 9 + 10, 2 + 3 + 6 + 7 + 10 + 11.0]])
    assert torch.equal(conv(picture)[0, 0, :1], expected)


def test_modulation_by_the_zero_code_is_the_identity():
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(Modulation(16, 8)(x, torch.zeros(2, 16)), x)
