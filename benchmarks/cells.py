"""How a table of a page is written: cells, numbers, and what was measured on."""

from collections.abc import Iterable
from typing import TypeAlias

from benchmarks.trial import Result

Cell: TypeAlias = str | float | None
_QUIET = 0.1
"""Other programs' share of the cores from which on the page says so."""


def table(head: list[str], rows: Iterable[list[Cell]]) -> list[str]:
    """The lines of a table; rows that are short of cells are filled up."""
    lines = [line(head), line(["---"] * len(head))]
    return lines + [line([*row, *[""] * (len(head) - len(row))]) for row in rows]


def line(cells: Iterable[Cell]) -> str:
    """A row, "-" for what is not known."""
    return "| " + " | ".join("-" if cell is None else str(cell).replace("|", "/") for cell in cells) + " |"


def number(value: float | None, digits: int, *, sign: bool = False) -> str:
    """A number with so many digits behind the point, "-" for none."""
    return "-" if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def difference(less: Result, name: str, digits: int) -> str:
    """A paired difference and its standard error."""
    return f"{less[name]:+.{digits}f} ± {less[f'{name}_se']:.{digits}f}"


def percent(share: float) -> str:
    """A share 0..1 in whole per cent."""
    return f"{100 * share:.0f} %"


def caption(result: Result) -> str:
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
    doubt = [f"while other programs took {percent(busy)} of the cores"] if busy > _QUIET else []
    return f"*{', '.join([*parts, *used, *doubt])}.*"
