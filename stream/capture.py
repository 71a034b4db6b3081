"""Where live pictures come from: cameras, URLs, files at their own pace, y4m on stdin, another Kinochrome's stream.

with CameraSource("0").open() as opened:
    for frame in opened.frames:
        ...
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import av
import av.device
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from stream.container import MAX_PIXELS, open_film
from stream.errors import InputError, UsageError
from stream.film import Info
from stream.frame import Frame
from stream.jpeg import from_jpeg
from stream.media import read_opened
from stream.pubsub import Subscriber
from stream.upright import is_upright, upright, upright_info
from stream.wire import FrameMessage, JpegMessage, Stamp

OPEN_S: Final = 10.0
STALL_S: Final = 5.0
"""Without a picture for so long a source counts as gone."""
_CAMERAS: Final = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
_STREAM_PROTOCOLS: Final = "http,https,httpproxy,tcp,tls,udp,rtp,rtsp,rtmp,rtmps,crypto,data"
_PLAYLISTS: Final = ("hls", "dash")
_END_S: Final = 1.0
"""A film's sound and its pictures may differ in length by so much."""
SoundPacket: TypeAlias = "Packet[Stream]"
SoundTrack: TypeAlias = Stream
Sound: TypeAlias = Callable[[SoundPacket], None]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A source that gives pictures."""

    info: Info
    frames: Iterator[Frame]
    sound: SoundTrack | None = None
    """Its first sound track, whose packets are handed on."""
    seek: Callable[[float], bool] | None = None
    """Only a film on a server has it, which ends by itself: it is played at its own pace, and after a break `frames`
    goes on from this time of its own, in seconds, or from an earlier one. False: it can't, and what `frames` would give
    then has gaps; opened anew the film begins at its beginning."""


class Source(Protocol):
    """Something that pictures come from."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def live(self) -> bool:
        """It goes on whether we look or not: the newest picture counts, and after a break it is opened again."""

    @property
    def pace(self) -> bool:
        """Its pictures are handed out at the times they name, and the newest counts."""

    def open(self, sound: Sound | None = None) -> AbstractContextManager[Opened]:
        """A context manager that gives an Opened; InputError where it can't be had."""


@dataclass(frozen=True, kw_only=True)
class CameraSource:
    """A camera of this machine: v4l2, avfoundation or dshow, through FFmpeg."""

    device: str
    """A number, or what the system calls it."""
    size: tuple[int, int] | None = None
    """Width and height to ask for."""
    live: bool = True
    pace: bool = False

    @property
    def name(self) -> str:
        """For people."""
        return f"camera {self.device}"

    @contextmanager
    def open(self, sound: Sound | None = None) -> Iterator[Opened]:
        """Cameras have no sound of their own."""
        driver = _camera_driver()
        number = self.device.isdecimal()
        file = {
            "v4l2": f"/dev/video{self.device}" if number else self.device,
            "avfoundation": f"{self.device}:none",
            "dshow": f"video={self.device}",
        }[driver]
        if driver == "v4l2" and not Path(file).exists():
            raise InputError(f"{file}: no such camera; kinochrome live --list-cameras shows what there is")
        options = {"video_size": f"{self.size[0]}x{self.size[1]}"} if self.size else {}
        with _open(file, driver, options, None) as container:
            info, frames = read_opened(container, self.name)
            yield Opened(info=info, frames=frames)


@dataclass(frozen=True, kw_only=True)
class UrlSource:
    """A stream on the network: RTSP, RTMP, HTTP, HLS, UDP; or a film that lies on a server for HTTP."""

    name: str
    live: bool = True
    pace: bool = False

    @contextmanager
    def open(self, sound: Sound | None = None) -> Iterator[Opened]:
        """Within OPEN_S, else InputError."""
        # FFmpeg's own 5 s and 5 MB of looking before the first picture are for files.
        options = {"protocol_whitelist": _STREAM_PROTOCOLS, "analyzeduration": "1000000", "probesize": "200000"}
        if is_http(self.name):
            options |= {"reconnect": "1", "reconnect_delay_max": "1"}  # short breaks of a film then cost nothing
        else:
            options["fflags"] = "nobuffer"  # what was looked at is thrown away: of a film, its first pictures
        if self.name.startswith("rtsp"):
            options["rtsp_transport"] = "tcp"
        with _open(self.name, None, options, (OPEN_S, STALL_S)) as container:
            opened = _read(container, self.name, sound)
            film = is_http(self.name) and _ends(container, opened.info)
            yield _as_film(container, opened) if film else opened


@dataclass(frozen=True, kw_only=True)
class FileSource:
    """A film: at its own pace (the newest picture counts), or as fast as it can be coloured, with every picture."""

    name: str
    pace: bool = False

    @property
    def live(self) -> bool:
        """A film waits."""
        return False

    @contextmanager
    def open(self, sound: Sound | None = None) -> Iterator[Opened]:
        """The same limits as everywhere else."""
        with open_film(self.name) as container:
            yield _read(container, self.name, sound)


@dataclass(frozen=True, kw_only=True)
class StdinSource:
    """y4m on stdin."""

    name: str = "stdin"
    live: bool = False
    pace: bool = False

    @contextmanager
    def open(self, sound: Sound | None = None) -> Iterator[Opened]:
        """Read straight from the descriptor."""
        try:
            container = _open("pipe:0", "yuv4mpegpipe", {"protocol_whitelist": "pipe"}, None)
        except InputError as error:
            raise InputError(
                "stdin: no y4m comes; try: ffmpeg -i FILM -f yuv4mpegpipe - | kinochrome live -"
            ) from error
        with container:
            yield _read(container, self.name, None)


