"""Films as numbered pictures, which is how scanners write them: DPX, TIFF, PNG, JPEG, one file a frame.

    for frame in read_sequence(find_sequence("scans/reel_%05d.dpx")):
        print(frame.pts, frame.luma.mean())

A picture's time is its number's: one that is missing leaves a gap, as a lost frame does in a film.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Final

from stream import dpx, stills
from stream.errors import InputError, UsageError
from stream.film import Info, Luma, ReadTally
from stream.frame import Frame
from stream.media import MAX_STRAY_FRAMES, decode_picture
from stream.plan import SEQUENCE

RATE: Final = Fraction(24)
"""Frames a second where neither the files nor anybody says so."""
DPX: Final = (".dpx",)
SUFFIXES: Final = (*DPX, *stills.TIFF, *stills.PNG, *stills.JPEG)
_PATTERN: Final = re.compile(r"(.*)%(?:0(\d+))?d(\.[^.]+)", re.DOTALL)
_NUMBERED: Final = re.compile(r"(.*?)(\d+)(\.[^.]+)", re.DOTALL)
_NAMED: Final = 5


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """How the files of a sequence are named."""

    folder: Path
    prefix: str
    digits: int
    """Of a number with its leading zeros; 0 without any."""
    suffix: str
    """All that follows the number."""

    def path(self, number: int) -> Path:
        """The file of a number."""
        return self.folder / f"{self.prefix}{number:0{self.digits}}{self.suffix}"

    def __str__(self) -> str:
        return str(self.folder / f"{self.prefix}%{f'0{self.digits}' if self.digits else ''}d{self.suffix}")


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """The pictures of a film."""

    source: str
    """As it was given: a pattern or a folder."""
    pattern: Pattern
    numbers: tuple[int, ...]
    """Of the files that are there, rising."""
    rate: Fraction | None = None
    """Frames a second that somebody asked for."""

    @cached_property
    def missing(self) -> int:
        """Numbers between the first and the last that have no file."""
        return self.numbers[-1] - self.numbers[0] + 1 - len(self.numbers)


def parse_pattern(text: str | Path) -> Pattern | None:
    """What a path such as scans/reel_%05d.dpx means; None if it is no pattern of pictures."""
    path = Path(text)
    found = _PATTERN.fullmatch(path.name)
    if found is None or found[3].lower() not in SUFFIXES:
        return None
    prefix, digits, suffix = found.groups()
    return Pattern(folder=path.parent, prefix=prefix, digits=int(digits or 0), suffix=suffix)


def find_sequence(source: str | Path, rate: Fraction | None = None) -> Sequence | None:
    """The sequence that a pattern or a folder means; None for anything else.

    Raises InputError where there are no pictures, UsageError where a folder holds several sequences.
    """
    path = Path(source)
    if path.is_dir():
        pattern, numbers = _only_one(path)
    else:
        parsed = parse_pattern(path)
        if path.exists():
            return None
        if parsed is None:
            if _PATTERN.fullmatch(path.name):
                raise UsageError(f"{path}: no such file, and pictures of a sequence are {', '.join(SUFFIXES)}")
            return None
        pattern = parsed
        written = _numbered(_names_in(parsed.folder)).get((parsed.prefix, parsed.suffix), [])
        numbers = [int(number) for number in written if _belongs(number, parsed.digits)]
        if not numbers:
            raise InputError(f"{path}: no picture of this pattern is there")
    return Sequence(source=str(source), pattern=pattern, numbers=tuple(sorted(numbers)), rate=rate)


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: can't be read ({error.strerror})") from error


def _numbered(names: list[str]) -> dict[tuple[str, str], list[str]]:
    """The numbers in names, as they are written, by what stands before and behind them."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name in names:
        found = _NUMBERED.fullmatch(name)
        if found is not None and found[3].lower() in SUFFIXES and not name.startswith("."):
            groups.setdefault((found[1], found[3]), []).append(found[2])
    return groups


def _belongs(number: str, digits: int) -> bool:
    """As printf would write it: filled up with zeros to so many digits, and longer where it must be."""
    return str(int(number)).zfill(digits) == number


def find_patterns(folder: Path, names: list[str]) -> list[tuple[Pattern, list[int]]]:
    """The patterns among the names of a folder's files, each with its numbers, rising."""
    found: list[tuple[Pattern, list[int]]] = []
    for (prefix, suffix), numbers in _numbered(names).items():
        filled = {len(number) for number in numbers if number != str(int(number))}
        lengths = {len(number) for number in numbers}
        for digits in sorted(filled) or (lengths if len(lengths) == 1 else [0]):
            ours = sorted(int(number) for number in numbers if _belongs(number, digits))
            found.append((Pattern(folder=folder, prefix=prefix, digits=digits, suffix=suffix), ours))
    return found


def is_numbered(path: Path) -> bool:
    """May be one picture of a sequence, by its name."""
    return bool(_numbered([path.name]))


