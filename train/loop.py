"""One stage of training: step, log, checkpoint, sheet, until the budget is spent."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from model.generator import Generator
from stream.errors import InputError, Interrupted
from train import checkpoint, sheets
from train.config import Phase, TrainConfig
from train.critic import Critic

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Batch = tuple[Tensor, ...]
CUDA_BATCHES = 4
"""Batches on a GPU are so many times those of config.py, which are a CPU's."""


class Task(Protocol):
    """Something the generator learns: where its batches come from, and what is minimised on them."""

    critic: Critic | None

    def prepare(self, generator: Generator) -> None:
        """What has to be done before the first step of a stage that starts anew."""

    def source(self, phase: Phase, *, seed: int, workers: int) -> Iterator[Batch]:
        """Endless batches for a phase."""

    def losses(self, generator: Generator, batch: Batch, phase: Phase) -> dict[str, Tensor]:
        """Weighted losses by name, for a batch on the device."""


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Where a stage reads and writes."""

    run: Path
    """Folder of this stage: checkpoint.pt, log.jsonl, curves.png, sheet-*.png, stage.json."""
    start: Path | None = None
    """Checkpoint or weights that the stage started from, for its checkpoint; None is ImageNet's trunk."""
    samples: Path | None = None
    """Pictures that the sheets show: a shard or folder never trained on."""
    films: tuple[Path, ...] = ()
    """Films of which the sheets show frames."""
    exemplars: Path | None = None
    """Folder of paintings in whose style the sheets show them, never trained on."""
    tensorboard: bool = False
    """Also writes losses and sheets as TensorBoard events, into the folder `events` of the run."""


class Trainer:
    """The generator, its tasks and the optimiser of a stage, on one device."""

    def __init__(self, config: TrainConfig, generator: Generator, tasks: Sequence[Task], device: torch.device) -> None:
        self.config = config
        self.device = device
        self.tasks = tasks
        # Channels last is what both oneDNN and cuDNN compute in; with bf16 it is 3 to 5 times fp32 on a CPU (FACTS).
        self.generator = generator.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        averaging = get_ema_multi_avg_fn(config.average)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.generator, multi_avg_fn=averaging, use_buffers=True)
        trunk = list(self.generator.trunk.parameters())
        inner = {id(p) for p in trunk}
        others = [p for p in self.generator.parameters() if id(p) not in inner]
        groups = [{"params": others}, {"params": trunk}]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=config.weight_decay)

    @property
    def critics(self) -> list[Critic]:
        """The tasks' critics."""
        return [task.critic for task in self.tasks if task.critic is not None]

    def prepare(self) -> None:
        """Makes the generator ready for its tasks, and the average its equal."""
        for task in self.tasks:
            task.prepare(self.generator)
        self.average.module.load_state_dict(self.generator.state_dict())

    def set_pace(self, phase: Phase, done: float) -> None:
        """Learning rates at the share `done` of the budget; freezes what the phase does not train."""
        rate = phase.learning_rate * (1 - done) ** 0.7 * min(1.0, done * 200 + 0.05)
        for group, factor in zip(self.optimizer.param_groups, (1.0, phase.trunk_rate), strict=True):
            group["lr"] = rate * factor
        self.generator.requires_grad_(False).eval()
        if phase.critic == "alone":
            return  # the generator stands still, its statistics included
        for name, part in self.generator.named_children():
            wanted = "style" if name.startswith("style_") else "colour"
            if name != "trunk" and phase.parts in (wanted, "all"):
                part.requires_grad_(True).train()
        if phase.parts != "style":
            for stage in self.generator.trunk.stages[phase.trunk_from :]:
                stage.requires_grad_(True).train()

    def step(self, batches: Sequence[Batch], phase: Phase) -> dict[str, Tensor]:
        """One update on a batch for every task; the losses, detached, on the device."""
        found: dict[str, Tensor] = {}
        with torch.set_grad_enabled(phase.critic != "alone"):
            for task, batch in zip(self.tasks, batches, strict=True):
                moved = tuple(part.to(self.device, non_blocking=True) for part in batch)
                found |= task.losses(self.generator, moved, phase)
        total = torch.stack([value.float() for value in found.values()]).sum()
        if phase.critic != "alone":
            self.optimizer.zero_grad(set_to_none=True)
            total.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.generator.parameters(), 1.0)
            self.optimizer.step()
            self.average.update_parameters(self.generator)
        if phase.critic != "off":
            found |= {f"critic_{index}": critic.learn() for index, critic in enumerate(self.critics)}
        return {name: value.detach().float() for name, value in found.items()} | {"total": total.detach()}

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "generator": self.generator.state_dict(),
            "average": self.average.module.state_dict(),
            "averaged": {"steps": self.average.n_averaged},
            "critics": {str(index): critic.state() for index, critic in enumerate(self.critics)},
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint's state."""
        self.generator.load_state_dict(state["generator"])
        self.average.module.load_state_dict(state["average"])
        self.average.n_averaged.copy_(state["averaged"]["steps"])
        if len(state.get("critics", {})) != len(self.critics):
            raise ValueError("the checkpoint holds other critics than the stage has; start the stage without --resume")
        for index, critic in enumerate(self.critics):
            critic.restore(state["critics"][str(index)])
        self.optimizer.load_state_dict(state["optimizer"])


