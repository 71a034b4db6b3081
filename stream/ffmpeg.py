"""What this build of FFmpeg can do on this machine; asked by trying, because what it lists isn't enough."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import cache
from typing import cast

import av
import av.error
import av.logging
from av.codec.hwaccel import HWAccel
from av.stream import DataStream, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

# fmt: off
_MPEGTS_CODECS = frozenset({
    "libx264", "libx265", "h264", "hevc", "mpeg2video", "aac", "aac_latm", "mp2", "mp2float", "mp3", "mp3float", "ac3",
    "eac3", "dca", "truehd", "opus", "libopus", "dvbsub", "klv", "timed_id3",
})
# fmt: on


def ffmpeg_facts() -> tuple[str, dict[str, str]]:
    """FFmpeg's version and those of its libraries, as PyAV brings them: for `kinochrome doctor`."""
    libraries = {name: ".".join(map(str, numbers)) for name, numbers in av.library_versions.items()}
    return av.ffmpeg_version_info, libraries


@contextmanager
def log_of_ffmpeg(level: int) -> Iterator[list[tuple[int, str, str]]]:
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


@cache
def takes(container: str, codec: str) -> bool:
    """FFmpeg's muxer `container` can hold what FFmpeg's encoder or decoder `codec` writes or reads."""
    if container == "mpegts":  # answers no questions
        return codec in _MPEGTS_CODECS
    with av.open(f"none.{container}", "w", format=container) as nothing:  # no file is made before its header is written
        return codec in nothing.supported_codecs


def holds(container: str, stream: Stream) -> bool:
    """Whether FFmpeg's muxer takes the stream as it is: tried by a header in memory.

    Its list of codecs isn't enough: mov's names Opus and VP9, and its header refuses them (FFmpeg 8.1).
    """
    data = stream.type == "data"
    if not data and (stream.codec_context is None or not takes(container, stream.codec_context.name)):
        return False
    if data and not (stream.name and takes(container, stream.name)):
        return False
    with suppress(av.error.FFmpegError, ValueError), av.open(io.BytesIO(), "w", format=container) as trial:
        if isinstance(stream, DataStream):
            trial.add_data_stream(stream.name)
        else:
            trial.add_stream_from_template(stream, opaque=True)
        trial.start_encoding()
        return True
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
