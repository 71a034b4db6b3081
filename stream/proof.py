"""The proof that a film's luma was left alone: an MD5 of every frame's Y' plane, in FFmpeg's own format (framemd5).

Anybody can make the same list of the original, or of the result, with FFmpeg alone:

    ffmpeg -i FILM -map 0:v:0 -vf extractplanes=y -fps_mode passthrough -enc_time_base demux -f framemd5 -

and compare the last column.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final, TextIO

from stream.errors import InputError
from stream.film import Info
from stream.frame import Frame, checksum
from stream.mux import Output, Writer, clock_of
from stream.part import belongs, finish_part, naming_failures, part_of, seal
from stream.runtime import version
from stream.sequence_writer import SequenceWriter

SUFFIX: Final = ".framemd5"


def proof_of(path: Path) -> Path:
    """Where the proof of a result lies: beside it."""
    return path.with_name(path.name + SUFFIX)


@dataclass(frozen=True, kw_only=True)
class Sums:
    """A proof that was read."""

    time_base: Fraction
    """Seconds."""
    rows: tuple[tuple[int, str], ...]
    """(pts, MD5) of every frame."""


class Proof:
    """Notes frames as they are handed to the encoder, a line each; lies beside the film once that is finished."""

    def __init__(self, film: Path, info: Info, clock: Fraction) -> None:
        """clock: seconds of a unit of the times that `note` is given."""
        self._path = proof_of(film)
        self._part = part_of(self._path)
        self._waiting: tuple[int, int, str] | None = None
        self._duration = 1
        self._size = info.width * info.height * (1 if info.depth == 8 else 2)
        aspect = info.pixel_aspect
        self._head = (
            "#format: frame checksums\n#version: 2\n#hash: MD5\n"
            f"#software: Kinochrome {version()}, the untouched luma alone\n"
            f"#tb 0: {clock.numerator}/{clock.denominator}\n#media_type 0: video\n#codec_id 0: rawvideo\n"
            f"#dimensions 0: {info.width}x{info.height}\n#sar 0: {aspect.numerator}/{aspect.denominator}\n"
            "#stream#, dts,        pts, duration,     size, hash\n"
        )
        self._file: TextIO | None = None
        """Opened with the first line: by then the film's part file is ours."""

    def note(self, luma_md5: str, pts: int) -> None:
        """Adds the sum of a frame's Y' plane, shown from `pts` on."""
        before, self._waiting = self._waiting, (pts, self._size, luma_md5)
        if before is not None:
            self._duration = pts - before[0]
            self._write(*before)

    def _write(self, pts: int, size: int, digest: str) -> None:
        with naming_failures(self._part):
            if self._file is None:
                self._file = self._part.open("w")
                self._file.write(self._head)
            self._file.write(f"0, {pts:10}, {pts:10}, {self._duration:8}, {size:8}, {digest}\n")

    def finish(self, made: Path) -> Path:
        """Puts the list on the disk, for the film that lies complete at `made` and gets its name next; where it lies.

        The last frame is said to last as long as the one before.
        """
        if self._waiting is not None:
            self._write(*self._waiting)
        if self._file is not None:
            with naming_failures(self._part):
                self._file.close()
                seal(self._part, made)
        return self._part

    def abandon(self) -> None:
        """Leaves nothing behind: half a list proves nothing."""
        if self._file is not None:
            with suppress(OSError):  # what it still holds finds no room either
                self._file.close()
            self._part.unlink(missing_ok=True)


def proving(writer: Writer | SequenceWriter, proof: Proof | None) -> Callable[[Frame], None]:
    """What writes frames with `writer`, and notes their sums in what `listing` gave."""
    if proof is None or not isinstance(writer, Writer):
        return writer.write
    film, note = writer, proof.note

    def write(frame: Frame) -> None:
        film.write(frame)
        note(checksum(frame.luma), film.last_pts)

    return write


def is_due(output: Output, info: Info, *, wanted: bool) -> bool:
    """Whether there is something to prove: it is wanted, and the output holds every luma sample."""
    return wanted and output.lossless and output.depth == info.depth


@contextmanager
def listing(output: Output, info: Info, *, wanted: bool) -> Iterator[Proof | None]:
    """The list of a film's frames; None where no proof is due.

    The film is written within this, and the proof finished before the film gets its name; `name_proof` gives the proof
    its own after that. None is left of a film that failed.
    """
    if not is_due(output, info, wanted=wanted):
        yield None
        return
    proof = Proof(output.path, info, clock_of(output, info))
    try:
        yield proof
    except BaseException:
        proof.abandon()
        raise


def name_proof(film: Path) -> None:
    """Gives the proof of a film that has got its name its own; one of a film that was replaced goes."""
    proof = proof_of(film)
    if belongs(part_of(proof), film):
        with naming_failures(proof):
            finish_part(part_of(proof), proof)
    elif not belongs(proof, film):
        proof.unlink(missing_ok=True)


def read_proof(path: Path) -> Sums:
    """The list in a file of FFmpeg's framemd5; InputError where it is none."""
    time_base, rows = None, []
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the list of checksums can't be read ({error})") from error
    for number, line in enumerate(lines, 1):
        words = [word.strip() for word in line.split(",")]
        try:
            if line.startswith("#hash:") and line.split(":")[1].strip() != "MD5":
                raise InputError(f"{path}, line {number}: {line.split(':')[1].strip()} sums; MD5 is needed")
            if line.startswith("#tb 0:"):
                time_base = Fraction(line.split(":")[1].strip())
            elif words[0] == "0" and len(words) >= 6:
                rows.append((int(words[2]), words[5]))
        except (ValueError, ZeroDivisionError) as error:
            raise InputError(f"{path}, line {number}: is no line of FFmpeg's framemd5") from error
    if time_base is None or not rows:
        raise InputError(f"{path}: holds no checksums of frames (FFmpeg's framemd5 is expected)")
    return Sums(time_base=time_base, rows=tuple(rows))
