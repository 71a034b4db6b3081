"""A film, whatever it lies in: one file or address (stream/media.py), or numbered pictures (stream/sequence.py)."""

import hashlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from stream import container, media, sequence
from stream.errors import InputError
from stream.film import Info, Luma, ReadTally
from stream.frame import Frame


def probe(url: str | Path, *, luma: Luma | None = None, rate: Fraction | None = None) -> Info:
    """What the film is; `rate` is that of numbered pictures, in frames a second."""
    found = None if container.is_url(url) else sequence.find_sequence(url, rate)
    return media.probe(url, luma=luma) if found is None else sequence.probe_sequence(found, luma=luma)


def read_frames(
    url: str | Path,
    *,
    luma: Luma | None = None,
    keep_colour: bool = False,
    deinterlace: bool = False,
    nvdec: bool = False,
    rate: Fraction | None = None,
    tally: ReadTally | None = None,
    since_s: float | None = None,
) -> Iterator[Frame]:
    """All pictures in their order; `rate` is that of numbered pictures, the rest as in `media.read_frames`."""
    found = None if container.is_url(url) else sequence.find_sequence(url, rate)
    if found is not None:
        return sequence.read_sequence(found, luma=luma, keep_colour=keep_colour, tally=tally, since_s=since_s)
    how: dict[str, Any] = {"luma": luma, "keep_colour": keep_colour, "deinterlace": deinterlace, "nvdec": nvdec}
    return media.read_frames(url, **how, tally=tally, since_s=since_s)


def is_one_file(url: str | Path) -> bool:
    """No folder and no pattern of numbered pictures."""
    return not Path(url).is_dir() and (sequence.parse_pattern(url) is None or Path(url).exists())


def stamp(url: str | Path) -> dict[str, Any]:
    """By what a film is known not to have been written to: path, size in bytes, mtime_ns, and how many files it is.

    Of numbered pictures also the sha256 of all their names, sizes and times: 100,000 scans of 50 MB aren't read to know
    them. An address has nothing but itself. Raises InputError where there is no such film.
    """
    if container.is_url(url):
        return {"path": str(url)}
    found = sequence.find_sequence(url)
    files = [] if found is None else [found.pattern.path(number) for number in found.numbers]
    try:
        # Among pictures, a link to nowhere is one that can't be read, and left out.
        facts = [path.stat() if path.exists() else path.lstat() for path in files] or [Path(url).stat()]
    except OSError as error:
        raise InputError(f"{url}: can't be read ({error.strerror})") from error
    size, newest = sum(each.st_size for each in facts), max(each.st_mtime_ns for each in facts)
    known = {"path": str(url), "size": size, "mtime_ns": newest, "files": len(facts)}
    if not files:
        return known
    listed = "".join(
        f"{path.name}\0{each.st_size}\0{each.st_mtime_ns}\0" for path, each in zip(files, facts, strict=True)
    )
    return known | {"pictures": hashlib.sha256(os.fsencode(listed)).hexdigest()}
