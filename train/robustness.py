"""What an attack on the luma does to the colours, beyond what noise of the same size does (DESIGN 6)."""

from collections.abc import Mapping
from typing import Any

import torch
from rich.progress import Progress
from torch import Tensor

from model import color
from model.generator import Generator
from train import measures
from train.config import EvaluateConfig
from train.figures import estimated
from train.pictures import Truth
from train.rows import enlarge

ATTACKS = (2, 4, 8)
"""Sizes in eight-bit levels."""


def robustness(
    truth: Truth, ours: Mapping[str, Generator], config: EvaluateConfig, progress: Progress
) -> list[dict[str, Any]]:
    """How far an attack on the luma moves the colours, beyond what noise of the same size does."""
    luma, _ = color.split(truth.pictures[truth.draw(config.attacked, config.seed)].float() / 255)
    parts = [luma[start : start + config.batch] for start in range(0, len(luma), config.batch)]
    rows: list[dict[str, Any]] = [{"name": name, "pictures": len(luma)} for name in ours]
    for level in ATTACKS:
        lead: Tensor | None = None
        for row, generator in zip(rows, ours.values(), strict=True):
            steps = progress.track(parts, description=f"{row['name']}: attack of {level}/255")
            noise, hit = torch.cat([_shifts(generator, part, level / 255) for part in steps], 1)
            row[f"{level}"] = estimated("noise", noise) | estimated("attack", hit) | estimated("gain", hit - noise)
            if lead is None:
                lead = torch.stack((noise, hit, hit - noise))
                continue
            noise, hit, gain = torch.stack((noise, hit, hit - noise)) - lead
            less = estimated("noise", noise) | estimated("attack", hit) | estimated("gain", gain)
            row[f"{level}"] |= {"minus_ours": less}
    return rows


def _shifts(generator: Generator, luma: Tensor, size: float) -> Tensor:
    """Mean dE00 `[2, B]` that noise and an attack of this size cause."""
    changed = (measures.noise(luma, size), measures.attack(generator.natural, luma, size))
    with torch.no_grad():
        clean, *moved = (
            measures.lab(color.join(luma, color.limit(luma, enlarge(generator.natural(seen)))))
            for seen in (luma, *changed)
        )
    return torch.stack([measures.ciede2000(clean, each).mean((1, 2)) for each in moved])
