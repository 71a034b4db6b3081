"""The commands of `python -m train`."""

import json
import os
import signal
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from model import weights
from model.generator import Generator
from model.weights import Release, WeightsError
from stream.errors import KinochromeError
from train import checkpoint, data, loop
from train.config import SOURCES, STAGES, WEIGHTS_LICENCE, TrainConfig
from train.evaluate import EvaluateConfig, evaluate, mean_chroma

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True)

PLAIN_L1_MODEL = Path(__file__).with_name("plain-l1.safetensors")
"""Kept beside the code and not installed: evaluation shows its row always."""

Photos = Annotated[list[Path], typer.Option(help="Photographs: tar shard, folder of shards, folder of pictures.")]


def pick_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@app.command("data")
def summarise(sources: Annotated[list[Path], typer.Argument(help="Tar shards and folders of pictures.")]) -> None:
    """Opens every picture and says what is there and what is refused."""
    for line in data.check(data.find_pictures(sources)).lines():
        console.print(line)


@app.command("baseline")
def train_baseline(
    photos: Photos,
    minutes: Annotated[float, typer.Option(help="Budget of training time, earlier sittings included.")] = 12.0,
    run: Annotated[Path, typer.Option(help="Folder of runs.")] = Path("runs"),
    samples: Annotated[Path | None, typer.Option(help="Pictures for the sheets, never trained on.")] = None,
    film: Annotated[list[Path] | None, typer.Option(help="Films for the sheets.")] = None,
    start: Annotated[Path | None, typer.Option(help="Checkpoint whose weights to start from.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
) -> None:
    """Trains the plain L1 model that evaluation compares with: same network, no other loss, trunk frozen.

    Started from our own checkpoint it shows what the losses do, and nothing else.
    """
    paths = loop.Paths(run=run / "baseline", samples=samples, films=tuple(film or ()))
    _train(STAGES["baseline"], photos, paths, minutes, resume, start)


@app.command("colour")
def train_colour(
    photos: Photos,
    minutes: Annotated[float, typer.Option(help="Budget of training time, earlier sittings included.")] = 60.0,
    run: Annotated[Path, typer.Option(help="Folder of runs.")] = Path("runs"),
    backbones: Annotated[Path | None, typer.Option(help="Folder of the feature nets.")] = None,
    perceptual: Annotated[bool, typer.Option(help="The perceptual loss; it needs --backbones.")] = True,
    samples: Annotated[Path | None, typer.Option(help="Pictures for the sheets, never trained on.")] = None,
    film: Annotated[list[Path] | None, typer.Option(help="Films for the sheets.")] = None,
    start: Annotated[Path | None, typer.Option(help="Checkpoint whose weights to start from.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
) -> None:
    """Trains natural colour."""
    config = STAGES["colour"]
    if not perceptual:
        config = replace(config, weights=replace(config.weights, perceptual=0.0))
    paths = loop.Paths(run=run / "colour", backbones=backbones, samples=samples, films=tuple(film or ()))
    _train(config, photos, paths, minutes, resume, start)


def _train(
    config: TrainConfig, photos: list[Path], paths: loop.Paths, minutes: float, resume: bool, start: Path | None
) -> None:
    entries = data.find_pictures(photos)
    device = pick_device()
    generator = checkpoint.new_generator()
    if start is not None:
        generator.load_state_dict(checkpoint.load(start)[0]["average"])
    stop = loop.StopRequest()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.asked = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    console.print(f"{config.stage}: {len(entries)} pictures, {device}, {minutes:g} minutes, writes {paths.run}")
    rows = loop.train(
        config,
        entries,
        paths,
        minutes=minutes,
        resume=resume,
        start=generator,
        device=device,
        workers=max(1, (os.cpu_count() or 2) - 2),
        stop=stop,
    )
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(config.stage, total=1.0)
        for row in rows:
            note = f"step {row['step']:.0f}, {row['pictures_per_s']:.0f} pictures/s, loss {row['total']:.4f}"
            bar.update(task, completed=row["done"], description=note)
            if not sys.stderr.isatty():
                console.print(f"{row['done']:.1%} {note}, {row['eta_s'] / 60:.0f} min left")
    console.print(f"stopped; resume with --resume --minutes {minutes:g}" if stop.asked else "done")


@app.command("export")
def export(
    source: Annotated[Path, typer.Argument(help="A checkpoint of training.")],
    photos: Photos,
    name: Annotated[str, typer.Option(help="Name of the release.")] = "natural",
    out: Annotated[Path | None, typer.Option(help="Write this file instead, which is no release.")] = None,
) -> None:
    """Writes the averaged weights of a checkpoint as FP16 safetensors and enters them into the table of releases."""
    entries = data.find_pictures(photos)
    state, progress = checkpoint.load(source)
    generator = Generator()
    generator.load_state_dict(state["average"])
    if out is not None:
        console.print(f"{out}: sha256 {weights.export(generator, out)}")
        return
    file = f"{name}.safetensors"
    sets = sorted({entry.set_name for entry in entries})
    release = Release(
        name=name,
        file=file,
        sha256=weights.export(generator, weights.FOLDER / file),
        version=metadata.version("kinochrome"),
        licence=WEIGHTS_LICENCE,
        graphs=("natural",),
        config=generator.config,
        sources=tuple(SOURCES.get(set_name, set_name or "pictures without a set") for set_name in sets),
        mean_chroma=mean_chroma(entries),
    )
    weights.enter(release)
    minutes = progress.spent_s / 60
    console.print(f"{release.path.name}: step {progress.step}, {progress.pictures} pictures, {minutes:.0f} minutes")


@app.command("evaluate")
def run_evaluation(
    photos: Photos,
    model: Annotated[
        list[str] | None, typer.Option("--weights", help="A release, a safetensors file or a checkpoint.")
    ] = None,
    baseline: Annotated[Path | None, typer.Option(help="The plain L1 model.")] = PLAIN_L1_MODEL,
    previous: Annotated[Path | None, typer.Option(help="The previous release.")] = None,
    backbones: Annotated[Path | None, typer.Option(help="Folder of the feature nets, for LPIPS and KD.")] = None,
    clips: Annotated[list[Path] | None, typer.Option(help="Films, or folders, for the temporal measures.")] = None,
    frames: Annotated[int, typer.Option(help="Frames of a film, from its start.")] = EvaluateConfig.frames,
    robustness: Annotated[bool, typer.Option("--robustness", help="Attack our models as well; slow.")] = False,
    attacked: Annotated[int, typer.Option(help="Pictures that are attacked.")] = EvaluateConfig.attacked,
    out: Annotated[Path | None, typer.Option(help="Folder for the sheets and the plot.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Measures every model beside grey, mean chroma, faint truth and the plain L1 model."""
    config = EvaluateConfig(
        photos=tuple(photos),
        weights=tuple(model or ()),
        baseline=baseline,
        previous=previous,
        backbones=backbones,
        clips=tuple(clips or ()),
        frames=frames,
        robustness=robustness,
        attacked=attacked,
        out=out,
    )
    with Progress(console=console, disable=not sys.stderr.isatty()) as progress:
        report = evaluate(config, progress=progress)
    if as_json:
        typer.echo(json.dumps(report))
        return
    for row in report["rows"]:
        console.print("  ".join(f"{name} {value}" for name, value in row.items() if not isinstance(value, dict | list)))


def main() -> None:
    """Runs a command; a caller's mistake is one line and exit code 2."""
    try:
        app()
    except (ValueError, WeightsError, KinochromeError) as error:
        console.print(f"error: {error}", style="red", markup=False)
        raise SystemExit(2) from error
