"""What a segment is made of while it waits for the others, and how the result is made of all of them.

A film's is a file of coded pictures, joined in the end; that of numbered pictures is the pictures themselves, under the
names that they keep, with a list of them.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

from stream.errors import InputError, ResourceError
from stream.job import JobFolder
from stream.manifest import Entry
from stream.mux import Writer
from stream.packets import PacketFile, SegmentFile, digest, read_coded
from stream.part import claim, naming_failures, sync
from stream.picture_list import PictureList, read_list
from stream.proof import Proof, listing
from stream.reel import Film
from stream.segment_writer import SegmentWriter
from stream.sequence_writer import SegmentPictures, SequenceOutput, name_folder, regain, sweep
from stream.sidecar import provenance

Ready: TypeAlias = Callable[[Writer | None], None]
"""Called once a film is complete, before it gets its name; the writer knows what became of other streams, if any."""


class Segments(Protocol):
    """How the segments of one film are written and kept."""

    where: Path | None
    """What holds the pictures, where that isn't the job's folder."""

    def hold(self) -> AbstractContextManager[None]:
        """Keeps the part file, or folder, for this run alone."""

    def clear(self) -> None:
        """Takes away what another job left."""

    def take_up(self, folder: JobFolder) -> None:
        """Goes on with the segments that are there."""

    def open(self, path: Path, start: int) -> tuple[SegmentFile, SegmentWriter | SegmentPictures]:
        """A segment that begins with frame `start`; `path` is its file's."""

    def join(self, folder: JobFolder, ready: Ready) -> None:
        """Makes the result of all segments.

        A segment that isn't what was written is dropped, and ResourceError tells to start again.
        """


def segments_of(film: Film) -> Segments:
    """How this film's are."""
    if isinstance(film.output, SequenceOutput):
        return _OfPictures(film, film.output)
    return _OfPackets(film)


class _OfPackets:
    def __init__(self, film: Film) -> None:
        self._film = film
        self.where: Path | None = None

    def hold(self) -> AbstractContextManager[None]:
        return nullcontext()  # the part file is written by `join` alone, whose writer claims it

    def clear(self) -> None:
        pass

    def take_up(self, folder: JobFolder) -> None:
        pass

    def open(self, path: Path, start: int) -> tuple[SegmentFile, SegmentWriter | SegmentPictures]:
        file = PacketFile(path)
        return file, SegmentWriter(self._film.output, self._film.info, file)

    def join(self, folder: JobFolder, ready: Ready) -> None:
        film, output, info = self._film, self._film.output, self._film.info
        with (
            listing(output, info, wanted=film.keeps_luma) as proof,
            Writer(output, info, metadata={"kinochrome": provenance(film.settings)}) as writer,
        ):
            for _, path in _checked(folder):
                for packet in read_coded(path):
                    writer.write_coded(packet)
                    if proof is not None:
                        proof.note(packet.luma_md5, packet.pts)
            writer.ready = partial(_finish, writer, proof, output.part, ready)


def _finish(writer: Writer, proof: Proof | None, made: Path, ready: Ready) -> None:
    if proof is not None:
        proof.finish(made)
    ready(writer)


class _OfPictures:
    def __init__(self, film: Film, output: SequenceOutput) -> None:
        self._film = film
        self._output = output
        self.where: Path | None = output.part

    @contextmanager
    def hold(self) -> Iterator[None]:
        part = self._output.part
        with naming_failures(part):
            part.mkdir(exist_ok=True)
            sync(part.parent)
        with claim(part, unless=None if self._output.overwrite else self._output.path):
            try:
                yield
            finally:
                with suppress(OSError):  # pictures are in it, or it has got its name
                    part.rmdir()

    def clear(self) -> None:
        sweep(self._output.part, keep=())

    def take_up(self, folder: JobFolder) -> None:
        folder.holds = self._holds
        for path in filter(Path.exists, map(folder.file, folder.begun.entries)):
            with suppress(InputError), naming_failures(self._output.part):
                regain(self._output, read_list(path))

    def _holds(self, path: Path) -> bool:
        with suppress(InputError):  # a list that was damaged; its segment is made again
            return all(picture.is_at(self._output.names.path(picture.number)) for picture in read_list(path))
        return False

    def open(self, path: Path, start: int) -> tuple[SegmentFile, SegmentWriter | SegmentPictures]:
        file, remark = PictureList(path), provenance(self._film.settings)
        return file, SegmentPictures(self._output, file, start=start, remark=remark)

    def join(self, folder: JobFolder, ready: Ready) -> None:
        names = self._output.names
        made = {names.path(picture.number).name for _, path in _checked(folder) for picture in read_list(path)}
        with naming_failures(self._output.part):
            sweep(self._output.part, keep=made)  # a run that was killed left others
            ready(None)
            name_folder(self._output)


def _checked(folder: JobFolder) -> Iterator[tuple[Entry, Path]]:
    """The segments in their order, each as it was written."""
    for entry in folder.in_order():
        path = folder.file(entry.start)
        if digest(path) != entry.sha256:
            folder.drop(entry.start)
            raise ResourceError(f"{path}: was damaged on the disk; the same command makes this segment again")
        yield entry, path
