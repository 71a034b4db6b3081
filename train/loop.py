"""One stage of training: step, log, checkpoint, sheet, until the budget is spent."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from model import color
from model.generator import CHROMA_STRIDE, Generator
from train import checkpoint, degrade, losses, sheets
from train.backbones import Vgg, load_vgg
from train.config import Phase, TrainConfig
from train.data import Entry, batches


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Where a stage reads and writes."""

    run: Path
    """Folder of this stage: checkpoint.pt, log.jsonl, curves.png, sheet-*.png."""
    backbones: Path | None = None
    """Folder of the feature nets; None where no loss needs them."""
    samples: Path | None = None
    """Pictures that the sheets show: a shard or folder never trained on."""
    films: tuple[Path, ...] = ()
    """Films of which the sheets show frames."""


class Trainer:
    """The networks and the optimiser of the stage, on one device."""

    def __init__(self, config: TrainConfig, generator: Generator, vgg: Vgg | None, device: torch.device) -> None:
        self.config = config
        self.device = device
        # Channels last is what both oneDNN and cuDNN compute in; with bf16 it is 3 to 5 times fp32 on a CPU (FACTS).
        self.generator = generator.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        averaging = get_ema_multi_avg_fn(config.average)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.generator, multi_avg_fn=averaging, use_buffers=True)
        self.vgg = None if vgg is None else vgg.to(device)
        trunk = list(self.generator.trunk.parameters())
        inner = {id(p) for p in trunk}
        decoder = [p for p in self.generator.parameters() if id(p) not in inner]
        groups = [{"params": decoder}, {"params": trunk}]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=config.weight_decay)

    def set_pace(self, phase: Phase, done: float) -> None:
        """Learning rates at the share `done` of the budget; freezes or frees the trunk."""
        rate = phase.learning_rate * (1 - done) ** 0.7 * min(1.0, done * 200 + 0.05)
        for group, factor in zip(self.optimizer.param_groups, (1.0, phase.trunk_rate), strict=True):
            group["lr"] = rate * factor
        self.generator.train()
        trunk = self.generator.trunk
        trunk.requires_grad_(False).eval()
        for stage in trunk.stages[phase.trunk_from :]:
            stage.requires_grad_(True).train()

    def step(self, rgb: Tensor, photo: Tensor) -> dict[str, Tensor]:
        """One update on R'G'B' uint8 `[B, 3, S, S]` with photo flags `[B]`; the losses, detached, on the device."""
        film = self.config.film
        rgb = rgb.to(self.device, non_blocking=True).float() / 255
        photo = photo.to(self.device, non_blocking=True)
        rgb = degrade.add_borders(rgb, film.border)
        clean, truth = color.split(rgb)
        small = (F.avg_pool2d(clean, CHROMA_STRIDE), F.avg_pool2d(truth, CHROMA_STRIDE))
        weights = self.config.weights
        # Consistency: a part of the pictures comes twice, degraded anew, and must get the same colours. That is the
        # answer to grain and flicker which needs no video.
        twice = max(1, len(rgb) // 8) if weights.consistency else 0
        lumas = torch.cat((degrade.film_luma(rgb, film), degrade.film_luma(rgb[:twice], film)))
        known = self._known(truth, twice)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            chroma, again = torch.split(self._predict(lumas, *known), [len(rgb), twice])
            found = losses.colour_losses(chroma, small[1], small[0], photo, weights=weights, vgg=self.vgg)
        if twice:
            found["consistency"] = weights.consistency * (again - chroma[:twice].detach()).abs().mean()
        total = torch.stack([value.float() for value in found.values()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.generator.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.generator)
        return {name: value.detach().float() for name, value in found.items()} | {"total": total.detach()}

    def _known(self, truth: Tensor, twice: int) -> tuple[Tensor, Tensor] | tuple[()]:
        """Colours that are known of some pictures, for all that go through the network."""
        if not self.config.hinted:
            return ()
        chroma, known = degrade.hints(truth, self.config.hinted)
        return torch.cat((chroma, chroma[:twice])), torch.cat((known, known[:twice]))

    def _predict(self, luma: Tensor, *known: Tensor) -> Tensor:
        chroma: Tensor = self.generator.natural(luma.contiguous(memory_format=torch.channels_last), *known)
        return chroma.float()

    def state(self) -> dict[str, dict[str, object]]:
        """What a checkpoint holds."""
        return {
            "generator": self.generator.state_dict(),
            "average": self.average.module.state_dict(),
            "averaged": {"steps": self.average.n_averaged},
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, dict[str, Any]]) -> None:
        """Goes on from a checkpoint's state."""
        self.generator.load_state_dict(state["generator"])
        self.average.module.load_state_dict(state["average"])
        self.average.n_averaged.copy_(state["averaged"]["steps"])
        self.optimizer.load_state_dict(state["optimizer"])


class StopRequest:
    """Set by the CLI's signal handler: the loop finishes the step, saves and returns."""

    asked = False


def train(
    config: TrainConfig,
    entries: Sequence[Entry],
    paths: Paths,
    *,
    minutes: float,
    resume: bool = False,
    start: Generator | None = None,
    device: torch.device,
    workers: int,
    stop: StopRequest,
) -> Iterator[dict[str, float]]:
    """Trains until `minutes` of training time, those before a resume included, are spent.

    Yields a log row (step, done 0..1, eta_s, pictures_per_s, losses) every few seconds; checkpoints, sheets and the
    log file are written on the way and at the end.
    """
    checkpoint.seed_everything(config.seed)
    vgg = None
    if config.weights.perceptual:
        if paths.backbones is None:
            raise ValueError("the perceptual loss needs --backbones DIR; to train without it say --no-perceptual")
        vgg = load_vgg(paths.backbones, "vgg19", losses.PERCEPTUAL_TAPS)
    trainer = Trainer(config, start or checkpoint.new_generator(), vgg, device)
    progress = checkpoint.Progress()
    if not resume:
        (paths.run / "log.jsonl").unlink(missing_ok=True)
    else:
        state, progress = checkpoint.load(paths.run / "checkpoint.pt")
        trainer.restore(state)
    yield from _Sitting(config, trainer, progress, paths, minutes * 60, stop).run(entries, workers)


class _Sitting:
    """The loop's clockwork: phases, log, checkpoints and sheets."""

    def __init__(
        self,
        config: TrainConfig,
        trainer: Trainer,
        progress: checkpoint.Progress,
        paths: Paths,
        budget_s: float,
        stop: StopRequest,
    ) -> None:
        self.config, self.trainer, self.progress = config, trainer, progress
        self.paths, self.budget_s, self.stop = paths, budget_s, stop
        self.sheet = sheets.Sheet(paths.samples, paths.films)
        self.saved = self.drawn = self.logged = time.monotonic()
        self.sums: dict[str, Tensor] = {}
        self.steps = self.pictures = 0
        paths.run.mkdir(parents=True, exist_ok=True)

    @property
    def done(self) -> float:
        return min(1.0, self.progress.spent_s / self.budget_s)

    def run(self, entries: Sequence[Entry], workers: int) -> Iterator[dict[str, float]]:
        for phase in self.config.phases:
            if self.done >= phase.until or self.stop.asked:
                continue
            seed = self.config.seed + self.progress.step
            source = batches(entries, phase, self.config.film, seed=seed, workers=workers)
            yield from self._phase(phase, source)
        self._save()
        self._draw()

    def _phase(self, phase: Phase, source: Iterator[tuple[Tensor, Tensor]]) -> Iterator[dict[str, float]]:
        last = time.monotonic()
        for rgb, photo in source:
            self.trainer.set_pace(phase, self.done)
            self._count(self.trainer.step(rgb, photo), len(rgb))
            now = time.monotonic()
            self.progress.spent_s += now - last
            last = now
            if now - self.logged > self.config.log_s:
                yield self._row(now)
            if now - self.saved > self.config.checkpoint_s:
                self._save()
            if now - self.drawn > self.config.sheet_s:
                self._draw()
            if self.done >= phase.until or self.stop.asked:
                return

    def _count(self, found: dict[str, Tensor], pictures: int) -> None:
        self.progress.step += 1
        self.progress.pictures += pictures
        self.steps += 1
        self.pictures += pictures
        for name, value in found.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value

    def _row(self, now: float) -> dict[str, float]:
        row: dict[str, float] = {
            "step": self.progress.step,
            "pictures": self.progress.pictures,
            "spent_s": round(self.progress.spent_s, 1),
            "done": round(self.done, 4),
            "eta_s": round(self.budget_s - self.progress.spent_s),
            "pictures_per_s": round(self.pictures / (now - self.logged), 1),
        }
        self._check_finite()
        row |= {name: round(total.item() / self.steps, 5) for name, total in self.sums.items()}
        with (self.paths.run / "log.jsonl").open("a") as log:
            log.write(json.dumps(row) + "\n")
        self.sums, self.steps, self.pictures, self.logged = {}, 0, 0, now
        return row

    def _check_finite(self) -> None:
        if not torch.isfinite(self.sums.get("total", torch.zeros(()))):
            raise ValueError(
                f"the loss is no longer finite at {self.progress.step = }; resume with a lower learning rate"
            )

    def _save(self) -> None:
        self._check_finite()  # a checkpoint that is good is never replaced by one that is not
        checkpoint.save(self.paths.run / "checkpoint.pt", self.trainer.state(), self.progress)
        self.saved = time.monotonic()

    def _draw(self) -> None:
        average = self.trainer.average.module
        assert isinstance(average, Generator)
        self.sheet.draw(average, self.paths.run / f"sheet-{self.progress.step:06d}.png")
        sheets.draw_curves(self.paths.run / "log.jsonl", self.paths.run / "curves.png")
        self.drawn = time.monotonic()
