"""How fast is the network alone, and how far is that from what the machine can do?

    python -m benchmarks.engine --sizes 256x448,256x480

The ceiling comes first: the most multiply-adds a second that each runtime reaches on this machine, and its copying
speed. The last line on stdout is JSON.
"""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Annotated, ParamSpec

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import ceiling, network, results, trial
from benchmarks.network import parse_size
from benchmarks.trial import Result
from stream.config import RuntimeName

P = ParamSpec("P")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True, highlight=False)

GRAPHS = ("natural", "fused")
RUNTIMES: tuple[RuntimeName, ...] = ("openvino", "torch")
SECONDS = 2.0
SIZES = "128x224,256x448,256x480,384x672,512x896"
_BYTES = {"f32": 4, "fp32": 4, "bf16": 2, "f16": 2}
DEFINITIONS = {
    "ms, ms_p95": "wall ms a frame in batches as the engine hands them over: median and 95th percentile",
    "single_ms": "wall ms of a frame that comes alone",
    "cpu_ms": "CPU ms a frame, all threads",
    "compute_ms": "the network's GMAC at the ceiling's GMAC/s, as if all of it ran in the ceiling's precision",
    "memory_ms": "what its layers read and write at the ceiling's GB/s, each layer for itself",
    "share": "the larger of both / ms; bound: which one it is",
    "steady_ms, steady_share": "model/temporal.py a frame, and in relation to the network's ms",
}


@app.command()
def main(
    sizes: Annotated[str, typer.Option(help="Working sizes, rows x columns, multiples of 32.")] = SIZES,
    seconds: Annotated[float, typer.Option(help="How long each row is measured, at least 5 batches.")] = SECONDS,
    as_json: Annotated[bool, typer.Option("--json", help="The JSON line alone, no table.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Where to write the result; without it a full run goes to results/engine.json.")
    ] = None,
) -> None:
    """Measures the network alone, per runtime and size."""
    console.quiet = as_json
    result = measure([parse_size(size) for size in sizes.split(",")], seconds)
    console.print(draw(result))
    if out or (sizes, seconds) == (SIZES, SECONDS):
        results.save(result, out or results.FOLDER / "engine.json")
    typer.echo(json.dumps(result))


def measure(sizes: list[tuple[int, int]], seconds: float) -> Result:
    """Ceilings, then a row for each runtime and size; what can't be run is a row with the reason."""
    head = {"question": "how fast is the network alone, and how far from the ceiling?"} | results.origin()
    ceilings, rows = [], []
    for runtime in RUNTIMES:
        console.print(f"{runtime}: ceiling")
        top = {"runtime": runtime} | _result_or_reason(ceiling.measure, runtime=runtime, seconds=seconds / 3)
        ceilings.append(top)
        for size, styled in product(sizes, (False, True)):
            row: Result = {"runtime": runtime, "size": f"{size[0]}x{size[1]}", "graph": GRAPHS[styled]}
            row |= network.count(size, styled=styled)
            console.print(f"{runtime}: {row['size']} {row['graph']}")
            row |= _result_or_reason(
                network.measure, runtime=runtime, rows=size[0], columns=size[1], styled=styled, seconds=seconds
            )
            rows.append(row | compare(row, top))
    return head | {"ceilings": ceilings, "rows": rows, "definitions": DEFINITIONS}


def _result_or_reason(function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    try:
        return trial.run(function, *args, **kwargs)
    except trial.TrialError as error:
        return {"reason": str(error)}


def compare(row: Result, top: Result) -> Result:
    """How near a measured row is to the ceiling; nothing where either is missing."""
    if "reason" in row or "reason" in top:
        return {}
    ideals = {
        "compute": 1000 * row["gmac"] / top["gmac_s"],
        "memory": row["million_values"] * _BYTES[top["precision"]] / top["copy_gb_s"],
    }
    bound = max(ideals, key=lambda name: ideals[name])
    gmac_s = 1000 * row["gmac"] / row["ms"]
    return {
        "gmac_s": round(gmac_s, 1),
        "share_of_gmac_s": round(gmac_s / top["gmac_s"], 3),
        "compute_ms": round(ideals["compute"], 2),
        "memory_ms": round(ideals["memory"], 2),
        "bound": bound,
        "share": round(ideals[bound] / row["ms"], 3),
    }


def draw(result: Result) -> Table:
    """For people."""
    tops = "; ".join(
        f"{top['runtime']} {top['precision']} {top['gmac_s']:g} GMAC/s, {top['copy_gb_s']:g} GB/s"
        if "gmac_s" in top
        else f"{top['runtime']}: {top['reason']}"
        for top in result["ceilings"]
    )
    names = ("ms", "ms_p95", "single_ms", "cpu_ms", "gmac", "gmac_s", "compute_ms", "memory_ms", "share", "steady_ms")
    table = Table("runtime", "size", "graph", *names, title=f"ceiling: {tops}")
    for row in result["rows"]:
        cells = (f"{row.get(name, '-')}" for name in names)
        table.add_row(row["runtime"], row["size"], row["graph"], *cells, row.get("reason"))
    return table


if __name__ == "__main__":
    app()
