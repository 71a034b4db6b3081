"""The writing half of video files: pictures are encoded, every other stream goes along packet for packet.

    info = probe("reel.mkv")
    output = plan_output(info, Path("reel-colour.mkv"))
    with Writer(output, info, metadata={"comment": "colours are machine-made"}) as writer:
        for frame in frames:
            writer.write(frame)

The film is written as NAME.part.EXT and gets its name once it is complete and on the disk. Whatever ends the work
before, the part file is closed and plays up to where it got.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
import av.error
import av.filter
import numpy as np
from av.codec.context import Flags, ThreadType
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from stream.companions import Companions, goes_into_fragments
from stream.container import film_stream, open_film, plane_rows
from stream.errors import OutputError
from stream.film import Info
from stream.frame import Frame, Plane
from stream.matroska import ROOM, Statement, write_track
from stream.media import read_frames
from stream.packets import Coded
from stream.part import claim, finish_part, naming_failures
from stream.plan import SEQUENCE, Output, plan_output
from stream.planes import reduction

__all__ = ["Output", "Writer", "plan_output"]

_LARGEST_TIMESCALE = 1 << 30
_LEAST_TIMESCALE = 10_000
_CLOCKS = {"matroska": Fraction(1, 1000), "mpegts": Fraction(1, 90000)}
_MOVIE_CLOCK = "90000"  # mp4's default, 1/1000 s, rounds when each track begins
_FRAGMENTS = {
    # mp4 in fragments of a second while it grows, so that a power cut costs seconds; an ordinary mp4 in the end.
    # Without delay_moov the times of the first pictures and of the sound's priming come out wrong (FFmpeg 8.1).
    "movflags": "hybrid_fragmented+delay_moov",
    "frag_duration": "1000000",
    "flush_packets": "1",
    "movie_timescale": _MOVIE_CLOCK,
}
_MUXER_OPTIONS: dict[str, dict[str, str]] = {
    # The priming of AAC and MP3 lies before zero; the default would move everything else by it, 21 ms and more.
    "matroska": {"avoid_negative_ts": "disabled"},
    "mp4": _FRAGMENTS,
    "mov": _FRAGMENTS,
    "mpegts": {"mpegts_copyts": "1"},  # else the muxer moves all times by 1.4 s
}
# The tags that FFmpeg's muxers have fields for; any other needs QuickTime's free-form list (both measured, FFmpeg 8.1).
# fmt: off
_FIELDS = {
    "mp4": frozenset({
        "title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright", "grouping",
        "lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "track", "disc",
        "creation_time",
    }),
    "mov": frozenset({
        "title", "artist", "album", "date", "comment", "genre", "copyright", "make", "model", "location",
        "creation_time",
    }),
}
# fmt: on
# What muxers and mkvmerge note about the very file; wrong in another.
_FILE_TAGS = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder"})
_TRACK_TAGS = ("encoder", "duration", "bps", "number_of_frames", "number_of_bytes", "_statistics", "vendor_id")
_MOVED_S = 0.001
_TOO_FEW = 8  # pictures: more than x265 reorders
_TOP_FIELD_FIRST, _BOTTOM_FIELD_FIRST = 2, 3  # AV_FIELD_TT, AV_FIELD_BB


class Writer:
    """Writes frames and brings the other streams of the film along; a context manager.

    Memory is constant in the film's length: the input is read a second time for its other streams, in step with the
    pictures.
    """

    def __init__(self, output: Output, info: Info, *, metadata: dict[str, str] | None = None) -> None:
        self._output = output
        self._info = info
        self._clock = clock_of(output, info)
        self._first_pts: int | None = None
        self._last_pts: int | None = None
        self._last_dts: int | None = None
        self._moved_s = 0.0
        self._frames = 0
        self._closed = False
        self.ready: Callable[[], None] = lambda: None
        """Called once the part file is complete, before it gets its name."""
        with self._naming_failures(), ExitStack() as undo:
            undo.enter_context(claim(output.part, unless=None if output.overwrite else output.path))
            source = undo.enter_context(open_film(info.path)) if info.container != SEQUENCE else None
            self._container = self._open(source, metadata or {})
            self._claim = undo.pop_all()

    @property
    def frames(self) -> int:
        """Pictures written so far."""
        return self._frames

    @property
    def packets_lost(self) -> int:
        """Packets of other streams that the output's container refused."""
        return self._companions.lost

    @property
    def position_s(self) -> float:
        """Time of the last picture written."""
        return float((self._last_pts or 0) * self._clock)

    @property
    def clock(self) -> Fraction:
        """Seconds of a unit of `last_pts`."""
        return self._clock

    @property
    def last_pts(self) -> int:
        """Time of the last picture written, in units of `clock`."""
        return self._last_pts or 0

    @property
    def moved_s(self) -> float:
        """By how much all streams of the finished file come later, because its container has no times below zero."""
        return self._moved_s if abs(self._moved_s) > _MOVED_S else 0.0

    def write(self, frame: Frame) -> None:
        """Encodes one picture at its own time; brings the other streams along up to it."""
        with self._naming_failures():
            self._container.mux(self._encode(frame))
            self._companions.advance(self.position_s)

    def write_coded(self, packet: Coded) -> None:
        """Takes over a picture that was coded for this very output before."""
        with self._naming_failures():
            coded: Packet[Stream] = Packet(packet.data)
            # Each segment's pictures are decoded from its own beginning on; where frames are of uneven length that may
            # be before the last one's were.
            last = packet.dts - 1 if self._last_dts is None else self._last_dts
            self._last_dts = max(packet.dts, last + 1)
            coded.pts, coded.dts, coded.time_base = packet.pts, self._last_dts, self._clock
            coded.is_keyframe, coded.stream = packet.key, self._stream
            self._frames += 1
            self._last_pts = max(packet.pts, packet.pts if self._last_pts is None else self._last_pts)
            self._first_pts = packet.pts if self._first_pts is None else self._first_pts
            self._container.mux(coded)
            self._companions.advance(self.position_s)

    def close(self) -> None:
        """Finishes the film: the other streams' rest, the trailer, the disk, the name."""
        if self._closed:
            return
        try:
            with self._naming_failures():
                if not self._frames:
                    raise OutputError(f"{self._output.path}: not written, because no picture came")
                if self._last_dts is None:
                    self._container.mux(self._flush())
                self._companions.advance(None)
                self._shut()
                if self._shaped:
                    info = self._info
                    said = Statement(size=(info.width, info.height), aspect=info.pixel_aspect, light=info.light)
                    write_track(self._output.part, self._stream_number, said)
                if self._output.container == "mpegts":
                    self._moved_s = _begin_s(self._output.part) - float((self._first_pts or 0) * self._clock)
                self.ready()
                finish_part(self._output.part, self._output.path)
                self._claim.close()
        except BaseException:
            self._abandon()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._abandon()

    def _abandon(self) -> None:
        """Closes the part file so that it plays; the error that led here is the one to tell."""
        if not self._closed:
            with suppress(av.error.FFmpegError, OSError):
                if self._last_dts is None:
                    self._container.mux(self._flush())
            with suppress(av.error.FFmpegError, OSError):
                self._shut()
        with suppress(OSError):
            if not self._frames:  # a header alone plays nothing
                self._output.part.unlink(missing_ok=True)
            self._claim.close()

    def _naming_failures(self) -> AbstractContextManager[None]:
        return naming_failures(self._output.part, av.error.FFmpegError)

    def _shut(self) -> None:
        self._closed = True
        self._companions.close()
        self._container.close()

    def _open(self, source: InputContainer | None, metadata: dict[str, str]) -> OutputContainer:
        """The part file with all its streams in the order of the input, its header written."""
        output = self._output
        own = {} if source is None else source.metadata
        streams = () if source is None else tuple(source.streams)
        tags = {key: value for key, value in own.items() if key.lower() not in _FILE_TAGS}
        options = dict(_MUXER_OPTIONS[output.container])
        if "frag_duration" in options and not all(goes_into_fragments(stream) for stream in streams):
            options = {"movie_timescale": _MOVIE_CLOCK}
        fields = _FIELDS.get(output.container)
        if fields is None:
            tags |= metadata
        elif {key.lower() for key in tags} <= fields:
            tags = _fold(tags, metadata, fields)
        else:
            tags |= metadata
            options["movflags"] = "+".join([*filter(None, [options.get("movflags")]), "use_metadata_tags"])
        container = av.open(f"file:{output.part}", "w", format=output.container, container_options=options)
        self._companions = Companions(self._info.path, source, container)
        copied = {stream.index: stream for stream in output.copied}
        if source is None:
            self._stream = self._add_film(container, None)
        for stream in streams:
            if source is not None and stream.index == self._info.stream_index:
                self._stream = self._add_film(container, film_stream(source, self._info.path))
            elif stream.index in copied:
                self._companions.add(stream, copied[stream.index])
        container.metadata.update(tags)
        if output.chapters and source is not None:
            container.set_chapters(source.chapters())
        container.start_encoding()
        return container

    def _add_film(self, container: OutputContainer, original: VideoStream | None) -> VideoStream:
        stream, info = self._add_encoder(container), self._info
        if original is not None:
            stream.metadata.update(
                {key: value for key, value in original.metadata.items() if not key.lower().startswith(_TRACK_TAGS)}
            )
            stream.disposition = original.disposition
        elif info.timecode is not None:
            stream.metadata["timecode"] = info.timecode
        self._shaped = self._output.container == "matroska" and (info.pixel_aspect != 1 or info.light is not None)
        self._stream_number = stream.index + 1
        if self._shaped:
            stream.metadata["title"] = stream.metadata.get("title", "") + ROOM
        return stream

    def _add_encoder(self, container: OutputContainer) -> VideoStream:
        output, info = self._output, self._info
        options = output.options | {"chroma_sample_location": str(info.tags.chroma_location)}
        if output.threads and output.codec == "libx264" and _has_avx512():
            options["x264-params"] = "asm=avx2"
        stream = cast(VideoStream, container.add_stream(output.codec, rate=info.frame_rate or 25, options=options))
        stream.width, stream.height, stream.pix_fmt = info.width, info.height, output.pix_fmt
        stream.time_base = self._clock
        context = stream.codec_context
        # PyAV's default, slices, would make x264 code each picture in independent strips.
        context.thread_type = ThreadType.SLICE if output.codec == "ffv1" else ThreadType.FRAME
        context.thread_count = output.threads
        context.time_base = self._clock
        context.sample_aspect_ratio = info.pixel_aspect
        context.color_range = 2 if info.tags.full_range else 1
        context.colorspace = info.matrix_number
        context.color_primaries = info.tags.primaries
        context.color_trc = info.tags.transfer
        self._fields = None
        if info.interlaced:
            context.field_order = _TOP_FIELD_FIRST if info.top_field_first else _BOTTOM_FIELD_FIRST
            if output.codec in ("libx264", "prores_ks"):
                context.flags |= Flags.interlaced_dct | Flags.interlaced_me
            self._fields = self._field_marker()
        stream.set_display_matrix(info.display_matrix)
        return stream

    def _field_marker(self) -> av.filter.Graph:
        """Marks pictures as interlaced: encoders take the order of the fields from each picture, PyAV can't set it."""
        info, graph = self._info, av.filter.Graph()
        pixels = av.VideoFormat(self._output.pix_fmt, info.width, info.height)
        source = graph.add_buffer(width=info.width, height=info.height, format=pixels, time_base=self._clock)
        marker = graph.add("setfield", "mode=tff" if info.top_field_first else "mode=bff")
        graph.link_nodes(source, marker, graph.add("buffersink")).configure()
        return graph

    def _flush(self) -> "list[Packet[VideoStream]]":
        """What the encoder still holds."""
        packets = self._stream.encode(None)
        if self._output.codec == "libx265" and len(packets) == self._frames <= _TOO_FEW:
            _time_decoding(packets)
        return packets

    def _encode(self, frame: Frame) -> "list[Packet[VideoStream]]":
        """What the encoder gives for one more picture, at its own time."""
        picture = self._picture(frame)
        picture.pts = self._time(frame)
        picture.time_base = self._clock
        self._frames += 1
        if self._fields is not None:
            self._fields.vpush(picture)
            picture = self._fields.vpull()
        return self._stream.encode(picture)

    def _time(self, frame: Frame) -> int:
        """The frame's pts in the output's clock, rounded once; always after the last one."""
        wanted = 0 if self._last_pts is None else self._last_pts + 1
        if frame.pts is not None:
            exact = round(frame.pts * frame.time_base / self._clock)
            wanted = exact if self._last_pts is None else max(exact, wanted)
        self._first_pts = wanted if self._first_pts is None else self._first_pts
        self._last_pts = wanted
        return wanted

    def _picture(self, frame: Frame) -> VideoFrame:
        """A new picture of FFmpeg's with the frame's planes copied in; nothing is left for FFmpeg to convert."""
        output = self._output
        if frame.subsampling != output.subsampling and len(frame.planes) == 3:
            raise ValueError(f"{frame.subsampling = }; the output needs {output.subsampling}")
        picture = VideoFrame(frame.width, frame.height, output.pix_fmt)
        kind = np.uint8 if output.depth == 8 else np.uint16
        for number, rows in enumerate(plane_rows(picture)):
            target = rows.view(kind)
            if number < len(frame.planes):
                plane = self._in_depth(frame, number)
                target[:, : plane.shape[1]] = plane
            else:
                target[...] = 1 << output.depth - 1
        picture.color_range = 2 if self._info.tags.full_range else 1
        picture.colorspace = self._info.matrix_number
        picture.color_primaries = self._info.tags.primaries
        picture.color_trc = self._info.tags.transfer
        return picture

    def _in_depth(self, frame: Frame, number: int) -> Plane:
        """A plane at the output's depth: the very same, or looked up in a table where the output holds other bits."""
        if frame.depth == self._output.depth:
            return frame.planes[number]
        table = reduction(frame.depth, self._output.depth, full_range=frame.tags.full_range, chroma=number > 0)
        reduced: Plane = table[frame.planes[number]]
        return reduced


