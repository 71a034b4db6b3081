"""How much of a photograph is left in a painted picture, and how near the picture comes to an exemplar's style.

VGG16 measures; training uses VGG19 (DESIGN 6). Pictures are R'G'B' float `[B, 3, H, W]` 0..1, losses are `[B]`.
"""

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from train.backbones import Vgg
from train.losses import Statistics, statistics

STYLE_TAPS = ("relu1_2", "relu2_2", "relu3_3")
"""Johnson et al. 2016 take these and relu4_3, which is not among the feature nets."""
CONTENT_TAP = "relu3_3"

Taps: TypeAlias = dict[str, Tensor]
"""Features `[B, C, h, w]` by tap."""


@dataclass(frozen=True, kw_only=True)
class Exemplar:
    """What style is measured against: the statistics of an exemplar's features, by tap."""

    statistics: dict[str, Statistics]

    @classmethod
    def of(cls, vgg: Vgg, rgb: Tensor) -> "Exemplar":
        """Of a picture."""
        return cls(statistics={tap: statistics(features) for tap, features in vgg(rgb).items()})


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """What was measured on one picture."""

    content: float
    gram: dict[str, float]
    """By tap."""
    moments: dict[str, float]
    """Of channel means and deviations together, by tap."""

    @property
    def style(self) -> float:
        """Mean over the taps of the Gram matrices' relative squared error."""
        return sum(self.gram.values()) / len(self.gram)

    @property
    def style_moments(self) -> float:
        """The same of the channel means and deviations."""
        return sum(self.moments.values()) / len(self.moments)


def content_loss(painted: Taps, photo: Taps) -> Tensor:
    """Squared difference of the content tap over the photograph's energy."""
    return _relative(painted[CONTENT_TAP], photo[CONTENT_TAP])


def gram_losses(painted: dict[str, Statistics], exemplar: Exemplar) -> dict[str, Tensor]:
    """Squared difference of the Gram matrices over the exemplar's energy, by tap (Gatys et al. 2016)."""
    return {tap: _relative(painted[tap].gram, wanted.gram) for tap, wanted in exemplar.statistics.items()}


def moment_losses(painted: dict[str, Statistics], exemplar: Exemplar) -> dict[str, Tensor]:
    """The same of the channel means and deviations in one vector (Huang and Belongie 2017)."""
    return {tap: _relative(_moments(painted[tap]), _moments(wanted)) for tap, wanted in exemplar.statistics.items()}


def compare(painted: Taps, photo: Taps, exemplar: Exemplar) -> Likeness:
    """All measures on one picture, `[1, C, h, w]` at every tap."""
    found = {tap: statistics(features) for tap, features in painted.items()}
    return Likeness(
        content=content_loss(painted, photo).item(),
        gram={tap: loss.item() for tap, loss in gram_losses(found, exemplar).items()},
        moments={tap: loss.item() for tap, loss in moment_losses(found, exemplar).items()},
    )


def _moments(found: Statistics) -> Tensor:
    return torch.cat((found.mean, found.deviation), 1)


def _relative(value: Tensor, wanted: Tensor) -> Tensor:
    difference = (value - wanted).flatten(1).square().sum(1, dtype=torch.float64)
    energy = wanted.flatten(1).square().sum(1, dtype=torch.float64)
    return difference / energy
