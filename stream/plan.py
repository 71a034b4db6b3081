"""How a film will be written: container, codec, sample format and the fate of every other stream, known beforehand.

Nothing is decided silently: whatever the output can't hold as the input has it is named in `Output.notices`, or
refused with `strict`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stream.errors import OutputError, UsageError
from stream.film import Info, StreamInfo
from stream.media import copyable, takes
from stream.part import check_target, part_of

CONTAINERS = {
    ".mkv": "matroska",
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".ts": "mpegts",
    ".m2ts": "mpegts",
}
"""Extension -> FFmpeg's muxer. AVI is left out: it stores no times, so a variable frame rate would be lost."""

CODECS = {"libx264": "libx264", "h264": "libx264", "libx265": "libx265", "hevc": "libx265", "ffv1": "ffv1"}
"""What `-c` takes -> FFmpeg's encoder."""

LOSSLESS = frozenset({"ffv1"})

_OPTIONS: dict[str, dict[str, str]] = {
    "libx264": {"preset": "veryfast", "crf": "16"},
    # x265 writes to stderr by itself unless told not to.
    "libx265": {"preset": "veryfast", "crf": "16", "x265-params": "log-level=none"},
    # Version 3 with a checksum per slice, each picture by itself: what archives ask for.
    "ffv1": {"level": "3", "slicecrc": "1", "g": "1"},
}
_DEPTHS: dict[str, tuple[int, ...]] = {
    "libx264": (8, 10),
    "libx265": (8, 10, 12),
    "ffv1": (8, 9, 10, 12, 14, 16),
}
_SUBSAMPLINGS = {(1, 1): "420", (1, 0): "422", (0, 0): "444", (0, 1): "440", (2, 0): "411", (2, 2): "410"}
# Where an encoder lacks a subsampling, the next finer one takes its place.
_FINER: dict[tuple[int, int], tuple[int, int]] = {(2, 2): (1, 1), (2, 0): (1, 0), (0, 1): (0, 0)}
_X265_SMALLEST = 16  # below, x265 4.1 writes outside its memory instead of refusing (seen with av 18.1)
_FFV1_SLICED = 64
_TEXT_SUBTITLES = frozenset({"subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text"})
_SUBTITLE_CODEC = {"matroska": "subrip", "mp4": "mov_text", "mov": "mov_text"}


@dataclass(frozen=True, kw_only=True)
class Copied:
    """A stream beside the film that goes along."""

    index: int
    """In the input."""
    how: Literal["packets", "attachment", "subtitles"]
    """Packet for packet, as an attachment, or as text in another subtitle codec."""
    codec: str = ""
    """The subtitle codec to convert to."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """A decided output: what `mux.Writer` needs to know."""

    path: Path
    part: Path
    """Where it is written until it is complete."""
    container: str
    codec: str
    options: dict[str, str]
    pix_fmt: str
    depth: int
    subsampling: tuple[int, int]
    """log2 of the chroma steps that `frame.with_chroma` must bring."""
    copied: tuple[Copied, ...] = ()
    chapters: bool = True
    notices: tuple[str, ...] = field(default=())
    """One line for each thing that the output can't hold as the input has it."""

    @property
    def lossless(self) -> bool:
        """Every luma sample is kept, as long as the depth is too."""
        return self.codec in LOSSLESS


def plan_output(
    info: Info, path: Path, *, codec: str | None = None, overwrite: bool = False, strict: bool = False
) -> Output:
    """Decides how `info`'s film is written to `path`; refuses what can't or mustn't be written.

    `codec` is one of `CODECS`; without it 8 bits go to x264 and more to x265.
    """
    container = CONTAINERS.get(path.suffix.lower())
    if container is None:
        given = path.suffix or "no extension"
        raise OutputError(f"{path}: {given} names no film format that can be written; {', '.join(CONTAINERS)} do")
    check_target(path, source=info.path, overwrite=overwrite)
    notices: list[str] = []
    encoder = _choose_codec(info, codec, notices)
    if not takes(container, encoder):
        allowed = " or ".join(name for name in _OPTIONS if takes(container, name))
        raise UsageError(f"{path}: {path.suffix} can't hold {encoder}; use -c {allowed}, or write .mkv")
    depth = _choose_depth(info, encoder, notices)
    subsampling = _choose_subsampling(info, encoder, notices)
    if info.alpha:
        notices.append("the transparency (alpha) is left out")
    copied = _choose_streams(info, container, notices)
    if info.chapters and container == "mpegts":
        notices.append(f"{info.chapters} chapters are left out: {path.suffix} has none")
    if strict and notices:
        raise OutputError(f"{path}: refused by --strict: {'; '.join(notices)}")
    return Output(
        path=path,
        part=part_of(path),
        container=container,
        codec=encoder,
        options=_options(info, encoder),
        pix_fmt=_pix_fmt(subsampling, depth),
        depth=depth,
        subsampling=subsampling,
        copied=copied,
        chapters=container != "mpegts",
        notices=tuple(notices),
    )


