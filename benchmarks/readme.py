"""Writes the tables of README.md, docs/measured.md and model/README.md from benchmarks/results/*.json.

    python -m benchmarks.readme            # after new results
    python -m benchmarks.readme --check    # exit code 1 where a page does not show its results

A page says where: `<!-- table: film -->` and `<!-- end -->`, each on a line of its own. No results, no table.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import tables_model, tables_speed
from benchmarks.trial import ROOT, Result

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

PAGES = (
    ROOT / "README.md",
    ROOT / "docs" / "measured.md",
    ROOT / "docs" / "gpu.md",
    ROOT / "model" / "README.md",
)
FOLDER = ROOT / "benchmarks" / "results"
_PLACE = re.compile(r"(<!-- table: (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


@app.command()
def main(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; say which pages are old.")] = False,
) -> None:
    """Writes or checks the tables of the pages."""
    old = []
    for page in PAGES:
        if not page.is_file():
            continue
        text = page.read_text()
        filled = fill(text, FOLDER)
        if filled != text:
            old.append(str(page.relative_to(ROOT)))
            if not check:
                page.write_text(filled)
    if check and old:
        typer.echo(
            f"{', '.join(old)}: tables are not those of {FOLDER.name}/; run python -m benchmarks.readme", err=True
        )
        raise typer.Exit(1)
    typer.echo(f"written: {', '.join(old)}" if old else "every table is up to date")


def fill(text: str, folder: Path) -> str:
    """The page with every table as the results in the folder say; ValueError for a name that is no table."""

    def place(found: re.Match[str]) -> str:
        head, name, _, end = found.groups()
        if name not in TABLES:
            raise ValueError(f"table {name!r}; there are {', '.join(TABLES)}")
        file, draw = TABLES[name]
        path = folder / file
        lines = draw(json.loads(path.read_text())) if path.is_file() else []
        return f"{head}{''.join(line + chr(10) for line in lines)}{end}"

    return _PLACE.sub(place, text)


TABLES: dict[str, tuple[str, Callable[[Result], list[str]]]] = {
    "film": ("film.json", tables_speed.film_table),
    "engine": ("engine.json", tables_speed.engine_table),
    "gpu": ("gpu.json", tables_speed.gpu_table),
    "convert": ("convert.json", tables_speed.convert_table),
    "training": ("training.json", tables_model.training_table),
    "sizes": ("style.json", tables_model.sizes_table),
    "quality": ("evaluate.json", tables_model.quality_table),
    "steady": ("evaluate.json", tables_model.steady_table),
    "hold": ("steady.json", tables_model.hold_table),
    "strokes": ("steady.json", tables_model.strokes_table),
    "robustness": ("evaluate.json", tables_model.robustness_table),
    "style": ("evaluate.json", tables_model.style_table),
    "targets": ("evaluate.json", tables_model.targets_table),
    "live": ("live.json", tables_speed.live_table),
    "long": ("live-long.json", tables_speed.long_table),
    "soak": ("soak.json", tables_speed.soak_table),
    "kills": ("kills.json", tables_speed.kills_table),
    "kills-scans": ("kills-scans.json", tables_speed.kills_table),
    "scale": ("scale.json", tables_speed.scale_table),
    "transport": ("transport.json", tables_speed.transport_table),
}
"""Name of a table: the file it is made from and what draws it."""


if __name__ == "__main__":
    app()
