"""Records live pictures while they are shown, into a file or to a server (RTMP, RTSP, HLS), with the source's sound.

Sound goes along packet for packet at the source's own times, so it stays in step whatever pictures are dropped.
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from fractions import Fraction
from io import FileIO
from pathlib import Path
from typing import Any, Final, cast

import av
import av.error
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from stream import relay
from stream.capture import SoundPacket
from stream.container import is_url, plane_rows
from stream.errors import OutputError, UsageError
from stream.ffmpeg import holds
from stream.frame import Frame
from stream.intake import FIRST_WAIT_S, LONGEST_WAIT_S, Intake
from stream.newest import Shown
from stream.part import check_target, claim, finish_part, naming_failures, part_of
from stream.relayed import Relay

CLOCK: Final = Fraction(1, 90000)
FORMATS: Final = {".mkv": "matroska", ".mp4": "mp4", ".mov": "mov", ".ts": "mpegts"}
SCHEMES: Final = {"rtmp": "flv", "rtmps": "flv", "rtsp": "rtsp", "udp": "mpegts", "tcp": "mpegts"}


class Recorder:
    """A sink for a file or a server; its container is opened with the first picture, whose size it keeps."""

    def __init__(
        self,
        target: str,
        intake: Callable[[], Intake],
        *,
        overwrite: bool,
        metadata: str,
        source: str = "",
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        """source: what the live picture comes from, a path or URL, which is never written over.

        tell: hears in a line what is not as asked for, and when a server has gone or is back.
        """
        self._target = target
        self._tell = tell
        self.broken: OutputError | None = None
        """Why the server takes nothing at the moment, though it did before."""
        self.reconnects = 0
        """Times that the server was gone and came back."""
        self.lost = 0
        """Pictures that were on their way to a server when it went."""
        self._was_there = False
        self._wait_s = FIRST_WAIT_S
        self._again_s = 0.0
        self._sounds: deque[SoundPacket] | None = None
        self._adts = False
        self._intake = intake
        self._metadata = metadata
        self._undo = ExitStack()
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        """There once the container takes pictures."""
        self._size: tuple[int, int] | None = None
        self._last = -1
        self._file = None if is_url(target) else Path(target)
        self._format, self._place = _place(target)
        self._relay: Relay | None = None
        self._part = part_of(self._file) if self._file is not None and self._format != "hls" else None
        if self._file is not None:
            check_target(self._file, source=source, overwrite=overwrite)
            self._undo.enter_context(claim(part_of(self._file)))  # HLS has no part, but a name to keep others out

    @property
    def under_way(self) -> int:
        """Pictures that are on their way to a server."""
        return 0 if self._relay is None else self._relay.under_way

    def write(self, shown: Shown) -> bool:
        """Encodes a picture; brings the sound along that has come up to now. False while a server that was there has
        gone: it is tried again, ever more slowly.
        """
        if self.broken is not None and time.monotonic() < self._again_s:
            return False
        size = (shown.frame.width, shown.frame.height)
        if size != (self._size or size):
            raise OutputError(f"{self._target}: the picture is now {size[0]}x{size[1]}; start a new file")
        try:
            with naming_failures(self._part or Path(self._target), av.error.FFmpegError):
                self._encode(shown, self._stream or self._open(shown))
        except OutputError as error:
            if not self._may_come_back(error):
                raise
            return False
        if self._relay is not None:
            self._relay.handed += 1
            self._look_after(self._relay)
        return True

    def _look_after(self, relay: "Relay") -> None:
        """Takes in what its process says: pictures have gone out, so that the server is there."""
        relay.listen()
        self._was_there = self._was_there or relay.there
        if self.broken is not None and relay.there:
            self.broken = None
            self.reconnects += 1
            self._tell(f"{self._target}: back again")

    def _let_go(self) -> None:
        """Of the process; what it has not sent is lost."""
        if self._relay is not None:
            self._relay.listen()
            self.lost, self._relay = self.lost + self._relay.under_way, None

    def _encode(self, shown: Shown, stream: VideoStream) -> None:
        frame, picture = shown.frame, _picture(shown, stream)
        self._last = max(self._last + 1, round((frame.pts or 0) * frame.time_base / CLOCK))
        picture.pts, picture.time_base = self._last, CLOCK
        self._mux(stream.encode(picture))
        self._bring_sound()

    def _may_come_back(self, error: OutputError) -> bool:
        """Whether it was a server that took pictures before; lets go of it until it is tried again."""
        relay = self._relay
        if relay is None:
            return False
        relay.listen()
        if not (self._was_there or relay.there):
            return False
        self._was_there = True
        self._wait_s = FIRST_WAIT_S if relay.there else min(2 * self._wait_s, LONGEST_WAIT_S)
        self._again_s = time.monotonic() + self._wait_s
        if self.broken is None:
            self._tell(f"{error}; it is tried again")
        self.broken = error
        with suppress(OutputError, av.error.FFmpegError, OSError):
            cast(OutputContainer, self._container).close()
        self._container = self._stream = None
        self._let_go()
        self._undo.close()
        return True

    def idle(self) -> None:
        """Sound may go on alone while the picture is held."""
        if self._stream is None:
            return
        try:
            with naming_failures(self._part or Path(self._target), av.error.FFmpegError):
                self._bring_sound()
            if self._relay is not None:
                self._look_after(self._relay)
        except OutputError as error:
            if not self._may_come_back(error):
                raise

    def close(self) -> None:
        """Closes the file so that it plays, and gives it its name."""
        try:
            if self.broken is not None:
                raise self.broken
            if self._container is None:
                return
            with naming_failures(self._part or Path(self._target), av.error.FFmpegError):
                try:
                    if self._stream is not None:
                        self._mux(self._stream.encode(None))
                        self._bring_sound()
                finally:
                    self._container.close()
                if self._relay is not None:
                    self._relay.finish()
                if self._stream is not None and self._part is not None and self._file is not None:
                    finish_part(self._part, self._file)
        finally:
            self._let_go()
            self._undo.close()

    def _open_container(self) -> OutputContainer:
        if is_url(self._target):
            self._relay = self._undo.enter_context(Relay(self._target, self._format))
            options = {"flush_packets": "1", "max_interleave_delta": str(round(1e6 * relay.HOLD_S))}
            return av.open(self._relay, "w", format="nut", container_options=options)
        options = {"flush_packets": "1"}  # a full disk is else found after the last chance to say so
        options |= {"movflags": "frag_keyframe+delay_moov"} if self._format in ("mp4", "mov") else {}
        # FFmpeg goes on where an HLS segment can't be written; Python says so.
        opening = _segments() if self._format == "hls" else None
        return av.open(self._place, "w", format=self._format, container_options=options, io_open=opening)

    def _open(self, shown: Shown) -> VideoStream:
        frame, info, intake = shown.frame, shown.taken.info, self._intake()
        self._container = self._open_container()
        rate = round(info.frame_rate or 25)
        network = self._part is None
        codec = {"preset": "veryfast", "crf": "23", "tune": "zerolatency"} if network else _FILE_CODEC
        stream = self._container.add_stream("libx264", rate=rate, options=codec)
        stream.width, stream.height, stream.pix_fmt = self._shape(frame)
        self._size = (frame.width, frame.height)
        stream.time_base = CLOCK
        context = stream.codec_context
        context.time_base = CLOCK
        context.gop_size = 2 * max(1, rate)
        context.sample_aspect_ratio = info.pixel_aspect
        context.color_range = 2 if frame.tags.full_range else 1
        context.colorspace = info.matrix_number
        context.color_primaries, context.color_trc = frame.tags.primaries, frame.tags.transfer
        self._sound = self._add_sound(intake)
        self._container.metadata["comment"] = self._metadata
        self._container.start_encoding()
        if self._sounds is None:
            self._sounds = intake.listen()
        else:
            self._skip_sound(shown.frame)
        self._stream = stream
        return stream

    def _add_sound(self, intake: Intake) -> Any:  # noqa: ANN401  (a stream of whatever the source has)
        track = intake.track
        if track is None:
            return None
        # RTSP says up front what ADTS, the AAC of transport streams, repeats in every packet; so does mp4, and where it
        # is written in fragments FFmpeg doesn't see to it. With its other formats it does.
        context = track.codec_context
        self._adts = self._format in ("rtsp", "mp4", "mov") and context.name == "aac" and not context.extradata
        if self._adts and not is_adts(intake.sound_head):
            self._tell(f"{self._target}: goes without sound: of the source's AAC nothing came before its first picture")
            return None
        # What an MPEG stream doesn't know it takes, as data that nobody plays. RTSP has no header to try.
        if self._format != "rtsp" and not holds("mpegts" if self._format == "hls" else self._format, track):
            raise OutputError(f"{self._target}: can't hold the source's sound ({context.name}); mkv can")
        sound = cast(OutputContainer, self._container).add_stream_from_template(track, opaque=True)
        if self._adts:
            sound.codec_context.extradata = audio_config(intake.sound_head)
        return sound

    def _shape(self, frame: Frame) -> tuple[int, int, str]:
        """Width, height and samples of what is coded. In 4:2:0 both sides must be even: odd pictures are kept as they
        are in 4:4:4 in files, and for servers, whose players can't show that, a row or a column is repeated.
        """
        width, height = frame.width, frame.height
        if not (width % 2 or height % 2):
            return width, height, "yuv420p"
        even = (width + width % 2, height + height % 2)
        way = "in 4:4:4" if self._part is not None else f"as {even[0]}x{even[1]}, its last row or column repeated"
        if self._size is None:
            self._tell(f"{self._target}: {width}x{height} is odd, and so it is coded {way}")
        return (width, height, "yuv444p") if self._part is not None else (*even, "yuv420p")

    def _skip_sound(self, frame: Frame) -> None:
        """What was heard during a break, before this picture."""
        time_s = (frame.pts or 0) * frame.time_base
        while self._sounds and (self._sounds[0].pts or 0) * self._sounds[0].time_base < time_s:
            self._sounds.popleft()

    def _bring_sound(self) -> None:
        while self._sounds:
            packet = self._sounds.popleft()
            if self._sound is None or packet.dts is None or packet.dts < 0:
                continue
            mine = _copy(packet, plain=self._adts)
            mine.stream = self._sound
            with suppress(av.error.ArgumentError):  # after a break the times may step back by a packet
                self._mux(mine)

    def _mux(self, packets: Any) -> None:  # noqa: ANN401  (one packet or a list)
        cast(OutputContainer, self._container).mux(packets)


_FILE_CODEC: Final = {"preset": "veryfast", "crf": "18"}


def _place(target: str) -> tuple[str, str]:
    """FFmpeg's format, and where it writes."""
    suffix = Path(target.split("?")[0]).suffix.lower()
    if suffix == ".m3u8":
        return "hls", target
    if is_url(target):
        scheme = target.split("://")[0].lower()
        if scheme not in SCHEMES:
            raise UsageError(f"{target}: {', '.join(SCHEMES)} and HLS (.m3u8) are sent to")
        return SCHEMES[scheme], target
    if suffix not in FORMATS:
        raise UsageError(f"{target}: live video is recorded as {', '.join(FORMATS)} or .m3u8")
    return FORMATS[suffix], f"file:{part_of(Path(target))}"


