"""The generator: grey in, colour out, and the style of an exemplar on request; one set of weights (DESIGN 4).

The natural look is a trunk and a decoder. The fused graph goes on from their features: the style decoder repaints what
the natural decoder coloured, so that one pass gives colour and style, and both are trained together.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks import EARLY_STAGES, LITE0_CHANNELS, ConvNorm, Hint, Level, Trunk
from model.style import PALETTE, StyleDecoder, StyleEncoder

STRIDE = 32
"""Heights and widths are multiples of this."""
CHROMA_STRIDE = 2
"""Chroma comes out at half the working size: true chroma at 64 px already rebuilds a 256 px photo at 38 dB (FACTS)."""


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """Widths of the network."""

    widths: tuple[int, ...] = (192, 128, 96, 64, 32)
    """Channels of the decoder at strides 32, 16, 8, 4, 2."""
    code_size: int = 128
    """Length of a style code."""
    style_widths: tuple[int, int] = (32, 80)
    """Channels of the style decoder at strides 2 and 4."""
    strokes: int = 5
    """Residual blocks of the style decoder."""
    style_hidden: int = 128
    """Width of what the code becomes before it scales and shifts the features."""
    dropout: float = 0.2
    """Share of the global features dropped while training."""


class Generator(nn.Module):
    """EfficientNet-Lite0 trunk, light feature pyramid, chroma at stride 2; the style decoder behind them."""

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GeneratorConfig()
        bottom, *widths = config.widths
        self.trunk = Trunk()
        self.reduce = nn.Conv2d(LITE0_CHANNELS[-1], bottom, 1, bias=False)
        self.overview = nn.Linear(LITE0_CHANNELS[-1], bottom)
        self.dropout: nn.Module = nn.Dropout(config.dropout)
        self.hint = Hint(STRIDE, bottom)
        self.norm = nn.BatchNorm2d(bottom)
        self.bottom = nn.Sequential(ConvNorm(bottom, bottom), ConvNorm(bottom, bottom))
        belows = (bottom, *widths[:-1])
        laterals = reversed(LITE0_CHANNELS[:-1])
        self.levels = nn.ModuleList(
            Level(below, lateral, width, stride)
            for below, lateral, width, stride in zip(belows, laterals, widths, (16, 8, 4, 2), strict=True)
        )
        self.chroma_head = nn.Conv2d(widths[-1], 2, 1)
        nn.init.normal_(self.chroma_head.weight, std=0.01)
        nn.init.zeros_(self.chroma_head.bias)  # type: ignore[arg-type]
        self.style_decoder = StyleDecoder(
            widths[-1], widths[-2], config.code_size, config.style_widths, config.strokes, config.style_hidden
        )
        self.style_encoder = StyleEncoder(config.code_size)

    def forward(self, luma: Tensor, chroma: Tensor, known: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """Colour, and the style of `code`.

        luma: float `[B, 1, H, W]` 0..1, video Y' expanded by its range; H and W multiples of 32.
        chroma: `[B, 2, H, W]` (Cb, Cr) -0.5..0.5, the colours that are known. known: `[B, 1, H, W]` 0..1, where.
        code: `[B, S]` of `encode`, times a strength 0..1; zero is the natural look.
        Returns chroma `[B, 2, H/2, W/2]` -0.5..0.5 and luma `[B, 1, H, W]` 0..1 (the given one for the zero code).
        """
        return self.fused_from(self.trunk.early(luma), luma, chroma, known, code)

    def natural(self, luma: Tensor, chroma: Tensor | None = None, known: Tensor | None = None) -> Tensor:
        """Chroma `[B, 2, H/2, W/2]` in natural colour: the style decoder left out, known colours if any."""
        return self.colours(self.trunk(luma), chroma, known)[0]

    def natural_from(self, taps: list[Tensor]) -> Tensor:
        """`natural` for those who have run the trunk, or `trunk.early`, themselves, in another precision."""
        return self.colours(self._all_of(taps))[0]

    def fused_from(
        self, taps: list[Tensor], luma: Tensor, chroma: Tensor, known: Tensor, code: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`forward` for those who have run the trunk, or `trunk.early`, themselves.

        The painting is done in the precision of `taps`; luma and code, and with them the mixing, keep their own.
        """
        natural, features, context = self.colours(self._all_of(taps), chroma, known)
        # The strength is the code's length, and the painted picture is laid over the natural one by it: nothing of a
        # style can show at strength 0, and between 0 and 1 it comes in evenly, whatever was trained.
        strength = code[:, PALETTE:].square().mean(1, keepdim=True).sqrt()
        direction = (code / strength.clamp_min(1e-3)).to(features.dtype)
        painted, painted_luma = self.style_decoder(luma.to(features.dtype), natural, features, context, direction)
        strength = strength[:, :, None, None]
        natural, painted, painted_luma = (part.to(luma.dtype) for part in (natural, painted, painted_luma))
        return natural + strength * (painted - natural), luma + strength * (painted_luma - luma)

    def _all_of(self, taps: list[Tensor]) -> list[Tensor]:
        return taps if len(taps) > EARLY_STAGES else [*taps, *self.trunk.late(taps[-1])]

    def encode(self, luma: Tensor, chroma: Tensor) -> Tensor:
        """Codes `[B, S]` of exemplars: luma `[B, 1, H, W]` 0..1, chroma `[B, 2, H, W]`; sides multiples of 32."""
        code: Tensor = self.style_encoder(luma, chroma, self.trunk)
        return code

    def colours(
        self, taps: list[Tensor], chroma: Tensor | None = None, known: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Natural chroma `[B, 2, H/2, W/2]`, known colours as they are, and the features of the last two levels."""
        hint = None if chroma is None or known is None else torch.cat((chroma * known, known), 1)
        context, features = self._decode(taps, hint)
        predicted: Tensor = 0.5 * torch.tanh(self.chroma_head(features))
        if hint is not None:
            small = F.avg_pool2d(hint, CHROMA_STRIDE)
            predicted = predicted * (1 - small[:, 2:]) + small[:, :2]
        return predicted, features, context

    def _decode(self, taps: list[Tensor], known: Tensor | None) -> tuple[Tensor, Tensor]:
        """Features `[B, C', H/4, W/4]` and `[B, C, H/2, W/2]` of the last levels; known `[B, 3, H, W]` if any are."""
        *laterals, deepest = taps
        overview = self.overview(self.dropout(F.adaptive_avg_pool2d(deepest, 1).flatten(1)))
        x: Tensor = self.reduce(deepest) + overview[:, :, None, None]
        if known is not None:
            x = x + self.hint(known)
        x = self.bottom(torch.relu(self.norm(x)))
        context = x
        for level, lateral in zip(self.levels, reversed(laterals), strict=True):
            context, x = x, level(x, lateral, known)
        return context, x
