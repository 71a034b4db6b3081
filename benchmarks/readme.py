"""Writes the tables of README.md and model/README.md from benchmarks/results/*.json.

    python -m benchmarks.readme            # after new results
    python -m benchmarks.readme --check    # exit code 1 where a page does not show its results

A page says where: `<!-- table: film -->` and `<!-- end -->`, each on a line of its own. No results, no table.
"""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from benchmarks.trial import ROOT, Result

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

Cell: TypeAlias = str | float | None
PAGES = (ROOT / "README.md", ROOT / "model" / "README.md")
FOLDER = ROOT / "benchmarks" / "results"
_PLACE = re.compile(r"(<!-- table: (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
_QUIET = 0.1
"""Other programs' share of the cores from which on the page says so."""
_LAGS = ("1", "10", "50")
_ATTACKS = ("2", "4", "8")


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


def film_table(result: Result) -> list[str]:
    """What a film's colouring costs, a column for each film."""
    films: list[Result] = result["films"]
    rows: list[list[Cell]] = [
        ["coloured, frames a second", *(f"**{film['fps']:.1f}**" for film in films)],
        ["the same transcode without the network", *(f"{film['transcode_fps']:.1f}" for film in films)],
        ["share of what the cores can do at best", *(_percent(film["of_limit"]) for film in films)],
        ["network and steadiness, ms a frame", *(f"{film['network_steady_ms']:.1f}" for film in films)],
    ]
    for stage in films[0]["stages_ms"]:
        rows.append([f"CPU ms a frame: {stage}", *(f"{film['stages_ms'][stage]:.1f}" for film in films)])
    rows.append(["frames on which the network did not run", *(film["network_skipped"] for film in films)])
    rows.append(["peak memory, MB", *(f"{film['peak_rss_mb']:.0f}" for film in films)])
    start = f"Start-up {result['startup_warm_s']:.1f} s, the very first time {result['startup_cold_s']:.1f} s."
    peaks = [f"Peak memory for {count} frames: {peak:.0f} MB." for count, peak in (result.get("memory") or {}).items()]
    head = [f"{films[0]['size']} to x264 veryfast", *(film["film"] for film in films)]
    return [*_table(head, rows), "", " ".join([start, *peaks]), "", _caption(result)]


def engine_table(result: Result) -> list[str]:
    """The network alone, under the ceiling of each runtime."""
    rows: list[list[Cell]] = []
    for row in result["rows"]:
        if "reason" in row:
            rows.append([row["runtime"], row["size"], row["reason"]])
            continue
        times: list[Cell] = [f"{row[name]:.1f}" for name in ("ms", "ms_p95", "single_ms", "cpu_ms")]
        share = f"{_percent(row['share'])} ({row['bound']})" if "share" in row else None
        more: list[Cell] = [f"{row['gmac']:.2f}", row.get("gmac_s"), share, f"{row['steady_ms']:.1f}"]
        rows.append([row["runtime"], row["size"], *times, *more])
    head = ["runtime", "rows x columns", "ms a frame", "p95", "alone", "CPU ms", "GMAC", "GMAC/s", "of the ceiling"]
    tops = "; ".join(
        f"{top['runtime']} {top['gmac_s']:.0f} GMAC/s in {top['precision']}, copying {top['copy_gb_s']:.0f} GB/s"
        if "gmac_s" in top
        else f"{top['runtime']}: {top['reason']}"
        for top in result["ceilings"]
    )
    return [f"Ceiling of this machine: {tops}.", "", *_table([*head, "steadiness ms"], rows), "", _caption(result)]


def quality_table(report: Result) -> list[str]:
    """Ours and the honest rows beside it."""
    head = ["", "PSNR dB", "over grey", "SSIM", "CF", "dCF", "LPIPS", "KD x1e3"]
    names = ("ssim", "cf", "dcf", "lpips", "kd_x1e3")
    rows: list[list[Cell]] = []
    for row in report["rows"]:
        label = f"**{row['name']}**" if row["kind"] == "ours" else row["name"]
        psnr: list[Cell] = [_number(row["psnr"], 2), _number(row["psnr_over_grey"], 2, sign=True)]
        rows.append([label, *psnr, *(_number(row.get(name), 1 if "cf" in name else 3) for name in names)])
    share = _percent(report["near_grey_excluded_share"])
    note = f"{report['pictures']} pictures; {share} near grey left out; CF of the truth {report['cf_truth']:.1f}."
    missing = [f"{row['name']}: {row['reason']}" for row in report["missing_rows"]] + report["missing_measures"]
    return [
        *_table(head, rows),
        "",
        " ".join([note, *(f"Missing: {reason}." for reason in missing)]),
        "",
        _caption(report),
    ]


def steady_table(report: Result) -> list[str]:
    """How still the colours hold, clip by clip."""
    lags = " / ".join(_LAGS)
    rows: list[list[Cell]] = []
    for clip in report["temporal"]:
        for row in clip["rows"]:
            series: list[Cell] = [
                " / ".join(_number(row[name].get(lag), 3) for lag in _LAGS) for name in ("e_warp_x1e3", "cdc_x1e3")
            ]
            rows.append([clip["clip"], row["name"], _number(row["cf"], 1), *series])
    return [
        *_table(["film", "colours", "CF", f"E_warp x1e3 at lag {lags}", f"CDC x1e3 at lag {lags}"], rows),
        "",
        _caption(report),
    ]


def robustness_table(report: Result) -> list[str]:
    """What an attack does beyond noise, in CIEDE2000; nothing where it was not measured."""
    rows: list[list[Cell]] = [
        [row["name"], f"{size}/255", *(_number(row[size][name], 2) for name in ("noise", "attack", "gain"))]
        for row in report["robustness"] or ()
        for size in _ATTACKS
    ]
    return [*_table(["", "size", "noise dE00", "attack dE00", "gain"], rows), "", _caption(report)] if rows else []


TABLES: dict[str, tuple[str, Callable[[Result], list[str]]]] = {
    "film": ("film.json", film_table),
    "engine": ("engine.json", engine_table),
    "quality": ("evaluate.json", quality_table),
    "steady": ("evaluate.json", steady_table),
    "robustness": ("evaluate.json", robustness_table),
}
"""Name of a table: the file it is made from and what draws it."""


def _table(head: list[str], rows: Iterable[list[Cell]]) -> list[str]:
    lines = [_line(head), _line(["---"] * len(head))]
    return lines + [_line([*row, *[""] * (len(head) - len(row))]) for row in rows]


def _line(cells: Iterable[Cell]) -> str:
    return "| " + " | ".join("-" if cell is None else str(cell).replace("|", "/") for cell in cells) + " |"


def _number(value: float | None, digits: int, *, sign: bool = False) -> str:
    return "-" if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _caption(result: Result) -> str:
    """Hardware, date, commit and versions."""
    machine, versions = result["machine"], result.get("versions", {})
    commit = (result["commit"] or "unknown")[:10]
    used = [f"{name} {versions[name]}" for name in ("openvino", "av", "ffmpeg") if name in versions]
    parts = (
        machine["cpu"],
        f"{machine['cores']} cores",
        result["date"][:10],
        f"commit {commit}",
        f"torch {result['torch']}",
    )
    busy = result.get("others_busy") or 0.0
    doubt = [f"while other programs took {_percent(busy)} of the cores"] if busy > _QUIET else []
    return f"*{', '.join([*parts, *used, *doubt])}.*"


if __name__ == "__main__":
    app()