class _Segment(FileIO):
    """A file of HLS, for FFmpeg to write, all of it or an OSError."""

    def __init__(self, name: str, failed: list[OSError]) -> None:
        super().__init__(name, "wb")
        self._failed = failed

    def write(self, data: Any) -> int:  # noqa: ANN401  (whatever has bytes)
        """Raises the first error of all the files alone: PyAV prints what follows before it has handed that on."""
        left = memoryview(data)
        while left and not self._failed:
            try:
                left = left[super().write(left) :]
            except OSError as error:
                self._failed.append(error)
                raise
        return len(data)


def _segments() -> Callable[[str, int, dict[str, str]], _Segment]:
    """Opens the files of one recording."""
    failed: list[OSError] = []
    return lambda url, flags, options: _Segment(url.removeprefix("file:"), failed)


def is_adts(data: bytes) -> bool:
    """Whether a packet of AAC begins with a header of ADTS (ISO 13818-7, 6.2)."""
    return len(data) >= 7 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0


def audio_config(head: bytes) -> bytes:
    """What a header of ADTS says, as MPEG-4 writes it down once (ISO 14496-3, 1.6.2.1)."""
    kind, rate, channels = (head[2] >> 6) + 1, head[2] >> 2 & 15, (head[2] & 1) << 2 | head[3] >> 6
    return (kind << 11 | rate << 7 | channels << 3).to_bytes(2)


