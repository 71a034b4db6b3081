"""How fast did training go, and how much of the time did it wait for data?

    python -m benchmarks.training runs

Reads the logs that `python -m train` left in the folder of runs; writes results/training.json. The last line on stdout
is JSON.
"""

import json
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from benchmarks import results
from benchmarks.trial import Result
from train.config import STAGES

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
DEFINITIONS = {
    "pictures_per_s": "median over the log's rows of a stage, all that other programs took included",
    "busy": "median share of the time in which the loop did not wait for data; null in logs without it",
}


@app.command()
def main(
    runs: Annotated[Path, typer.Argument(help="Folder of runs.")] = Path("runs"),
    out: Annotated[Path, typer.Option(help="Where to write the result.")] = results.FOLDER / "training.json",
) -> None:
    """Sums up the logs of training."""
    stages = [summarise(runs / stage / "log.jsonl") for stage in STAGES if (runs / stage / "log.jsonl").is_file()]
    if not stages:
        raise typer.BadParameter(f"{runs}: no log of {', '.join(STAGES)} there")
    result: Result = {"question": "how fast did training go?"} | results.origin()
    result |= {"stages": stages, "definitions": DEFINITIONS}
    results.save(result, out)
    typer.echo(json.dumps(result))


def summarise(log: Path) -> Result:
    """A stage's pace and how far it got."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    last = rows[-1]
    about = log.with_name("stage.json")
    busy = [row["busy"] for row in rows if "busy" in row]
    return {
        "stage": log.parent.name,
        "steps": last["step"],
        "pictures": last["pictures"],
        "minutes": round(last["spent_s"] / 60, 1),
        "device": json.loads(about.read_text())["device"] if about.is_file() else None,
        "pictures_per_s": round(median(row["pictures_per_s"] for row in rows), 1),
        "busy": round(median(busy), 3) if busy else None,
    }


if __name__ == "__main__":
    app()
