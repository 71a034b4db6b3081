"""How fast is a film coloured, and what keeps it from being faster?

    python -m benchmarks.film                # two made films, a clean one and a grainy one
    python -m benchmarks.film reel.mkv --frames 300

The ceiling: cores / (CPU time of all stages a frame, each measured alone); `of_limit` is how much of it the pipeline
reaches. The floor under it: the same transcode without the network. The last line on stdout is JSON.
"""

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import clips, passage, results, stages, trial
from benchmarks.trial import Result
from stream.config import Settings
from stream.errors import KinochromeError
from stream.media import probe

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True, highlight=False)

FRAMES = 288
"""Length of the made films: the sample's pictures once, 12 s."""
STAGE_FRAMES = 300
SHORT_FILM, LONG_FILM = 200, 4000
_ROWS = (
    *("fps", "transcode_fps", "ratio", "ideal_fps", "of_limit", "busy", "slowdown", "limit", "network_steady_ms"),
    *("network_skipped", "peak_rss_mb"),
)
DEFINITIONS = {
    "fps": "stream.metrics.Report: frames by wall seconds until the file is closed, start-up left out",
    "transcode_fps": "the same threads, queues and Writer with neutral chroma: no prepare, network, steady, chroma",
    "stages_ms": "CPU ms a frame of each stage alone, all threads; stages_wall_ms: wall ms a frame",
    "of_limit": "fps / ideal_fps; ideal_fps = cores / sum of stages_ms",
    "network_steady_ms": "wall ms a frame, network and steadiness alone",
    "cpu_ms, busy": "of the whole run: CPU ms a frame, and share of the cores' time that was used",
    "slowdown": "cpu_ms / sum of stages_ms: what sharing caches and cores costs; of_limit is about busy / slowdown",
    "startup": "from the command to the first coloured frame; cold: empty engine cache, files may be in the page cache",
    "memory": f"peak RSS in MB for {SHORT_FILM} and {LONG_FILM} frames: the clean film, over and over",
}