def _copy(packet: SoundPacket, *, plain: bool) -> SoundPacket:
    """The same packet to change at will: muxing moves its times, and other recorders have it too. plain: no ADTS."""
    data = bytes(packet)
    made: SoundPacket = Packet(data[7 if data[1] & 1 else 9 :] if plain and is_adts(data) else data)
    made.pts, made.dts, made.duration = packet.pts, packet.dts, packet.duration
    made.time_base, made.is_keyframe = packet.time_base, packet.is_keyframe
    for side in packet.iter_sidedata():  # such as the samples of silence that a decoder shall skip
        made.set_sidedata(side)
    return made


def _picture(shown: Shown, stream: VideoStream) -> VideoFrame:
    """FFmpeg's picture for the stream with the frame's planes copied in; nothing is left for FFmpeg to convert."""
    frame = shown.frame
    picture = VideoFrame(stream.width, stream.height, stream.pix_fmt or "yuv420p")
    planes = [np.asarray(plane, np.uint8) for plane in frame.planes]
    if stream.pix_fmt == "yuv444p":
        planes[1:] = [plane.repeat(2, 0).repeat(2, 1)[: frame.height, : frame.width] for plane in planes[1:]]
    planes[0] = np.pad(planes[0], ((0, stream.height - frame.height), (0, stream.width - frame.width)), "edge")
    for rows, plane in zip(plane_rows(picture), planes, strict=True):
        rows[:, : plane.shape[1]] = plane
    picture.color_range = 2 if frame.tags.full_range else 1
    picture.colorspace = shown.taken.info.matrix_number
    return picture
