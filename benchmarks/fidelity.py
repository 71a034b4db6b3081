"""What of a film is kept, property by property, tried on files made for it: writes docs/fidelity.md.

    python -m benchmarks.fidelity            # all, about two minutes
    python -m benchmarks.fidelity --check    # exit code 1 where the page is old, or something is lost without a word

Each file is coloured by `stream.colorize` as a user's would be, to the output that he gets who names none. A property
counts as kept if the same reading of both files gives the same; else the report must say so.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final, TypeAlias

import typer

from benchmarks.specimens import SOURCES, make_scans, make_specimen
from benchmarks.trial import ROOT
from stream.colorize import Job, colorize, default_target
from stream.config import Settings
from stream.errors import KinochromeError
from stream.media import ffmpeg_facts, open_film, read_packets
from stream.notes import read_notes
from stream.sequence import find_sequence, header_of
from stream.source import probe, read_frames

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

PAGE: Final = ROOT / "docs" / "fidelity.md"
Reading: TypeAlias = Callable[[Path], Any]
SETTINGS: Final = Settings(short_side=32, runtime="torch", steady=0.0)
_PICTURES: Final = ("dpx", "tif", "png", "jpg")


@dataclass(frozen=True, kw_only=True)
class Property:
    """Something that a film has."""

    name: str
    read: Reading
    """What both files must give alike; None where a file has nothing of it."""
    make: dict[str, Any] = field(default_factory=dict)
    """What the specimen is made with."""
    job: Job = field(default_factory=Job)
    same: Callable[[Any, Any], bool] = lambda before, after: bool(before == after)
    words: tuple[str, ...] = ()
    """One of them is in the notice that says so where it isn't kept."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What became of a property in a format."""

    verdict: str
    """kept, converted, left out, refused, LOST, or – where the format has no such thing."""
    notice: str = ""


def _times(path: Path) -> list[Fraction]:
    return [(frame.pts or 0) * frame.time_base for frame in read_frames(path)]


def _alike(before: list[Fraction], after: list[Fraction]) -> bool:
    """To half a tick of Matroska's clock, 1/1000 s."""
    return len(before) == len(after) and all(
        abs(old - new) <= Fraction(1, 2000) for old, new in zip(before, after, strict=True)
    )


def _packets(kind: str) -> Reading:
    """Language and SHA-256 of the packets of every stream of a kind."""

    def read(path: Path) -> list[tuple[str | None, str]] | None:
        info = probe(path)
        others = {other.index: other for other in info.others if other.kind == kind and not other.cover}
        if not others:
            return None
        sums = {index: hashlib.sha256() for index in others}
        with open_film(path) as container:
            for packet in read_packets(container, [container.streams[index] for index in others]):
                payload = bytes(packet)
                if others[packet.stream.index].codec == "aac" and payload[:1] == b"\xff":
                    payload = payload[7:]  # the header that transport streams need
                sums[packet.stream.index].update(payload)
        languages = {"ger": "deu", "und": None}
        return [
            (languages.get(str(other.language), other.language), sums[index].hexdigest())
            for index, other in others.items()
        ]

    return read


def _lines(path: Path) -> list[bytes] | None:
    """The text of the subtitles."""
    with open_film(path) as container:
        if not container.streams.subtitles:
            return None
        stream = container.streams.subtitles[0]
        texts = [line for packet in container.demux(stream) for line in packet.decode()]
        return [getattr(text, "dialogue", b"") for text in texts]


def _chapters(path: Path) -> list[tuple[float, str]] | None:
    with open_film(path) as container:
        chapters = container.chapters()
    found = [(float(each["start"] * (each["time_base"] or 1)), each["metadata"].get("title", "")) for each in chapters]
    return found or None


def _attachments(path: Path) -> list[bytes] | None:
    with open_film(path) as container:
        return [attachment.data for attachment in container.streams.attachments] or None


