"""Writes a film as numbered pictures: DPX, TIFF or PNG, under the numbers and headers of the scans it was made from.

The folder is written as NAME.part and gets its name once every picture is in it and on the disk. What was there before
lies in NAME.part.before meanwhile.
"""

import os
import shutil
from collections.abc import Callable, Container, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from stream import dpx, stills
from stream.errors import OutputError, UsageError
from stream.film import Info
from stream.frame import Frame
from stream.mux import Writer
from stream.part import GOES_ON, check_target, claim, finish_part, naming_failures, sync
from stream.picture_list import Noted, PictureList
from stream.plan import SEQUENCE, Output
from stream.sequence import DPX, Pattern, Sequence, find_sequence, header_of, parse_pattern

_UNFINISHED: Final = ".unfinished"
_TIME: Final = "variable frame rate and the times of single frames"


@dataclass(frozen=True, kw_only=True)
class SequenceOutput(Output):
    """A decided output of numbered pictures; `path` is their folder."""

    names: Pattern
    """How they are named in the folder that is written."""
    origin: Sequence | None
    """The scans that it is made from, whose numbers and headers are kept."""

    def absolute(self) -> "SequenceOutput":
        """The same, wherever a program's current folder is."""
        origin, names = self.origin, self.names
        if origin is not None:
            folder = origin.pattern.folder.resolve()
            origin = replace(origin, pattern=replace(origin.pattern, folder=folder))
        names = replace(names, folder=names.folder.resolve())
        return replace(self, path=self.path.resolve(), part=self.part.resolve(), names=names, origin=origin)


def is_sequence(path: Path) -> bool:
    """The output is to be numbered pictures: a pattern, a folder, or a name without an extension."""
    return parse_pattern(path) is not None or path.is_dir() or not path.suffix


def open_writer(output: Output, info: Info, metadata: dict[str, str]) -> "SequenceWriter | Writer":
    """What writes a decided output."""
    if isinstance(output, SequenceOutput):
        return SequenceWriter(output, info, metadata=metadata)
    return Writer(output, info, metadata=metadata)


def plan_sequence(info: Info, path: Path, *, overwrite: bool = False, strict: bool = False) -> SequenceOutput:
    """Decides how the film is written to `path`, a pattern such as colour/reel_%05d.dpx or, for scans, a folder."""
    origin = find_sequence(info.path) if info.container == SEQUENCE else None
    names = parse_pattern(path)
    if names is None:
        if origin is None:
            raise OutputError(f"{path}: names no film format; for numbered pictures name a pattern: {path}/%06d.dpx")
        names = replace(origin.pattern, folder=path)
        if names.suffix.lower() in stills.JPEG:
            names = replace(names, suffix=".png")
    elif origin is not None and not names.digits:
        names = replace(names, digits=origin.pattern.digits)
    if names.suffix.lower() not in (*DPX, *stills.TIFF, *stills.PNG):
        raise OutputError(f"{path}: numbered pictures are written as .dpx, .tif or .png")
    folder = names.folder
    _check_folder(folder, names, info, origin, overwrite=overwrite)
    depth = _depth(info.depth, names.suffix)
    notices = _notices(info, names.suffix, depth)
    if strict and notices:
        raise OutputError(f"{path}: refused by --strict: {'; '.join(notices)}")
    part = _part(folder)
    return SequenceOutput(
        path=folder,
        part=part,
        overwrite=overwrite,
        container=SEQUENCE,
        codec=names.suffix.lower().lstrip("."),
        options={},
        pix_fmt=f"rgb of {depth} bits",
        depth=depth,
        subsampling=(0, 0),
        chapters=False,
        notices=tuple(notices),
        names=replace(names, folder=part),
        origin=origin,
    )


