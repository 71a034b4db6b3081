import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from model.blocks import SameConv
from model.generator import Generator
from model.style import PALETTE


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


@torch.no_grad()
def test_strength_comes_in_evenly(generator):
    luma = torch.rand(1, 1, 64, 64)
    chroma, known, code = known_nothing(luma, generator)
    code = torch.randn_like(code)
    code = code / code[:, PALETTE:].square().mean().sqrt()
    none, half, full = (generator(luma, chroma, known, s * code) for s in (0.0, 0.5, 1.0))
    for start, middle, end in zip(none, half, full, strict=True):
        assert torch.allclose(middle, (start + end) / 2, atol=1e-5)
        assert not torch.equal(start, end)


@torch.no_grad()
def test_known_colours_are_kept_as_they_are(generator):
    luma, chroma = torch.rand(1, 1, 64, 64), torch.rand(1, 2, 64, 64) - 0.5
    kept = generator.natural(luma, chroma, torch.ones_like(luma))
    assert torch.equal(kept, torch.nn.functional.avg_pool2d(chroma, 2))


@torch.no_grad()
def test_a_code_is_of_unit_size_and_does_not_depend_on_the_exemplars_size(generator):
    coarse = torch.rand(1, 1, 8, 8)
    small, large = (torch.nn.functional.interpolate(coarse, size=size, mode="bilinear") for size in (128, 256))
    codes = [generator.encode(luma, torch.cat((luma, -luma), 1) * 0.2) for luma in (small, large)]
    for code in codes:
        assert code.shape == (1, generator.config.code_size)
        assert torch.allclose(code[:, PALETTE:].square().mean(), torch.ones(()), atol=1e-4)
    assert torch.cosine_similarity(*codes).item() > 0.9


@torch.no_grad()
def test_a_code_begins_with_the_exemplars_palette(generator):
    luma, chroma = torch.rand(1, 1, 64, 64), 0.2 * torch.rand(1, 2, 64, 64) - 0.1
    code = generator.encode(luma, chroma)[0]
    planes = torch.cat((luma, chroma), 1)[0].flatten(1)
    assert torch.allclose(code[:3], planes.mean(1), atol=1e-5)
    assert torch.allclose(code[3:PALETTE], planes.std(1, correction=0), atol=1e-3)


@torch.no_grad()
def test_an_untrained_decoder_paints_in_the_exemplars_palette(generator):
    luma, chroma = torch.rand(1, 1, 64, 64), 0.2 * torch.rand(1, 2, 64, 64) - 0.1
    code = generator.encode(0.5 + 0.2 * (luma - 0.5), chroma + 0.1)
    made_chroma, made_luma = generator(luma, chroma, torch.ones_like(luma), code)
    assert abs(made_luma.mean() - code[0, 0]) < 0.03
    assert torch.allclose(made_chroma.mean((2, 3))[0], code[0, 1:3], atol=0.03)


def extremes():
    random = torch.Generator().manual_seed(5)
    bars = (torch.arange(64) // 4 % 2).float().expand(64, 64)
    noise = torch.rand(64, 64, generator=random)
    sixteen_bit = (noise * 65535).round() / 65535
    return torch.stack((torch.zeros(64, 64), torch.ones(64, 64), bars, bars.T, noise, sixteen_bit))[:, None]


@torch.no_grad()
@pytest.mark.parametrize("colour", [-0.5, 0.0, 0.5])
def test_fp16_is_finite_for_any_input(generator, colour):
    half = Generator(generator.config).eval()
    half.load_state_dict(generator.state_dict())
    half = half.half()
    luma = extremes().half()
    chroma, known = torch.full((len(luma), 2, 64, 64), colour).half(), torch.ones_like(luma)
    code = torch.randn(len(luma), generator.config.code_size).half()
    for part in (*half(luma, chroma, known, code), *half(luma, 0 * chroma, 0 * known, code), half.natural(luma)):
        assert torch.isfinite(part).all()
