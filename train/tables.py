"""An evaluation's report as lines for people; `--json` has all of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Rows, style, robustness and films as far as they were measured, targets and whether they were reached, and what
    is missing.
    """
    yield from _block("rows", report["rows"])
    for clip in report["temporal"]:
        yield from _block(f"steadiness on {clip['clip']}", list(map(_lags, clip["rows"])))
    if report["robustness"] is not None:
        yield from _block("robustness: dE00 of noise and attack", list(map(_levels, report["robustness"])))
    style = report["style"]
    if style is not None:
        yield from _block("style", style["rows"])
    verdicts = [*report["targets"], *(style["targets"] if style is not None else ())]
    yield from ("", "targets", *map(_verdict, verdicts))
    missing = [f"{row['name']}: {row['reason']}" for row in report["missing_rows"]] + report["missing_measures"]
    if missing:
        yield from ("", "missing", *(f"  {line}" for line in missing))


def _block(title: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from ("", title)
    for row in rows:
        yield "  " + "  ".join(f"{name} {value}" for name, value in row.items() if not isinstance(value, dict | list))


def _lags(row: Mapping[str, Any]) -> dict[str, Any]:
    """A clip's row, of whose measures each has a figure for every lag, in one line."""
    flat = {name: value for name, value in row.items() if not isinstance(value, dict)}
    for measure, figures in row.items():
        if isinstance(figures, dict):
            flat |= {f"{measure} at lag {lag}": figure for lag, figure in figures.items()}
    return flat


def _levels(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of robustness with its levels, of which each has several figures, in one line."""
    flat = {name: value for name, value in row.items() if not isinstance(value, dict)}
    for level, figures in row.items():
        if isinstance(figures, dict):
            flat |= {f"{name} at {level}/255": figures[name] for name in ("noise", "attack", "gain")}
    return flat


def _verdict(row: Mapping[str, Any]) -> str:
    found = "" if row["found"] is None else f", found {row['found']:.4g}"
    return f"  {'reached' if row['met'] else 'NOT reached'}: {row['name']}: {row['target']} ({row['wanted']}{found})"
