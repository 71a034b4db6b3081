"""What do segments, resuming and a cluster cost, and what do more workers bring?

    python -m benchmarks.scale                    # 480p, in one go and in segments, 1, 2, 4 workers on this machine
    python -m benchmarks.scale --memory           # also peak memory of 50,000 frames against 2,000: half an hour

Every kind of run is a process of its own, in turns, so that what else the machine does hits all alike; what segments
cost is the median over the pairs of neighbouring runs, by CPU time; wall time is told. The model of a large archive
that follows is a calculation from these figures and says so. The last line on stdout is JSON.
"""

import json
import statistics
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from benchmarks import clips, jobs, results, trial
from benchmarks.trial import Result
from stream.errors import KinochromeError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True, highlight=False)

FRAMES: Final = 576
"""Of the film in one go and in segments: 24 s, twelve shots. A cluster takes long to start and gets twice as many."""
LONG, SHORT = 50_000, 2_000
"""Frames of the films whose memory is compared."""
SMALL: Final = (96, 64)
WORKERS: Final = (1, 2, 4)
FILMS, GPUS, GPU_FPS, FILM_MINUTES = 1000, 16, 250.0, 90
"""The archive of the model; a GPU's frames a second are an assumption until they are measured."""


@app.command()
def main(
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each kind; the median counts.")] = 5,
    frames: Annotated[int, typer.Option(min=12, help="Of the film; for a cluster twice as many.")] = FRAMES,
    memory: Annotated[bool, typer.Option("--memory", help=f"Also peak memory of {LONG} frames.")] = False,
    cluster: Annotated[bool, typer.Option(help="Also workers on a Ray cluster on this machine.")] = True,
    out: Annotated[Path | None, typer.Option(help="Where to write the result.")] = None,
) -> None:
    """Measures segments, resuming and workers."""
    try:
        with tempfile.TemporaryDirectory(prefix="kinochrome-scale-") as name:
            result = measure(Path(name), rounds, frames, cluster=cluster)
            result["memory"] = measure_memory(Path(name)) if memory else _earlier_memory(out)
    except (trial.TrialError, KinochromeError) as error:
        console.print(f"benchmarks.scale: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    result["model"] = model(result)
    results.save(result, out or results.FOLDER / "scale.json")
    typer.echo(json.dumps(result))


def measure(folder: Path, rounds: int, frames: int, *, cluster: bool) -> Result:
    """Each kind of run in turns."""
    film = str(clips.make_film(folder / "film.mkv", grain=False, frames=frames))
    found: dict[str, list[Result]] = {}
    for turn in range(rounds):
        for kind in ("one go", "segments"):
            console.print(f"round {turn + 1}: {kind}")
            found.setdefault(kind, []).append(trial.run(jobs.colour, source=film, segments=kind == "segments"))
    rows = {kind: _median(runs) for kind, runs in found.items()}
    console.print("resumed; planned")
    result: Result = {"question": "what do segments, resuming and more workers cost and bring?"} | results.origin()
    result |= {
        "film": f"{clips.SIZE[0]}x{clips.SIZE[1]}, {frames} frames, libx264",
        "rounds": rounds,
        "runs": rows,
    }
    pairs = zip(*(found[kind] for kind in ("segments", "one go")), strict=True)
    costs = [cut["cpu_ms"] / whole["cpu_ms"] - 1 for cut, whole in pairs]
    result |= {
        "segments_cost": round(statistics.median(costs), 4),
        "segments_costs": [round(cost, 4) for cost in costs],
    }
    result["resume"] = trial.run(jobs.resume, source=film)
    result["plan"] = trial.run(jobs.scan, source=film)
    result["cluster"] = {}
    longer = str(clips.make_film(folder / "longer.mkv", grain=False, frames=2 * frames)) if cluster else ""
    for workers in WORKERS if cluster else ():
        console.print(f"{workers} workers")
        result["cluster"][str(workers)] = trial.run(jobs.on_cluster, source=longer, workers=workers)
    return result


def _median(runs: list[Result]) -> Result:
    return {name: round(statistics.median(run[name] for run in runs), 2) for name in runs[0]}


def measure_memory(folder: Path) -> Result:
    """Peak memory in MB of a short and of a very long film, the sample's pictures over and over."""
    head = {name: value for name, value in results.origin().items() if name in ("date", "commit")}
    peaks = {}
    for frames in (SHORT, LONG):
        console.print(f"memory: {frames} frames")
        film = clips.make_film(folder / "long.mkv", grain=False, frames=frames, size=SMALL)
        peaks[str(frames)] = trial.run(jobs.long_film, source=str(film))["peak_rss_mb"]
    return head | {"size": f"{SMALL[0]}x{SMALL[1]}", "peak_rss_mb": peaks}


def _earlier_memory(out: Path | None) -> Result | None:
    """What an earlier run found, with its own date in it."""
    path = out or results.FOLDER / "scale.json"
    earlier: Result = json.loads(path.read_text()) if path.is_file() else {}
    return earlier.get("memory")


def model(result: Result) -> Result:
    """MODEL, not a measurement: an archive on many GPUs, with the overheads measured here."""
    frames = FILMS * FILM_MINUTES * 60 * clips.RATE
    ideal_h = frames / (GPUS * GPU_FPS) / 3600
    # A GPU's batches of 32 begin where those of the whole film do; and a segment's last pictures need those after it.
    longest = result["plan"]["longest_frames"]
    twice = (15.5 + 4) / max(1, longest)
    planned_h = frames / result["plan"]["fps"] / 3600
    slower = (1 + max(0.0, result["segments_cost"])) * (1 + twice)
    return {
        "label": "model, not measured",
        "films": FILMS,
        "film_minutes": FILM_MINUTES,
        "gpus": GPUS,
        "gpu_fps_assumed": GPU_FPS,
        "overheads": {"segments": result["segments_cost"], "frames_made_twice": round(twice, 4)},
        "ideal_h": round(ideal_h, 1),
        "with_overheads_h": round(ideal_h * slower, 1),
        "planning_one_driver_h": round(planned_h, 1),
        "total_h": round(max(ideal_h * slower, planned_h), 1),
        "limit": "planning on one driver" if planned_h > ideal_h * slower else "GPUs",
    }


if __name__ == "__main__":
    app()
