"""Files and addresses opened by FFmpeg's demuxers, limited in picture size and in protocols, and their packets."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import av.error
import numpy as np
from av.codec.context import ThreadType
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from stream.errors import InputError, ResourceError, UsageError
from stream.ffmpeg import holds, nvdec_opens
from stream.film import ReadTally
from stream.planes import Rows

MAX_PIXELS = 1 << 27
"""Largest picture that is decoded (134 million: 16384 x 8192), so that a small file can't ask for all the memory."""
_NETWORK = "http,https,httpproxy,tcp,tls,udp,rtp,rtsp,rtmp,rtmps,crypto,data"
_NETWORK_TIMEOUT_S = 30.0
_DEMUX_RETRIES = 100


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
        raise too_large(url, f"{context.width}x{context.height}")
    return films[0]


def too_large(url: str | Path, size: str) -> ResourceError:
    """What is told of a film whose pictures are of a `size` such as 30000x30000."""
    return ResourceError(f"{url}: claims pictures of {size}; at most {MAX_PIXELS:,} pixels are decoded")


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


def copyable(url: str, container: str) -> frozenset[int]:
    """The streams that FFmpeg's muxer takes as they are."""
    with open_film(url) as source:
        return frozenset(stream.index for stream in source.streams if holds(container, stream))


def plane_rows(picture: VideoFrame) -> list[Rows]:
    """The bytes of each plane, [rows, bytes of a line]; views that keep the decoder's picture alive."""
    rows = []
    for plane in picture.planes:
        line = abs(plane.line_size)
        data = np.frombuffer(memoryview(plane), np.uint8)
        lines = data.reshape(-1, line) if line and data.size % line == 0 else data.reshape(1, -1)
        rows.append(lines[::-1] if plane.line_size < 0 else lines)
    return rows
