"""The reading half of video files: what a film is (`probe`) and its pictures in order (`read_frames`).

    for frame in read_frames("reel.mov"):
        print(frame.time_s, frame.luma.mean())

Every packet is decoded by itself, so that damage costs the pictures it hits and nothing else. Nothing is converted:
planes are views of the decoder's memory wherever its layout is planar.
"""

import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import cast

import av
import av.error
import av.filter
import av.logging
import numpy as np
from av.codec.context import ThreadType
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import SideData
from av.stream import DataStream, Discard, Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from stream.errors import InputError, ResourceError, UsageError
from stream.film import Info, Light, Luma, ReadTally, StreamInfo
from stream.frame import Frame
from stream.planes import Layout, Rows, find_layout, rgb_planes, take_planes
from stream.tags import ColorNumbers, matrix_number, resolve_tags
from stream.timeline import Timeline

MAX_PIXELS = 1 << 27
"""Largest picture that is decoded (134 million: 16384 x 8192), so that a small file can't ask for all the memory."""

MAX_STRAY_FRAMES = 12
"""So many pictures in a row of another size count as damage; one more and the film really changes its size."""

_PROBE_PACKETS = 600
_DEMUX_RETRIES = 100
# Formats whose header states the duration; elsewhere FFmpeg estimates it from the file's size or its end.
_MATROSKA = "matroska,webm"
_TIMED_HEADERS = (_MATROSKA, "mov,mp4,m4a,3gp,3g2,mj2", "avi", "asf", "mxf", "flv")
# AV_FIELD_BB and AV_FIELD_BT, as FFmpeg uses them: it writes TB for films whose top field comes first, and its decoders
# of raw video read it so, whatever the comment in its header says.
_BOTTOM_FIRST = (3, 5)
_LIGHT_KINDS = ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL")
_LOST_BESIDE = {
    "A53_CC": "closed captions inside the pictures",
    "DYNAMIC_HDR_PLUS": "dynamic HDR metadata (HDR10+)",
    "DOVI_RPU_BUFFER": "Dolby Vision's metadata",
}
_NETWORK = "http,https,httpproxy,tcp,tls,udp,rtp,rtsp,rtmp,rtmps,crypto,data"
_NETWORK_TIMEOUT_S = 30.0
_CHROMA_LOCATIONS = ("unspecified", "left", "center", "topleft", "top", "bottomleft", "bottom")
# fmt: off
_MPEGTS_CODECS = frozenset({
    "libx264", "libx265", "h264", "hevc", "mpeg2video", "aac", "aac_latm", "mp2", "mp2float", "mp3", "mp3float", "ac3",
    "eac3", "dca", "truehd", "opus", "libopus", "dvbsub", "klv", "timed_id3",
})
# fmt: on


def probe(url: str | Path, *, luma: Luma | None = None) -> Info:
    """What the film is; decodes its first picture, because headers alone tell neither rotation nor the true format.

    `luma` names the matrix of an RGB film, as for `read_frames`.
    """
    with open_film(url) as container:
        stream = film_stream(container, url)
        picture = _first_picture(container, stream, url)
        return _describe(container, stream, picture, str(url), luma)


def read_frames(
    url: str | Path,
    *,
    luma: Luma | None = None,
    keep_colour: bool = False,
    deinterlace: bool = False,
    nvdec: bool = False,
    tally: ReadTally | None = None,
    since_s: float | None = None,
) -> Iterator[Frame]:
    """All pictures of the film in order of presentation, each with its own time.

    `since_s` leaves out what comes before the last key picture at this time; how much that is, and whether the first
    pictures are whole, is for the caller to find out.

    `nvdec` has an NVIDIA card decode what it can; UsageError where none does.
    `luma` names the matrix that makes Y' of an RGB film in colour; `keep_colour` makes its chroma as well.
    `tally` is filled in.
    A picture of another size or format is damage while it is an exception (it is left out and counted); after
    `MAX_STRAY_FRAMES` in a row the film has really changed, and an InputError says where.
    """
    info = probe(url, luma=luma)
    tally = ReadTally() if tally is None else tally
    with open_film(url, nvdec=nvdec) as container:
        stream = film_stream(container, url)
        if since_s is not None and stream.time_base:
            with suppress(av.error.FFmpegError):  # some formats can't; their pictures then come from the beginning
                container.seek(int(since_s / stream.time_base), stream=stream)
        reader = _Reader(info, luma, tally, keep_colour=keep_colour)
        pictures = reader.decode(container, stream)
        if deinterlace:
            pictures = _deinterlace(pictures, stream)
        yield from reader.frames(pictures)
    reader.timeline.end()


