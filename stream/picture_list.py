"""Which pictures are a segment's, where a film is written as numbered pictures, and by what each is known again.

The pictures lie under their own names in the folder that is being written (stream/sequence_writer.py): once all are
there the folder gets its name, and none is copied. A file is MAGIC, then a line for each picture: NUMBER BYTES MTIME_NS
SHA256.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from stream.errors import InputError
from stream.packets import SegmentFile, digest

MAGIC = b"kinochrome pictures 1\n"


class Noted(NamedTuple):
    """A picture that was written."""

    number: int
    """In its name."""
    size: int
    """Bytes."""
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, number: int, path: Path, data: bytes) -> Self:
        """The picture that was written to `path` under its number."""
        return cls(number, len(data), path.stat().st_mtime_ns, hashlib.sha256(data).hexdigest())

    def is_at(self, path: Path) -> bool:
        """Whether it is there as it was written; read only where its time is another one than then."""
        with suppress(FileNotFoundError):
            found = path.stat()
            same = found.st_size == self.size
            return same and (found.st_mtime_ns == self.mtime_ns or digest(path) == self.sha256)
        return False


class PictureList(SegmentFile):
    """Notes pictures."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, MAGIC)

    def note(self, picture: Noted) -> None:
        """Appends a picture."""
        self.put(f"{picture.number} {picture.size} {picture.mtime_ns} {picture.sha256}\n".encode())


def read_list(path: Path) -> Iterator[Noted]:
    """The pictures of a segment; InputError where the file isn't whole."""
    with path.open("rb") as file:
        if file.readline() != MAGIC:
            raise InputError(f"{path}: is no list of pictures of Kinochrome's")
        for line in file:
            try:
                number, size, mtime_ns, sha256 = line.decode().split()
                yield Noted(int(number), int(size), int(mtime_ns), sha256)
            except ValueError as error:
                raise InputError(f"{path}: ends in the middle of a line") from error
