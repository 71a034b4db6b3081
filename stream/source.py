"""A film, whatever it lies in: one file or address (stream/media.py), or numbered pictures (stream/sequence.py)."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from stream import media, sequence
from stream.film import Info, Luma, ReadTally
from stream.frame import Frame


def probe(url: str | Path, *, luma: Luma | None = None, rate: Fraction | None = None) -> Info:
    """What the film is; `rate` is that of numbered pictures, in frames a second."""
    found = None if media.is_url(url) else sequence.find_sequence(url, rate)
    return media.probe(url, luma=luma) if found is None else sequence.probe_sequence(found, luma=luma)


def read_frames(
    url: str | Path,
    *,
    luma: Luma | None = None,
    keep_colour: bool = False,
    deinterlace: bool = False,
    rate: Fraction | None = None,
    tally: ReadTally | None = None,
) -> Iterator[Frame]:
    """All pictures in their order; `rate` is that of numbered pictures, the rest as in `media.read_frames`."""
    found = None if media.is_url(url) else sequence.find_sequence(url, rate)
    if found is not None:
        return sequence.read_sequence(found, luma=luma, keep_colour=keep_colour, tally=tally)
    return media.read_frames(url, luma=luma, keep_colour=keep_colour, deinterlace=deinterlace, tally=tally)


def is_one_file(url: str | Path) -> bool:
    """No folder and no pattern of numbered pictures."""
    return not Path(url).is_dir() and (sequence.parse_pattern(url) is None or Path(url).exists())
