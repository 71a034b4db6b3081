"""What a film is, from its headers and its first picture: size, format, tags, times, and what lies beside it."""

import re
from contextlib import suppress
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import cast

import av
import av.error
import av.filter
import av.logging
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import SideData
from av.stream import Discard, Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from stream.container import plane_rows, read_packets, too_large
from stream.errors import InputError
from stream.ffmpeg import log_of_ffmpeg
from stream.film import Info, Light, Luma, StreamInfo
from stream.planes import Layout, find_layout
from stream.tags import ColorNumbers, matrix_number, resolve_tags

_PROBE_PACKETS = 600
# AV_FIELD_BB and AV_FIELD_BT, as FFmpeg uses them: it writes TB for films whose top field comes first, and its decoders
# of raw video read it so, whatever the comment in its header says.
_BOTTOM_FIRST = (3, 5)
_LIGHT_KINDS = ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL")
_LOST_BESIDE = {
    "A53_CC": "closed captions inside the pictures",
    "DYNAMIC_HDR_PLUS": "dynamic HDR metadata (HDR10+)",
    "DOVI_RPU_BUFFER": "Dolby Vision's metadata",
}
_CHROMA_LOCATIONS = ("unspecified", "left", "center", "topleft", "top", "bottomleft", "bottom")


def first_picture(container: InputContainer, stream: VideoStream, url: str | Path) -> VideoFrame:
    """The first picture that can be decoded."""
    with log_of_ffmpeg(av.logging.ERROR) as lines:
        for packet in islice(read_packets(container, (stream,)), _PROBE_PACKETS):
            with suppress(av.error.FFmpegError):
                for picture in stream.decode(packet):
                    return picture
    if size := re.search(r"Picture size (\d+x\d+)", "".join(text for _, _, text in lines)):
        raise too_large(url, size[1])
    raise InputError(f"{url}: no picture of its video ({stream.codec_context.name}) can be decoded")


def describe(container: InputContainer, stream: VideoStream, picture: VideoFrame, url: str, luma: Luma | None) -> Info:
    """All that is known of the film, from its headers and its first picture; `luma` as for `media.read_frames`."""
    context = stream.codec_context
    beside = _side_data(picture, context.name)
    layout = layout_of(picture, url)
    rate = stream.average_rate or stream.guessed_rate
    duration = stream_duration(stream) or (container.duration / av.time_base if container.duration else None)
    numbers = ColorNumbers(
        matrix=picture.colorspace,
        primaries=picture.color_primaries,
        transfer=picture.color_trc,
        color_range=picture.color_range,
        chroma_location=_chroma_location(container, stream),
    )
    if not numbers.supported:
        raise InputError(f"{url}: colour matrix {numbers.matrix} of H.273 isn't supported; BT.601, 709 and 2020 are")
    tags = resolve_tags(numbers, (picture.width, picture.height), layout, luma)
    return Info(
        path=url,
        container=container.format.name,
        duration_s=duration,
        stream_index=stream.index,
        codec=context.name,
        pix_fmt=picture.format.name,
        width=picture.width,
        height=picture.height,
        depth=layout.depth,
        subsampling=layout.subsampling,
        rgb=layout.rgb,
        alpha=layout.alpha,
        tags=tags,
        tagged=numbers.tagged,
        matrix_number=matrix_number(numbers, tags, picture.height),
        frame_rate=rate,
        time_base=stream.time_base or Fraction(1, av.time_base),
        expected_frames=_expected_frames(stream, duration, rate),
        pixel_aspect=stream.sample_aspect_ratio or Fraction(1),
        rotation=picture.rotation,
        display_matrix=_display_matrix(beside.get("DISPLAYMATRIX")),
        interlaced=True if picture.interlaced_frame else None if context.field_order == 0 else False,
        top_field_first=_top_field_first(picture, stream),
        others=tuple(_describe_other(other) for other in container.streams if other.index != stream.index),
        chapters=len(container.chapters()),
        timecode=_timecode(container, stream),
        light=_light(beside),
        beside=tuple(words for kind, words in _LOST_BESIDE.items() if kind in beside),
    )


def layout_of(picture: VideoFrame, url: str) -> Layout:
    """Where the samples of a picture lie; InputError for a pixel format that is not supported."""
    layout = find_layout(picture.format.name)
    if layout is None:
        raise InputError(
            f"{url}: pixel format {picture.format.name} isn't supported; Y'CbCr, grey and RGB of 8 to 16 bits are"
        )
    return layout


def _timecode(container: InputContainer, stream: VideoStream) -> str | None:
    """What QuickTime, MXF and Matroska state in tags."""
    tags = [*stream.metadata.items(), *container.metadata.items()]
    return next((value for key, value in tags if key.lower() == "timecode"), None)


