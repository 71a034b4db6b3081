"""What GPU engines are built of: exports with fixed shapes, stays finite in FP16, uses nothing TensorRT refuses."""

import numpy as np
import pytest
import torch

from model import graphs, temporal
from model.generator import STRIDE
from model.temporal import Past, State
from stream.runtime import (
    GOLDEN_MEAN,
    GOLDEN_P999,
    PAINTED_MEAN,
    PAINTED_P999,
    difference,
    find_release,
    golden_frames,
    golden_style,
    inputs,
    load_generator,
)

SIZE = (64, 96)
# What Torch-TensorRT (2.11) leaves to torch, or fails on: an engine would break into parts.
BANNED = {
    *("var", "var_mean", "std", "sort", "nonzero", "unique_dim", "item", "_local_scalar_dense", "bernoulli", "dropout"),
    *("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "grid_sampler_3d", "fft_fft2", "fft_rfft2"),
}


@pytest.fixture(scope="module")
def generator():
    return load_generator(find_release("kinochrome"))


@pytest.fixture(scope="module")
def example(generator):
    return lambda name, batch=1: graphs.examples(name, SIZE, batch, generator.config.code_size)


# The plain smoothing is part of the styled one; `make gpu-convert` exports, converts and builds all four.
@pytest.mark.parametrize("name", ["natural", "fused", "steady-styled"])
@pytest.mark.filterwarnings("ignore:`isinstance:FutureWarning")  # torch.export's own (2.13)
def test_every_graph_exports_with_fixed_shapes_and_no_operator_that_breaks_an_engine(name, generator, example):
    given = example(name, 2)
    program = graphs.export(name, graphs.make(name, generator), given)
    assert not program.range_constraints  # no symbol: nothing depends on a shape
    used = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert used
    assert not {operator.split(".")[1] for operator in used if operator.startswith("aten.")} & BANNED
    made = [node.meta["val"] for node in program.graph.output_node().args[0]]
    assert len(made) == len(graphs.outputs(name))
    assert all(part.dtype == torch.float32 and len(part) == 2 for part in made)


def extreme_pictures():
    rows, columns = SIZE
    check = (np.indices(SIZE).sum(0) % 2).astype(np.float32)
    spot = np.zeros(SIZE, np.float32)
    spot[rows // 2, columns // 2] = 1
    grain = np.random.default_rng(1).random(SIZE, np.float32)
    return {
        "black": np.zeros(SIZE, np.float32),
        "white": np.ones(SIZE, np.float32),
        "checks": check,
        "stripes": np.tile(check[:1], (rows, 1)),
        "a spot": spot,
        "grain": grain,
        "faint grain": grain / 255,
    }


EXTREMES = extreme_pictures()


@pytest.mark.parametrize("picture", EXTREMES)
def test_fp16_stays_finite_and_near_the_reference_on_extremes(picture, generator, natural, fused):
    luma = torch.from_numpy(EXTREMES[picture])[None, None]
    code = torch.from_numpy(golden_style(golden_frames(SIZE), generator.config.code_size).code)[None]
    with torch.inference_mode():
        mean, p999 = difference(natural(luma).numpy(), generator.natural(luma).numpy())
        assert mean <= GOLDEN_MEAN
        assert p999 <= GOLDEN_P999
        for strength in (1e-3, 1.0, 4.0):  # beyond what a strength may be as well
            painted = fused(luma, torch.full((1, 2, *SIZE), 0.5), torch.ones_like(luma), strength * code)
            assert all(torch.isfinite(part).all() for part in painted)


@pytest.fixture(scope="module")
def natural(generator):
    return graphs.make("natural", generator)


@pytest.fixture(scope="module")
def fused(generator):
    return graphs.make("fused", generator)


@pytest.mark.parametrize("size", [SIZE, (128, 224)])
def test_fp16_passes_the_golden_frames_because_it_begins_in_float32(size, generator, natural, fused):
    frames = golden_frames(size)
    luma = torch.from_numpy(frames)
    beside = [torch.from_numpy(part) for part in inputs(frames, golden_style(frames, generator.config.code_size))]
    with torch.inference_mode():
        found = [(natural(luma), generator.natural(luma), GOLDEN_MEAN, GOLDEN_P999)]
        painted, wanted = fused(luma, *beside), generator(luma, *beside)
        found += [(made, right, PAINTED_MEAN, PAINTED_P999) for made, right in zip(painted, wanted, strict=True)]
        for made, right, most_mean, most_p999 in found:
            mean, p999 = difference(made.numpy(), right.numpy())
            assert mean <= most_mean / 2
            assert p999 <= most_p999 / 2
        begun = generator.trunk.begin(luma)
        in_half = natural.generator.trunk.begin(luma.half()).float()
        assert (natural.exact.begin(luma) == begun).all()
        assert (in_half - begun).abs().max() > 1e-3  # so the exact beginning is no luxury


def test_the_zero_code_gives_the_luma_back_bit_for_bit_in_fp16(fused, generator):
    luma = torch.from_numpy(golden_frames(SIZE))
    nothing = torch.zeros(len(luma), 2, *SIZE)
    with torch.inference_mode():
        _, same = fused(luma, nothing, torch.zeros_like(luma), torch.zeros(len(luma), generator.config.code_size))
    assert torch.equal(same, luma)


@pytest.mark.parametrize("styled", [False, True])
def test_the_smoothing_as_a_graph_is_the_smoothing(styled):
    pictures = torch.from_numpy(golden_frames((STRIDE * 2, STRIDE * 3)))
    guides = temporal.guide(pictures)
    random = torch.Generator().manual_seed(5)
    chromas = 0.2 * torch.randn(len(guides), 2, *(2 * side for side in guides.shape[2:]), generator=random)
    step = graphs.Steady(0.8, styled=styled)
    state, cuts = None, [0.0, 0.0, 1.0, 0.0]
    kept = None
    for index, cut in enumerate(cuts):
        chroma, guide = chromas[index : index + 1], guides[index : index + 1]
        luma = pictures[index : index + 1] if styled else None
        mask = torch.tensor([cut])
        wanted, _, state = temporal.smooth(chroma, luma, guide, mask > 0, state, steady=0.8)
        if kept is None:
            kept = state
            continue
        past = (kept.past.chroma, kept.past.seen, kept.past.frames, kept.past.vivid, kept.guide)
        given = (luma, *past, kept.past.styled_luma) if styled else past
        made = step(chroma, guide, mask, *given)
        assert torch.equal(made[0], wanted)
        kept = State(Past(made[1], made[5] if styled else None, *made[2:5]), guide)