def read_opened(
    container: InputContainer, url: str, *, sound: Callable[["Packet[Stream]"], None] | None = None
) -> tuple[Info, Iterator[Frame]]:
    """What can be read only once, such as a camera: what it is, by its first picture, and all its pictures.

    sound: is handed the packets of the first sound track. Raises InputError when the connection breaks.
    """
    stream = film_stream(container, url)
    streams = [stream, *container.streams.audio[:1]] if sound is not None else [stream]
    pictures = _decode_once(container, streams, url, sound)
    first = next(pictures, None)
    if first is None:
        raise InputError(f"{url}: ended before a picture came")
    info = _describe(container, stream, first, url, "bt709")
    return info, _Reader(info, "bt709", ReadTally(), keep_colour=True).frames(chain((first,), pictures))


def _decode_once(
    container: InputContainer, streams: Sequence[Stream], url: str, sound: Callable[["Packet[Stream]"], None] | None
) -> Iterator[VideoFrame]:
    film = cast(VideoStream, streams[0])
    try:
        for packet in container.demux(list(streams)):
            if packet.stream.index == film.index:
                with suppress(av.error.InvalidDataError):  # a stream is joined in the middle of a group of pictures
                    yield from film.decode(packet)
            elif sound is not None and packet.dts is not None:
                sound(packet)
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(f"{url}: the connection broke ({error.strerror or error})") from error


def is_url(url: str | Path) -> bool:
    """A network address rather than a path: only an explicit scheme:// opens network protocols."""
    return isinstance(url, str) and re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", url) is not None


def open_film(url: str | Path, *, nvdec: bool = False) -> InputContainer:
    """FFmpeg's demuxer over a file or URL, limited in picture size and in protocols; nvdec: as in `read_frames`."""
    if nvdec and not nvdec_opens():
        raise UsageError("--nvdec: no NVIDIA card here opens its decoder; leave it out, and the CPU decodes")
    options = {"max_pixels": str(MAX_PIXELS)}
    try:
        if is_url(url):
            name, protocols, timeout_s = str(url), _NETWORK, _NETWORK_TIMEOUT_S
        else:
            _check_file(Path(url))
            name, protocols, timeout_s = f"file:{url}", "file", None  # the prefix keeps a file named "http:..." a file
        return av.open(
            name,
            "r",
            options=options,
            container_options={"protocol_whitelist": protocols},
            metadata_errors="replace",  # tags in an encoding of the last century
            hwaccel=HWAccel("cuda") if nvdec else None,
            timeout=timeout_s,
        )
    except (MemoryError, av.error.MemoryError) as error:
        raise ResourceError(f"{url}: not enough memory to read it") from error
    except (av.error.FFmpegError, OSError) as error:
        reason = error.strerror or str(error)
        raise InputError(f"{url}: FFmpeg can't read it as a film ({reason}){_hint(url)}") from error


def _hint(url: str | Path) -> str:
    """What a file of QuickTime's family that can't be opened most likely suffers from."""
    if is_url(url):
        return ""
    with Path(url).open("rb") as file:
        is_mp4 = file.read(8)[4:] == b"ftyp"
    return "; an mp4 or mov that was cut off or never closed has no index" if is_mp4 else ""


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a folder; name a film in it")
        if path.is_fifo() or path.is_socket():
            raise InputError(f"{path}: is a pipe; a film is read from a file")
        if path.stat().st_size == 0 and path.is_file():
            raise InputError(f"{path}: is empty (0 bytes)")
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: can't be opened ({error.strerror})") from error


def film_stream(container: InputContainer, url: str | Path) -> VideoStream:
    """The first video stream that isn't a cover."""
    films = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not films:
        kinds = sorted({stream.type for stream in container.streams})
        raise InputError(f"{url}: has no film in it{', only ' + ', '.join(kinds) if kinds else ''}")
    context = films[0].codec_context
    if context is None:
        raise InputError(f"{url}: FFmpeg has no decoder for its video")
    context.options = {"max_pixels": str(MAX_PIXELS)}  # the option given to `open` reaches only the search for streams
    # Threads by frame swallow pictures next to damage, and H.264's by slice forget to mark patched ones (FFmpeg 8.1).
    context.thread_type = ThreadType.SLICE
    context.thread_count = 1 if context.name == "h264" else min(4, os.cpu_count() or 1)
    if context.width * context.height > MAX_PIXELS:
        raise _too_large(url, f"{context.width}x{context.height}")
    return films[0]


