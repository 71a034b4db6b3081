"""The generator: grey in, colour out, and the style of an exemplar on request; one set of weights (DESIGN 4)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks import LITE0_CHANNELS, ConvNorm, Hint, Level, Modulation, Trunk

STRIDE = 32
"""Heights and widths are multiples of this."""
CHROMA_STRIDE = 2
"""Chroma comes out at half the working size: true chroma at 64 px already rebuilds a 256 px photo at 38 dB (FACTS)."""


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """Widths of the network."""

    widths: tuple[int, ...] = (192, 128, 96, 64, 32)
    """Channels of the decoder at strides 32, 16, 8, 4, 2."""
    code_size: int = 64
    """Length of a style code."""
    dropout: float = 0.2
    """Share of the global features dropped while training."""


class Generator(nn.Module):
    """EfficientNet-Lite0 trunk, light feature pyramid, chroma at stride 2, stylised luma at stride 1.

    The zero code is the natural look by construction: modulation and luma head have no bias.
    """

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GeneratorConfig()
        bottom, *widths = config.widths
        self.trunk = Trunk()
        self.reduce = nn.Conv2d(LITE0_CHANNELS[-1], bottom, 1, bias=False)
        self.overview = nn.Linear(LITE0_CHANNELS[-1], bottom)
        self.dropout = nn.Dropout(config.dropout)
        self.hint = Hint(STRIDE, bottom)
        self.norm = nn.BatchNorm2d(bottom)
        self.bottom = nn.Sequential(ConvNorm(bottom, bottom), ConvNorm(bottom, bottom))
        belows = (bottom, *widths[:-1])
        laterals = reversed(LITE0_CHANNELS[:-1])
        self.levels = nn.ModuleList(
            Level(below, lateral, width, stride, config.code_size)
            for below, lateral, width, stride in zip(belows, laterals, widths, (16, 8, 4, 2), strict=True)
        )
        self.chroma_head = nn.Conv2d(widths[-1], 2, 1)
        nn.init.normal_(self.chroma_head.weight, std=0.01)
        nn.init.zeros_(self.chroma_head.bias)  # type: ignore[arg-type]
        self.luma_head = LumaHead(widths[-1], config.code_size)

    def forward(self, luma: Tensor, chroma: Tensor, known: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """Colour, and the style of `code`.

        luma: float `[B, 1, H, W]` 0..1, video Y' expanded by its range; H and W multiples of 32.
        chroma: `[B, 2, H, W]` (Cb, Cr) -0.5..0.5, the colours that are known. known: `[B, 1, H, W]` 0..1, where.
        code: `[B, S]`; zero is the natural look.
        Returns chroma `[B, 2, H/2, W/2]` -0.5..0.5 and luma `[B, 1, H, W]` 0..1 (the given one for the zero code).
        """
        features = self._decode(self.trunk(luma), torch.cat((chroma * known, known), 1), code)
        return self._chroma(features), self.luma_head(luma, features, code)

    def natural(self, luma: Tensor, chroma: Tensor | None = None, known: Tensor | None = None) -> Tensor:
        """Chroma `[B, 2, H/2, W/2]` in natural colour: zero code, no luma head, known colours if any."""
        hint = None if chroma is None or known is None else torch.cat((chroma * known, known), 1)
        return self._chroma(self._decode(self.trunk(luma), hint, None))

    def natural_from(self, early: list[Tensor]) -> Tensor:
        """`natural` for those who have run `trunk.early` themselves, in another precision."""
        return self._chroma(self._decode([*early, *self.trunk.late(early[-1])], None, None))

    def _chroma(self, features: Tensor) -> Tensor:
        chroma: Tensor = 0.5 * torch.tanh(self.chroma_head(features))
        return chroma

    def _decode(self, taps: list[Tensor], known: Tensor | None, code: Tensor | None) -> Tensor:
        """Features `[B, C, H/2, W/2]` of the last level; known `[B, 3, H, W]` and code `[B, S]` if there are any."""
        *laterals, deepest = taps
        overview = self.overview(self.dropout(F.adaptive_avg_pool2d(deepest, 1).flatten(1)))
        x: Tensor = self.reduce(deepest) + overview[:, :, None, None]
        if known is not None:
            x = x + self.hint(known)
        x = self.bottom(torch.relu(self.norm(x)))
        for level, lateral in zip(self.levels, reversed(laterals), strict=True):
            x = level(x, lateral, known, code)
        return x


class LumaHead(nn.Module):
    """Stylised luma at full working size: the given luma plus a bounded difference that vanishes with the code."""

    def __init__(self, channels: int, code_size: int) -> None:
        super().__init__()
        self.conv = ConvNorm(channels, channels)
        self.gate = nn.Linear(code_size, channels, bias=False)
        self.modulation = Modulation(code_size, channels)
        self.difference = nn.Conv2d(channels, CHROMA_STRIDE**2, 1, bias=False)

    def forward(self, luma: Tensor, features: Tensor, code: Tensor) -> Tensor:
        """Luma `[B, 1, H, W]` 0..1 of luma `[B, 1, H, W]`, features `[B, C, H/2, W/2]` and code `[B, S]`."""
        x = self.modulation(self.conv(features), code) * self.gate(code)[:, :, None, None]
        difference = F.pixel_shuffle(self.difference(x), CHROMA_STRIDE)
        return (luma + torch.tanh(difference)).clamp(0, 1)