@app.command()
def main(
    source: Annotated[Path | None, typer.Argument(metavar="IN", show_default=False, help="A film of your own.")] = None,
    frames: Annotated[int | None, typer.Option(min=2, help=f"Default: {FRAMES} of the made films, all of IN.")] = None,
    short_side: Annotated[int, typer.Option(help="Working size, short side in pixels.")] = Settings.short_side,
    memory: Annotated[bool, typer.Option("--memory", help=f"Also peak memory, {LONG_FILM} frames: 4 minutes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The JSON line alone, no table.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Where to write the result; without it a full run goes to results/film.json.")
    ] = None,
) -> None:
    """Measures colouring from file to file."""
    full = (source, frames, short_side) == (None, None, Settings.short_side)
    console.quiet = as_json
    try:
        with tempfile.TemporaryDirectory(prefix="kinochrome-bench-") as folder:
            os.environ["XDG_CACHE_HOME"] = folder  # the first start is a cold one, and the user's cache stays as it is
            result = measure(Path(folder), source, frames, short_side)
            result["memory"] = measure_memory(Path(folder), short_side) if memory else None
    except (trial.TrialError, KinochromeError) as error:
        console.quiet = False
        console.print(f"benchmarks.film: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    console.print(draw(result))
    if out or full:
        results.save(result, out or results.FOLDER / "film.json")
    typer.echo(json.dumps(result))


def measure(folder: Path, source: Path | None, frames: int | None, short_side: int) -> Result:
    """The result; what it says of one film it says at the top of the slowest."""
    head = {"question": "how fast is a film coloured, end to end?"} | results.origin()
    films = make_films(folder, frames) if source is None else {source.name: take_film(folder, source, frames)}
    start_up = measure_start_up(next(iter(films.values())), folder, short_side)
    rows = [measure_film(name, film, folder, short_side) for name, film in films.items()]
    slowest = min(rows, key=lambda row: float(row["fps"]))
    return head | start_up | slowest | {"films": rows, "definitions": DEFINITIONS}


def measure_start_up(film: Path, folder: Path, short_side: int) -> Result:
    """Seconds from the command to the first coloured frame: with an empty engine cache, then with the engine in it."""
    found = {}
    for kind in ("cold", "warm"):
        console.print(f"start-up, {kind}")
        started = trial.run(
            passage.start,
            source=str(film),
            target=str(folder / "start.mkv"),
            short_side=short_side,
            started_s=time.monotonic(),
        )
        found[f"startup_{kind}_s"] = started["startup_s"]
    return found


def make_films(folder: Path, frames: int | None) -> dict[str, Path]:
    """The made films by name."""
    films = {}
    for name in clips.MADE:
        console.print(f"making the {name} film")
        films[name] = clips.make_film(folder / f"{name}.mkv", grain=name == "grainy", frames=frames or FRAMES)
    return films


def take_film(folder: Path, source: Path, frames: int | None) -> Path:
    """A film of the user's, cut to its first `frames` frames if asked for."""
    probe(source)  # refuses what is no film before anything is measured
    return source if frames is None else clips.cut_film(source, folder / f"cut{source.suffix}", frames=frames)


def measure_film(name: str, film: Path, folder: Path, short_side: int) -> Result:
    """One film: coloured, transcoded, and stage by stage."""
    source, target, info = str(film), str(folder / "out.mkv"), probe(film)
    console.print(f"{name}: each stage alone")
    alone = trial.run(stages.measure, source=source, target=target, short_side=short_side, frames=STAGE_FRAMES)
    console.print(f"{name}: coloured")
    coloured = trial.run(passage.colour, source=source, target=target, short_side=short_side)
    console.print(f"{name}: transcoded")
    bare = trial.run(passage.transcode, source=source, target=target)
    if not coloured["fps"] or not bare["fps"]:
        raise trial.TrialError(f"{name}: {coloured['frames']} frames are too few to time")
    total_ms = sum(alone["cpu_ms"].values())
    ideal_fps = 1000 * trial.cores() / total_ms
    return {
        "film": name,
        "made": clips.MADE.get(name),
        "size": f"{info.width}x{info.height}",
        "frames": coloured["frames"],
        "fps": coloured["fps"],
        "transcode_fps": bare["fps"],
        "ratio": round(coloured["fps"] / bare["fps"], 3),
        "stages_ms": alone["cpu_ms"],
        "stages_wall_ms": alone["wall_ms"],
        "stages_frames": alone["frames"],
        "network_steady_ms": round(alone["wall_ms"]["network"] + alone["wall_ms"]["steady"], 3),
        "ideal_fps": round(ideal_fps, 2),
        "of_limit": round(coloured["fps"] / ideal_fps, 3),
        "cpu_ms": coloured["cpu_ms"],
        "slowdown": round(coloured["cpu_ms"] / total_ms, 3),
        "busy": coloured["busy"],
        "limit": coloured["limit"],
        "network_skipped": coloured["carried"],
        "peak_rss_mb": coloured["peak_rss_mb"],
        "transcode_peak_rss_mb": bare["peak_rss_mb"],
        "runtime": coloured["runtime"],
        "working_size": coloured["working_size"],
    }


def measure_memory(folder: Path, short_side: int) -> dict[str, float]:
    """Peak memory of a short and of a long film; the long one alone takes about 3 minutes on two quiet cores."""
    peaks = {}
    for frames in (SHORT_FILM, LONG_FILM):
        console.print(f"memory: {frames} frames")
        film, target = clips.make_film(folder / "length.mkv", grain=False, frames=frames), folder / "length-out.mkv"
        coloured = trial.run(passage.colour, source=str(film), target=str(target), short_side=short_side)
        peaks[str(frames)] = coloured["peak_rss_mb"]
    return peaks


def draw(result: Result) -> Table:
    """For people: a column for each film."""
    columns = ("film", *(row["film"] for row in result["films"]))
    table = Table(*columns, title=f"start-up {result['startup_cold_s']} s cold, {result['startup_warm_s']} s warm")
    for name in _ROWS:
        table.add_row(name, *(f"{row[name]}" for row in result["films"]))
    for stage in stages.STAGES:
        cells = (f"{row['stages_ms'][stage]:.2f} / {row['stages_wall_ms'][stage]:.2f}" for row in result["films"])
        table.add_row(f"{stage}, CPU / wall ms", *cells)
    return table


if __name__ == "__main__":
    app()
