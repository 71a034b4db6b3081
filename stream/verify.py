"""Proves what a coloured film or picture kept of its original, one line for each promise.

    comparison = verify(Path("reel.mkv"), Path("reel-colour.mkv"))
    print("\n".join(comparison.lines()))

Both are read from the beginning to the end by the same reader: luma sample by sample, times, and the packets of every
other stream by their hash. A luma that isn't the original's fails, unless `lossy` says that it needn't be.
"""

import hashlib
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from stream.film import Info, Luma, StreamInfo
from stream.frame import Frame, Plane, checksum
from stream.media import open_film, read_packets
from stream.mux import reduction
from stream.plan import SEQUENCE
from stream.proof import SUFFIX, proof_of, read_proof
from stream.sequence import parse_pattern
from stream.source import probe, read_frames
from stream.stills import JPEG, count_pictures, is_still, read_pictures

LOSSY_PSNR_DB = 20.0
"""Below this the pictures aren't the original's, however lossy the codec."""

_LOSSLESS = ("ffv1", "huffyuv", "ffvhuff", "utvideo", "rawvideo", "v210", "png", "tiff")
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
    pairing = _Pairing(before, after)
    differences = _Differences()
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
        wanted = self._wanted.get(_time(frame))
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


class _Differences:
    """How luma differs over all pairs of frames."""

    def __init__(self) -> None:
        self._frames = 0
        self._differing = 0
        self._largest = 0
        self._squares = 0.0
        self._samples = 0
        self._depths: tuple[int, int] = (8, 8)
        self._restated = False
        self._sizes: set[tuple[int, ...]] = set()

    def note(self, before: Frame, after: Frame) -> None:
        """Compares the luma of one pair."""
        self._frames += 1
        self._samples += before.luma.size
        self._depths = before.depth, after.depth
        if before.luma.shape != after.luma.shape:
            self._sizes.add(after.luma.shape)
            self._differing += 1
            return
        expected = before.luma
        if after.tags.full_range and (not before.tags.full_range or after.depth > before.depth):
            self._restated = True
            expected = _full_range(before, after.depth)
        elif after.depth != before.depth:
            full_range = before.tags.full_range
            expected = reduction(before.depth, after.depth, full_range=full_range, chroma=False)[before.luma]
        if np.array_equal(expected, after.luma):
            return
        difference = np.abs(np.subtract(expected, after.luma, dtype=np.int32))
        self._differing += 1
        self._largest = max(self._largest, int(difference.max()))
        self._squares += float(np.square(difference, dtype=np.float64).sum())

    def judge(self, codec: str, remedy: str, *, lossy: bool, tolerance: int = 0) -> tuple[bool, str]:
        """Whether luma counts as kept, and why. `tolerance` in levels is what RGB's rounding may cost."""
        before, after = self._depths
        if self._sizes:
            return False, f"the pictures have another size in {self._differing} of {self._frames} frames"
        exact = not self._differing and before == after and not self._restated
        if exact:
            return True, f"bit for bit the original's in all {self._frames} frames ({before} bits)"
        if (before == after or self._restated) and self._largest <= tolerance:
            return True, f"within {self._largest} level of {(1 << after) - 1} in all frames, which is RGB's rounding"
        words = [f"not bit for bit: {self._differing} of {self._frames} frames differ"]
        if self._differing:
            words.append(f"by at most {self._largest} of {(1 << after) - 1} levels, PSNR {self._psnr_db():.1f} dB")
        if before != after:
            words.append(f"{before} bits became {after}")
        if codec not in _LOSSLESS:
            words.append(f"coded with {codec}, which is lossy; {remedy} keeps luma")
        return lossy and self._psnr_db() >= LOSSY_PSNR_DB, ", ".join(words)

    def _psnr_db(self) -> float:
        peak = (1 << self._depths[1]) - 1
        return 10 * math.log10(peak**2 * self._samples / self._squares) if self._squares else math.inf


