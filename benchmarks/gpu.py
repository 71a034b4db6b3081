"""How fast is the network on this GPU, alone and with whole frames, and how far from what the GPU can do?

    python -m benchmarks.gpu                        # a few minutes
    python -m benchmarks.gpu --profile trace.json   # a trace of 64 frames through the engine, and nothing else

The two ceilings come first: copying (on the device and over the bus) and FP16 multiply-adds. Each way to run the
network has a process of its own; what can't run is a row with the reason. The last line on stdout is JSON.
"""

import json
from itertools import product
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks import device as bench
from benchmarks import results, trial
from benchmarks.network import parse_size
from benchmarks.trial import Result
from model.graphs import GraphName
from stream.runtime_tensorrt import driver, find_flavour, what_is_missing

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True, highlight=False)

SIZES = [(256, 480), (512, 928), (1088, 1920)]
BATCHES = [1, 8, 32]
FRAMES = [(1920, 1080), (3840, 2160)]
SECONDS = 0.5
LARGEST_STYLED = 512
BUILT = ("torch.compile", "tensorrt")
DEFINITIONS = {
    "ms, ms_p95": "wall ms of one batch that is waited for: median and 95th percentile",
    "fps": "pictures a second when batches follow each other",
    "compute_ms, memory_ms": "a picture's GMAC, and the bytes its layers read and write in FP16, at the ceilings; the "
    "weights are read once a batch",
    "share, bound": "the larger of both / (1000 / fps), and which one it is",
    "on_device_fps": "luma planes on the device to chroma planes on the device; host_fps: with upload and download",
    "steady_fps": "host_fps with the fixed-lag smoothing of files; step_ms: one causal step of it",
    "mean_levels, p999_levels": "difference from the float32 reference on golden frames, eight-bit levels; refused: it "
    "is more than films may be made with",
    "peak_mb": "the most that torch had allocated on the device for this row; TensorRT's own memory is not in it",
    "mb_a_frame": "what travels over the bus, both ways",
}


@app.command()
def main(
    device: Annotated[str, typer.Option(help="cuda; cpu only tries the program out.")] = "cuda",
    sizes: Annotated[str, typer.Option(help="Working sizes, rows x columns.")] = "",
    batches: Annotated[str, typer.Option(help="Batch sizes.")] = "",
    variants: Annotated[str, typer.Option(help="Ways to run the network.")] = ",".join(bench.VARIANTS),
    seconds: Annotated[float, typer.Option(help="How long each row is measured.")] = SECONDS,
    profile: Annotated[Path | None, typer.Option(help="Write a profiler trace here, and measure nothing.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write the result; results/gpu.json on cuda.")] = None,
) -> None:
    """Measures the network and the engine on a GPU."""
    if device == "cuda" and not torch.cuda.is_available():
        console.print("benchmarks.gpu: torch finds no CUDA GPU; kinochrome doctor says why", style="red")
        raise typer.Exit(1)
    if profile is not None:
        variant = "cuda graphs" if what_is_missing() else "tensorrt"
        typer.echo(json.dumps(trial.run(bench.profile, device=device, variant=variant, out=str(profile.resolve()))))
        return
    found = measure(
        device,
        [parse_size(word) for word in sizes.split(",") if word] or SIZES,
        [int(word) for word in batches.split(",") if word] or BATCHES,
        variants=[variant for variant in bench.VARIANTS if variant in variants.split(",")],
        seconds=seconds,
    )
    if out or device == "cuda":
        results.save(found, out or results.FOLDER / "gpu.json")
    typer.echo(json.dumps(found))


def measure(
    device: str, sizes: list[tuple[int, int]], batches: list[int], *, variants: list[str], seconds: float
) -> Result:
    """Ceilings, the network alone in every way, whole frames in the way that films are made, if it runs."""
    flavour = find_flavour()
    tensorrt = flavour.label if flavour else what_is_missing()
    head: Result = {"question": "how fast on a GPU, and how far from its ceilings?"} | results.origin()
    head |= {"driver": driver(), "cuda": torch.version.cuda, "tensorrt": tensorrt}
    console.print("ceilings")
    top = trial.run(bench.ceilings, device=device, seconds=seconds)
    rows: list[Result] = []
    graphs: tuple[GraphName, ...] = ("natural", "fused")
    for variant, graph in product(variants, graphs):
        console.print(f"network: {variant}, {graph}")
        rows += [row | compare(row, top) for row in _network(device, variant, graph, sizes, batches, seconds)]
    whole = []
    for frame, styled in product(FRAMES if device == "cuda" else [(96, 64)], (False, True)):
        console.print(f"frames: {frame[0]}x{frame[1]}, {graphs[styled]}")
        short_side = (256, 512)[styled] if device == "cuda" else 64
        batch = min(8, max(batches))
        best = choose_way(rows, graphs[styled])
        whole.append(_frames(device, best, frame, short_side, batch=batch, styled=styled, seconds=seconds))
    return head | {"ceilings": top, "rows": rows, "frames": whole, "definitions": DEFINITIONS}


def _network(
    device: str, variant: str, graph: GraphName, sizes: list[tuple[int, int]], batches: list[int], seconds: float
) -> list[Result]:
    wanted = sizes if graph == "natural" else [size for size in sizes if size[0] <= LARGEST_STYLED]
    if variant in BUILT:  # each size and batch is built for half a minute and more: those that are used, and no others
        wanted, batches = [wanted[0 if graph == "natural" else -1]], batches[:2]
    if variant == "tensorrt" and what_is_missing():
        return [{"variant": variant, "graph": graph, "size": "", "batch": 0, "reason": f"not run: {what_is_missing()}"}]
    try:
        done = trial.run(
            bench.network, device=device, variant=variant, graph=graph, sizes=wanted, batches=batches, seconds=seconds
        )
    except trial.TrialError as error:
        return [{"variant": variant, "graph": graph, "size": "", "batch": 0, "reason": str(error)}]
    rows: list[Result] = done["rows"]
    return rows


def _frames(
    device: str, variant: str, frame: tuple[int, int], short_side: int, *, batch: int, styled: bool, seconds: float
) -> Result:
    try:
        return trial.run(
            bench.frames,
            device=device,
            variant=variant,
            frame=frame,
            short_side=short_side,
            batch=batch,
            styled=styled,
            seconds=2 * seconds,
        )
    except trial.TrialError as error:
        return {"variant": variant, "frame": f"{frame[0]}x{frame[1]}", "styled": styled, "reason": str(error)}


def choose_way(rows: list[Result], graph: GraphName) -> str:
    """How a film is made with this graph: by TensorRT, unless it doesn't run or is refused in any batch."""
    built = [row for row in rows if (row["variant"], row["graph"]) == ("tensorrt", graph)]
    runs, refused = (any(name in row for row in built) for name in ("fps", "refused"))
    return "tensorrt" if runs and not refused else "cuda graphs"


def compare(row: Result, top: Result) -> Result:
    """How near a row is to the ceilings, and which of the two is the nearer; nothing where it did not run."""
    if "fps" not in row:
        return {}
    ideals = {"compute": 1000 * row["gmac"] / top["gmac_s"], "memory": 2 * row["million_values"] / top["copy_gb_s"]}
    bound = max(ideals, key=lambda name: ideals[name])
    return {
        "compute_ms": round(ideals["compute"], 4),
        "memory_ms": round(ideals["memory"], 4),
        "bound": bound,
        "share": round(ideals[bound] * row["fps"] / 1000, 3),
    }


if __name__ == "__main__":
    app()
