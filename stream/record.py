"""Records live pictures while they are shown, into a file or to a server (RTMP, RTSP, HLS), with the source's sound.

Sound goes along packet for packet at the source's own times, so it stays in step whatever pictures are dropped.
"""

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self, cast

import av
import av.error
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from stream import relay
from stream.capture import SoundPacket
from stream.errors import OutputError, UsageError
from stream.intake import Intake
from stream.media import is_url, plane_rows
from stream.newest import Shown
from stream.part import check_target, claim, finish_part, naming_failures, part_of

CLOCK: Final = Fraction(1, 90000)
FORMATS: Final = {".mkv": "matroska", ".mp4": "mp4", ".mov": "mov", ".ts": "mpegts"}
SCHEMES: Final = {"rtmp": "flv", "rtmps": "flv", "rtsp": "rtsp", "udp": "mpegts", "tcp": "mpegts"}


class Recorder:
    """A sink for a file or a server; its container is opened with the first picture, whose size it keeps."""

    def __init__(
        self, target: str, intake: Callable[[], Intake], *, overwrite: bool, metadata: str, source: str = ""
    ) -> None:
        """source: what the live picture comes from, a path or URL, which is never written over."""
        self._target = target
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
        if self._part is not None:
            self._undo.enter_context(claim(self._part))

    def write(self, shown: Shown) -> None:
        """Encodes a picture; brings the sound along that has come up to now."""
        with naming_failures(self._part or Path(self._target), av.error.FFmpegError):
            stream = self._stream or self._open(shown)
            frame = shown.frame
            if (frame.width, frame.height) != self._size:
                raise OutputError(f"{self._target}: the picture is now {frame.width}x{frame.height}; start a new file")
            picture = _picture(shown)
            self._last = max(self._last + 1, round((frame.pts or 0) * frame.time_base / CLOCK))
            picture.pts, picture.time_base = self._last, CLOCK
            self._mux(stream.encode(picture))
            self._bring_sound()

    def idle(self) -> None:
        """Sound may go on alone while the picture is held."""
        if self._stream is not None:
            with naming_failures(self._part or Path(self._target), av.error.FFmpegError):
                self._bring_sound()

    def close(self) -> None:
        """Closes the file so that it plays, and gives it its name."""
        try:
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
            self._undo.close()

    def _open_container(self) -> OutputContainer:
        if is_url(self._target):
            self._relay = self._undo.enter_context(Relay(self._target, self._format))
            return av.open(self._relay, "w", format="nut", container_options={"flush_packets": "1"})
        options = {"flush_packets": "1"}  # a full disk is else found after the last chance to say so
        options |= {"movflags": "frag_keyframe+delay_moov"} if self._format in ("mp4", "mov") else {}
        return av.open(self._place, "w", format=self._format, container_options=options)

    def _open(self, shown: Shown) -> VideoStream:
        frame, info, intake = shown.frame, shown.taken.info, self._intake()
        if frame.width % 2 or frame.height % 2:
            raise OutputError(
                f"{self._target}: x264 can't code {frame.width}x{frame.height} in 4:2:0; ask a camera for another "
                "--size, and colour a film with colorize"
            )
        self._container = self._open_container()
        rate = round(info.frame_rate or 25)
        network = self._part is None
        codec = {"preset": "veryfast", "crf": "23", "tune": "zerolatency"} if network else _FILE_CODEC
        stream = self._container.add_stream("libx264", rate=rate, options=codec)
        self._size = (frame.width, frame.height)
        stream.width, stream.height = self._size
        stream.pix_fmt = "yuv420p"
        stream.time_base = CLOCK
        context = stream.codec_context
        context.time_base = CLOCK
        context.gop_size = 2 * max(1, rate)
        context.sample_aspect_ratio = info.pixel_aspect
        context.color_range = 2 if frame.tags.full_range else 1
        context.colorspace = info.matrix_number
        context.color_primaries, context.color_trc = frame.tags.primaries, frame.tags.transfer
        self._sound: Any = None
        if intake.track is not None:
            try:
                self._sound = self._container.add_stream_from_template(intake.track, opaque=True)
            except (ValueError, av.error.FFmpegError) as error:
                name = intake.track.codec_context.name
                raise OutputError(f"{self._target}: can't hold the source's sound ({name}); mkv can") from error
        self._container.metadata["comment"] = self._metadata
        self._container.start_encoding()
        self._sounds = intake.listen()
        self._stream = stream
        return stream

    def _bring_sound(self) -> None:
        while self._sounds:
            packet = self._sounds.popleft()
            if self._sound is None or packet.dts is None or packet.dts < 0:
                continue
            mine = _copy(packet)
            mine.stream = self._sound
            with suppress(av.error.ArgumentError):  # after a break the times may step back by a packet
                self._mux(mine)

    def _mux(self, packets: Any) -> None:  # noqa: ANN401  (one packet or a list)
        cast(OutputContainer, self._container).mux(packets)


class Relay:
    """The process that sends a film on to a server (stream/relay.py), to write to."""

    def __init__(self, url: str, form: str) -> None:
        self._url = url
        program = [sys.executable, "-P", relay.__file__, form, url, str(relay.TIMEOUT_S)]
        self._process = subprocess.Popen(program, stdin=subprocess.PIPE, stderr=subprocess.PIPE)

    def write(self, data: bytes) -> int:
        """Waits where the server is slow, as long as it takes anything at all."""
        pipe = cast("IO[bytes]", self._process.stdin)
        try:
            pipe.write(data)
            pipe.flush()
        except OSError as error:
            raise self._failure() from error
        return len(data)

    def finish(self) -> None:
        """Waits until all is sent; OutputError where it could not be."""
        with suppress(OSError):  # its exit status says more
            cast("IO[bytes]", self._process.stdin).close()
        if self._process.wait() != 0:
            raise self._failure()

    def _failure(self) -> OutputError:
        status = self._process.wait()
        reason = cast("IO[bytes]", self._process.stderr).read().decode(errors="replace").strip()
        if status == relay.SILENT:
            reason = f"the server took nothing for {relay.TIMEOUT_S:g} s"
        return OutputError(f"{self._url}: can't be sent to ({reason or status})")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        with suppress(OSError), self._process:  # its pipes and itself
            pass


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


def _copy(packet: SoundPacket) -> SoundPacket:
    """The same packet to change at will: muxing moves its times, and other recorders have it too."""
    made: SoundPacket = Packet(bytes(packet))
    made.pts, made.dts, made.duration = packet.pts, packet.dts, packet.duration
    made.time_base, made.is_keyframe = packet.time_base, packet.is_keyframe
    for side in packet.iter_sidedata():  # such as the samples of silence that a decoder shall skip
        made.set_sidedata(side)
    return made


def _picture(shown: Shown) -> VideoFrame:
    """FFmpeg's picture with the frame's planes copied in; nothing is left for FFmpeg to convert."""
    frame = shown.frame
    picture = VideoFrame(frame.width, frame.height, "yuv420p")
    for rows, plane in zip(plane_rows(picture), frame.planes, strict=True):
        rows[:, : plane.shape[1]] = np.asarray(plane, np.uint8)
    picture.color_range = 2 if frame.tags.full_range else 1
    picture.colorspace = shown.taken.info.matrix_number
    return picture