def _full_range(frame: Frame, depth: int) -> Plane:
    """The luma as R'G'B' of `depth` bits would have it where R = G = B."""
    low, high, _ = frame.levels
    top = (1 << depth) - 1
    values = (frame.luma.astype(np.float32) - np.float32(low)) * np.float32(top / (high - low))
    return np.asarray(np.rint(values).clip(0, top).astype(np.uint8 if depth == 8 else np.uint16))


class _Pairing:
    """Walks through both films at once, by time: a frame that one of them lacks costs no more than itself."""

    def __init__(self, before: Info, after: Info) -> None:
        self._tick = after.time_base
        frame = 1 / before.frame_rate if before.frame_rate else Fraction(0)
        self._near = max(frame / 2, self._tick * 3 / 2)
        self._moves = after.container in ("mpegts", SEQUENCE)
        self.shift = Fraction(0)
        self.frames = 0
        self.missing = 0
        self.extra = 0
        self._largest = Fraction(0)
        self._late = 0
        self._last: tuple[Fraction, Fraction] | None = None

    def pairs(self, before: Iterator[Frame], after: Iterator[Frame]) -> Iterator[tuple[Frame, Frame]]:
        """Frames of the same time."""
        first, second = next(before, None), next(after, None)
        if self._moves and first is not None and second is not None:
            self.shift = _time(second) - _time(first)
        while first is not None and second is not None:
            apart = _time(second) - self.shift - _time(first)
            if apart > self._near:
                self.missing += 1
                first = next(before, None)
            elif apart < -self._near:
                self.extra += 1
                second = next(after, None)
            else:
                self.frames += 1
                self._compare(_time(first), _time(second) - self.shift)
                yield first, second
                first, second = next(before, None), next(after, None)
        self.missing += (first is not None) + sum(1 for _ in before)
        self.extra += (second is not None) + sum(1 for _ in after)

    def _compare(self, before: Fraction, after: Fraction) -> None:
        """Half a tick is rounding. More is right only where the frame before has taken the tick that is due."""
        apart = abs(after - before)
        self._largest = max(self._largest, apart)
        taken = self._last is not None and after - self._last[1] == self._tick and before <= after
        if apart > self._tick / 2 and not (taken and apart <= self._tick * 3 / 2 and not self._exact(before)):
            self._late += 1
        self._last = (before, after)

    def _exact(self, time: Fraction) -> bool:
        """Whether the result's clock can hold this time as it is."""
        return (time / self._tick).denominator == 1

    def count_detail(self) -> str:
        """Frames in both, and what one of them lacks."""
        if not self.missing and not self.extra:
            return f"{self.frames} in both"
        return (
            f"{self.frames + self.missing} in the original, {self.frames + self.extra} in the result: "
            f"{self.missing} missing, {self.extra} extra"
        )

    def judge_times(self) -> tuple[bool, str]:
        """Whether every frame has its time, as exactly as the result's clock can hold it."""
        detail = f"largest difference {float(self._largest * 1000):.3f} ms, the clock ticks every "
        detail += f"{float(self._tick * 1000):.3f} ms"
        if self.shift:
            detail += f"; everything comes {float(self.shift * 1000):.1f} ms later, as the container needs"
        if self._late:
            detail += f"; {self._late} frames have another time than their own"
        return not self._late, detail


def _time(frame: Frame) -> Fraction:
    return (frame.pts or 0) * frame.time_base


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
    differences = _Differences()
    pairs = zip(read_pictures(original, luma=luma), read_pictures(coloured, luma=luma or "bt601"), strict=False)
    for first, second in pairs:
        differences.note(first, second)
    if coloured.suffix.lower() in JPEG:
        judgement = differences.judge("jpeg", ".png or .tif", lossy=lossy)
    else:
        # R, G and B are rounded to whole levels, and Y' made of them again: at most 1 level.
        judgement = differences.judge("png", "", lossy=lossy, tolerance=1)
    comparison.add("luma", *judgement)