def _only_one(folder: Path) -> tuple[Pattern, list[int]]:
    found = find_patterns(folder, _names_in(folder))
    if not found:
        raise InputError(f"{folder}: is a folder without numbered pictures ({', '.join(SUFFIXES)}); name a film in it")
    if len(found) > 1:
        names = ", ".join(str(pattern) for pattern, _ in found[:_NAMED])
        raise UsageError(f"{folder}: holds {len(found)} sequences; name one of them: {names}")
    return found[0]


def probe_sequence(sequence: Sequence, *, luma: Luma | None = None) -> Info:
    """What the film is, by its first picture that can be read."""
    number, frame = _first(sequence, luma)
    path = sequence.pattern.path(number)
    header = _header(path)
    rate = sequence.rate or (header.rate if header else None) or RATE
    count = sequence.numbers[-1] - sequence.numbers[0] + 1
    return Info(
        path=sequence.source,
        container=SEQUENCE,
        duration_s=float(count / rate),
        stream_index=0,
        codec=path.suffix.lower().lstrip(".").replace("tiff", "tif").replace("jpeg", "jpg"),
        pix_fmt=f"{'grey' if len(frame.planes) == 1 else 'colour'} of {frame.depth} bits",
        width=frame.width,
        height=frame.height,
        depth=frame.depth,
        subsampling=frame.subsampling if len(frame.planes) == 3 else None,
        rgb=len(frame.planes) == 1,
        alpha=False,
        tags=frame.tags,
        tagged=False,
        matrix_number={"bt601": 6, "bt709": 1}[frame.tags.matrix],
        frame_rate=rate,
        time_base=1 / rate,
        expected_frames=len(sequence.numbers),
        pixel_aspect=header.aspect if header else Fraction(1),
        rotation=0,
        display_matrix=None,
        interlaced=False,
        top_field_first=True,
        others=(),
        chapters=0,
        timecode=header.timecode if header else None,
    )


def _first(sequence: Sequence, luma: Luma | None) -> tuple[int, Frame]:
    refused: InputError | None = None
    for number in sequence.numbers[: MAX_STRAY_FRAMES + 1]:
        try:
            return number, read_picture(sequence.pattern.path(number), luma)
        except InputError as error:
            refused = refused or error
    assert refused is not None
    raise refused


def read_sequence(
    sequence: Sequence,
    *,
    luma: Luma | None = None,
    keep_colour: bool = False,
    tally: ReadTally | None = None,
    since_s: float | None = None,
) -> Iterator[Frame]:
    """All pictures, in the order of their numbers; pts counts from the first one's.

    What can't be read, is missing, or is of another size than the first is left out and counted. since_s: those before
    are neither read nor counted.
    """
    tally = ReadTally() if tally is None else tally
    info = probe_sequence(sequence, luma=luma)
    stray = 0
    if sequence.missing:
        tally.remarks.append(f"{sequence.missing} numbers of the sequence have no file: {_gaps(sequence.numbers)}")
    begin = bisect_left(sequence.numbers, sequence.numbers[0] + int((since_s or 0) / info.time_base))
    due = sequence.numbers[begin] if begin < len(sequence.numbers) else 0
    for number in sequence.numbers[begin:]:
        tally.frames_lost += number - due
        due = number + 1
        path = sequence.pattern.path(number)
        try:
            frame = read_picture(path, luma, keep_colour=keep_colour)
        except InputError as error:
            tally.frames_lost += 1
            tally.packets_damaged += 1
            tally.remarks.append(f"left out: {error}")
            continue
        if (frame.width, frame.height, frame.depth) != (info.width, info.height, info.depth):
            stray += 1
            tally.frames_lost += 1
            found = f"{frame.width}x{frame.height} of {frame.depth} bits"
            if stray > MAX_STRAY_FRAMES:
                raise InputError(
                    f"{path}: from here on pictures are {found}, no longer {info.width}x{info.height} of "
                    f"{info.depth} bits; split the sequence there"
                )
            tally.remarks.append(f"left out: {path}: is {found}, the film is {info.width}x{info.height}")
            continue
        stray = 0
        tally.frames += 1
        tally.frames_damaged += frame.damaged
        yield replace(frame, tags=info.tags, pts=number - sequence.numbers[0], time_base=info.time_base)


def read_picture(path: Path, luma: Luma | None = "bt601", *, keep_colour: bool = False) -> Frame:
    """One picture of a sequence; InputError where it can't be read."""
    if path.suffix.lower() not in DPX:
        return next(iter(stills.read_pictures(path, luma=luma, keep_colour=keep_colour)))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from error
    dpx.read_header(data, str(path))
    return decode_picture(data, "dpx", str(path), luma=luma, keep_colour=keep_colour)


def _header(path: Path) -> dpx.Header | None:
    return header_of(path) if path.suffix.lower() in DPX else None


def header_of(path: Path) -> dpx.Header:
    """The header of a DPX; InputError where it can't be read."""
    try:
        return dpx.read_header(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from error


def _gaps(numbers: tuple[int, ...]) -> str:
    """The numbers that are missing, as ranges."""
    pairs = [(before + 1, after - 1) for before, after in pairwise(numbers) if after > before + 1]
    words = [str(first) if first == last else f"{first} to {last}" for first, last in pairs]
    return ", ".join(words[:_NAMED]) + (", ..." if len(words) > _NAMED else "")