def _too_large(url: str | Path, size: str) -> ResourceError:
    return ResourceError(f"{url}: claims pictures of {size}; at most {MAX_PIXELS:,} pixels are decoded")


def _timecode(container: InputContainer, stream: VideoStream) -> str | None:
    """What QuickTime, MXF and Matroska state in tags."""
    tags = [*stream.metadata.items(), *container.metadata.items()]
    return next((value for key, value in tags if key.lower() == "timecode"), None)


def _first_picture(container: InputContainer, stream: VideoStream, url: str | Path) -> VideoFrame:
    """The first picture that can be decoded."""
    with _ffmpeg_log(av.logging.ERROR) as lines:
        for packet in islice(read_packets(container, (stream,)), _PROBE_PACKETS):
            with suppress(av.error.FFmpegError):
                for picture in stream.decode(packet):
                    return picture
    if size := re.search(r"Picture size (\d+x\d+)", "".join(text for _, _, text in lines)):
        raise _too_large(url, size[1])
    raise InputError(f"{url}: no picture of its video ({stream.codec_context.name}) can be decoded")


@contextmanager
def _ffmpeg_log(level: int) -> Iterator[list[tuple[int, str, str]]]:
    """FFmpeg's log lines (level, who, text), which PyAV otherwise throws away."""
    before = av.logging.get_level()
    av.logging.set_libav_level(level)
    av.logging.set_level(level)
    try:
        with av.logging.Capture(local=False) as lines:
            yield lines
    finally:
        av.logging.set_level(before)
        av.logging.set_libav_level(av.logging.INFO)


def read_packets(
    container: InputContainer, streams: Sequence[Stream], tally: ReadTally | None = None
) -> "Iterator[Packet[Stream]]":
    """The packets of `streams` in the order of the file; what the demuxer can't read is skipped and counted."""
    failures = 0 if streams else _DEMUX_RETRIES  # PyAV takes no streams for all of them
    while failures < _DEMUX_RETRIES:
        try:
            for packet in container.demux(list(streams)):
                failures = 0
                yield packet
            return
        except av.error.FFmpegError:
            # The generator has ended; a new one goes on behind the place that couldn't be read.
            failures += 1
            if tally is not None:
                tally.packets_damaged += 1


def _describe(container: InputContainer, stream: VideoStream, picture: VideoFrame, url: str, luma: Luma | None) -> Info:
    context = stream.codec_context
    beside = _side_data(picture, context.name)
    layout = _layout_of(picture, url)
    rate = stream.average_rate or stream.guessed_rate
    duration = _stream_duration(stream) or (container.duration / av.time_base if container.duration else None)
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


@cache
def takes(container: str, codec: str) -> bool:
    """FFmpeg's muxer `container` can hold what FFmpeg's encoder or decoder `codec` writes or reads."""
    if container == "mpegts":  # answers no questions
        return codec in _MPEGTS_CODECS
    with av.open(f"none.{container}", "w", format=container) as nothing:  # no file is made before its header is written
        return codec in nothing.supported_codecs


def copyable(url: str, container: str) -> frozenset[int]:
    """The streams that FFmpeg's muxer takes as they are: each is tried by a header in memory.

    Its list of codecs isn't enough: mov's names Opus and VP9, and its header refuses them (FFmpeg 8.1).
    """
    found = set()
    with open_film(url) as source:
        for stream in source.streams:
            data = stream.type == "data"
            if not data and (stream.codec_context is None or not takes(container, stream.codec_context.name)):
                continue
            if data and not (stream.name and takes(container, stream.name)):
                continue
            with suppress(av.error.FFmpegError, ValueError), av.open(io.BytesIO(), "w", format=container) as trial:
                if isinstance(stream, DataStream):
                    trial.add_data_stream(stream.name)
                else:
                    trial.add_stream_from_template(stream, opaque=True)
                trial.start_encoding()
                found.add(stream.index)
    return frozenset(found)


def _layout_of(picture: VideoFrame, url: str) -> Layout:
    layout = find_layout(picture.format.name)
    if layout is None:
        raise InputError(
            f"{url}: pixel format {picture.format.name} isn't supported; Y'CbCr, grey and RGB of 8 to 16 bits are"
        )
    return layout


