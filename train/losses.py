"""What training minimises. Chroma is float `[B, 2, h, w]` -0.5..0.5, luma `[B, 1, h, w]` 0..1, losses are scalars."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model import color
from train.backbones import Vgg
from train.config import StyleWeights, Weights

KNEE = 0.02
"""Where the robust loss turns from square to straight: about five eight-bit levels."""
PERCEPTUAL_TAPS = ("relu1_2", "relu2_2", "relu3_2")
STYLE_TAPS = ("relu1_2", "relu2_2", "relu3_3")
"""Johnson's choice (2016), as far as the net goes; the last is the content's as well. On one exemplar, 240 pictures by
the blocks' first layers (Gatys's choice) took the style loss on VGG16 from .337 to .224, by these to .157."""
TINY = 1e-4


def chroma_loss(chroma: Tensor, truth: Tensor, saturation: float) -> Tensor:
    """Huber loss, a saturated pixel counting more: without it the many dull pixels teach brown."""
    weight = 1 + saturation * truth.norm(dim=1, keepdim=True)
    error: Tensor = F.smooth_l1_loss(chroma, truth, beta=KNEE, reduction="none")
    weighted: Tensor = error * weight
    return weighted.mean()


def gradient_loss(chroma: Tensor, truth: Tensor) -> Tensor:
    """L1 of the differences between neighbours, at two scales: colour edges where the truth has them."""
    difference = chroma - truth
    total = difference.new_zeros(())
    for _ in range(2):
        total = total + difference.diff(dim=3).abs().mean() + difference.diff(dim=2).abs().mean()
        difference = F.avg_pool2d(difference, 2)
    return total


def perceptual_loss(vgg: Vgg, rgb: Tensor, truth: Tensor) -> Tensor:
    """L1 of VGG19 features, each tap scaled to the truth's mean activation, so that all count alike."""
    with torch.no_grad():
        wanted = vgg(truth)
    total = rgb.new_zeros(())
    for tap, features in vgg(rgb).items():
        total = total + (features - wanted[tap]).abs().mean() / wanted[tap].mean()
    return total


def colorfulness_loss(rgb: Tensor, truth: Tensor) -> Tensor:
    """|CF - CF of the truth| per 100 units: matched, never maximised (that gives red blotches)."""
    return (color.colorfulness(rgb) - color.colorfulness(truth)).abs().mean() / 100


def colour_losses(
    chroma: Tensor, truth: Tensor, luma: Tensor, photo: Tensor, *, weights: Weights, vgg: Vgg | None
) -> dict[str, Tensor]:
    """Every loss that is on, by name and already weighted; their sum is minimised.

    luma: the clean luma at chroma's size, for what looks at R'G'B'. photo: `[B]`, 1 for photographs, 0 for title
    cards, which count for the chroma loss alone.
    """
    losses = {"chroma": weights.chroma * chroma_loss(chroma, truth, weights.saturation)}
    if weights.gradient:
        losses["gradient"] = weights.gradient * gradient_loss(chroma, truth)
    if not (weights.perceptual or weights.colorfulness):
        return losses
    keep = photo > 0
    if not keep.any():  # the mean of nothing is no number
        return losses
    rgb, wanted = color.join(luma[keep], chroma[keep]), color.join(luma[keep], truth[keep])
    if weights.perceptual and vgg is not None:
        # A quarter of the batch: at 64 px VGG costs more than the whole network's step.
        part = max(1, len(rgb) // 4)
        losses["perceptual"] = weights.perceptual * perceptual_loss(vgg, rgb[:part], wanted[:part])
    if weights.colorfulness:
        losses["colorfulness"] = weights.colorfulness * colorfulness_loss(rgb, wanted)
    return losses


class Statistics(NamedTuple):
    """What the style losses compare, of features `[B, C, h, w]`."""

    mean: Tensor
    """`[B, C]`."""
    deviation: Tensor
    """`[B, C]`."""
    gram: Tensor
    """Gram matrices `[B, C, C]`, per place."""


def statistics(features: Tensor) -> Statistics:
    """Channel statistics, fp32, of features in any precision; channels last are read as they lie."""
    flat = features.permute(0, 2, 3, 1).flatten(1, 2)  # B N C
    mean = flat.mean(1, dtype=torch.float32)
    scaled = flat * flat.shape[1] ** -0.5
    gram = (scaled.transpose(1, 2) @ scaled).float()
    # From the Gram matrix: torch's var makes a copy of the features, and took longer than VGG itself on a CPU.
    variance = gram.diagonal(dim1=1, dim2=2) - mean.square()
    return Statistics(mean, (variance.clamp_min(0) + TINY).sqrt(), gram)


def _relative(value: Tensor, wanted: Tensor) -> Tensor:
    """Squared difference over the wanted energy, `[B]`, log(1 + x): bold and pale styles count alike.

    The logarithm keeps a nearly blank painting, whose energy is next to nothing, from outweighing a hundred others.
    """
    axes = tuple(range(1, value.dim()))
    difference = (value - wanted).square().sum(axes, dtype=torch.float32)
    return (difference / (wanted.square().sum(axes, dtype=torch.float32) + TINY)).log1p()


def style_losses(
    painted: dict[str, Tensor], wanted: dict[str, Statistics], photo: Tensor, *, weights: StyleWeights
) -> dict[str, Tensor]:
    """Style and content from VGG19: taps of what was painted, statistics of the painting, the photograph's last tap."""
    moments = matrices = torch.zeros((), device=photo.device)
    for tap, target in wanted.items():
        made = statistics(painted[tap])
        moments = moments + _relative(made.mean, target.mean).mean()
        moments = moments + _relative(made.deviation, target.deviation).mean()
        matrices = matrices + _relative(made.gram, target.gram).mean()
    content = _relative(painted[STYLE_TAPS[-1]], photo).mean()
    return {
        "style": weights.style * moments,
        "gram": weights.gram * matrices,
        "content": weights.content * content,
    }


def tone_loss(painted: Tensor, toned: Tensor) -> Tensor:
    """L1 between planes `[B, C, H, W]`, averaged over squares of an eighth of the side: strokes are free, light is not.

    Without it the style losses are most easily met by spots of white and black that grow from step to step.
    """
    side = max(1, painted.shape[-1] // 8)
    return (F.avg_pool2d(painted.float(), side) - F.avg_pool2d(toned.float(), side)).abs().mean()


def total_variation(rgb: Tensor) -> Tensor:
    """Mean absolute difference of neighbours."""
    return rgb.diff(dim=2).abs().mean() + rgb.diff(dim=3).abs().mean()
