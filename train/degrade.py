"""Makes good luma look like old film: the network's input only, never its target. Works on whole batches."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from train.config import Film


def film_luma(rgb: Tensor, film: Film) -> Tensor:
    """Luma `[B, 1, H, W]` 0..1 as an old film would show R'G'B' `[B, 3, H, W]` 0..1."""
    luma = emulsion(rgb, film.emulsion)
    luma = soften(luma, film.soft)
    luma = tone(luma, film)
    luma = damage(luma, film.damage)
    return grain(luma, film.grain).clamp(0, 1)


def _chance(like: Tensor, probability: float) -> Tensor:
    """A mask `[B, 1, 1, 1]` of 0 and 1."""
    return (torch.rand(like.shape[0], 1, 1, 1, device=like.device) < probability).to(like.dtype)


def _uniform(like: Tensor, low: float, high: float) -> Tensor:
    return torch.rand(like.shape[0], 1, 1, 1, device=like.device) * (high - low) + low


def emulsion(rgb: Tensor, probability: float) -> Tensor:
    """Grey by BT.601, or by another sensitivity: orthochromatic film is blind to red, early film to green as well."""
    batch = rgb.shape[0]
    usual = torch.tensor((0.299, 0.587, 0.114), device=rgb.device).expand(batch, 3)
    blind = torch.tensor((0.06, 0.52, 0.42), device=rgb.device)
    free = torch.rand(batch, 3, device=rgb.device) + 0.05
    free = free / free.sum(1, keepdim=True)
    mix = torch.rand(batch, 1, device=rgb.device)
    towards = torch.where(torch.rand(batch, 1, device=rgb.device) < 0.6, blind.expand(batch, 3), free)
    other = torch.lerp(usual, towards, mix)
    chosen = torch.where(_chance(rgb, probability)[:, :, 0, 0] > 0, other, usual)
    return (rgb * chosen[:, :, None, None]).sum(1, keepdim=True)


def soften(luma: Tensor, probability: float) -> Tensor:
    """A Gaussian blur of up to 1.3 px on some of the pictures."""
    sigma = 0.3 + torch.rand(()).item()
    taps = torch.arange(-3, 4, device=luma.device, dtype=luma.dtype)
    kernel = torch.exp(-0.5 * (taps / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(luma, (3, 3, 3, 3), mode="reflect")
    blurred = F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, 7)), kernel.view(1, 1, 7, 1))
    return torch.lerp(luma, blurred, _chance(luma, probability))


def tone(luma: Tensor, film: Film) -> Tensor:
    """Gamma, contrast, lifted blacks, and a lamp that is brighter in the middle."""
    gamma = torch.exp(_uniform(luma, -film.gamma, film.gamma))
    luma = luma.clamp_min(1e-4) ** gamma
    luma = luma * _uniform(luma, *film.gain) + _uniform(luma, *film.offset)
    height, width = luma.shape[-2:]
    y = torch.linspace(-1, 1, height, device=luma.device)[:, None]
    x = torch.linspace(-1, 1, width, device=luma.device)
    return luma * (1 - _uniform(luma, 0.0, 0.25) * _chance(luma, 0.4) * (x**2 + y**2) / 2)


def damage(luma: Tensor, probability: float) -> Tensor:
    """Scratches down the film and specks of dust, dark or bright."""
    batch, _, height, width = luma.shape
    device = luma.device
    # A scratch is a column that wanders by less than its width, here straight; its strength varies along the film.
    lines = (torch.rand(batch, 1, 1, width, device=device) < 1.5 / width).float()
    strength = torch.rand(batch, 1, 8, 1, device=device)
    strength = F.interpolate(strength, size=(height, 1), mode="bilinear", align_corners=False)
    specks = (torch.rand(batch, 1, height // 2, width // 2, device=device) < 3e-4).float()
    specks = F.interpolate(F.max_pool2d(specks, 3, 1, 1), size=(height, width), mode="bilinear", align_corners=False)
    sign = _chance(luma, 0.5) * 2 - 1
    marks = (lines * strength * 0.35 + specks * 0.7) * sign
    return luma + marks * _chance(luma, probability)


def grain(luma: Tensor, largest: float) -> Tensor:
    """Noise of a random size and strength, strongest in the mid-tones as in silver grain."""
    noise = torch.randn_like(luma)
    coarse = F.interpolate(torch.randn_like(luma[:, :, ::2, ::2]), size=luma.shape[-2:], mode="bilinear")
    noise = torch.where(_chance(luma, 0.5) > 0, noise, coarse * 1.4)
    middle = 0.5 + 2 * luma.clamp(0, 1) * (1 - luma.clamp(0, 1))
    # The square leaves half of the pictures nearly clean: today's scans of good prints are.
    deviation = largest * _uniform(luma, 0, 1) ** 2
    return luma + noise * middle * deviation


def add_borders(rgb: Tensor, probability: float) -> Tensor:
    """Black bars at the sides or above and below some of the pictures, as scans and wide prints have them."""
    height, width = rgb.shape[-2:]
    y = torch.linspace(-1, 1, height, device=rgb.device)[:, None].abs()
    x = torch.linspace(-1, 1, width, device=rgb.device)[None].abs()
    inside_x = (x <= _uniform(rgb, 0.7, 1.0)).to(rgb.dtype)
    inside_y = (y <= _uniform(rgb, 0.7, 1.0)).to(rgb.dtype)
    inside = torch.where(_chance(rgb, 0.5) > 0, inside_x, inside_y)
    return rgb * (1 - (1 - inside) * _chance(rgb, probability))


def hints(chroma: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    """Known colours for some of the pictures: all of them, or spots of a few pixels.

    Returns chroma `[B, 2, H, W]` (zero where unknown) and known `[B, 1, H, W]` of true chroma `[B, 2, H, W]`.
    """
    batch, _, height, width = chroma.shape
    spot = 8
    density = torch.exp(_uniform(chroma, math.log(0.003), math.log(0.08)))
    spots = (torch.rand(batch, 1, height // spot, width // spot, device=chroma.device) < density).to(chroma.dtype)
    spots = F.interpolate(spots, size=(height, width), mode="nearest")
    known = torch.maximum(spots, _chance(chroma, 0.35)) * _chance(chroma, probability)
    return chroma * known, known
