"""Natural colour as a task: photographs, degraded to film, and what their colours should be."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from model import color
from model.generator import CHROMA_STRIDE, Generator
from train import degrade, losses
from train.backbones import Vgg
from train.config import Phase, TrainConfig, Weights
from train.critic import Critic
from train.data import Entry, batches


class Colour:
    """Losses of natural colour, with a critic once a phase asks for one."""

    def __init__(
        self, config: TrainConfig, weights: Weights, entries: Sequence[Entry], vgg: Vgg | None, critic: Critic | None
    ) -> None:
        self.config, self.weights = config, weights
        self.entries = entries
        self.vgg = vgg
        self.critic = critic

    def prepare(self, generator: Generator) -> None:
        """Nothing has to be prepared."""

    def source(self, phase: Phase, *, seed: int, workers: int) -> Iterator[tuple[Tensor, ...]]:
        """R'G'B' uint8 `[B, 3, S, S]` and photo flags `[B]`."""
        return batches(self.entries, phase, self.config.film, seed=seed, workers=workers)

    def losses(self, generator: Generator, batch: tuple[Tensor, ...], phase: Phase) -> dict[str, Tensor]:
        """Every loss that is on, weighted, for a batch on the device."""
        rgb, photo = batch
        film, weights = self.config.film, self.weights
        rgb = degrade.add_borders(rgb.float() / 255, film.border)
        clean, truth = color.split(rgb)
        small = (F.avg_pool2d(clean, CHROMA_STRIDE), F.avg_pool2d(truth, CHROMA_STRIDE))
        # Consistency: a part of the pictures comes twice, degraded anew or disturbed by an adversary, and must get the
        # same colours. That is the answer to grain and flicker which needs no video.
        twice = max(1, len(rgb) // 8) if weights.consistency else 0
        lumas = degrade.film_luma(rgb, film)
        known = degrade.hints(truth, self.config.hinted) if self.config.hinted else ()
        again = self._disturbed(generator, rgb, lumas, twice)
        both = [torch.cat((part, part[:twice])) for part in known]
        with torch.autocast(rgb.device.type, dtype=torch.bfloat16):
            seen = torch.cat((lumas, again)).contiguous(memory_format=torch.channels_last)
            chroma, repeated = torch.split(generator.natural(seen, *both).float(), [len(rgb), twice])
            found = losses.colour_losses(chroma, small[1], small[0], photo, weights=weights, vgg=self.vgg)
            if self.critic is not None and phase.critic != "off":
                pictures = [torch.cat((small[0], chosen), 1) for chosen in (small[1], chroma)]
                found["adversarial"] = weights.adversarial * self.critic.judge(*pictures)
        if twice:
            found["consistency"] = weights.consistency * (repeated - chroma[:twice].detach()).abs().mean()
        return found

    def _disturbed(self, generator: Generator, rgb: Tensor, lumas: Tensor, twice: int) -> Tensor:
        """The first pictures' luma `[twice, 1, S, S]` once more: with another grain, or attacked."""
        if not self.config.attack:
            return degrade.film_luma(rgb[:twice], self.config.film)
        # One step from a random start (Wong et al. 2020): as good a teacher as many steps, for a fraction of the time.
        size = self.config.attack
        start = lumas[:twice] + (torch.rand_like(lumas[:twice]) * 2 - 1) * size
        with torch.enable_grad(), torch.autocast(rgb.device.type, dtype=torch.bfloat16):
            start.requires_grad_(True)
            moved = generator.natural(torch.cat((start, lumas[:twice]))).float()
            change = (moved[:twice] - moved[twice:].detach()).square().sum()
        (slope,) = torch.autograd.grad(change, start)
        attacked = (start + 1.25 * size * slope.sign()).detach()
        return torch.minimum(torch.maximum(attacked, lumas[:twice] - size), lumas[:twice] + size).clamp(0, 1)