class StopRequest:
    """Set by the CLI's signal handler: the loop finishes the step, saves and returns."""

    asked = False
    number = 0
    """The signal's; 0 for none."""

    def check(self, hint: str) -> None:
        """Raises Interrupted where a signal came; hint: how to go on."""
        if self.asked:
            raise Interrupted(f"stopped; {hint}", self.number)


def train(
    trainer: Trainer, paths: Paths, *, minutes: float, resume: bool = False, workers: int, stop: StopRequest
) -> Iterator[dict[str, float]]:
    """Trains until `minutes` of training time, those before a resume included, are spent.

    Yields a log row (step, done 0..1, eta_s, pictures_per_s, busy, losses) every few seconds; checkpoints, sheets and
    the log file are written on the way and at the end.
    """
    checkpoint.seed_everything(trainer.config.seed)
    progress = checkpoint.Progress()
    if not resume:
        progress.origin = "" if paths.start is None else checkpoint.fingerprint(paths.start)
        (paths.run / "log.jsonl").unlink(missing_ok=True)
        trainer.prepare()
    else:
        state, progress = checkpoint.load(paths.run / "checkpoint.pt")
        try:
            trainer.restore(state)
        except (KeyError, TypeError, RuntimeError) as error:
            raise InputError(
                f"{paths.run / 'checkpoint.pt'}: damaged, or of another network; start the stage anew in another --run"
            ) from error
    yield from _Sitting(trainer, progress, paths, minutes * 60, stop).run(workers)


def _events(folder: Path) -> "SummaryWriter":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError("--tensorboard needs TensorBoard; pip install 'kinochrome[train]'") from error
    return SummaryWriter(str(folder))


def device_name(device: torch.device) -> str:
    """For people: what trains."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


class _Sitting:
    """The loop's clockwork: phases, log, checkpoints and sheets."""

    def __init__(
        self, trainer: Trainer, progress: checkpoint.Progress, paths: Paths, budget_s: float, stop: StopRequest
    ) -> None:
        self.config, self.trainer, self.progress = trainer.config, trainer, progress
        self.paths, self.budget_s, self.stop = paths, budget_s, stop
        self.sheet = sheets.Sheet(paths.samples, paths.films, paths.exemplars)
        self.saved = self.drawn = self.logged = time.monotonic()
        self.sums: dict[str, Tensor] = {}
        self.steps = self.pictures = 0
        self.waited_s = 0.0
        paths.run.mkdir(parents=True, exist_ok=True)
        self.events = _events(paths.run / "events") if paths.tensorboard else None
        about = {"device": device_name(trainer.device), "threads": torch.get_num_threads()}
        (paths.run / "stage.json").write_text(json.dumps(about) + "\n")

    @property
    def done(self) -> float:
        return min(1.0, self.progress.spent_s / self.budget_s)

    def run(self, workers: int) -> Iterator[dict[str, float]]:
        before = self.progress.step
        for phase in map(self._sized, self.config.phases):
            if self.done >= phase.until or self.stop.asked:
                continue
            seed = self.config.seed + self.progress.step
            sources = [task.source(phase, seed=seed, workers=workers) for task in self.trainer.tasks]
            yield from self._phase(phase, sources)
        if self.progress.step > before:  # an earlier sitting's end needs no second sheet, and its checkpoint stays
            self._draw()
            self._save()

    def _sized(self, phase: Phase) -> Phase:
        """The phase with batches that suit the device."""
        return replace(phase, batch=phase.batch * CUDA_BATCHES) if self.trainer.device.type == "cuda" else phase

    def _phase(self, phase: Phase, sources: Sequence[Iterator[Batch]]) -> Iterator[dict[str, float]]:
        last = time.monotonic()
        while True:
            batches = [next(source) for source in sources]
            self.waited_s += time.monotonic() - last
            self.trainer.set_pace(phase, self.done)
            self._count(self.trainer.step(batches, phase), sum(len(batch[0]) for batch in batches))
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
                if self.steps:  # phases differ in their losses; no row shall hold two
                    yield self._row(time.monotonic())
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
            # The share of the time that the loop did not wait for data.
            "busy": round(1 - self.waited_s / (now - self.logged), 3),
        }
        self._check_finite()
        row |= {name: round(total.item() / self.steps, 5) for name, total in self.sums.items()}
        with (self.paths.run / "log.jsonl").open("a") as log:
            log.write(json.dumps(row) + "\n")
        if self.events is not None:
            for name, value in row.items():
                self.events.add_scalar(name, value, self.progress.step)
        self.sums, self.steps, self.pictures, self.waited_s, self.logged = {}, 0, 0, 0.0, now
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
        path = self.paths.run / f"sheet-{self.progress.step:06d}.png"
        self.sheet.draw(average, path)
        if self.events is not None and path.is_file():
            self.events.add_image("sheet", sheets.read(path), self.progress.step, dataformats="HWC")
            self.events.flush()
        sheets.draw_curves(self.paths.run / "log.jsonl", self.paths.run / "curves.png")
        self.drawn = time.monotonic()