def _choose_codec(info: Info, codec: str | None, notices: list[str]) -> str:
    if codec is not None and codec not in CODECS:
        raise UsageError(f"{codec = }; the codecs are {', '.join(CODECS)}")
    encoder = CODECS[codec] if codec else "libx264" if info.depth == 8 else "libx265"
    if encoder == "libx265" and min(info.width, info.height) < _X265_SMALLEST:
        notices.append(
            f"{info.width}x{info.height} is too small for x265 ({_X265_SMALLEST}x{_X265_SMALLEST}); x264 is used"
        )
        return "libx264"
    return encoder


def _options(info: Info, encoder: str) -> dict[str, str]:
    # Slices let ffv1 use several cores; a picture of few samples can't be cut.
    sliced = encoder == "ffv1" and min(info.width, info.height) >= _FFV1_SLICED
    return _OPTIONS[encoder] | ({"slices": "4"} if sliced else {})


def _choose_depth(info: Info, encoder: str, notices: list[str]) -> int:
    depth = max(depth for depth in _DEPTHS[encoder] if depth <= info.depth)
    if depth < info.depth:
        notices.append(
            f"luma is reduced from {info.depth} to {depth} bits, the most that {encoder} holds; -c ffv1 keeps it"
        )
    return depth


def _choose_subsampling(info: Info, encoder: str, notices: list[str]) -> tuple[int, int]:
    wanted = info.subsampling or (1, 1)
    if encoder == "ffv1":
        # Beyond 8 bits FFmpeg's ffv1 codes 4:2:0, 4:2:2 and 4:4:4 only.
        return wanted if info.depth == 8 else _FINER.get(wanted, wanted)
    subsampling = _FINER.get(wanted, wanted)
    step_x = 1 << subsampling[0]
    step_y = (1 << subsampling[1]) * (2 if info.interlaced and encoder == "libx264" else 1)
    if info.width % step_x == 0 and info.height % step_y == 0:
        return subsampling
    notices.append(
        f"chroma is written 4:4:4: {encoder} can't code {info.width}x{info.height} in 4:"
        f"{_SUBSAMPLINGS[subsampling][1]}:{_SUBSAMPLINGS[subsampling][2]}"
    )
    return 0, 0


def _pix_fmt(subsampling: tuple[int, int], depth: int) -> str:
    return f"yuv{_SUBSAMPLINGS[subsampling]}p" + (f"{depth}le" if depth > 8 else "")


def _choose_streams(info: Info, container: str, notices: list[str]) -> tuple[Copied, ...]:
    copied = []
    whole = copyable(info.path, container) if info.others else frozenset()
    for stream in info.others:
        fate = _choose_stream(stream, container, as_it_is=stream.index in whole)
        if fate is not None:
            copied.append(fate)
        if fate is None and not stream.rebuilt:
            notices.append(f"{_name(stream)} is left out: {container} can't hold it")
        if fate is not None and fate.how == "subtitles":
            notices.append(f"{_name(stream)} is converted to {fate.codec}: {container} can't hold it as it is")
    return tuple(copied)


def _choose_stream(stream: StreamInfo, container: str, *, as_it_is: bool) -> Copied | None:
    """How a stream goes along; None if it can't or needn't."""
    if stream.rebuilt:
        return None
    if stream.kind == "attachment" or (stream.cover and container == "matroska"):
        return Copied(index=stream.index, how="attachment") if container == "matroska" else None
    if as_it_is:
        return Copied(index=stream.index, how="packets")
    if stream.codec in _TEXT_SUBTITLES and container in _SUBTITLE_CODEC:
        return Copied(index=stream.index, how="subtitles", codec=_SUBTITLE_CODEC[container])
    return None


def _name(stream: StreamInfo) -> str:
    language = f" {stream.language}" if stream.language not in (None, "und") else ""
    return f"stream {stream.index} ({stream.kind}{language} {stream.codec})".replace(" )", ")")