def _cover(path: Path) -> bytes | None:
    with open_film(path) as container:
        cover = next((other.index for other in probe(path).others if other.cover), None)
        return None if cover is None else bytes(next(container.demux(container.streams[cover])))


def _tag(name: str) -> Reading:
    def read(path: Path) -> str | None:
        with open_film(path) as container:
            return next((value for key, value in container.metadata.items() if key.lower() == name), None)

    return read


def _fields(path: Path) -> str | None:
    info = probe(path)
    return ("top first" if info.top_field_first else "bottom first") if info.interlaced else None


def _picture(name: str) -> Reading:
    """A value of the film, where it isn't what a plain film has."""
    plain = {
        "subsampling": (1, 1),
        "depth": 8,
        "pixel_aspect": 1,
        "display_matrix": None,
        "light": None,
        "alpha": False,
        "timecode": None,
    }

    def read(path: Path) -> Any:  # noqa: ANN401  (whatever the film has)
        value = getattr(probe(path), name)
        return None if value == plain.get(name, ()) else value

    return read


def _colours(path: Path) -> tuple[object, ...] | None:
    info = probe(path)
    return (info.tags.matrix, info.tags.primaries, info.tags.transfer) if info.tagged else None


def _full_range(path: Path) -> bool | None:
    return probe(path).tags.full_range or None


def _chroma_location(path: Path) -> int | None:
    location = probe(path).tags.chroma_location
    return None if location in (0, 1) else location


def _luma(path: Path) -> list[str]:
    return [hashlib.sha256(frame.luma.tobytes()).hexdigest() for frame in read_frames(path)]


def _near(before: Any, after: Any) -> bool:  # noqa: ANN401  (Light or None)
    """HDR's numbers but for the rounding of floats."""
    parts = [
        [*(float(part) for point in each.primaries for part in point), *map(float, each.luminance or ())]
        for each in (before, after)
        if each
    ]
    return (
        len(parts) == 2
        and len(parts[0]) == len(parts[1])
        and before.content == after.content
        and all(abs(old - new) <= 1e-5 * max(1, old) for old, new in zip(*parts, strict=True))
    )


