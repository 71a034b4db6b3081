"""The reading half of video files: what a film is (`probe`) and its pictures in order (`read_frames`).

    for frame in read_frames("reel.mov"):
        print(frame.time_s, frame.luma.mean())

Every packet is decoded by itself, so that damage costs the pictures it hits and nothing else. Nothing is converted:
planes are views of the decoder's memory wherever its layout is planar.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import cast

import av
import av.error
import av.filter
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from stream.container import MAX_PIXELS, film_stream, open_film, plane_rows, read_packets
from stream.description import describe, first_picture, layout_of, stream_duration
from stream.errors import InputError
from stream.film import Info, Luma, ReadTally
from stream.frame import Frame
from stream.planes import Layout, find_layout, rgb_planes, take_planes
from stream.tags import ColorNumbers, resolve_tags
from stream.timeline import Timeline

MAX_STRAY_FRAMES = 12
"""So many pictures in a row of another size count as damage; one more and the film really changes its size."""
# Formats whose header states the duration; elsewhere FFmpeg estimates it from the file's size or its end.
_MATROSKA = "matroska,webm"
_TIMED_HEADERS = (_MATROSKA, "mov,mp4,m4a,3gp,3g2,mj2", "avi", "asf", "mxf", "flv")


def probe(url: str | Path, *, luma: Luma | None = None) -> Info:
    """What the film is; decodes its first picture, because headers alone tell neither rotation nor the true format.

    `luma` names the matrix of an RGB film, as for `read_frames`.
    """
    with open_film(url) as container:
        stream = film_stream(container, url)
        picture = first_picture(container, stream, url)
        return describe(container, stream, picture, str(url), luma)


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
    info = describe(container, stream, first, url, "bt709")
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
        with suppress(av.error.FFmpegError):
            yield from film.decode(None)  # what had come in full
        raise InputError(f"{url}: the connection broke ({error.strerror or error})") from error


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
        own = stream_duration(stream)
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
    layout = layout_of(picture, name)
    size = (picture.width, picture.height)
    planes = take_planes(layout, picture.format.name, plane_rows(picture), size)
    if layout.rgb:
        planes = rgb_planes(planes, layout.depth, luma, name, keep_colour=keep_colour)
    tags = resolve_tags(ColorNumbers(), size, layout, luma)
    subsampling = layout.subsampling or (0, 0)
    return Frame(planes=planes, depth=layout.depth, subsampling=subsampling, tags=tags, damaged=picture.is_corrupt)
