"""The coded pictures of one segment in a file of their own, until the film is joined.

No container of FFmpeg's serves: Matroska rounds times to a millisecond, NUT forgets when pictures are decoded, mp4
moves them. A file is MAGIC, then for every packet HEAD and its bytes; times are in the clock of the finished film.
"""

import hashlib
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from stream.errors import InputError
from stream.part import finish_part

MAGIC = b"kinochrome segment 2\n"
HEAD = struct.Struct("<qq?16sI")
"""pts, dts, whether it is a key picture, MD5 of its luma or zeros, bytes that follow."""

_NO_SUM = 32 * "0"


class Coded(NamedTuple):
    """A packet of the film."""

    pts: int
    dts: int
    key: bool
    data: bytes
    luma_md5: str = ""
    """Sum of the Y' plane that was coded, where the film's proof wants it (stream/proof.py)."""


class SegmentFile:
    """Writes the file of a segment; what is finished is on the disk under its name."""

    def __init__(self, path: Path, magic: bytes) -> None:
        """magic: how it begins."""
        self.path = path
        self._part = path.with_name(path.name + ".part")
        self._digest = hashlib.sha256()
        self.bytes = 0
        self._file: BinaryIO = self._part.open("wb")
        self.put(magic)

    @property
    def sha256(self) -> str:
        """Of all that was written."""
        return self._digest.hexdigest()

    def take(self, data: bytes) -> None:
        """Makes the file what another one is."""
        self._file.seek(0)
        self._digest, self.bytes = hashlib.sha256(), 0
        self.put(data)

    def put(self, data: bytes) -> None:
        """Appends to it."""
        self._file.write(data)
        self._digest.update(data)
        self.bytes += len(data)

    def finish(self) -> None:
        """Gives the file its name, once it is on the disk."""
        self._file.close()
        finish_part(self._part, self.path)

    def abandon(self) -> None:
        """Leaves nothing behind."""
        with suppress(OSError):  # what it still holds finds no room either
            self._file.close()
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._file.closed:
            self.abandon()


class PacketFile(SegmentFile):
    """Writes packets."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, MAGIC)

    def write(self, packet: Coded) -> None:
        """Appends a packet."""
        luma_md5 = bytes.fromhex(packet.luma_md5 or _NO_SUM)
        self.put(HEAD.pack(packet.pts, packet.dts, packet.key, luma_md5, len(packet.data)))
        self.put(packet.data)


def digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_coded(path: Path) -> Iterator[Coded]:
    """The packets of a segment; InputError where the file isn't whole."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise InputError(f"{path}: is no segment of Kinochrome's")
        while head := file.read(HEAD.size):
            if len(head) < HEAD.size:
                raise InputError(f"{path}: ends in the middle of a packet")
            pts, dts, key, luma_md5, length = HEAD.unpack(head)
            if file.tell() + length > size:
                raise InputError(f"{path}: ends in the middle of a packet")
            yield Coded(pts, dts, key, file.read(length), luma_md5.hex())