def _chroma_location(container: InputContainer, stream: VideoStream) -> int:
    """Number of FFmpeg's AVChromaLocation; PyAV 18.1 shows it nowhere but in the verbose dump of the container."""
    with _ffmpeg_log(av.logging.VERBOSE):
        dump: str = container.dumps_format()  # type: ignore[attr-defined]  # missing from PyAV's stubs
    line = re.search(rf"^ *Stream #0:{stream.index}\b.*: Video: .*$", dump, re.MULTILINE)
    words = re.findall(r"[a-z]+", line.group(0)) if line else []
    return next((number for number, name in enumerate(_CHROMA_LOCATIONS) if number and name in words), 0)


def _display_matrix(side_data: SideData | None) -> tuple[int, ...] | None:
    return None if side_data is None else tuple(np.frombuffer(memoryview(side_data), np.int32).tolist())


def _stream_duration(stream: VideoStream) -> float | None:
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


def _deinterlace(pictures: Iterator[VideoFrame], stream: VideoStream) -> Iterator[VideoFrame]:
    """Bob-weave deinterlacing, one picture out for one in; only pictures that say they are interlaced change."""
    graph = av.filter.Graph()
    source = graph.add_buffer(template=stream, time_base=stream.time_base)
    graph.link_nodes(source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink"))
    graph.configure()
    for picture in chain(pictures, (None,)):
        graph.vpush(picture)
        with suppress(av.error.BlockingIOError, av.error.EOFError):
            while True:
                yield graph.vpull()


class _Reader:
    """Turns packets into frames and keeps count."""

    def __init__(self, info: Info, luma: Luma | None, tally: ReadTally, *, keep_colour: bool) -> None:
        self._info = info
        self._luma = luma
        self._keep_colour = keep_colour
        self._tally = tally
        self._stray = 0
        self.timeline = Timeline(tally, info.frame_rate)

    def decode(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        """Pictures as the decoder gives them; a packet that it refuses is skipped and counted."""
        for packet in read_packets(container, self._streams(container, stream), self._tally):
            if packet.stream.index != stream.index:  # a packet that flushes the decoder names its stream here alone
                if packet.pts is not None:
                    end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                    self.timeline.file_end_s = max(self.timeline.file_end_s, end_s)
                continue
            self.timeline.expect(None if packet.is_discard else packet.pts)
            try:
                pictures = stream.decode(packet)
            except av.error.FFmpegError:
                self._tally.packets_damaged += 1
                continue
            for picture in pictures:
                self.timeline.arrive(picture.pts, interlaced=picture.interlaced_frame)
                yield picture

    def _streams(self, container: InputContainer, stream: VideoStream) -> tuple[Stream, ...]:
        """The streams to look at so that the end can be judged; notes when it should come."""
        if container.format.name not in _TIMED_HEADERS:
            return (stream,)
        own = _stream_duration(stream)
        duration_s = own or (container.duration / av.time_base if container.duration else None)
        if duration_s:
            # Matroska counts from zero, the others from the first picture.
            start = 0 if container.format.name == _MATROSKA else (stream.start_time or 0) * (stream.time_base or 0)
            self.timeline.header_end_s = float(start) + duration_s
        # Where only the whole file has a duration, it is reached if any stream reaches it.
        return (stream,) if own else tuple(container.streams)

    def frames(self, pictures: Iterator[VideoFrame]) -> Iterator[Frame]:
        """Frames with times that rise; pictures of another format are left out."""
        info = self._info
        usual = (info.width, info.height, info.depth, info.subsampling, info.rgb)
        for picture in pictures:
            layout = find_layout(picture.format.name)
            if layout is None or usual != (picture.width, picture.height, *layout.kind):
                self._leave_out(picture)
                continue
            self._stray = 0
            self._tally.frames += 1
            self._tally.frames_damaged += picture.is_corrupt
            yield self._frame(picture, layout)

    def _leave_out(self, picture: VideoFrame) -> None:
        self._stray += 1
        self._tally.frames_lost += 1
        if self._stray > MAX_STRAY_FRAMES:
            info, end_s = self._info, self.timeline.film_end_s
            raise InputError(
                f"{info.path}: from {end_s:.2f} s on the picture is no longer {info.width}x{info.height} "
                f"{info.pix_fmt} but {picture.width}x{picture.height} {picture.format.name}; cut the film there"
            )

    def _frame(self, picture: VideoFrame, layout: Layout) -> Frame:
        planes = take_planes(layout, picture.format.name, plane_rows(picture), (picture.width, picture.height))
        if layout.rgb:
            planes = rgb_planes(planes, layout.depth, self._luma, self._info.path, keep_colour=self._keep_colour)
        time_base = picture.time_base or self._info.time_base
        return Frame(
            planes=planes,
            depth=layout.depth,
            subsampling=layout.subsampling or (0, 0),
            tags=self._info.tags,
            pts=self.timeline.place(picture.pts, picture.dts, picture.duration, time_base),
            time_base=time_base,
            interlaced=picture.interlaced_frame,
            top_field_first=self._info.top_field_first,
            damaged=picture.is_corrupt,
        )


def decode_picture(data: bytes, codec: str, name: str, *, luma: Luma | None = None, keep_colour: bool = False) -> Frame:
    """The one picture in a file's bytes, by FFmpeg's decoder `codec`; InputError with `name` where there is none.

    Grey and R'G'B' are full range; without a matrix in `luma`, chroma to come is BT.601 or 709 by the picture's size.
    """
    context = cast(VideoCodecContext, av.CodecContext.create(codec, "r"))
    context.options = {"max_pixels": str(MAX_PIXELS)}
    try:
        picture = next(iter([*context.decode(Packet(data)), *context.decode(None)]), None)
    except av.error.FFmpegError as error:
        raise InputError(f"{name}: can't be decoded ({error.strerror})") from error
    if picture is None:
        raise InputError(f"{name}: has no picture in it")
    layout = _layout_of(picture, name)
    size = (picture.width, picture.height)
    planes = take_planes(layout, picture.format.name, plane_rows(picture), size)
    if layout.rgb:
        planes = rgb_planes(planes, layout.depth, luma, name, keep_colour=keep_colour)
    tags = resolve_tags(ColorNumbers(), size, layout, luma)
    subsampling = layout.subsampling or (0, 0)
    return Frame(planes=planes, depth=layout.depth, subsampling=subsampling, tags=tags, damaged=picture.is_corrupt)


def plane_rows(picture: VideoFrame) -> list[Rows]:
    """The bytes of each plane, [rows, bytes of a line]; views that keep the decoder's picture alive."""
    rows = []
    for plane in picture.planes:
        line = abs(plane.line_size)
        data = np.frombuffer(memoryview(plane), np.uint8)
        lines = data.reshape(-1, line) if line and data.size % line == 0 else data.reshape(1, -1)
        rows.append(lines[::-1] if plane.line_size < 0 else lines)
    return rows


def ffmpeg_facts() -> tuple[str, dict[str, str]]:
    """FFmpeg's version and those of its libraries, as PyAV brings them: for `kinochrome doctor`."""
    libraries = {name: ".".join(map(str, numbers)) for name, numbers in av.library_versions.items()}
    return av.ffmpeg_version_info, libraries


@cache
def nvdec_opens() -> bool:
    """Whether an NVIDIA card decodes on this machine. Only opening tells: the wheels name NVDEC everywhere."""
    clip = io.BytesIO()
    with av.open(clip, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
        container.mux(stream.encode(VideoFrame(256, 256, "yuv420p")))
        container.mux(stream.encode(None))
    clip.seek(0)
    try:
        with av.open(clip, "r", hwaccel=HWAccel("cuda", allow_software_fallback=False)) as source:
            return any(True for _ in source.decode(video=0))
    except (av.error.FFmpegError, OSError, RuntimeError):  # RuntimeError: a card without a decoder for it
        return False


def encoder_opens(name: str) -> bool:
    """Whether FFmpeg's encoder works on this machine. Only opening tells: NVENC is named by builds everywhere."""
    try:
        context = cast(VideoCodecContext, av.CodecContext.create(name, "w"))
        formats = [each.name for each in context.codec.video_formats or ()] or ["yuv420p"]
        context.width, context.height = 256, 256
        context.pix_fmt = "yuv420p" if "yuv420p" in formats else formats[0]  # ProRes has none of 8 bits
        context.time_base = Fraction(1, 25)
        if name == "libx265":  # writes to stderr by itself unless told not to
            context.options = {"x265-params": "log-level=none"}
        context.open()
    except (av.error.FFmpegError, ValueError):  # ValueError: this build doesn't know the name
        return False
    return True
