"""How a film will be written: container, codec, sample format and the fate of every other stream, known beforehand.

Nothing is decided silently: whatever the output can't hold as the input has it is named in `Output.notices`, or
refused with `strict`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stream.container import copyable
from stream.errors import OutputError, UsageError
from stream.ffmpeg import encoder_opens, takes
from stream.film import Info, Light, StreamInfo
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

_NOT_WRITTEN = {
    ".avi": "AVI stores no times, so a film of variable rate would come out of step",
    ".webm": "WebM holds VP8, VP9 and AV1 alone",
    ".mpg": "MPEG program streams hold MPEG-1 and MPEG-2 alone",
    ".mpeg": "MPEG program streams hold MPEG-1 and MPEG-2 alone",
    ".vob": "MPEG program streams hold MPEG-1 and MPEG-2 alone",
    ".mxf": "MXF holds broadcasters' codecs alone",
}
"""Film formats that are read and not written, and why."""

SEQUENCE = "image2"
"""What `Info.container` says of numbered pictures, as FFmpeg calls them: a film without any other stream."""

NVENC = frozenset({"h264_nvenc", "hevc_nvenc"})
"""Encoders of NVIDIA's cards; some have none (H100, A100)."""

CODECS = {
    "libx264": "libx264",
    "h264": "libx264",
    "libx265": "libx265",
    "hevc": "libx265",
    "ffv1": "ffv1",
    "prores": "prores_ks",
    **{name: name for name in sorted(NVENC)},
}
"""What `-c` takes -> FFmpeg's encoder."""

LOSSLESS = frozenset({"ffv1"})

_OPTIONS: dict[str, dict[str, str]] = {
    "libx264": {"preset": "veryfast", "crf": "16"},
    # x265 writes to stderr by itself unless told not to.
    "libx265": {"preset": "veryfast", "crf": "16", "x265-params": "log-level=none"},
    # Version 3 with a checksum per slice, each picture by itself: what archives ask for.
    "ffv1": {"level": "3", "slicecrc": "1", "g": "1"},
    # 422 HQ, or 4444 for 4:4:4; editors refuse files whose maker isn't Apple.
    "prores_ks": {"vendor": "apl0"},
    **{name: {"preset": "p5", "rc": "constqp", "qp": "18"} for name in sorted(NVENC)},
}
_DEPTHS: dict[str, tuple[int, ...]] = {
    "libx264": (8, 10),
    "libx265": (8, 10, 12),
    "ffv1": (8, 9, 10, 12, 14, 16),
    "prores_ks": (10,),
    **dict.fromkeys(sorted(NVENC), (8,)),  # with more it wants samples packed in another way
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
    overwrite: bool = False
    """A result that is there already is replaced."""
    threads: int = 0
    """Of the encoder, 0 for as many as FFmpeg likes. x264 and x265 code differently with another number."""
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
        if reason := _NOT_WRITTEN.get(path.suffix.lower()):
            raise OutputError(f"{path}: {reason}; write {path.with_suffix('.mkv').name}, which keeps everything")
        raise OutputError(f"{path}: {given} names no film format that can be written; {', '.join(CONTAINERS)} do")
    check_target(path, source=info.path, overwrite=overwrite)
    notices: list[str] = []
    encoder = _choose_codec(info, codec, notices)
    if not takes(container, encoder):
        allowed = " or ".join(name for name in _OPTIONS if takes(container, name))
        raise UsageError(f"{path}: {path.suffix} can't hold {encoder}; use -c {allowed}, or write .mkv")
    depth = _choose_depth(info, encoder, notices)
    subsampling = _choose_subsampling(info, encoder, notices)
    if info.light is not None and encoder not in _LIGHT and container != "matroska":
        notices.append("what the film says about its screen and light (HDR) is left out: mkv, x264 and x265 keep it")
    notices += [f"{words} are left out" for words in info.beside]
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
        overwrite=overwrite,
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
    if codec in NVENC:
        _check_nvenc(codec, info)
    # x265 takes fields for pictures of their own, at half the height; x264 keeps them in one.
    encoder = CODECS[codec] if codec else "libx264" if info.depth == 8 or info.interlaced else "libx265"
    if encoder == "libx265" and info.interlaced:
        notices.append("x265 can't mark fields: both are kept, and players take them for one picture; x264 marks them")
    if encoder == "libx265" and min(info.width, info.height) < _X265_SMALLEST:
        notices.append(
            f"{info.width}x{info.height} is too small for x265 ({_X265_SMALLEST}x{_X265_SMALLEST}); x264 is used"
        )
        return "libx264"
    return encoder


def _check_nvenc(codec: str, info: Info) -> None:
    if not encoder_opens(codec):
        raise UsageError(f"-c {codec}: no GPU here opens this encoder; -c libx264 does without one")
    if info.interlaced:
        raise UsageError(f"-c {codec}: codes no fields; use --deinterlace, or -c libx264")


def _options(info: Info, encoder: str) -> dict[str, str]:
    # Slices let ffv1 use several cores; a picture of few samples can't be cut.
    options = dict(_OPTIONS[encoder])
    if encoder == "ffv1" and min(info.width, info.height) >= _FFV1_SLICED:
        options["slices"] = "4"
    if encoder == "prores_ks":
        options["profile"] = "4444" if info.subsampling == (0, 0) else "hq"
    words = _LIGHT.get(encoder)
    if info.light is not None and words is not None:
        given = ":".join(filter(None, (options.get(words[0]), *_light_words(info.light, *words[1:]))))
        options[words[0]] = given
    return options


# The encoders that write HDR's metadata into their pictures: option, and what they call the screen and the light.
_LIGHT = {
    "libx264": ("x264-params", "mastering-display", "cll"),
    "libx265": ("x265-params", "master-display", "max-cll"),
}


def _light_words(light: Light, screen: str, content: str) -> list[str]:
    """As x264 and x265 want them: chromaticity in 0.00002, luminance in 0.0001 cd/m2."""
    words = []
    if light.primaries and light.luminance is not None:
        red, green, blue, white = (tuple(round(part * 50000) for part in each) for each in light.primaries)
        points = "".join(f"{name}({x},{y})" for name, (x, y) in (("G", green), ("B", blue), ("R", red), ("WP", white)))
        least, most = (round(part * 10000) for part in light.luminance)
        words.append(f"{screen}={points}L({most},{least})")
    if light.content is not None:
        words.append(f"{content}={light.content[0]},{light.content[1]}")
    return words


def _choose_depth(info: Info, encoder: str, notices: list[str]) -> int:
    depths = _DEPTHS[encoder]
    depth = max((depth for depth in depths if depth <= info.depth), default=min(depths))
    if depth < info.depth:
        notices.append(
            f"luma is reduced from {info.depth} to {depth} bits, the most that {encoder} holds; -c ffv1 keeps it"
        )
    return depth


def _choose_subsampling(info: Info, encoder: str, notices: list[str]) -> tuple[int, int]:
    wanted = info.subsampling or (1, 1)
    if encoder == "prores_ks":
        return (0, 0) if wanted in ((0, 0), (0, 1)) else (1, 0)
    if encoder in NVENC and wanted == (1, 0):
        wanted = (0, 0)
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
