"""What a film or a scan has that can be kept, how it is read off a file, and which file is made to try it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, TypeAlias

from stream.colorize import Job
from stream.container import open_film, read_packets
from stream.notes import read_notes
from stream.sequence import find_sequence, header_of
from stream.source import probe, read_frames

Reading: TypeAlias = Callable[[Path], Any]


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


_FFV1: Final = Job(codec="ffv1")
PROPERTIES: Final = (
    Property(name="every frame at its time", read=_times, same=_alike),
    Property(name="variable frame rate", read=_times, make={"pts": (0, 1, 2, 5, 9, 10, 17, 18, 30, 31)}, same=_alike),
    Property(name="start offset of 5 s", read=_times, make={"pts": range(125, 135)}, same=_alike),
    Property(name="times before zero", read=_times, make={"pts": range(-5, 5)}, same=_alike, words=("below zero",)),
    Property(name="luma, bit for bit (`-c ffv1` into mkv)", read=_luma, job=_FFV1),
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
    Property(name="16 bits (`-c ffv1` into mkv)", read=_picture("depth"), make={"pix_fmt": "gray16le"}, job=_FFV1),
    Property(name="full range", read=_full_range, make={"full_range": True}),
    Property(name="matrix, primaries, transfer", read=_colours, make={"colours": (9, 9, 16)}),
    Property(name="chroma location", read=_chroma_location, make={"chroma_location": "topleft"}, words=("chroma",)),
    Property(name="HDR: screen and light", read=_picture("light"), make={"light": True}, same=_near, words=("HDR",)),
    Property(
        name="odd size, 33x17", read=lambda path: (probe(path).width, probe(path).height), make={"size": (33, 17)}
    ),
    Property(name="transparency", read=_picture("alpha"), make={"alpha": True}, words=("alpha",)),
)


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
