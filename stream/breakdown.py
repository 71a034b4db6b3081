"""Behind `kinochrome shots`: a film's shots, found or taken from a list, written as a list and drawn as a sheet."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

from stream import contact, shotlist, source, spotting
from stream.config import Settings
from stream.contact import Cell
from stream.errors import InputError, UsageError
from stream.film import Info, Luma
from stream.frame import Frame
from stream.geometry import Geometry
from stream.grading import Grading
from stream.metrics import Meter
from stream.part import check_target
from stream.shotlist import Shot, ShotList
from stream.spotting import Spotted


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is asked of one film."""

    toml: Path | None = None
    """Where the list shall be written."""
    sheet: Path | None = None
    """Where the sheet shall be drawn."""
    use: Path | None = None
    """A list that says where the shots begin and how they look."""
    luma: Luma | None = None
    deinterlace: bool = False
    rate: Fraction | None = None
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """A shot, in plain values."""

    number: int
    """From 1, as on the sheet."""
    first: int
    frames: int
    timecode: str
    look: str


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """What was found and where it was written."""

    film: str
    shots: tuple[Row, ...]
    written: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For people."""
        rows = [f"{row.number}: {row.timecode}, {row.frames} frames from {row.first}, {row.look}" for row in self.shots]
        return [*rows, *(f"written: {path}" for path in self.written)]

    def as_dict(self) -> dict[str, object]:
        """For --json."""
        return asdict(self)


def break_down(
    film: str, wanted: Wanted, settings: Settings, *, progress: Callable[[int, int | None], None]
) -> Breakdown:
    """Goes through the film once; refuses what can't be written before it does.

    settings: how the sheet is coloured where the list says nothing.
    """
    listed = None if wanted.use is None else shotlist.read_shots(wanted.use)
    if wanted.sheet is not None and wanted.sheet.suffix.lower() != ".png":
        raise UsageError(f"{wanted.sheet}: a sheet is a .png")
    for target in filter(None, (wanted.toml, wanted.sheet)):
        check_target(target, source=film, overwrite=wanted.overwrite)
    info = source.probe(film, luma=wanted.luma, rate=wanted.rate)
    if listed is not None:
        listed.check_film(film, info.duration_s)
    frames = source.read_frames(film, luma=wanted.luma, deinterlace=wanted.deinterlace, rate=wanted.rate)
    firsts = None if listed is None else tuple(shot.first for shot in listed.shots)
    spotted = list(spotting.spot(_told(frames, info, progress), info, firsts=firsts))
    if not spotted:
        raise InputError(f"{film}: no picture could be decoded")
    if listed is None:
        listed = ShotList(shots=tuple(Shot(first=each.first) for each in spotted))
    listed = replace(
        listed, film=Path(film).name, frames=spotted[-1].first + spotted[-1].frames, duration_s=info.duration_s
    )
    code = spotting.clock(info, info.timecode)
    rows = tuple(
        Row(
            number=number,
            first=each.first,
            frames=each.frames,
            timecode=code(each.first, each.time_s),
            look=describe(shot, settings),
        )
        for number, (each, shot) in enumerate(zip(spotted, listed.shots, strict=False), 1)
    )
    written = _write(film, wanted, listed, rows)
    if wanted.sheet is not None:
        cells = _cells(spotted, listed, rows, info, settings)
        written += contact.draw_sheet(wanted.sheet, cells, source=Path(film), overwrite=wanted.overwrite)
    return Breakdown(film=film, shots=rows, written=[str(path) for path in written])


def describe(shot: Shot, settings: Settings) -> str:
    """What is done with a shot, in few words."""
    if shot.grey:
        return "left grey"
    own = shot.settings(settings)
    words = "natural" if own.style is None else Path(own.style).name
    words = f"colours of {words}" if shot.reference is not None else words
    words += f" x{own.strength:g}" if own.style is not None and own.strength != 1 else ""
    return words + (f", saturation {own.saturation:g}" if own.saturation != 1 else "")


def _told(frames: Iterator[Frame], info: Info, progress: Callable[[int, int | None], None]) -> Iterator[Frame]:
    for number, frame in enumerate(frames, 1):
        progress(number, info.expected_frames)
        yield frame


def _write(film: str, wanted: Wanted, listed: ShotList, rows: tuple[Row, ...]) -> list[Path]:
    if wanted.toml is None:
        return []
    remarks = {row.first: f"{row.number}: {row.timecode}, {row.frames} frames" for row in rows}
    shotlist.write_shots(wanted.toml, listed, remarks, source=Path(film), overwrite=wanted.overwrite)
    return [wanted.toml]


def _cells(
    spotted: list[Spotted], listed: ShotList, rows: tuple[Row, ...], info: Info, settings: Settings
) -> list[Cell]:
    sample = spotted[0].sample
    # The sample of a film in fields has half the lines; its pixels are of another shape than the film's.
    aspect = info.pixel_aspect * Fraction(info.width, info.height) / Fraction(sample.width, sample.height)
    geometry_of = partial(_geometry, sample, aspect, info.rotation)
    grading = Grading(listed, geometry_of, subsampling=(0, 0), settings=settings, meter=Meter())
    return [
        Cell(
            frame=grading.one(number, each.sample),
            turns=round(info.rotation / 90) % 4,
            aspect=float(aspect),
            lines=(f"{row.number}  {row.timecode}  ({row.first})", row.look),
        )
        for number, (each, row) in enumerate(zip(spotted, rows, strict=True))
    ]


def _geometry(sample: Frame, aspect: Fraction, rotation: int, short_side: int) -> Geometry:
    return Geometry.of(sample.width, sample.height, short_side=short_side, pixel_aspect=aspect, rotation=rotation)
