"""docs/fidelity.md says what is true of this checkout; nothing is lost without a word."""

import re
from pathlib import Path

import pytest

from benchmarks import fidelity
from benchmarks.fidelity import PAGE
from benchmarks.properties import PROPERTIES, SCANS, Property
from benchmarks.specimens import SOURCES

TEXT = PAGE.read_text()


FILMS, _, PICTURES = TEXT.partition("## Numbered pictures")


def written(name: str, column: int, text: str = FILMS) -> str:
    """The verdict on the page."""
    row = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return re.sub(r"[*\d ]", "", row.split(" | ")[column + 1].strip(" |"))


def test_every_property_has_its_row_and_nothing_is_lost() -> None:
    for each in (*PROPERTIES, *SCANS):
        assert f"| {each.name} |" in TEXT
    assert "LOST" not in TEXT


# Each format once, each property once; all of them are what `python -m benchmarks.fidelity --check` is for.
PLACES = [(each, tuple(SOURCES)[number % len(SOURCES)]) for number, each in enumerate(PROPERTIES)]


@pytest.mark.parametrize(("each", "source"), PLACES, ids=[f"{each.name} in {source}" for each, source in PLACES])
def test_the_page_says_what_becomes_of_a_film(tmp_path: Path, each: Property, source: str) -> None:
    cell = fidelity.try_film(each, source, tmp_path / "film")
    assert cell.verdict.replace(" ", "") == written(each.name, tuple(SOURCES).index(source))


@pytest.mark.parametrize("each", SCANS, ids=[each.name for each in SCANS])
def test_the_page_says_what_becomes_of_scans(tmp_path: Path, each: Property) -> None:
    kind = "tif" if "dpi" in each.name or "profile" in each.name or "EXIF" in each.name else "dpx"
    cell = fidelity.try_scans_of(each, kind, tmp_path / "scans")
    assert cell.verdict == written(each.name, ("dpx", "tif").index(kind), PICTURES)
