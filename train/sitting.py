"""A sitting at the machine: what all stages are told, and a stage run with its progress shown."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from train import loop, stages
from train.config import STAGES, TrainConfig, entered, untaught
from train.data import Entry
from train.verdicts import Check

console = Console(stderr=True)

VERDICTS = "pictures.json"
"""In the folder of runs, or of pairs: what the check said of every picture."""


def pick_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def listen() -> loop.StopRequest:
    """Asks the loop to stop, on Ctrl-C and SIGTERM."""
    stop = loop.StopRequest()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.asked, stop.number = True, number

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    return stop


def open_check(folder: Path, stop: loop.StopRequest) -> Check:
    """The check of pictures, its progress shown and its verdicts kept in `folder`."""

    def track(entries: Sequence[Entry]) -> Iterator[Entry]:
        console.print(f"checking {len(entries)} pictures")
        with Progress(console=console, disable=not sys.stderr.isatty()) as bar:
            for entry in bar.track(entries, description="pictures"):
                stop.check("the pictures are checked again the next time")
                yield entry

    def tell(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    return Check(folder / VERDICTS, track=track, tell=tell)


@dataclass(frozen=True, kw_only=True)
class Sitting:
    """What all stages are told."""

    photos: list[Path]
    paintings: list[Path] | None
    pairs: Path | None
    backbones: Path | None
    run: Path
    samples: Path | None
    films: list[Path] | None
    exemplars: Path | None
    check: Check
    perceptual: bool = True
    enter: float = 0.0
    taught: bool = True
    """Whether style begins with the teacher's pairs."""
    tensorboard: bool

    @property
    def sources(self) -> stages.Sources:
        """What is learnt from."""
        return stages.Sources(
            photos=tuple(self.photos),
            paintings=tuple(self.paintings or ()),
            pairs=self.pairs,
            backbones=self.backbones,
            check=self.check,
        )

    def config(self, stage: str) -> TrainConfig:
        """The stage as it was asked for."""
        config = entered(STAGES[stage], self.enter)
        config = config if self.taught else untaught(config)
        if self.perceptual or config.weights is None:
            return config
        return replace(config, weights=replace(config.weights, perceptual=0.0))

    def paths(self, stage: str, start: Path | None) -> loop.Paths:
        """Where the stage reads and writes."""
        return loop.Paths(
            run=self.run / stage,
            start=start,
            samples=self.samples,
            films=tuple(self.films or ()),
            exemplars=self.exemplars,
            tensorboard=self.tensorboard,
        )

    def train(self, stage: str, minutes: float, *, start: Path | None, resume: bool, stop: loop.StopRequest) -> None:
        """Trains a stage until `minutes` are spent or somebody asks to stop."""
        paths = self.paths(stage, start)
        trainer = stages.build(self.config(stage), self.sources, stages.starting_point(start), pick_device())
        console.print(f"{stage}: {trainer.device}, {minutes:g} minutes, writes {paths.run}")
        workers = max(1, (os.cpu_count() or 2) - 2)
        rows = loop.train(trainer, paths, minutes=minutes, resume=resume, workers=workers, stop=stop)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
            task = bar.add_task(stage, total=1.0)
            for row in rows:
                note = f"step {row['step']:.0f}, {row['pictures_per_s']:.0f} pictures/s, loss {row['total']:.4f}"
                bar.update(task, completed=row["done"], description=note)
                if not sys.stderr.isatty():
                    console.print(f"{row['done']:.1%} {note}, {row['eta_s'] / 60:.0f} min left")
        if not stop.asked:
            console.print(f"{stage}: done")