def _time_decoding(packets: "list[Packet[VideoStream]]") -> None:
    """Says when a whole film's pictures are decoded: x265 says anything where there are fewer than it reorders."""
    shown = sorted(packet.pts or 0 for packet in packets)
    late = max((then - (packet.pts or 0) for then, packet in zip(shown, packets, strict=True)), default=0)
    for then, packet in zip(shown, packets, strict=True):
        packet.dts = then - late


@cache
def _has_avx512() -> bool:
    """Where x264 codes the same pictures now so, now so: up to one run in six at 320x240 with AVX-512, none of 95 with
    AVX2 (x264 165 in av 18.1; its macroblock tree seems to read memory that nobody wrote).
    """
    path = Path("/proc/cpuinfo")
    return path.is_file() and " avx512f " in path.read_text()


def clock_of(output: Output, info: Info) -> Fraction:
    """Seconds of a tick of the output's clock."""
    if known := _CLOCKS.get(output.container):
        return known
    ticks = min(info.time_base.denominator, _LARGEST_TIMESCALE)
    while ticks < _LEAST_TIMESCALE:  # as FFmpeg's muxer of mp4 and mov does by itself (movenc.c)
        ticks *= 2
    return Fraction(1, ticks)


def _fold(tags: dict[str, str], more: dict[str, str], fields: frozenset[str]) -> dict[str, str]:
    """All tags in fields that the container has; what has none goes to the comment, where every player shows it."""
    folded = tags | {key: value for key, value in more.items() if key in fields}
    remarks = [f"{key}: {value}" for key, value in more.items() if key not in fields]
    if remarks:
        folded["comment"] = "; ".join([*([folded["comment"]] if "comment" in folded else []), *remarks])
    return folded


def _begin_s(path: Path) -> float:
    """When the first picture of a finished file is shown."""
    return next(read_frames(path)).time_s or 0.0
