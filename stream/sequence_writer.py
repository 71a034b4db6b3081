"""Writes a film as numbered pictures: DPX, TIFF or PNG, under the numbers and headers of the scans it was made from.

The folder is written as NAME.part and gets its name once every picture is in it and on the disk.
"""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from stream import dpx, stills
from stream.errors import OutputError, UsageError
from stream.film import Info
from stream.frame import Frame
from stream.mux import Writer
from stream.part import check_target, naming_failures
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
    for place in (folder, _part(folder)):
        strange = (
            [entry.name for entry in place.iterdir() if not _is_named(entry.name, names)] if place.is_dir() else []
        )
        if strange:
            raise OutputError(f"{place}: holds other files, such as {strange[0]}; name a new folder")
    if not folder.is_dir():
        check_target(folder, source=info.path, overwrite=overwrite)
    elif not overwrite and (any(folder.iterdir()) or _part(folder).exists()):
        raise OutputError(f"{folder}: exists already; -y overwrites it")
    if not os.access(folder.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: no permission to write in {folder.parent}")


def _part(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.part")


def _is_named(name: str, names: Pattern) -> bool:
    """The file is one that a run with these names leaves behind."""
    middle = name.removesuffix(_UNFINISHED).removeprefix(names.prefix).removesuffix(names.suffix)
    return middle.isdecimal()


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


class SequenceWriter:
    """Writes frames one file each; a context manager like `mux.Writer`."""

    def __init__(self, output: SequenceOutput, info: Info, *, metadata: dict[str, str] | None = None) -> None:
        self._output = output
        self._info = info
        self._remark = "; ".join((metadata or {}).values())
        self._last = -1
        self.frames = 0
        """Pictures written so far."""
        self.moved_s = 0.0
        """Pictures have numbers alone, and these are kept."""
        self.packets_lost = 0
        """None: there are no other streams."""
        with naming_failures(output.part):
            output.part.mkdir(exist_ok=True)
            for left in output.part.iterdir():  # of a run that was interrupted; the plan made sure that it may go
                left.unlink()

    @property
    def position_s(self) -> float:
        """Time of the last picture written."""
        return max(0, self._last) / float(self._info.frame_rate or 1)

    def write(self, frame: Frame) -> None:
        """Writes one picture under its number."""
        output = self._output
        counted = self._last + 1
        number = frame.pts if output.origin is not None and frame.pts is not None else counted
        self._last = number
        origin = None
        if output.origin is not None:
            number += output.origin.numbers[0]
            origin = output.origin.pattern.path(number)
        path = output.names.path(number)
        with naming_failures(path):
            if path.suffix.lower() in DPX:
                header = header_of(origin) if origin is not None and origin.suffix.lower() in DPX else None
                data = dpx.write(stills.rgb_of(frame, output.depth), output.depth, header, path.name)
            else:
                data = stills.encode(path.suffix, frame, output.depth, self._remark, origin)
            _write(path, data)
        self.frames += 1

    def close(self) -> None:
        """Gives the folder its name."""
        output = self._output
        if not self.frames:
            output.part.rmdir()
            raise OutputError(f"{output.path}: not written, because no picture came")
        with naming_failures(output.part):
            before = output.path.with_name(f"{output.path.name}.before")
            if output.path.is_dir():
                output.path.replace(before)
            output.part.replace(output.path)
            if before.is_dir():
                shutil.rmtree(before)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif not self.frames:
            self._output.part.rmdir()


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
