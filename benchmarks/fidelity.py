"""What of a film is kept, property by property, tried on files made for it: writes docs/fidelity.md.

    python -m benchmarks.fidelity            # all, about two minutes
    python -m benchmarks.fidelity --check    # exit code 1 where the page is old, or something is lost without a word

Each file is coloured by `stream.colorize` as a user's would be, to the output that he gets who names none. A property
counts as kept if the same reading of both files gives the same; else the report must say so.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import typer

from benchmarks.properties import PROPERTIES, SCANS, Property
from benchmarks.specimens import SOURCES, make_scans, make_specimen
from benchmarks.trial import ROOT
from stream.colorize import colorize, default_target
from stream.config import Settings
from stream.errors import KinochromeError
from stream.ffmpeg import ffmpeg_facts

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

PAGE: Final = ROOT / "docs" / "fidelity.md"
SETTINGS: Final = Settings(short_side=32, runtime="torch", steady=0.0)
_PICTURES: Final = ("dpx", "tif", "png", "jpg")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What became of a property in a format."""

    verdict: str
    """kept, converted, left out, refused, LOST, or – where the format has no such thing."""
    notice: str = ""


def try_films(folder: Path, sources: tuple[str, ...] = tuple(SOURCES)) -> dict[str, dict[str, Cell]]:
    """Cells by property and source format."""
    return {
        each.name: {source: try_film(each, source, folder / f"{number}-{source}") for source in sources}
        for number, each in enumerate(PROPERTIES)
    }


def try_film(each: Property, source: str, folder: Path) -> Cell:
    """What becomes of a property in a source format, tried in `folder`."""
    folder.mkdir(parents=True)
    film = make_specimen(folder / f"reel.{source}", **each.make)
    before = None if film is None else each.read(film)
    if film is None or before is None:
        return Cell(verdict="–")
    target = default_target(film)[0]
    target = target.with_suffix(".mkv") if each.job.codec else target
    return _judge(each, before, film, target)


def _judge(each: Property, before: Any, film: Path, target: Path) -> Cell:  # noqa: ANN401  (whatever the film has)
    try:
        report = colorize(film, target, settings=SETTINGS, job=each.job)
    except KinochromeError as error:
        return Cell(
            verdict="refused", notice=str(error).replace(str(film), film.name).replace(str(target), target.name)
        )
    after = each.read(target)
    if after is not None and each.same(before, after):
        return Cell(verdict="kept")
    notice = next((line for line in report.notices if any(word in line for word in each.words)), "")
    if not notice:
        return Cell(verdict="LOST", notice=f"{before} became {after}")
    return Cell(verdict="left out" if after is None else "converted", notice=notice)


def try_scans(folder: Path, kinds: tuple[str, ...] = _PICTURES) -> dict[str, dict[str, Cell]]:
    """Cells by property and picture format, into the same format (JPEG into PNG)."""
    return {
        each.name: {kind: try_scans_of(each, kind, folder / f"{number}-{kind}") for kind in kinds}
        for number, each in enumerate(SCANS)
    }


def try_scans_of(each: Property, kind: str, folder: Path) -> Cell:
    """What becomes of a property in a kind of picture, tried in `folder`."""
    scans = make_scans(folder / "scans", kind, **({"depth": 8 if kind == "jpg" else 16} | each.make))
    before = None if scans is None else each.read(scans)
    if scans is None or before is None:
        return Cell(verdict="–")
    return _judge(each, before, scans, folder / "colour")


def page(films: dict[str, dict[str, Cell]], scans: dict[str, dict[str, Cell]]) -> str:
    """docs/fidelity.md."""
    version = ffmpeg_facts()[0]
    targets = {source: default_target(Path(f"reel.{source}"))[0].suffix[1:] for source in SOURCES}
    heads = [source if source == targets[source] else f"{source} to {targets[source]}" for source in SOURCES]
    lines = [
        "# What is kept",
        "",
        "*Written by `python -m benchmarks.fidelity`, which makes a file for each cell, colours it and compares",
        f"(FFmpeg {version}). Change it there.*",
        "",
        "**kept**: both files give the same. *converted*, *left out*: the report says so, and the notes below quote",
        "it; `--strict` refuses instead. –: such files don't exist, or FFmpeg can't make one. Without `-o` the output",
        "has the input's format, or Matroska where that isn't written.",
        "",
        *_table("film", heads, films),
        "",
        "## Numbered pictures",
        "",
        "Into the same format under the same numbers; JPEG scans become PNG. Pictures hold R'G'B', so luma comes back",
        "within one level; a film file (`-o reel.mkv -c ffv1`) keeps it bit for bit.",
        "",
        *_table("pictures", [f"{kind} to png" if kind == "jpg" else kind for kind in _PICTURES], scans),
        "",
        *_REST.splitlines(),
    ]
    return "\n".join(lines) + "\n"


_REST = """\
## The proof

`-c ffv1` in natural colour writes `NAME.mkv.framemd5` beside the film: the MD5 of every frame's luma, taken before it
is encoded, in FFmpeg's own format. `kinochrome verify ORIGINAL RESULT` holds both films against it; `kinochrome verify
NAME.mkv.framemd5 RESULT` needs the original no more. FFmpeg alone makes the same list of either film, and the last
column must be the same:

```
ffmpeg -i FILM -map 0:v:0 -vf extractplanes=y -fps_mode passthrough -enc_time_base demux -f framemd5 -
```

## What no output keeps

- Captions inside the pictures (EIA-608/708), HDR10+ and Dolby Vision: PyAV can't attach them to pictures. The report
  says so if the first picture has them.
- Of several films in a file the first is coloured; the others go along as they are, and the report says so.
- A picture's EXIF thumbnail (it has no colours), and a grey colour profile, which says nothing about colours.
- Films whose fields change their order half-way: the first picture's order holds for all.
"""


def _table(corner: str, heads: list[str], rows: dict[str, dict[str, Cell]]) -> list[str]:
    notes: list[str] = []
    lines = [f"| {corner} | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    for name, cells in rows.items():
        words = []
        for cell in cells.values():
            if cell.notice and cell.notice not in notes:
                notes.append(cell.notice)
            word = {"kept": "**kept**", "–": "–"}.get(cell.verdict, f"*{cell.verdict}*")
            words.append(word + (f" {notes.index(cell.notice) + 1}" if cell.notice else ""))
        lines.append(f"| {name} | {' | '.join(words)} |")
    return [*lines, "", *(f"{number}. {note}" for number, note in enumerate(notes, 1))]


@app.command()
def main(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; say whether the page is old.")] = False,
) -> None:
    """Tries everything and writes the page."""
    with TemporaryDirectory() as folder:
        films, scans = try_films(Path(folder) / "films"), try_scans(Path(folder) / "scans")
    text = page(films, scans)
    lost = [
        f"{name}, {source}: {cell.notice}"
        for table in (films, scans)
        for name, row in table.items()
        for source, cell in row.items()
        if cell.verdict == "LOST"
    ]
    for line in lost:
        typer.echo(f"lost without a word: {line}", err=True)
    old = not PAGE.is_file() or PAGE.read_text() != text
    if old and not check:
        PAGE.write_text(text)
    typer.echo(f"{PAGE.name}: {'old' if old and check else 'written' if old else 'up to date'}")
    if lost or (old and check):
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
