"""The graphs that GPU engines are built of: fixed shapes, tensors in and out, FP16 inside (DESIGN 4 and 8).

What goes in and comes out is float32, so that no caller needs to know what is inside. Converted by TensorRT, captured
in CUDA graphs, and run on a CPU by the tests, they are one and the same modules.
"""

import copy
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from model import temporal
from model.generator import CHROMA_STRIDE, Generator
from model.temporal import Past, State

GraphName: TypeAlias = Literal["natural", "fused", "steady", "steady-styled"]
"""natural: grey in, chroma out. fused: colour and style in one pass. steady: a step of the smoothing behind either."""
GRAPHS: tuple[GraphName, ...] = ("natural", "fused", "steady", "steady-styled")


class Natural(nn.Module):
    """Luma to chroma in the natural look.

    The stem and the first stage stay in float32. ImageNet's colour-opponent filters all but cancel on grey pictures and
    what is left is amplified: with all of it in FP16 chroma moves by 3.4 eight-bit levels at 99.9 % (golden frames,
    128x224) and painted luma by 22, beyond what is allowed; with those two in float32 by 0.2 and 2.4.
    """

    def __init__(self, generator: Generator, precision: torch.dtype = torch.float16) -> None:
        super().__init__()
        self.precision = precision
        self.exact = copy.deepcopy(generator.trunk)
        del self.exact.stages[1:]
        self.generator = copy.deepcopy(generator).to(precision)
        self.generator.dropout = nn.Identity()  # nothing is trained here, and an export keeps the operator
        self.eval()

    def early(self, luma: Tensor) -> list[Tensor]:
        """Features at strides 2, 4, 8, in the graph's precision."""
        return self.generator.trunk.early_from(self.exact.begin(luma).to(self.precision))

    def forward(self, luma: Tensor) -> Tensor:
        """Chroma float32 `[B, 2, H/2, W/2]` -0.5..0.5 of luma float32 `[B, 1, H, W]` 0..1."""
        return self.generator.natural_from(self.early(luma)).float()


class Fused(Natural):
    """Luma, known colours and a code to chroma and luma."""

    def forward(  # type: ignore[override]
        self, luma: Tensor, chroma: Tensor, known: Tensor, code: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `Generator.forward`, float32 in and out; the luma of the zero code is the given one, bit for bit."""
        hints = (chroma.to(self.precision), known.to(self.precision))
        return self.generator.fused_from(self.early(luma), luma, *hints, code)


class Steady(nn.Module):
    """One causal step of the smoothing, `temporal.smooth` with the state as tensors.

    All of it is float32: the matching divides by products of small differences (2e-5 squared is nothing in FP16), and
    counts frames.
    """

    def __init__(self, steady: float, *, styled: bool = False) -> None:
        super().__init__()
        self.steady = steady
        self.styled = styled

    def forward(self, chroma: Tensor, guide: Tensor, cut: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """The smoothed chroma, and the state's past after this frame.

        chroma: `[B, 2, h, w]`. guide: `[B, 1, h/2, w/2]`. cut: `[B]`, 1 where a shot begins. state: chroma, seen,
        frames and vivid of the past and the guide, as `temporal.State` has them. A styled one has the luma
        `[B, 1, H, W]` that was painted after the cut, and the past's at the end of the state. All float32.
        """
        painted = None
        if self.styled:
            painted, *rest = state
            state = tuple(rest)
        before, seen, frames, vivid, last, *luma = state
        past = Past(before, luma[0] if self.styled else None, seen, frames, vivid)
        shown, styled, after = temporal.smooth(chroma, painted, guide, cut > 0.5, State(past, last), steady=self.steady)
        mean = after.past
        made = (shown, mean.chroma, mean.seen, mean.frames, mean.vivid)
        return made if styled is None else (*made, styled)


def make(name: GraphName, generator: Generator, *, steady: float = 0.8) -> nn.Module:
    """The graph of this name, in eval mode, on the CPU."""
    if name == "natural":
        return Natural(generator)
    if name == "fused":
        return Fused(generator)
    return Steady(steady, styled=name == "steady-styled").eval()


def examples(name: GraphName, size: tuple[int, int], batch: int, code_size: int) -> tuple[Tensor, ...]:
    """Inputs of the shapes that the graph is made for: working pictures of `size` (rows, columns)."""
    rows, columns = size
    luma = torch.full((batch, 1, rows, columns), 0.5)
    if name == "natural":
        return (luma,)
    if name == "fused":
        return luma, torch.zeros(batch, 2, rows, columns), torch.zeros_like(luma), torch.zeros(batch, code_size)
    chroma = torch.zeros(batch, 2, rows // CHROMA_STRIDE, columns // CHROMA_STRIDE)
    guide = torch.full((batch, 1, chroma.shape[2] // 2, chroma.shape[3] // 2), 0.5)
    state = (chroma.clone(), guide.clone(), torch.ones_like(guide), torch.zeros_like(guide), guide.clone())
    given = (chroma, guide, torch.zeros(batch))
    return (*given, *state) if name == "steady" else (*given, luma, *state, luma.clone())


def outputs(name: GraphName) -> tuple[str, ...]:
    """What comes out, by name, in order."""
    return {
        "natural": ("chroma",),
        "fused": ("chroma", "luma"),
        "steady": ("chroma", "mean", "seen", "frames", "vivid"),
        "steady-styled": ("chroma", "mean", "seen", "frames", "vivid", "luma"),
    }[name]


def export(name: GraphName, module: nn.Module, example: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    """The graph as torch.export sees it, with the shapes of the example and no others."""
    with torch.no_grad():
        return torch.export.export(module, example, strict=False)
