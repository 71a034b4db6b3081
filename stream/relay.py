"""Sends a recording on to a server, in a process of its own; the film comes as NUT on stdin.

python -P stream/relay.py flv rtmp://host/app/key 10 < film.nut

PyAV opens and ends outputs with Python's lock held and without a timeout: in the recorder's own process a server that
accepts and then says nothing would stop every other sink, the page and Ctrl-C with it. Imports nothing of ours.
"""

import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import av
import av.error
import av.logging

TIMEOUT_S: Final = 10.0
"""Without an answer for so long the server counts as gone, and this process ends."""
SEGMENT_S: Final = 3.0
"""HLS sends its first segment, and asks the server for anything at all, after 2 s of film."""
HOLD_S: Final = 2.0
"""So much film is held at most to put pictures and sound in order; FFmpeg's 10 s would be lag where sound has ended."""
SILENT: Final = -signal.SIGALRM
"""The exit status that says so."""


def main(form: str, url: str, timeout_s: float) -> None:
    """Copies stdin's packets to `url` until they end."""
    # What FFmpeg logs becomes part of its exceptions; of their own these lines say too little to be shown.
    av.logging.set_level(av.logging.ERROR)
    logger = logging.getLogger("libav")
    heard = Heard()
    logger.addHandler(heard)
    logger.propagate = False
    # Ctrl-C and SIGTERM reach the whole group: the recorder then ends its film, and this process with it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # SIGALRM's default ends the process wherever it hangs; a handler of Python's would wait for the lock.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    options = {"max_interleave_delta": str(round(1e6 * HOLD_S))}
    options |= _OPTIONS.get(form, {})
    # All is in NUT's header: looking at more packets first would be lag.
    looks = {"protocol_whitelist": "pipe", "probesize": "32", "fpsprobesize": "0"}
    with av.open("pipe:0", format="nut", container_options=looks) as film:
        sink = av.open(url, "w", format=form, container_options=options)
        streams = [sink.add_stream_from_template(stream, opaque=True) for stream in film.streams]
        sink.metadata.update(film.metadata)
        held = Held(len(streams), SEGMENT_S if form == "hls" else 0.0)
        try:
            with limited(timeout_s):
                sink.start_encoding()
            for packet in film.demux():
                if not packet.size:
                    continue
                # Looking so shortly it doesn't know the first one's; nothing here is out of order.
                packet.dts = packet.pts if packet.dts is None else packet.dts
                time_s, index = float((packet.dts or 0) * packet.time_base), packet.stream.index
                packet.stream = streams[index]
                # After a break of the source the times of its sound may step back by a packet.
                with limited(timeout_s), suppress(av.error.ArgumentError):
                    sink.mux(packet)
                say(held.note(index, time_s, picture=packet.stream.type == "video"))
        finally:
            heard.lines.clear()
            with limited(timeout_s):
                sink.close()
    if form == "hls" and heard.lines:  # its last segment and its list; FFmpeg ends well without them
        raise OSError("; ".join(heard.lines))
    say(len(held.pictures))


_OPTIONS: Final = {
    "rtsp": {"rtsp_transport": "tcp"},
    # A recorder that comes back after a break begins another list: its numbers must go on, and players be told.
    "hls": {"hls_start_number_source": "epoch", "hls_flags": "discont_start"},
}


def say(count: int) -> None:
    """Tells the recorder how many more pictures have gone out: a byte for each."""
    if count:
        os.write(1, count * b".")


class Held:
    """The pictures that FFmpeg still holds, to put them in order with the sound or into a segment."""

    def __init__(self, streams: int, segment_s: float) -> None:
        self.pictures: deque[float] = deque()
        """Their times in seconds."""
        self._reached = [float("-inf")] * streams
        self._segment_s = segment_s

    def note(self, index: int, time_s: float, *, picture: bool) -> int:
        """A packet was given; how many pictures are out because of it."""
        self._reached[index] = time_s
        if picture:
            self.pictures.append(time_s)
        out_s = max(min(self._reached), max(self._reached) - HOLD_S) - self._segment_s
        count = 0
        while self.pictures and self.pictures[0] <= out_s:
            self.pictures.popleft()
            count += 1
        return count


class Heard(logging.Handler):
    """Keeps what FFmpeg logs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a line."""
        self.lines.append(record.getMessage().strip())


@contextmanager
def limited(timeout_s: float) -> Iterator[None]:
    """Ends the process if what is inside takes longer."""
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


def told(error: Exception) -> str:
    """The error in a line, with what FFmpeg logged about it."""
    logged = getattr(error, "log", None)
    reason = getattr(error, "strerror", None) or str(error)
    return " ".join(f"{reason}: {logged[2]}".split()) if logged else reason


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        sys.exit(told(error))
