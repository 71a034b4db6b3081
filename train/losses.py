"""What training minimises. Chroma is float `[B, 2, h, w]` -0.5..0.5, luma `[B, 1, h, w]` 0..1, losses are scalars."""

import torch
import torch.nn.functional as F
from torch import Tensor

from model import color
from train.backbones import Vgg
from train.config import Weights

KNEE = 0.02
"""Where the robust loss turns from square to straight: about five eight-bit levels."""
PERCEPTUAL_TAPS = ("relu1_2", "relu2_2", "relu3_2")


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