@dataclass(frozen=True, kw_only=True)
class WireSource:
    """What another Kinochrome publishes."""

    name: str
    subscribe: Callable[[], Subscriber]
    """Opens the subscription, in the thread that reads."""
    live: bool = True
    pace: bool = False

    @contextmanager
    def open(self, sound: Sound | None = None) -> Iterator[Opened]:
        """Waits OPEN_S for the first picture."""
        with self.subscribe() as subscriber:
            pictures = self._pictures(subscriber)
            first = next(pictures, None)
            if first is None:
                raise InputError(f"{self.name}: nothing is published there")
            frame, stamp = first
            yield Opened(info=info_of(frame, self.name, stamp), frames=_chain(frame, pictures))

    def _pictures(self, subscriber: Subscriber) -> Iterator[tuple[Frame, Stamp]]:
        while (message := subscriber.receive(OPEN_S)) is not None:
            if isinstance(message, FrameMessage):
                yield message.frame, message.stamp
            elif isinstance(message, JpegMessage):
                frame = from_jpeg(message)
                if frame is not None:
                    yield frame, message.stamp
            elif message.ended:
                return


def list_cameras() -> list[tuple[str, str]]:
    """Name for `--camera` and description of each camera that the system shows."""
    try:
        found = av.device.enumerate_input_devices(_camera_driver())
    except (av.error.FFmpegError, OSError, ValueError):  # no such driver here, or no devices
        return []
    return [(device.name.removeprefix("/dev/video"), device.description) for device in found]


def _camera_driver() -> str:
    if sys.platform not in _CAMERAS:
        raise UsageError(f"cameras can't be opened on {sys.platform}; {', '.join(_CAMERAS)} are supported")
    return _CAMERAS[sys.platform]


def _open(
    file: str, driver: str | None, options: dict[str, str], timeout: tuple[float, float] | None
) -> InputContainer:
    try:
        return av.open(
            file,
            "r",
            format=driver,
            options={"max_pixels": str(MAX_PIXELS)},
            container_options=options,
            metadata_errors="replace",
            timeout=timeout,
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{file}: can't be opened ({reason})") from error


def _read(container: InputContainer, name: str, sound: Sound | None) -> Opened:
    tracks = container.streams.audio if sound is not None else ()
    lying, frames = read_opened(container, name, sound=sound if tracks else None)
    info = lying
    if not is_upright(lying):
        info, frames = upright_info(lying), (upright(frame, lying) for frame in frames)
    return Opened(info=info, frames=frames, sound=_kept(tracks[0]) if tracks else None)


def _kept(track: SoundTrack) -> SoundTrack:
    """What the track is, in a container of its own: making a stream like one whose container is closed would crash."""
    return av.open(BytesIO(), "w", format="nut").add_stream_from_template(track, opaque=True)


def is_http(url: str) -> bool:
    """Films lie on such servers too."""
    return url.lower().startswith(("http://", "https://"))


def _ends(container: InputContainer, info: Info) -> bool:
    """Whether the server's film ends by itself: it says how long it is, in bytes or in seconds."""
    if container.format.name not in _PLAYLISTS and container.size > 0:
        return True
    # An mp4 in fragments without an end has the duration of its first ones, and counts no pictures.
    counted = "mp4" not in container.format.name or container.streams[info.stream_index].frames > 0
    return bool(container.duration) and counted


def _as_film(container: InputContainer, opened: Opened) -> Opened:
    stream = container.streams[opened.info.stream_index]
    time_base = opened.info.time_base

    def seek(time_s: float) -> bool:
        try:
            container.seek(int(time_s / time_base), stream=stream)
        except av.error.FFmpegError:  # a server that sends whole films alone, or a format without an index
            return False
        return True

    start_s = float((stream.start_time or 0) * time_base)
    end_s = start_s + (opened.info.duration_s or 0.0) - _END_S if opened.info.duration_s else None
    return replace(opened, frames=_until(opened.frames, end_s), seek=seek)


def _until(frames: Iterator[Frame], end_s: float | None) -> Iterator[Frame]:
    """The frames; where the server names no length in bytes, hanging up behind `end_s` is how it says that it ends."""
    last_s = 0.0
    try:
        for frame in frames:
            last_s = frame.time_s or 0.0
            yield frame
    except InputError:
        if end_s is None or last_s < end_s:
            raise


def info_of(frame: Frame, name: str, stamp: Stamp | None = None) -> Info:
    """What a stream of such frames is, which came with `stamp`."""
    return Info(
        path=name,
        container="kinochrome",
        duration_s=None,
        stream_index=0,
        codec="planes",
        pix_fmt="",
        width=frame.width,
        height=frame.height,
        depth=frame.depth,
        subsampling=frame.subsampling,
        rgb=False,
        alpha=False,
        tags=frame.tags,
        tagged=True,
        matrix_number={"bt601": 6, "bt709": 1, "bt2020": 9, "smpte240m": 7, "fcc": 4}[frame.tags.matrix],
        frame_rate=None if stamp is None else stamp.rate,
        time_base=frame.time_base,
        expected_frames=None,
        pixel_aspect=Fraction(1) if stamp is None else stamp.pixel_aspect,
        rotation=0,
        display_matrix=None,
        interlaced=frame.interlaced,
        top_field_first=frame.top_field_first,
        others=(),
        chapters=0,
    )


def _chain(first: Frame, rest: Iterator[tuple[Frame, Stamp]]) -> Iterator[Frame]:
    """The frames while they keep their size; another one ends them, and the source is opened again."""
    yield first
    for frame, _ in rest:
        if frame.luma.shape != first.luma.shape or frame.depth != first.depth:
            return
        yield frame
