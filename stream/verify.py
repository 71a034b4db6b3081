"""Proves what a coloured film or picture kept of its original, one line for each promise.

    comparison = verify(Path("reel.mkv"), Path("reel-colour.mkv"))
    print("\n".join(comparison.lines()))

Both are read from the beginning to the end by the same reader: luma sample by sample, times, and the packets of every
other stream by their hash. A luma that isn't the original's fails, unless `lossy` says that it needn't be.
"""

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path

from stream.container import open_film, read_packets
from stream.film import Info, Luma, StreamInfo
from stream.frame import Frame, Plane, checksum
from stream.pairing import Differences, Pairing, time_of
from stream.plan import SEQUENCE
from stream.proof import SUFFIX, proof_of, read_proof
from stream.sequence import parse_pattern
from stream.source import probe, read_frames
from stream.stills import JPEG, count_pictures, is_still, read_pictures

_FILE_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One promise."""

    name: str
    ok: bool
    detail: str

    def line(self) -> str:
        """As it is printed."""
        return f"{'ok  ' if self.ok else 'FAIL'} {self.name}: {self.detail}"


@dataclass(kw_only=True)
class Comparison:
    """What was kept, promise by promise."""

    original: str
    coloured: str
    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Every promise holds."""
        return all(check.ok for check in self.checks)

    def add(self, name: str, ok: bool, detail: str) -> None:
        """Notes one promise."""
        self.checks.append(Check(name=name, ok=ok, detail=detail))

    def lines(self) -> list[str]:
        """One line for each promise."""
        return [check.line() for check in self.checks]

    def as_dict(self) -> dict[str, object]:
        """For --json."""
        return {"ok": self.ok} | asdict(self)


def verify(
    original: Path,
    coloured: Path,
    *,
    lossy: bool = False,
    luma: Luma | None = None,
    rate: Fraction | None = None,
) -> Comparison:
    """Compares a result with what it was made from; `luma` and `rate` as they were given to colour the original.

    The original may be a list of checksums of its luma (FFmpeg's framemd5). A list that lies beside the result must
    hold for both films.
    """
    comparison = Comparison(original=str(original), coloured=str(coloured))
    if original.suffix == SUFFIX:
        _verify_proof(comparison, original, coloured)
        return comparison
    if any(is_still(path) and parse_pattern(path) is None for path in (original, coloured)):
        _verify_pictures(comparison, original, coloured, lossy, luma)
        return comparison
    before = probe(original, luma=luma, rate=rate)
    # Numbered pictures say neither their rate nor the matrix that their R'G'B' was made with.
    matrix: Luma = "bt601" if before.tags.matrix == "bt601" else "bt709"
    rate = rate or before.frame_rate
    after = probe(coloured, luma=matrix, rate=rate)
    pictures = after.container == SEQUENCE
    pairing = Pairing(before, after)
    differences = Differences()
    results = read_frames(coloured, luma=matrix, rate=rate)
    sums = _Sums(proof_of(coloured)) if proof_of(coloured).is_file() else None
    for first, second in pairing.pairs(read_frames(original, luma=luma, rate=rate), results):
        differences.note(first, second)
        if sums is not None:
            sums.note(second, first.luma, second.luma)
    comparison.add("frames", not (pairing.missing or pairing.extra), pairing.count_detail())
    comparison.add("luma", *differences.judge(after.codec, "-c ffv1", lossy=lossy, tolerance=1 if pictures else 0))
    if sums is not None:
        comparison.add("proof", *sums.judge())
    comparison.add("times", *pairing.judge_times())
    _verify_shape(comparison, before, after)
    _verify_others(comparison, before, after, pairing.shift)
    return comparison


class _Sums:
    """Holds luma against a list of checksums, by the times of the frames."""

    def __init__(self, path: Path) -> None:
        self._path = path
        found = read_proof(path)
        self._wanted = {pts * found.time_base: digest for pts, digest in found.rows}
        self._count = len(found.rows)
        self._frames = 0
        self._wrong = 0

    def note(self, frame: Frame, *lumas: Plane) -> None:
        """Compares Y' planes that must all have the sum of the frame's time."""
        self._frames += 1
        wanted = self._wanted.get(time_of(frame))
        self._wrong += any(checksum(luma) != wanted for luma in lumas)

    def judge(self) -> tuple[bool, str]:
        """Whether every sum has its frame and every frame its sum."""
        name = self._path.name
        if self._wrong:
            return False, f"{name}: {self._wrong} of {self._frames} frames have another sum"
        if self._frames != self._count:
            return False, f"{name}: has {self._count} sums for {self._frames} frames"
        return True, f"{name}: the sums of all {self._frames} frames hold"