FFV1: Final = Job(codec="ffv1")
PROPERTIES: Final = (
    Property(name="every frame at its time", read=_times, same=_alike),
    Property(name="variable frame rate", read=_times, make={"pts": (0, 1, 2, 5, 9, 10, 17, 18, 30, 31)}, same=_alike),
    Property(name="start offset of 5 s", read=_times, make={"pts": range(125, 135)}, same=_alike),
    Property(name="times before zero", read=_times, make={"pts": range(-5, 5)}, same=_alike, words=("below zero",)),
    Property(name="luma, bit for bit (`-c ffv1` into mkv)", read=_luma, job=FFV1),
    Property(name="two sound tracks", read=_packets("audio"), make={"audio": 2}, words=("audio",)),
    Property(name="subtitles", read=_lines, make={"subtitles": True}, words=("subtitle",)),
    Property(name="another film track", read=_packets("video"), make={"films": 2}, words=("video",)),
    Property(name="data track (KLV)", read=_packets("data"), make={"data": True}, words=("data",)),
    Property(name="chapters", read=_chapters, make={"chapters": True}, words=("chapters",)),
    Property(name="attachment", read=_attachments, make={"attachment": b"font"}, words=("attachment",)),
    Property(name="cover", read=_cover, make={"cover": True}, words=("video", "attachment")),
    Property(name="title", read=_tag("title"), make={"tags": {"title": "Reel"}}, words=("tag",)),
    Property(name="tags of one's own", read=_tag("archive_id"), make={"tags": {"ARCHIVE_ID": "A-17"}}, words=("tag",)),
    Property(name="time code", read=_picture("timecode"), make={"timecode": "01:00:00:00"}, words=("time code",)),
    Property(name="pixel aspect", read=_picture("pixel_aspect"), make={"aspect": Fraction(16, 15)}),
    Property(name="rotation", read=_picture("display_matrix"), make={"rotation": 90}, words=("rotation",)),
    Property(name="interlaced, top field first", read=_fields, make={"fields": "tff"}),
    Property(name="interlaced, bottom field first", read=_fields, make={"fields": "bff"}),
    Property(name="interlaced, 10 bits", read=_fields, make={"fields": "tff", "pix_fmt": "yuv422p10le"}),
    Property(
        name="`--deinterlace`: count and times",
        read=_times,
        make={"fields": "tff"},
        job=Job(deinterlace=True),
        same=_alike,
    ),
    Property(name="4:2:2", read=_picture("subsampling"), make={"pix_fmt": "yuv422p"}),
    Property(name="4:4:4", read=_picture("subsampling"), make={"pix_fmt": "yuv444p"}),
    Property(name="10 bits", read=_picture("depth"), make={"pix_fmt": "yuv420p10le"}, words=("bits",)),
    Property(name="12 bits", read=_picture("depth"), make={"pix_fmt": "yuv422p12le"}, words=("bits",)),
    Property(name="16 bits", read=_picture("depth"), make={"pix_fmt": "gray16le"}, words=("bits",)),
    Property(name="16 bits (`-c ffv1` into mkv)", read=_picture("depth"), make={"pix_fmt": "gray16le"}, job=FFV1),
    Property(name="full range", read=_full_range, make={"full_range": True}),
    Property(name="matrix, primaries, transfer", read=_colours, make={"colours": (9, 9, 16)}),
    Property(name="chroma location", read=_chroma_location, make={"chroma_location": "topleft"}, words=("chroma",)),
    Property(name="HDR: screen and light", read=_picture("light"), make={"light": True}, same=_near, words=("HDR",)),
    Property(
        name="odd size, 33x17", read=lambda path: (probe(path).width, probe(path).height), make={"size": (33, 17)}
    ),
    Property(name="transparency", read=_picture("alpha"), make={"alpha": True}, words=("alpha",)),
)


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


def _numbers(path: Path) -> list[int]:
    found = find_sequence(path)
    return [] if found is None else list(found.numbers)


def _first(path: Path) -> Path:
    found = find_sequence(path)
    assert found is not None
    return found.pattern.path(found.numbers[0])


def _scanned(name: str) -> Reading:
    def read(path: Path) -> Any:  # noqa: ANN401  (whatever the header has)
        first = _first(path)
        return getattr(header_of(first), name) if first.suffix == ".dpx" else None

    return read


def _noted(name: str) -> Reading:
    def read(path: Path) -> Any:  # noqa: ANN401  (whatever the file notes)
        value = getattr(read_notes(_first(path)), name)
        if name == "exif":
            return b"Scanner" in value or None
        return tuple(round(part) for part in value) if name == "dpi" and value else value or None

    return read


def _scan_depth(path: Path) -> int:
    return probe(path, luma="bt601").depth


def _near_luma(path: Path) -> list[Any]:
    return [frame.luma.astype(int) for frame in read_frames(path, luma="bt601")]


SCANS: Final = (
    Property(name="numbers, a gap among them", read=_numbers),
    Property(
        name="luma, within R'G'B's rounding",
        read=_near_luma,
        same=lambda before, after: all(abs(old - new).max() <= 1 for old, new in zip(before, after, strict=True)),
    ),
    *(Property(name=f"{depth} bits", read=_scan_depth, make={"depth": depth}) for depth in (8, 10, 12, 16)),
    Property(name="frame rate", read=_scanned("rate")),
    Property(name="pixel aspect", read=_scanned("aspect")),
    Property(name="time code", read=_scanned("timecode")),
    Property(name="resolution (dpi)", read=_noted("dpi")),
    Property(name="colour profile (R'G'B')", read=_noted("icc")),
    Property(name="EXIF or TIFF texts", read=_noted("exif")),
)


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
