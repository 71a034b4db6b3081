"""The style path: what an exemplar picture looks like, as a code, and a picture painted that way.

The encoder runs once for an exemplar; the decoder is the part of the fused graph that the natural one leaves out.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks import EARLY_STAGES, LITE0_CHANNELS, Trunk

EXEMPLAR_SHARE = 4 / 7
"""Short side at which an exemplar is looked at, as a share of that of the picture to be painted; as in training, where
strokes learned how large they are. Looked at in half the size it makes strokes half as large: at a working size of 384
the style loss is .34 with a code read at 128, .17 with one read at 224."""
EXEMPLAR_SIDES = tuple(range(64, 353, 32))
"""Short sides at which exemplars are looked at."""
PALETTE = 6
"""A code begins with the exemplar's mean and deviation of luma, Cb and Cr."""
NORM_EPS = 1e-3
"""Added to the variance of features of about unit size. The usual 1e-5 would blow the grain of an empty sky, and the
rounding of a flat picture in FP16, up to full strokes."""


def exemplar_side(short_side: int) -> int:
    """The short side at which an exemplar is looked at for pictures whose short side is this, in pixels."""
    return min(EXEMPLAR_SIDES, key=lambda side: abs(side - EXEMPLAR_SHARE * short_side))


class StyleNorm(nn.Module):
    """Instance norm whose scale and shift are the style's (Dumoulin et al. 2017; Huang and Belongie 2017)."""

    def __init__(self, style: int, channels: int) -> None:
        super().__init__()
        self.affine = nn.Linear(style, 2 * channels)
        nn.init.normal_(self.affine.weight, std=0.05)
        nn.init.zeros_(self.affine.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """`[B, C, h, w]` normalised, then scaled and shifted by style `[B, D]`."""
        scale, shift = self.affine(style)[:, :, None, None].chunk(2, 1)
        normal: Tensor = F.instance_norm(x, eps=NORM_EPS)
        return normal * (1 + scale) + shift  # type: ignore[no-any-return]


class StyledConv(nn.Module):
    """3x3 convolution, then StyleNorm. Borders repeat the edge: zeros would paint a frame around every picture."""

    def __init__(self, inputs: int, outputs: int, style: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, bias=False)
        self.norm = StyleNorm(style, outputs)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """`[B, C, h, w]` to `[B, C', h / stride, w / stride]` with style `[B, D]`."""
        # With stride 2 only the far side needs padding, and sample 2i stays under sample i.
        near = 1 if self.stride == 1 else 0
        return self.norm(self.conv(F.pad(x, (near, 1, near, 1), mode="replicate")), style)  # type: ignore[no-any-return]


class Stroke(nn.Module):
    """Residual block of two styled convolutions."""

    def __init__(self, channels: int, style: int) -> None:
        super().__init__()
        self.first = StyledConv(channels, channels, style)
        self.second = StyledConv(channels, channels, style)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """`[B, C, h, w]` with style `[B, D]`."""
        return x + self.second(torch.relu(self.first(x, style)), style)  # type: ignore[no-any-return]


class StyleDecoder(nn.Module):
    """Paints a picture in the style of a code: luma, colours and the natural decoder's features in, both planes out.

    What it learns is the strokes. The palette needs no learning: each channel is brought to the exemplar's mean and
    deviation (Reinhard et al. 2001), and the network paints the difference to that.
    """

    def __init__(
        self, features: int, context: int, code_size: int, widths: tuple[int, int], strokes: int, hidden: int
    ) -> None:
        super().__init__()
        fine, coarse = widths
        # The palette is of about a tenth, the rest of the code of unit size.
        self.style = nn.Sequential(nn.Linear(code_size, hidden), nn.LeakyReLU(0.1))
        self.enter = StyledConv(6 + features, fine, hidden)
        self.down = StyledConv(fine, coarse, hidden, stride=2)
        self.context = nn.Conv2d(context, coarse, 1, bias=False)
        self.strokes = nn.ModuleList(Stroke(coarse, hidden) for _ in range(strokes))
        self.up = nn.Conv2d(coarse, fine, 1, bias=False)
        self.leave = StyledConv(fine, fine, hidden)
        self.head = nn.Conv2d(fine, 6, 3)
        nn.init.normal_(self.head.weight, std=0.003)  # training starts from the palette alone
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(
        self, luma: Tensor, chroma: Tensor, features: Tensor, context: Tensor, direction: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Chroma `[B, 2, H/2, W/2]` -0.5..0.5 and luma `[B, 1, H, W]` 0..1, painted.

        luma: `[B, 1, H, W]` 0..1. chroma: `[B, 2, H/2, W/2]`. features: `[B, C, H/2, W/2]` and context:
        `[B, C', H/4, W/4]`, the natural decoder's. direction: `[B, S]`, a code of unit mean square.
        """
        style = self.style(direction)
        # Four luma samples, two of chroma, and what the natural decoder knows of the place.
        seen = torch.cat((F.pixel_unshuffle(2 * luma - 1, 2), 4 * chroma, features), 1)
        fine = torch.relu(self.enter(seen, style))
        x = torch.relu(self.down(fine, style) + self.context(context))
        for stroke in self.strokes:
            x = stroke(x, style)
        x = F.interpolate(self.up(x), scale_factor=2.0, mode="bilinear", align_corners=False) + fine
        x = torch.relu(self.leave(x, style))
        strokes = torch.tanh(self.head(F.pad(x, (1, 1, 1, 1), mode="replicate")))
        toned_chroma, toned_luma = tone(luma, chroma, direction)
        coloured, painted = toned_chroma + 0.5 * strokes[:, 4:], toned_luma + F.pixel_shuffle(strokes[:, :4], 2)
        return self._limited(coloured, -0.5, 0.5), self._limited(painted, 0, 1)

    def _limited(self, x: Tensor, low: float, high: float) -> Tensor:
        """Clamped. In training the gradient passes as if it weren't: what went out of range could never come back."""
        limited = x.clamp(low, high)
        return x + (limited - x).detach() if self.training else limited


def tone(luma: Tensor, chroma: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Chroma and luma, of any sizes, with the mean and deviation of each channel that the palette of a code asks for.

    direction: `[B, S]`, a code of unit mean square.
    """
    mean, deviation = direction[:, :PALETTE, None, None].chunk(2, 1)
    toned_chroma = _toned(chroma, mean[:, 1:], deviation[:, 1:], 1e-4)
    return toned_chroma, _toned(luma, mean[:, :1], deviation[:, :1], 1e-3)


def _toned(x: Tensor, mean: Tensor, deviation: Tensor, eps: float) -> Tensor:
    """Channels `[B, C, h, w]` with the mean and deviation `[B, C, 1, 1]` asked for; eps keeps what is flat flat."""
    return F.instance_norm(x, eps=eps) * deviation + mean


class StyleEncoder(nn.Module):
    """The code of an exemplar: its palette, and the principal components of its texture.

    Texture is the channel statistics of the shared trunk's early layers, which look at luma, Cb and Cr as at three grey
    pictures. The projection is settled once, on many paintings, and never trained: an encoder that learned beside the
    decoder let all codes drift together, until every style was painted alike.
    """

    def __init__(self, code_size: int) -> None:
        super().__init__()
        statistics = 3 * 2 * sum(LITE0_CHANNELS[:EARLY_STAGES]) + 6
        self.register_buffer("mean", torch.zeros(statistics))
        self.register_buffer("deviation", torch.ones(statistics))
        self.register_buffer("projection", torch.eye(code_size - PALETTE, statistics))

    def forward(self, luma: Tensor, chroma: Tensor, trunk: Trunk) -> Tensor:
        """Codes `[B, S]`: the palette, then what is of unit mean square; luma `[B, 1, H, W]`, chroma `[B, 2, H, W]`."""
        scaled = (self.statistics(luma, chroma, trunk) - self.get_buffer("mean")) / self.get_buffer("deviation")
        code = F.linear(scaled, self.get_buffer("projection"))
        mean, deviation = _spread(torch.cat((luma, chroma), 1)).chunk(2, 1)
        return torch.cat((mean, deviation, F.normalize(code, dim=1) * code.shape[1] ** 0.5), 1)

    def statistics(self, luma: Tensor, chroma: Tensor, trunk: Trunk) -> Tensor:
        """What is known of exemplars, `[B, N]`."""
        planes = torch.cat((luma, 0.5 + 2 * chroma), 1)
        grey = planes.flatten(0, 1)[:, None]
        texture = torch.cat([_spread(tap) for tap in trunk.early(grey)], 1)
        return torch.cat((texture.unflatten(0, planes.shape[:2]).flatten(1), _covariance(planes)), 1)  # type: ignore[no-untyped-call]

    @property
    def settled(self) -> bool:
        """Whether the projection was settled already."""
        return bool(self.get_buffer("mean").any())

    @torch.no_grad()
    def settle(self, statistics: Tensor) -> None:
        """Settles the projection by the `statistics` `[N, M]` of many paintings."""
        mean, deviation = statistics.mean(0), statistics.std(0) + 1e-6
        _, spread, components = torch.linalg.svd((statistics - mean) / deviation, full_matrices=False)
        wanted = self.get_buffer("projection").shape[0]
        if len(spread) < wanted:
            raise ValueError(f"{len(statistics)} paintings; {wanted} at least are needed to settle the codes")
        # Whitened, because small components tell styles apart as well; but the smallest are noise.
        weight = (spread[:wanted] / spread[0]).clamp_min(0.05) ** -1
        for name, value in (
            ("mean", mean),
            ("deviation", deviation),
            ("projection", components[:wanted] * weight[:, None]),
        ):
            self.get_buffer(name).copy_(value)


def _spread(x: Tensor) -> Tensor:
    """Mean and deviation of every channel, `[B, 2C]`."""
    x = x.float().flatten(2)
    return torch.cat((x.mean(2), (x.var(2, correction=0) + 1e-6).sqrt()), 1)


def _covariance(x: Tensor) -> Tensor:
    """Covariance of three channels, `[B, 6]`: which colours come with which brightness."""
    x = x.float().flatten(2)
    centred = x - x.mean(2, keepdim=True)
    covariance = centred @ centred.transpose(1, 2) / x.shape[2]
    row, column = torch.triu_indices(3, 3)
    return covariance[:, row, column]