def _verify_proof(comparison: Comparison, original: Path, coloured: Path) -> None:
    """Without the film itself: frame by frame in their order, because another film's clock may be another one."""
    wanted = [digest for _, digest in read_proof(original).rows]
    info = probe(coloured)
    found = [checksum(frame.luma) for frame in read_frames(coloured)]
    same = f"{len(wanted)} in both" if len(wanted) == len(found) else f"{len(wanted)} sums, {len(found)} frames"
    comparison.add("frames", len(wanted) == len(found), same)
    wrong = sum(before != after for before, after in zip(wanted, found, strict=False))
    held = "the sums of all frames hold" if not wrong else f"{wrong} frames have another sum"
    comparison.add("luma", not wrong and bool(found), f"{held} ({info.depth} bits, {info.codec})")


def _verify_shape(comparison: Comparison, before: Info, after: Info) -> None:
    if after.container == SEQUENCE and before.container != SEQUENCE:
        sizes = [f"{info.width}x{info.height}" for info in (before, after)]
        comparison.add("shape", sizes[0] == sizes[1], _same_or_both(sizes))
        return
    shapes = [f"{info.width}x{info.height}, pixels {info.pixel_aspect}" for info in (before, after)]
    comparison.add("shape", shapes[0] == shapes[1], _same_or_both(shapes))
    turns = [f"{info.rotation} degrees" for info in (before, after)]
    comparison.add("rotation", before.display_matrix == after.display_matrix, _same_or_both(turns))
    fields = ["interlaced" if info.interlaced else "progressive" for info in (before, after)]
    comparison.add("fields", fields[0] == fields[1], _same_or_both(fields))
    colours = [
        f"{info.tags.matrix}, {'full' if info.tags.full_range else 'limited'} range, "
        f"primaries {info.tags.primaries}, transfer {info.tags.transfer}"
        for info in (before, after)
    ]
    comparison.add("colour tags", colours[0] == colours[1], _same_or_both(colours))


def _same_or_both(values: Sequence[str]) -> str:
    return values[0] if values[0] == values[1] else f"{values[0]} became {values[1]}"


@dataclass(kw_only=True)
class _Record:
    """All of a stream beside the film: its packets' hash and times, or an attachment's content."""

    info: StreamInfo
    time_base: Fraction = Fraction(1)
    name: str = ""
    packets: int = 0
    sha256: str = ""
    times: "array[int]" = field(default_factory=lambda: array("q"))
    lines: list[tuple[Fraction, bytes]] = field(default_factory=list)
    """Text subtitles, as (time, text)."""


def _read_records(url: str, info: Info) -> list[_Record]:
    """Reads the other streams of a film to the end."""
    records = {other.index: _Record(info=other) for other in info.others if not other.rebuilt}
    with open_film(url) as container:
        hashes = {index: hashlib.sha256() for index in records}
        for attachment in container.streams.attachments:
            hashes[attachment.index].update(attachment.data)
            records[attachment.index].name = attachment.name or ""
        for packet in read_packets(container, [container.streams[index] for index in records]):
            record = records[packet.stream.index]
            payload = _bare(record.info.codec, bytes(packet))
            if not payload:
                continue
            record.packets += 1
            record.time_base = packet.time_base
            record.times.append(packet.pts or 0)
            hashes[packet.stream.index].update(len(payload).to_bytes(8) + payload)
            if record.info.kind == "subtitle":
                time = (packet.pts or 0) * packet.time_base
                record.lines += [(time, getattr(line, "dialogue", b"")) for line in packet.decode()]
    for index, record in records.items():
        record.sha256 = hashes[index].hexdigest()
    return list(records.values())


def _bare(codec: str, payload: bytes) -> bytes:
    """AAC without the ADTS header that transport streams need and other containers don't (ISO 13818-7, 6.2)."""
    if codec == "aac" and len(payload) > 9 and payload[0] == 0xFF and payload[1] & 0xF6 == 0xF0:
        return payload[7 if payload[1] & 1 else 9 :]
    return payload