def _check_folder(folder: Path, names: Pattern, info: Info, origin: Sequence | None, *, overwrite: bool) -> None:
    if folder.resolve() == Path.cwd() or not folder.name:
        raise UsageError(f"{names}: numbered pictures get a folder of their own; name one: colour/{names.path(0).name}")
    if origin is not None and origin.pattern.folder.resolve() == folder.resolve():
        raise UsageError(f"{folder}: is the folder of the scans themselves; name another one")
    for place in (folder, _part(folder), _before(_part(folder))):
        if place.is_symlink():
            raise OutputError(f"{place}: is a link; name the folder that it leads to")
        for entry in place.iterdir() if place.is_dir() else ():
            if entry.is_dir() or not _is_named(entry.name, names):
                raise OutputError(f"{place}: holds other files, such as {entry.name}; name a new folder")
    if not folder.is_dir():
        check_target(folder, source=info.path, overwrite=overwrite)
    elif not overwrite and (any(folder.iterdir()) or _part(folder).exists()):
        raise OutputError(f"{folder}: exists already; -y overwrites it")
    if not os.access(folder.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: no permission to write in {folder.parent}")


def _part(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.part")


def _before(part: Path) -> Path:
    """Where the result that is being replaced lies until the new one has its name."""
    return part.with_name(f"{part.name}.before")


def _is_named(name: str, names: Pattern) -> bool:
    """The file is one that a run with these names, of any count of digits, leaves behind."""
    whole = name.removesuffix(_UNFINISHED)
    number = whole.removeprefix(names.prefix).removesuffix(names.suffix)
    return number.isdecimal() and whole == names.prefix + number + names.suffix


def _depth(depth: int, suffix: str) -> int:
    """The least depth of the format that holds the film's."""
    depths = dpx.DEPTHS if suffix.lower() in DPX else (8, 16)
    return next(each for each in depths if each >= depth)


def _notices(info: Info, suffix: str, depth: int) -> list[str]:
    if info.container == SEQUENCE:
        before = info.codec
        after = suffix.lower().lstrip(".")
        return [] if before[:3] == after[:3] else [f"what the {before} files note beside their pictures is left out"]
    notices = [
        f"{suffix} holds R'G'B' of {depth} bits: luma comes back within rounding, not bit for bit (mkv keeps it)"
    ]
    for stream in (stream for stream in info.others if not stream.rebuilt):
        notices.append(f"stream {stream.index} ({stream.kind} {stream.codec}) is left out: pictures can't hold it")
    if info.chapters:
        notices.append(f"{info.chapters} chapters are left out: pictures can't hold them")
    notices.append(f"{_TIME} are left out: pictures have numbers alone")
    if info.display_matrix is not None:
        notices.append("the film's rotation is left out: the pictures lie as they are stored")
    if info.interlaced:
        notices.append("the mark that the film is interlaced is left out; its fields are kept as they are")
    return notices


class Pictures:
    """Codes frames and writes them under their numbers, one file each."""

    def __init__(self, output: SequenceOutput, remark: str) -> None:
        """remark: what pictures say of themselves, where their format has room for it."""
        self._output = output
        self._remark = remark

    def write(self, frame: Frame, counted: int, *, kept: str) -> Noted:
        """Writes one picture, on the disk when this returns.

        counted: its number, where it isn't made of a numbered one. kept: as in `naming_failures`.
        """
        output, number, origin = self._output, counted, None
        if output.origin is not None:
            number = output.origin.numbers[0] + (counted if frame.pts is None else frame.pts)
            origin = output.origin.pattern.path(number)
        path = output.names.path(number)
        with naming_failures(path, kept=kept):
            if path.suffix.lower() in DPX:
                header = header_of(origin) if origin is not None and origin.suffix.lower() in DPX else None
                data = dpx.write(stills.rgb_of(frame, output.depth), output.depth, header, path.name)
            else:
                data = stills.encode(path.suffix, frame, output.depth, self._remark, origin)
            _write(path, data)
            return Noted.of(number, path, data)


class SequenceWriter:
    """Writes frames one file each; a context manager like `mux.Writer`."""

    def __init__(self, output: SequenceOutput, info: Info, *, metadata: dict[str, str] | None = None) -> None:
        self._output = output
        self._info = info
        self._pictures = Pictures(output, "; ".join((metadata or {}).values()))
        self._last = -1
        self.frames = 0
        """Pictures written so far."""
        self.moved_s = 0.0
        """Pictures have numbers alone, and these are kept."""
        self.packets_lost = 0
        """None: there are no other streams."""
        self.ready: Callable[[], None] = lambda: None
        """Called once the folder is complete, before it gets its name."""
        with naming_failures(output.part), ExitStack() as undo:
            output.part.mkdir(exist_ok=True)
            undo.enter_context(claim(output.part, unless=None if output.overwrite else output.path))
            sweep(output.part, keep=())  # of a run that was interrupted; the plan made sure that it may go
            self._claim = undo.pop_all()

    @property
    def position_s(self) -> float:
        """Time of the last picture written."""
        return max(0, self._last) / float(self._info.frame_rate or 1)

    def write(self, frame: Frame) -> None:
        """Writes one picture under its number."""
        counted = self._last + 1
        self._last = frame.pts if self._output.origin is not None and frame.pts is not None else counted
        self._pictures.write(frame, counted, kept="what was written up to there is kept")
        self.frames += 1

    def close(self) -> None:
        """Gives the folder its name."""
        output = self._output
        if not self.frames:
            output.part.rmdir()
            raise OutputError(f"{output.path}: not written, because no picture came")
        with naming_failures(output.part):
            self.ready()
            name_folder(output)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._claim:
            if kind is None:
                self.close()
            elif not self.frames:
                self._output.part.rmdir()


class SegmentPictures:
    """Writes the pictures of one segment as `SequenceWriter` would, and a list of them; like `SegmentWriter`."""

    def __init__(self, output: SequenceOutput, file: PictureList, *, start: int, remark: str) -> None:
        """start: number of the segment's first frame, from 0."""
        self._folder = output.part
        self._pictures = Pictures(output, remark)
        self._file = file
        self._start = start
        self._frames = 0

    @property
    def frames(self) -> int:
        """Pictures written so far."""
        return self._frames

    def write(self, frame: Frame) -> None:
        """Writes one picture under its number."""
        noted = self._pictures.write(frame, self._start + self._frames, kept=GOES_ON)
        with naming_failures(self._file.path, kept=GOES_ON):
            self._file.note(noted)
        self._frames += 1

    def close(self) -> None:
        """Puts the pictures' names on the disk, as they are."""
        with naming_failures(self._folder, kept=GOES_ON):
            sync(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()


def sweep(folder: Path, *, keep: Container[str]) -> None:
    """Takes all files away but those of these names."""
    for path in list(folder.iterdir()):
        if path.name not in keep:
            path.unlink()


def name_folder(output: SequenceOutput) -> None:
    """Gives the folder of pictures its name, and takes away what lay there before."""
    before = _before(output.part)
    if output.path.is_dir():
        if before.is_dir():  # a run was killed when the new one had its name
            shutil.rmtree(before)
        output.path.replace(before)
    finish_part(output.part, output.path)
    if before.is_dir():
        shutil.rmtree(before)


def regain(output: SequenceOutput, pictures: Iterable[Noted]) -> None:
    """Brings pictures of the finished film into the folder of the next one; takes no room where the disk knows links.

    The finished film stays as it is: a picture that is made again is another file.
    """
    for picture in pictures:
        made = output.part / output.names.path(picture.number).name
        finished = output.path / made.name
        if made.exists() or not picture.is_at(finished):
            continue
        try:
            os.link(finished, made)
        except OSError:  # FAT and some network disks know no links
            _write(made, finished.read_bytes())


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, and on the disk."""
    unfinished = path.with_name(path.name + _UNFINISHED)
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