def _top_field_first(picture: VideoFrame, stream: VideoStream) -> bool:
    """PyAV doesn't show a picture's own mark, but FFmpeg's `separatefields` goes by it: which lines does it give first?

    Pictures whose lines are all alike tell nothing; there the container is believed.
    """
    lines = plane_rows(picture)[0][: picture.height]
    if picture.interlaced_frame and not np.array_equal(lines[0::2][: len(lines) // 2], lines[1::2]):
        graph = av.filter.Graph()
        source = graph.add_buffer(template=stream, time_base=stream.time_base)
        graph.link_nodes(source, graph.add("separatefields"), graph.add("buffersink")).configure()
        graph.vpush(picture)
        first = plane_rows(graph.vpull())[0][0]
        width = min(len(first), lines.shape[1], picture.width)
        return bool(np.array_equal(first[:width], lines[0, :width]))
    return stream.codec_context.field_order not in _BOTTOM_FIRST


def _side_data(picture: VideoFrame, codec: str) -> dict[str, SideData]:
    """What the picture carries of the kinds that are looked at; nothing of a PNG's.

    PyAV 18.1 frees the notes of side data twice, which crashes; PNG's decoder is the one that makes some (the name of a
    colour profile). Kinds that PyAV doesn't know, such as a picture's EXIF, are an error to it.
    """
    if codec in ("png", "apng"):
        return {}
    try:
        held = picture.side_data
        found = {kind: held.get(kind) for kind in ("DISPLAYMATRIX", *_LIGHT_KINDS, *_LOST_BESIDE)}
    except ValueError:
        return {}
    return {kind: cast(SideData, side_data) for kind, side_data in found.items() if side_data is not None}


def _light(beside: dict[str, SideData]) -> Light | None:
    """FFmpeg's AVMasteringDisplayMetadata (ten fractions and two flags) and AVContentLightMetadata."""
    display, content = (beside.get(kind) for kind in _LIGHT_KINDS)
    primaries: tuple[tuple[Fraction, Fraction], ...] = ()
    luminance = None
    if display is not None:
        numbers = np.frombuffer(memoryview(display), np.int32)[:22].tolist()
        parts = [Fraction(top, bottom or 1) for top, bottom in zip(numbers[0:20:2], numbers[1:20:2], strict=True)]
        primaries = tuple(zip(parts[0:8:2], parts[1:8:2], strict=True)) if numbers[20] else ()
        luminance = (parts[8], parts[9]) if numbers[21] else None
    levels = None if content is None else np.frombuffer(memoryview(content), np.uint32)[:2].tolist()
    if display is None and content is None:
        return None
    return Light(primaries=primaries, luminance=luminance, content=(levels[0], levels[1]) if levels else None)


def _describe_other(stream: Stream) -> StreamInfo:
    codec = stream.codec_context.name if stream.codec_context else stream.name if stream.type == "data" else None
    return StreamInfo(
        index=stream.index,
        kind=stream.type,
        codec=codec or "",
        language=stream.language,
        cover=bool(stream.disposition & Disposition.attached_pic),
        # FFmpeg discards QuickTime's chapter track by itself, and names no codec for its time code.
        rebuilt=stream.type == "data" and (stream.discard is Discard.all or "timecode" in stream.metadata),
    )


def _chroma_location(container: InputContainer, stream: VideoStream) -> int:
    """Number of FFmpeg's AVChromaLocation; PyAV 18.1 shows it nowhere but in the verbose dump of the container."""
    with log_of_ffmpeg(av.logging.VERBOSE):
        dump: str = container.dumps_format()  # type: ignore[attr-defined]  # missing from PyAV's stubs
    line = re.search(rf"^ *Stream #0:{stream.index}\b.*: Video: .*$", dump, re.MULTILINE)
    words = re.findall(r"[a-z]+", line.group(0)) if line else []
    return next((number for number, name in enumerate(_CHROMA_LOCATIONS) if number and name in words), 0)


def _display_matrix(side_data: SideData | None) -> tuple[int, ...] | None:
    return None if side_data is None else tuple(np.frombuffer(memoryview(side_data), np.int32).tolist())


def stream_duration(stream: VideoStream) -> float | None:
    """Seconds of this very stream by its header: a field of mp4, mov and avi, a tag of Matroska."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if found := re.match(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", "")):
        return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
    return None


def _expected_frames(stream: VideoStream, duration_s: float | None, rate: Fraction | None) -> int | None:
    """The header's count where there is one, else an estimate."""
    counted = stream.frames or stream.metadata.get("NUMBER_OF_FRAMES") or stream.metadata.get("NUMBER_OF_FRAMES-eng")
    if counted:
        return int(counted)
    return round(duration_s * rate) if duration_s and rate else None