def _verify_others(comparison: Comparison, before: Info, after: Info, shift: Fraction) -> None:
    if before.container == SEQUENCE:
        return
    left = [] if after.container == SEQUENCE else _read_records(after.path, after)
    for record in _read_records(before.path, before):
        same = [other for other in left if other.info.kind == record.info.kind]
        match = next((other for other in same if other.sha256 == record.sha256), same[0] if same else None)
        if match is not None:
            left.remove(match)
        comparison.add(f"stream {record.info.index} ({record.info.kind})", *_judge_stream(record, match, shift))
    if left:
        comparison.add("added streams", False, f"{len(left)} that the original hasn't")
    if after.container == SEQUENCE:
        return
    with open_film(before.path) as first, open_film(after.path) as second:
        chapters = [
            [
                (*(float(chapter[end] * (chapter["time_base"] or 1)) for end in ("start", "end")), chapter["metadata"])
                for chapter in film.chapters()
            ]
            for film in (first, second)
        ]
        tags = [{key.lower(): value for key, value in film.metadata.items()} for film in (first, second)]
    kept = len(chapters[0]) == len(chapters[1]) and all(
        max(abs(old[0] - new[0]), abs(old[1] - new[1])) <= 0.001 and old[2] == new[2]
        for old, new in zip(*chapters, strict=True)
    )
    comparison.add("chapters", kept, f"{len(chapters[0])} in the original, {len(chapters[1])} in the result")
    lost = [key for key, value in tags[0].items() if key not in _FILE_TAGS and value not in tags[1].get(key, "")]
    comparison.add("tags", not lost, f"lost or changed: {', '.join(lost)}" if lost else "all there")


def _judge_stream(before: _Record, after: _Record | None, shift: Fraction) -> tuple[bool, str]:
    if after is None:
        return False, f"{before.info.codec or before.name} is missing in the result"
    if before.info.kind == "attachment":
        same = (before.sha256, before.name) == (after.sha256, after.name)
        return same, f"{before.name}, {'the very same bytes' if same else 'other bytes'}"
    if before.info.codec != after.info.codec and before.lines:
        return _judge_text(before, after, shift)
    if before.sha256 != after.sha256:
        return False, f"{before.info.codec}: {before.packets} packets became {after.packets}, with other bytes"
    moved = [
        abs(new * after.time_base - shift - old * before.time_base)
        for old, new in zip(before.times, after.times, strict=True)
    ]
    largest = Fraction(0) if before.info.cover else max(moved, default=Fraction(0))
    allowed = max(before.time_base, after.time_base)
    return largest <= allowed, (
        f"{before.info.codec}, all {before.packets} packets the very same bytes, "
        f"largest difference in time {float(largest * 1000):.3f} ms"
    )


def _judge_text(before: _Record, after: _Record, shift: Fraction) -> tuple[bool, str]:
    same = len(before.lines) == len(after.lines) and all(
        abs(new[0] - shift - old[0]) <= Fraction(1, 100) and old[1].strip() == new[1].strip()
        for old, new in zip(before.lines, after.lines, strict=True)
    )
    words = "the same text at the same times" if same else "text or times changed"
    return same, f"converted from {before.info.codec} to {after.info.codec}: {len(before.lines)} lines, {words}"


def _verify_pictures(comparison: Comparison, original: Path, coloured: Path, lossy: bool, luma: Luma | None) -> None:
    counts = count_pictures(original), count_pictures(coloured)
    detail = f"{counts[0]} in both" if counts[0] == counts[1] else f"{counts[0]} became {counts[1]}"
    comparison.add("pictures", counts[0] == counts[1], detail)
    differences = Differences()
    pairs = zip(read_pictures(original, luma=luma), read_pictures(coloured, luma=luma or "bt601"), strict=False)
    for first, second in pairs:
        differences.note(first, second)
    if coloured.suffix.lower() in JPEG:
        judgement = differences.judge("jpeg", ".png or .tif", lossy=lossy)
    else:
        # R, G and B are rounded to whole levels, and Y' made of them again: at most 1 level.
        judgement = differences.judge("png", "", lossy=lossy, tolerance=1)
    comparison.add("luma", *judgement)
