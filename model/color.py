"""Colour arithmetic of the network: Y'CbCr of ITU-R BT.601 with unit-range components.

Luma is 0..1; Cb = (B' - Y') / 1.772 and Cr = (R' - Y') / 1.402 are -0.5..0.5 (BT.601-7, section 2.5).
Film of another matrix is converted at the plane by its own factors (stream/engine.py), never here.
"""

import torch
from torch import Tensor

KR, KB = 0.299, 0.114
KG = 1 - KR - KB
CB_TO_B, CR_TO_R = 2 * (1 - KB), 2 * (1 - KR)
CB_TO_G, CR_TO_G = -CB_TO_B * KB / KG, -CR_TO_R * KR / KG


def split(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Luma float `[B, 1, H, W]` 0..1 and chroma `[B, 2, H, W]` (Cb, Cr) -0.5..0.5 of R'G'B' `[B, 3, H, W]` 0..1."""
    red, green, blue = rgb.unbind(1)
    luma = KR * red + KG * green + KB * blue
    chroma = torch.stack(((blue - luma) / CB_TO_B, (red - luma) / CR_TO_R), 1)
    return luma.unsqueeze(1), chroma


def offsets(chroma: Tensor) -> Tensor:
    """R' - Y', G' - Y', B' - Y' as float `[B, 3, H, W]` of chroma `[B, 2, H, W]`."""
    cb, cr = chroma.unbind(1)
    return torch.stack((CR_TO_R * cr, CB_TO_G * cb + CR_TO_G * cr, CB_TO_B * cb), 1)


def join(luma: Tensor, chroma: Tensor) -> Tensor:
    """R'G'B' `[B, 3, H, W]`, clipped to 0..1, of luma `[B, 1, H, W]` and chroma `[B, 2, H, W]` of the same size."""
    return (luma + offsets(chroma)).clamp(0, 1)


def limit(luma: Tensor, chroma: Tensor) -> Tensor:
    """Chroma `[B, 2, H, W]` scaled down, hue kept, just so far that R'G'B' with this luma stays in 0..1."""
    offset = offsets(chroma)
    room = torch.where(offset > 0, 1 - luma, luma).clamp(0, 1)
    scale = (room / offset.abs().clamp_min(1e-6)).amin(1, keepdim=True).clamp(max=1)
    return chroma * scale


def colorfulness(rgb: Tensor) -> Tensor:
    """CF `[B]` of R'G'B' `[B, 3, H, W]` 0..1: Hasler and Suesstrunk 2003, absolute opponent channels (DESIGN 6)."""
    red, green, blue = (255 * rgb).unbind(1)
    opponents = torch.stack(((red - green).abs(), (0.5 * (red + green) - blue).abs()), 1).flatten(2)
    # The biased deviation, as in the reference code; 1e-6 keeps the gradient of a grey picture finite.
    spread = (opponents.var(2, correction=0).sum(1) + 1e-6).sqrt()
    level = (opponents.mean(2).square().sum(1) + 1e-6).sqrt()
    return spread + 0.3 * level
