"""Style as a task: photographs painted like a painting, first after the teacher, then by the style losses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from model import color
from model.generator import Generator
from model.style import exemplar_side, tone
from train import degrade, losses
from train.backbones import Vgg
from train.config import Phase, StyleWeights, TrainConfig
from train.critic import Critic
from train.data import Entry, batches
from train.paintings import painting_batches, pair_batches

SHARE = 2
"""So many photographs of a batch are painted like one painting, whose features are computed once."""
GRAIN = 0.03
SETTLED = 640
"""Paintings on which the encoder's projection is settled."""


@dataclass(frozen=True, kw_only=True)
class StyleSources:
    """What the style path learns from."""

    photos: Sequence[Entry]
    paintings: Sequence[Entry]
    pairs: Path | None = None
    """Folder of the teacher's pairs."""


class Style:
    """Losses of the style path. Half of the pictures come in colour, half as old film: stylising, and fused."""

    def __init__(
        self,
        config: TrainConfig,
        weights: StyleWeights,
        sources: StyleSources,
        vgg: Vgg,
        critic: Critic | None,
    ) -> None:
        self.config, self.weights, self.sources = config, weights, sources
        self.vgg = vgg
        self.critic = critic

    def prepare(self, generator: Generator) -> None:
        """Settles the encoder's projection on some hundred paintings, unless it is: the decoder learned its axes.

        The generator is left in eval mode.
        """
        if generator.style_encoder.settled:
            return
        paintings = painting_batches(self.sources.paintings, 16, seed=0, workers=0)
        device = next(generator.parameters()).device
        generator.eval()
        found = []
        with torch.no_grad():
            for batch in islice(paintings, SETTLED // 16):
                luma, chroma = color.split(_small(batch.to(device).float() / 255))
                found.append(generator.style_encoder.statistics(luma, chroma, generator.trunk))
        generator.style_encoder.settle(torch.cat(found))

    def source(self, phase: Phase, *, seed: int, workers: int) -> Iterator[tuple[Tensor, ...]]:
        """The teacher's pairs, or R'G'B' uint8 photographs `[B, 3, S, S]` and paintings `[B / 2, 3, 224, 224]`."""
        if phase.teacher:
            if self.sources.pairs is None:
                raise ValueError("this phase learns from the teacher's pairs; make them and name --pairs DIR")
            yield from pair_batches(self.sources.pairs, phase, seed=seed, workers=workers)
        photos = batches(self.sources.photos, phase, self.config.film, seed=seed + 1, workers=workers)
        count = -(-phase.batch // SHARE)
        paintings = painting_batches(self.sources.paintings, count, seed=seed + 2, workers=workers)
        for (photo, _), painting in zip(photos, paintings, strict=False):
            yield photo, painting

    def losses(self, generator: Generator, batch: tuple[Tensor, ...], phase: Phase) -> dict[str, Tensor]:
        """Every loss that is on, weighted, for a batch on the device."""
        if phase.teacher:
            return self._after_teacher(generator, *batch)
        photo, paintings = (part.float() / 255 for part in batch)
        seen = self._seen(photo)
        with torch.autocast(photo.device.type, dtype=torch.bfloat16):
            return self._by_features(generator, photo, paintings, seen, phase)

    def _after_teacher(
        self, generator: Generator, photo: Tensor, painted: Tensor, painting: Tensor
    ) -> dict[str, Tensor]:
        photo, painted, painting = (part.float() / 255 for part in (photo, painted, painting))
        seen = self._seen(photo)
        with torch.autocast(photo.device.type, dtype=torch.bfloat16):
            code = encode(generator, painting)
            rgb = assemble(*generator(*seen, code))
            # A quarter of the batch also by features: what L1 alone makes of strokes is mud.
            part = max(1, len(rgb) // 4)
            features = losses.perceptual_loss(self.vgg, rgb[:part], painted[:part])
        return {
            "teacher": self.weights.teacher * ((rgb - painted).abs().mean() + _edges(rgb, painted)),
            "teacher_features": self.weights.teacher_features * features,
        }

    def _by_features(
        self,
        generator: Generator,
        photo: Tensor,
        paintings: Tensor,
        seen: tuple[Tensor, Tensor, Tensor],
        phase: Phase,
    ) -> dict[str, Tensor]:
        weights, count = self.weights, len(photo)
        # A part of the painting as large as the photograph: at its own scale, and no more work than needed. It is the
        # exemplar: a code of the whole painting would promise what a part of it doesn't have (at 128 px the style
        # losses stayed twice as high as at 224, where the part is the whole).
        part = _window(paintings, phase.size)
        code = encode(generator, part).repeat_interleave(SHARE, 0)[:count]
        again = max(1, count // 8) if weights.steady else 0
        grainy = (seen[0][:again] + GRAIN * torch.randn_like(seen[0][:again])).clamp(0, 1)
        repeats = (grainy, *(part[:again] for part in seen[1:]), code[:again])
        inputs = (torch.cat(both) for both in zip((*seen, code), repeats, strict=True))
        chroma, luma = generator(*inputs)
        rgb, repeated = torch.split(assemble(chroma, luma), [count, again])
        with torch.no_grad():
            wanted = {tap: _shared(losses.statistics(x), count) for tap, x in self.vgg(part).items()}
            content = self.vgg(photo)[losses.STYLE_TAPS[-1]]
        found = losses.style_losses(self.vgg(rgb), wanted, content, weights=weights)
        if weights.tone:
            # Where no colours are known the natural ones are toned, which are not trained here.
            with torch.no_grad():
                natural = generator.natural(*seen)
                toned = tone(seen[0], natural, code)
            pairs = zip((chroma, luma), toned, strict=True)
            found["tone"] = weights.tone * torch.stack([losses.tone_loss(x[:count], y) for x, y in pairs]).sum()
        if weights.smooth:
            found["smooth"] = weights.smooth * losses.total_variation(rgb)
        if weights.steady:
            found["steady"] = weights.steady * (repeated - rgb[:again].detach()).abs().mean()
        if self.critic is not None and phase.critic != "off":
            real = part.repeat_interleave(SHARE, 0)[:count]
            seen_as = [torch.cat(color.split(picture), 1) for picture in (real, rgb)]
            found["style_adversarial"] = weights.adversarial * self.critic.judge(seen_as[0], seen_as[1], code)
        return found

    def _seen(self, photo: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Luma, known chroma and where: every second picture in colour, the others as old film."""
        luma, chroma = color.split(photo)
        known = torch.zeros_like(luma)
        known[::2] = 1
        film = degrade.film_luma(photo, self.config.film)
        return torch.where(known > 0, luma, film), chroma * known, known


def encode(generator: Generator, painting: Tensor) -> Tensor:
    """Codes `[B, S]` of paintings R'G'B' `[B, 3, H, W]` 0..1."""
    return generator.encode(*color.split(_small(painting))).float()


def _small(painting: Tensor) -> Tensor:
    """Paintings `[B, 3, H, W]` as the encoder looks at them."""
    side = exemplar_side(painting.shape[-1])
    return F.interpolate(painting, size=(side, side), mode="area")


def assemble(chroma: Tensor, luma: Tensor) -> Tensor:
    """R'G'B' `[B, 3, H, W]` of the generator's chroma `[B, 2, H/2, W/2]` and luma `[B, 1, H, W]`."""
    full = F.interpolate(chroma.float(), scale_factor=2.0, mode="bilinear", align_corners=False)
    return color.join(luma.float(), full)


def _window(paintings: Tensor, size: int) -> Tensor:
    """A random square of the paintings `[B, 3, H, W]`, of `size` or as large as they are."""
    height, width = (int(side) for side in paintings.shape[-2:])
    rows, columns = min(size, height), min(size, width)
    top, left = (int(torch.randint(room + 1, ())) for room in (height - rows, width - columns))
    return paintings[:, :, top : top + rows, left : left + columns].contiguous(memory_format=torch.channels_last)


def _shared(statistics: losses.Statistics, count: int) -> losses.Statistics:
    """Those of the paintings, for the `count` photographs that share them."""
    return losses.Statistics(*(value.repeat_interleave(SHARE, 0)[:count] for value in statistics))


def _edges(rgb: Tensor, wanted: Tensor) -> Tensor:
    """L1 of the differences between neighbours: strokes are edges."""
    difference = rgb - wanted
    return difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()
